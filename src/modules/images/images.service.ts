import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type {
  CreateImage,
  Image as ImageView,
  ListImagesQuery,
  UploadQuery,
} from '../../contracts/images.ts';
import type { ImageStore } from '../../infra/image-store.ts';
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
import { findImage, removeUnreferenced, usersOf, usersOfAll, visibleTo } from './images.repository.ts';
import { nameTaken, toImage } from './images.view.ts';
import type { UploadsService } from './uploads.service.ts';

export interface ImagesService {
  list(
    scope: TenantScope,
    query: ListImagesQuery,
  ): Promise<{ items: ImageView[]; nextCursor: string | null }>;
  get(scope: TenantScope, id: string): Promise<ImageView>;
  /** Makes a system image of others, or copies a file of the host. */
  create(scope: TenantScope, body: CreateImage, seal: Seal): Promise<ImageView>;
  /** `sizeBytes` when the body's length is known beforehand. */
  upload(
    scope: TenantScope,
    query: UploadQuery,
    body: { readonly source: Readable; readonly sizeBytes?: number },
    seal: Seal,
  ): Promise<ImageView>;
  remove(scope: TenantScope, id: string): Promise<void>;
}

type NewImage = Omit<Prisma.ImageUncheckedCreateInput, 'id' | 'tenantId' | 'packages'>;

export function createImagesService(deps: {
  readonly db: Database;
  readonly store: ImageStore;
  readonly uploads: UploadsService;
}): ImagesService {
  const { db, store, uploads } = deps;

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
      const users = await usersOfAll(
        db,
        scope,
        rows.map(({ id }) => id),
      );
      return toPage(rows, limit, (row) => toImage(row, users(row.id)));
    },

    async get(scope, id) {
      const row = await find(db, scope, id);
      const users = await usersOfAll(db, scope, [id]);
      return toImage(row, users(id));
    },

    async create(scope, body, seal) {
      const { tenantId } = scope;
      if (body.kind !== 'system') {
        if (!scope.operator) {
          throw new Problem('forbidden', 'only an operator may import a file of the host', {
            hint: 'upload the file itself as application/octet-stream',
          });
        }
        const { path, ...file } = body;
        return uploads.receive(tenantId, { ...file, ...(await openHostFile(path)) }, seal);
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

    async upload(scope, query, body, seal) {
      const { name, kind, ...rest } = query;
      if (name === undefined || kind === undefined) {
        throw new Problem('invalid_request', 'an upload needs a name and a kind', {
          hint: 'POST /v1/images?name=my-kernel&kind=kernel with the file as the body',
        });
      }
      return uploads.receive(scope.tenantId, { name, kind, ...rest, ...body }, seal);
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
          throw inUse(image, await usersOf(db, scope, id));
        }
        if (isGone(err)) throw notFound('image', id);
        throw err;
      }
      await removeUnreferenced(db, store, [image]);
    },
  };
}

async function openHostFile(file: string): Promise<{ source: Readable; sizeBytes: number }> {
  const info = await stat(file).catch(() => null);
  if (info === null || !info.isFile()) {
    throw new Problem('unusable_file', `${file} is not a file that the service can read`, {
      hint: 'the path is one on the machine that runs the API',
    });
  }
  return { source: createReadStream(file), sizeBytes: info.size };
}

function inUse(image: Image, users: readonly string[]): Problem {
  const who = users.length === 0 ? 'virtual machines of other tenants' : users.join(', ');
  return new Problem('image_in_use', `${image.name} is used by ${who}`, {
    hint: 'delete them first, or eject the disc from their drives',
  });
}

/** Prisma's P2025: the row to delete was not there any more. */
function isGone(err: unknown): boolean {
  return err instanceof Prisma.PrismaClientKnownRequestError && err.code === 'P2025';
}
