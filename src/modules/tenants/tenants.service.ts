import {
  type CreateKey,
  type CreateTenant,
  DEFAULT_QUOTAS,
  type Key,
  type NewKey,
  type PatchTenant,
  type Tenant as TenantView,
  type Usage,
} from '../../contracts/tenants.ts';
import type { ImageStore } from '../../infra/image-store.ts';
import {
  type ApiKey,
  type Database,
  isForeignKeyViolation,
  isUniqueViolation,
  type Tenant,
  type Transaction,
} from '../../infra/prisma.ts';
import { makeApiKey } from '../../lib/api-keys.ts';
import { notFound, Problem } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { AccessWatch } from '../access/access-watch.ts';
import { decodeCursor, type Seal, toPage } from '../http.ts';
import { removeUnreferenced } from '../images/images.repository.ts';
import { usageOf } from './usage.ts';

interface PageOf<T> {
  items: T[];
  nextCursor: string | null;
}
interface PageRequest {
  readonly limit?: number;
  readonly cursor?: string;
}

export interface TenantsService {
  list(page: PageRequest): Promise<PageOf<TenantView>>;
  get(id: string): Promise<TenantView>;
  create(body: CreateTenant, seal: Seal): Promise<TenantView>;
  patch(id: string, body: PatchTenant): Promise<TenantView>;
  remove(id: string): Promise<void>;
  /** Keys of a tenant or, for null, of operators. */
  listKeys(id: string | null, page: PageRequest): Promise<PageOf<Key>>;
  createKey(id: string | null, body: CreateKey, seal: Seal): Promise<NewKey>;
  revokeKey(id: string | null, keyId: string): Promise<void>;
}

export function createTenantsService(deps: {
  readonly db: Database;
  readonly store: ImageStore;
  readonly watch: Pick<AccessWatch, 'look'>;
}): TenantsService {
  const { db, watch } = deps;

  const find = async (tx: Transaction, id: string): Promise<Tenant> => {
    const row = await tx.tenant.findUnique({ where: { id } });
    if (row === null) throw notFound('tenant', id);
    return row;
  };

  const view = async (tx: Transaction, row: Tenant): Promise<TenantView> =>
    toTenant(row, (await usageOf(tx, [row.id]))(row.id));

  return {
    async list({ limit = 50, cursor }) {
      const rows = await db.tenant.findMany({ ...after(cursor), orderBy: { id: 'asc' }, take: limit + 1 });
      const usage = await usageOf(
        db,
        rows.map(({ id }) => id),
      );
      return toPage(rows, limit, (row) => toTenant(row, usage(row.id)));
    },

    async get(id) {
      return view(db, await find(db, id));
    },

    async create(body, seal) {
      const quotas = { ...DEFAULT_QUOTAS, ...body.quotas };
      try {
        return await db.$transaction(async (tx) => {
          const row = await tx.tenant.create({
            data: {
              id: newId('ten'),
              name: body.name,
              quotaVms: quotas.vms,
              quotaMemoryMiB: quotas.memoryMiB,
              quotaImageMiB: quotas.imageMiB,
              quotaDiskMiB: quotas.diskMiB,
            },
          });
          const answer = await view(tx, row);
          await seal(tx, { status: 201, headers: { location: `/v1/tenants/${row.id}` }, body: answer });
          return answer;
        });
      } catch (err) {
        throw isUniqueViolation(err) ? nameTaken(body.name) : err;
      }
    },

    async patch(id, body) {
      try {
        return await db.$transaction(async (tx) => {
          await find(tx, id);
          const data = {
            ...(body.name === undefined ? {} : { name: body.name }),
            ...quotaColumns(body.quotas ?? {}),
          };
          return view(tx, await tx.tenant.update({ where: { id }, data }));
        });
      } catch (err) {
        throw isUniqueViolation(err) ? nameTaken(body.name ?? '') : err;
      }
    },

    async remove(id) {
      try {
        const images = await db.image.findMany({ where: { tenantId: id } });
        const uploads = await db.upload.findMany({ where: { tenantId: id, imageId: null } });
        const { count } = await db.tenant.deleteMany({ where: { id } });
        if (count === 0) throw notFound('tenant', id);
        await removeUnreferenced(db, deps.store, images);
        for (const { path } of uploads) await deps.store.remove(path);
        await watch.look();
      } catch (err) {
        if (!isForeignKeyViolation(err)) throw err;
        throw new Problem('tenant_in_use', `${id} still has virtual machines`, { hint: 'delete them first' });
      }
    },

    async listKeys(id, { limit = 50, cursor }) {
      if (id !== null) await find(db, id);
      const { where } = after(cursor);
      const rows = await db.apiKey.findMany({
        where: { ...where, tenantId: id },
        orderBy: { id: 'asc' },
        take: limit + 1,
      });
      return toPage(rows, limit, toKey);
    },

    async createKey(id, body, seal) {
      const fresh = makeApiKey();
      return db.$transaction(async (tx) => {
        if (id !== null) await find(tx, id);
        const row = await tx.apiKey.create({
          data: {
            id: fresh.id,
            tenantId: id,
            role: id === null ? 'operator' : 'tenant',
            name: body.name ?? 'key',
            scopes: body.scopes ?? ['read', 'write'],
            secretHash: fresh.secretHash,
            expiresAt: body.expiresAt === undefined ? null : new Date(body.expiresAt),
          },
        });
        const answer = { ...toKey(row), key: fresh.token };
        await seal(tx, {
          status: 201,
          headers: { location: keyPath(id, row.id) },
          body: answer,
        });
        return answer;
      });
    },

    async revokeKey(id, keyId) {
      const { count } = await db.apiKey.updateMany({
        where: { id: keyId, tenantId: id, revokedAt: null },
        data: { revokedAt: new Date() },
      });
      if (count > 0) return watch.look();
      if ((await db.apiKey.findFirst({ where: { id: keyId, tenantId: id } })) === null)
        throw notFound('key', keyId);
    },
  };
}

function after(cursor: string | undefined): { where: { id?: { gt: string } } } {
  return { where: cursor === undefined ? {} : { id: { gt: decodeCursor(cursor) } } };
}

/** Where a key is found. */
export function keyPath(tenantId: string | null, keyId: string): string {
  return tenantId === null ? `/v1/keys/${keyId}` : `/v1/tenants/${tenantId}/keys/${keyId}`;
}

/** The columns of the quotas that are given. */
function quotaColumns(quotas: Partial<TenantView['quotas']>) {
  return {
    ...(quotas.vms === undefined ? {} : { quotaVms: quotas.vms }),
    ...(quotas.memoryMiB === undefined ? {} : { quotaMemoryMiB: quotas.memoryMiB }),
    ...(quotas.imageMiB === undefined ? {} : { quotaImageMiB: quotas.imageMiB }),
    ...(quotas.diskMiB === undefined ? {} : { quotaDiskMiB: quotas.diskMiB }),
  };
}

function nameTaken(name: string): Problem {
  return new Problem('name_taken', `there is a tenant ${name} already`, { hint: 'take another name' });
}

function toTenant(row: Tenant, usage: Usage): TenantView {
  return {
    id: row.id,
    name: row.name,
    quotas: {
      vms: row.quotaVms,
      memoryMiB: row.quotaMemoryMiB,
      imageMiB: row.quotaImageMiB,
      diskMiB: row.quotaDiskMiB,
    },
    usage,
    createdAt: row.createdAt.toISOString(),
  };
}

function toKey(row: ApiKey): Key {
  return {
    id: row.id,
    tenantId: row.tenantId,
    name: row.name,
    scopes: row.scopes,
    createdAt: row.createdAt.toISOString(),
    expiresAt: row.expiresAt?.toISOString() ?? null,
    revokedAt: row.revokedAt?.toISOString() ?? null,
  };
}
