import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type {
  CreateImage,
  Image as ImageView,
  ListImagesQuery,
  UploadQuery,
} from '../../contracts/images.ts';
import type { ImageStore, StoredFile } from '../../infra/image-store.ts';
import {
  type Database,
  type Image,
  isForeignKeyViolation,
  isUniqueViolation,
  Prisma,
  type Transaction,
} from '../../infra/prisma.ts';
import { notFound, Problem } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { TenantScope } from '../access/principal.ts';
import { decodeCursor, type Seal, toPage } from '../http.ts';
import { findImage, type ImageKindName, removeUnreferenced, visibleTo } from './images.repository.ts';

const MIB = 1024 * 1024;

export interface ImagesService {
  list(
    scope: TenantScope,
    query: ListImagesQuery,
  ): Promise<{ items: ImageView[]; nextCursor: string | null }>;
  get(scope: TenantScope, id: string): Promise<ImageView>;
  /** Makes a system image of others, or copies a file of the host. */
  create(scope: TenantScope, body: CreateImage, seal: Seal): Promise<ImageView>;
  upload(scope: TenantScope, query: UploadQuery, source: Readable, seal: Seal): Promise<ImageView>;
  remove(scope: TenantScope, id: string): Promise<void>;
}

type NewImage = Omit<Prisma.ImageUncheckedCreateInput, 'id' | 'tenantId' | 'packages'>;

export function createImagesService(deps: {
  readonly db: Database;
  readonly store: ImageStore;
  readonly maxImageMiB: number;
}): ImagesService {
  const { db, store } = deps;

  const find = async (tx: Transaction, scope: TenantScope, id: string): Promise<Image> => {
    const row = await tx.image.findFirst({ where: { AND: [{ id }, visibleTo(scope)] } });
    if (row === null) throw notFound('image', id);
    return row;
  };

  const insert = async (
    tx: Transaction,
    tenantId: string | null,
    image: NewImage,
    seal: Seal,
  ): Promise<ImageView> => {
    const row = await tx.image.create({ data: { ...image, id: newId('img'), tenantId } });
    const view = toImage(row);
    await seal(tx, { status: 201, headers: { location: `/v1/images/${row.id}` }, body: view });
    return view;
  };

  /** Bytes that the tenant may still store; an operator's shared images have the service's limit alone. */
  const room = async (tx: Transaction, tenantId: string | null): Promise<number> => {
    const limit = deps.maxImageMiB * MIB;
    if (tenantId === null) return limit;
    const tenant = await tx.tenant.findUniqueOrThrow({ where: { id: tenantId } });
    const used = await tx.image.aggregate({
      where: { tenantId, kind: { not: 'system' } },
      _sum: { sizeBytes: true },
    });
    const left = tenant.quotaImageMiB * MIB - Number(used._sum.sizeBytes ?? 0n);
    if (left > 0) return Math.min(limit, left);
    throw new Problem('quota_exceeded', `the tenant’s ${tenant.quotaImageMiB} MiB of images are used up`, {
      hint: 'delete an image, or ask the operator for a larger quota',
    });
  };

  const keep = async (
    tenantId: string | null,
    image: { readonly name: string; readonly kind: 'kernel' | 'initrd'; readonly sha256?: string },
    source: Readable,
    seal: Seal,
  ): Promise<ImageView> => {
    const { name, kind } = image;
    if ((await db.image.findFirst({ where: { tenantId, name } })) !== null) throw nameTaken(name);
    const file = await store.put(source, { maxBytes: await room(db, tenantId), kind, ...pick(image.sha256) });
    try {
      return await db.$transaction(async (tx) => {
        if (tenantId !== null)
          await tx.$queryRaw`SELECT 1 FROM tenants WHERE id = ${tenantId} FOR NO KEY UPDATE`;
        if ((await room(tx, tenantId)) < file.sizeBytes) {
          throw new Problem('quota_exceeded', 'other uploads have used up the tenant’s quota meanwhile');
        }
        return insert(tx, tenantId, columnsOf(name, kind, file), seal);
      });
    } catch (err) {
      await store.remove(file.path);
      throw isUniqueViolation(err) ? nameTaken(name) : err;
    }
  };

  return {
    async list(scope, query) {
      const limit = query.limit ?? 50;
      const rows = await db.image.findMany({
        where: {
          AND: [
            visibleTo(scope),
            query.kind === undefined ? {} : { kind: query.kind },
            query.name === undefined ? {} : { name: query.name },
            query.cursor === undefined ? {} : { id: { gt: decodeCursor(query.cursor) } },
          ],
        },
        orderBy: { id: 'asc' },
        take: limit + 1,
      });
      return toPage(rows, limit, toImage);
    },

    async get(scope, id) {
      return toImage(await find(db, scope, id));
    },

    async create(scope, body, seal) {
      const { tenantId } = scope;
      if (body.kind !== 'system') {
        if (!scope.operator) {
          throw new Problem('forbidden', 'only an operator may import a file of the host', {
            hint: 'upload the file itself as application/octet-stream',
          });
        }
        const { sha256 } = body;
        return keep(
          tenantId,
          { name: body.name, kind: body.kind, ...pick(sha256) },
          await openHostFile(body.path),
          seal,
        );
      }
      const { name, kernel, initrd, cmdline } = body;
      try {
        return await db.$transaction(async (tx) => {
          const kernelImage = await findImage(tx, tenantId, kernel, 'kernel');
          const initrdImage = initrd === undefined ? null : await findImage(tx, tenantId, initrd, 'initrd');
          const kernelPath = kernelImage.kernelPath;
          const initrdPath = initrdImage?.initrdPath ?? null;
          const files = [kernelPath, initrdPath].filter((file) => file !== null);
          const { sha256, sizeBytes } = await store.digest(files);
          return insert(
            tx,
            tenantId,
            { name, kind: 'system', kernelPath, initrdPath, cmdline: cmdline ?? '', sha256, sizeBytes },
            seal,
          );
        });
      } catch (err) {
        throw isUniqueViolation(err) ? nameTaken(name) : err;
      }
    },

    async upload(scope, query, source, seal) {
      const { name, kind, sha256 } = query;
      if (name === undefined || kind === undefined) {
        throw new Problem('invalid_request', 'an upload needs a name and a kind', {
          hint: 'POST /v1/images?name=my-kernel&kind=kernel with the file as the body',
        });
      }
      return keep(scope.tenantId, { name, kind, ...pick(sha256) }, source, seal);
    },

    async remove(scope, id) {
      const image = await find(db, scope, id);
      if (image.tenantId === null && !scope.operator) {
        throw new Problem('forbidden', `${image.name} is everybody’s; only an operator may delete it`);
      }
      if (image.builtin) throw new Problem('image_builtin', `${image.name} is built in and stays`);
      try {
        await db.image.delete({ where: { id } });
      } catch (err) {
        if (isForeignKeyViolation(err)) {
          throw new Problem('image_in_use', `virtual machines boot from ${image.name}`, {
            hint: 'delete them first',
          });
        }
        if (isGone(err)) throw notFound('image', id);
        throw err;
      }
      await removeUnreferenced(db, store, [image]);
    },
  };
}

function columnsOf(name: string, kind: 'kernel' | 'initrd', file: StoredFile): NewImage {
  const { sha256, sizeBytes } = file;
  return {
    name,
    kind,
    sha256,
    sizeBytes,
    ...(kind === 'kernel' ? { kernelPath: file.path } : { initrdPath: file.path }),
  };
}

async function openHostFile(file: string): Promise<Readable> {
  const info = await stat(file).catch(() => null);
  if (info === null || !info.isFile()) {
    throw new Problem('unusable_file', `${file} is not a file that the service can read`, {
      hint: 'the path is one on the machine that runs the API',
    });
  }
  return createReadStream(file);
}

const pick = (sha256: string | undefined) => (sha256 === undefined ? {} : { sha256 });

function nameTaken(name: string): Problem {
  return new Problem('name_taken', `there is an image ${name} already`, {
    hint: 'delete it first, or take another name',
  });
}

/** Prisma's P2025: the row to delete was not there any more. */
function isGone(err: unknown): boolean {
  return err instanceof Prisma.PrismaClientKnownRequestError && err.code === 'P2025';
}

/** The row as clients see it. */
export function toImage(row: Image): ImageView {
  return {
    id: row.id,
    name: row.name,
    kind: row.kind as ImageKindName, // the database checks this column
    builtin: row.builtin,
    shared: row.tenantId === null,
    tenantId: row.tenantId,
    cmdline: row.cmdline,
    sizeBytes: Number(row.sizeBytes),
    sha256: row.sha256,
    packages: row.packages,
    createdAt: row.createdAt.toISOString(),
  };
}
