import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { DEFAULT_QUOTAS } from '../../contracts/tenants.ts';
import { createImageStore } from '../../infra/image-store.ts';
import type { Database, Transaction } from '../../infra/prisma.ts';
import { makeApiKey, parseApiKey, secretMatches } from '../../lib/api-keys.ts';
import { newId } from '../../lib/ids.ts';
import type { Logger } from '../../lib/log.ts';
import { filesOf } from '../images/images.repository.ts';
import { readBuiltinImages } from './builtin-images.ts';

/** Any number, the same in every process of this project: held while keys and images are set up. */
const BOOTSTRAP_LOCK = 7_314_206_559;

export interface BootstrapOptions {
  readonly db: Database;
  readonly log: Logger;
  /** TEREMOK_HOME, absolute. */
  readonly home: string;
  readonly imagesDir: string;
}

/**
 * Brings a database and a home directory to where they can be used, and changes nothing when they are there: the
 * tenant `default`, its key and the operator's in files of mode 600, and the built-in images. A key file that is
 * missing, or whose key this database does not know, is written anew; who may write there could read the
 * database's address as well.
 */
export async function bootstrap(options: BootstrapOptions): Promise<void> {
  const { db, home, log } = options;
  await mkdir(home, { recursive: true, mode: 0o700 });
  await mkdir(options.imagesDir, { recursive: true, mode: 0o700 });
  await createImageStore(options.imagesDir).sweep(await knownFiles(db));
  const images = await readBuiltinImages(options.imagesDir, log);
  await db.$transaction(
    async (tx) => {
      await tx.$executeRaw`SELECT pg_advisory_xact_lock(${BOOTSTRAP_LOCK}::bigint)`;
      const tenantId = await ensureDefaultTenant(tx);
      await ensureKeyFile(tx, path.join(home, 'default.key'), tenantId, log);
      await ensureKeyFile(tx, path.join(home, 'operator.key'), null, log);
      for (const image of images) {
        const existing = await tx.image.findFirst({ where: { tenantId: null, name: image.name } });
        if (existing === null)
          await tx.image.create({ data: { id: newId('img'), builtin: true, kind: 'system', ...image } });
        else await tx.image.update({ where: { id: existing.id }, data: image });
      }
    },
    { timeout: 60_000, maxWait: 30_000 },
  );
}

async function knownFiles(db: Database): Promise<Set<string>> {
  const images = await db.image.findMany({
    select: { kernelPath: true, initrdPath: true, mediaPath: true },
  });
  const uploads = await db.upload.findMany({ select: { path: true } });
  return new Set([...images.flatMap(filesOf), ...uploads.map(({ path: file }) => file)]);
}

async function ensureDefaultTenant(tx: Transaction): Promise<string> {
  const existing = await tx.tenant.findUnique({ where: { name: 'default' } });
  if (existing !== null) return existing.id;
  const { vms, memoryMiB, imageMiB, diskMiB } = DEFAULT_QUOTAS;
  const made = await tx.tenant.create({
    data: {
      id: newId('ten'),
      name: 'default',
      quotaVms: vms,
      quotaMemoryMiB: memoryMiB,
      quotaImageMiB: imageMiB,
      quotaDiskMiB: diskMiB,
    },
  });
  return made.id;
}

/** @param tenantId whose key the file holds; null for an operator's. */
async function ensureKeyFile(
  tx: Transaction,
  file: string,
  tenantId: string | null,
  log: Logger,
): Promise<void> {
  if (await isUsableKey(tx, await readFile(file, 'utf8').catch(() => ''), tenantId)) return;
  const fresh = makeApiKey();
  await tx.apiKey.create({
    data: {
      id: fresh.id,
      tenantId,
      role: tenantId === null ? 'operator' : 'tenant',
      name: path.basename(file),
      scopes: ['read', 'write'],
      secretHash: fresh.secretHash,
    },
  });
  const partial = `${file}.${process.pid}.partial`;
  await writeFile(partial, `${fresh.token}\n`, { mode: 0o600 });
  await rename(partial, file);
  log.info({ file, keyId: fresh.id }, 'API key written');
}

async function isUsableKey(tx: Transaction, text: string, tenantId: string | null): Promise<boolean> {
  const parsed = parseApiKey(text.trim());
  if (parsed === null) return false;
  const row = await tx.apiKey.findUnique({ where: { id: parsed.id } });
  return (
    row !== null &&
    row.tenantId === tenantId &&
    row.revokedAt === null &&
    secretMatches(parsed.secret, row.secretHash)
  );
}
