import type { Readable } from 'node:stream';
import type { DiskFormat, FileKind, Image as ImageView } from '../../contracts/images.ts';
import type { CreateUpload, Upload as UploadView } from '../../contracts/uploads.ts';
import { examineHead } from '../../infra/image-files.ts';
import { type ImageStore, type StoredFile, tooLarge } from '../../infra/image-store.ts';
import { type Database, isUniqueViolation, type Prisma, type Upload } from '../../infra/prisma.ts';
import { Problem } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { TenantScope } from '../access/principal.ts';
import { decodeCursor, type Seal, toPage } from '../http.ts';
import { nameTaken, toImage } from './images.view.ts';
import {
  deleteExpired,
  findUpload,
  insertUpload,
  type Lease,
  lockQuota,
  type NewUpload,
  quotaExceeded,
  roomOf,
  takeLease,
  toUpload,
  uploadsOf,
} from './uploads.repository.ts';

const MIB = 1024 * 1024;
/** Kernels and initrds are read into memory to be started. */
const MAX_BOOT_FILE_BYTES = 1024 * MIB;
/** A body of unknown length has room set aside for it in steps of this many bytes. */
const STEP_BYTES = 64 * MIB;

/** A file that comes as the body of one request, or from the host's own disk. */
export interface WholeFile {
  readonly name: string;
  readonly kind: FileKind;
  readonly format?: DiskFormat;
  readonly sha256?: string;
  readonly source: Readable;
  /** In bytes, when it is known beforehand. */
  readonly sizeBytes?: number;
}

/** What is appended to an upload. */
export interface Part {
  /** Where it begins in the file. */
  readonly offset: number;
  readonly source: Readable;
  /** SHA-256 of it, to be compared. */
  readonly sha256?: Buffer;
}

export interface UploadsService {
  create(scope: TenantScope, body: CreateUpload, seal: Seal): Promise<UploadView>;
  list(
    scope: TenantScope,
    page: { readonly limit?: number; readonly cursor?: string },
  ): Promise<{ items: UploadView[]; nextCursor: string | null }>;
  get(scope: TenantScope, id: string): Promise<UploadView>;
  /**
   * Appends to an upload. Gives the image with the byte that completes it. The newest request to write takes the
   * place of one before it in this process.
   * @throws {Problem} upload_offset, upload_busy, upload_complete, checksum_mismatch, digest_mismatch, unusable_file, name_taken …
   */
  append(
    scope: TenantScope,
    id: string,
    part: Part,
  ): Promise<{ upload: UploadView; image: ImageView | null }>;
  remove(scope: TenantScope, id: string): Promise<void>;
  /** Takes a file in one go: an image of it, or nothing. */
  receive(tenantId: string | null, file: WholeFile, seal: Seal): Promise<ImageView>;
  /** Deletes uploads that nobody will complete. */
  expire(): Promise<void>;
}

export function createUploadsService(deps: {
  readonly db: Database;
  readonly store: ImageStore;
  readonly maxImageMiB: number;
}): UploadsService {
  const { db, store } = deps;
  /** Who writes in this process, to be called off by whoever comes next. */
  const writing = new Map<string, { readonly source: Readable; readonly over: Promise<unknown> }>();

  const limitOf = (kind: string): number => {
    const limit = deps.maxImageMiB * MIB;
    return kind === 'iso' || kind === 'disk' ? limit : Math.min(limit, MAX_BOOT_FILE_BYTES);
  };

  /** Sets room aside for an upload and makes its file. */
  const begin = async (
    tenantId: string | null,
    upload: Omit<NewUpload, 'path'>,
    check: (room: number) => void,
    seal?: Seal,
  ): Promise<Upload> => {
    const path = await store.create();
    try {
      return await db.$transaction(async (tx) => {
        await lockQuota(tx, tenantId);
        if ((await tx.image.findFirst({ where: { tenantId, name: upload.name } })) !== null)
          throw nameTaken(upload.name);
        check(await roomOf(tx, tenantId));
        const row = await insertUpload(tx, tenantId, { ...upload, path });
        const view = toUpload(row);
        await seal?.(tx, { status: 201, headers: { location: `/v1/uploads/${row.id}` }, body: view });
        return row;
      });
    } catch (err) {
      await store.remove(path);
      throw err;
    }
  };

  /** Sets more room aside for a body of unknown length; gives all that it may take now. */
  const grow = async (id: string, limit: number): Promise<number> =>
    db.$transaction(async (tx) => {
      const { tenantId } = await tx.upload.findUniqueOrThrow({ where: { id } });
      await lockQuota(tx, tenantId);
      const { sizeBytes } = await tx.upload.findUniqueOrThrow({ where: { id } });
      const now = Number(sizeBytes);
      const more = Math.min(STEP_BYTES, limit - now, Math.max(0, await roomOf(tx, tenantId)));
      if (more > 0) await tx.upload.update({ where: { id }, data: { sizeBytes: now + more } });
      return now + more;
    });

  /** The whole file becomes an image; `done` is what becomes of the upload, in the same transaction. */
  const complete = async (
    upload: Upload,
    done: (tx: Prisma.TransactionClient, imageId: string) => Promise<unknown>,
    seal?: Seal,
  ): Promise<ImageView> => {
    const file = await store.finish(upload.path);
    const columns = columnsOf(upload, file);
    try {
      return await db.$transaction(async (tx) => {
        await lockQuota(tx, upload.tenantId);
        const row = await tx.image.create({
          data: { ...columns, id: newId('img'), tenantId: upload.tenantId },
        });
        await done(tx, row.id);
        const view = toImage(row);
        await seal?.(tx, { status: 201, headers: { location: `/v1/images/${row.id}` }, body: view });
        return view;
      });
    } catch (err) {
      throw isUniqueViolation(err) ? nameTaken(upload.name) : err;
    }
  };

  const discard = async (upload: Upload): Promise<void> => {
    const { count } = await db.upload.deleteMany({ where: { id: upload.id, imageId: null } });
    if (count > 0) await store.remove(upload.path);
  };

  const appendWith = async (
    lease: Lease,
    { offset, source, sha256 }: Part,
  ): Promise<{ upload: UploadView; image: ImageView | null }> => {
    const { upload } = lease;
    const { id } = upload;
    if (upload.imageId !== null || !upload.resumable) {
      throw new Problem('upload_complete', `${id} ${upload.resumable ? 'is complete' : 'is one request’s'}`);
    }
    let received = Number(upload.receivedBytes);
    const onDisk = await store.size(upload.path);
    if (onDisk < received) await lease.record((received = onDisk));
    if (offset !== received) {
      throw new Problem('upload_offset', `${id} goes on at byte ${received}, not at ${offset}`, {
        hint: `HEAD /v1/uploads/${id} tells where to go on`,
        headers: { 'upload-offset': String(received), connection: 'close' },
      });
    }
    const size = Number(upload.sizeBytes);
    // All of it may be there already, when its completion was refused.
    if (received < size) {
      await store.append(upload.path, source, {
        offset,
        maxBytes: size,
        ...(sha256 === undefined ? {} : { sha256 }),
        checkpoint: async (bytes) => lease.record((received = bytes)),
      });
    }
    const image = received < size ? null : await completeOrDiscard(upload);
    return { upload: await findUploadView(id), image };
  };

  const findUploadView = async (id: string): Promise<UploadView> =>
    toUpload(await db.upload.findUniqueOrThrow({ where: { id } }));

  /** A file that is not what it should be is of no use, and goes; one whose name is taken may wait. */
  const completeOrDiscard = async (upload: Upload): Promise<ImageView> => {
    try {
      return await complete(upload, (tx, imageId) =>
        tx.upload.update({ where: { id: upload.id }, data: { imageId } }),
      );
    } catch (err) {
      if (err instanceof Problem && err.status === 422) await discard(upload);
      throw err;
    }
  };

  return {
    async create(scope, body, seal) {
      const { name, kind, format = null, sizeBytes, sha256 = null } = body;
      requireDiskFor(format, kind);
      if (sizeBytes > limitOf(kind)) throw tooLarge(limitOf(kind));
      const upload = { name, kind, format, sizeBytes, sha256, resumable: true };
      const check = (room: number): void => {
        if (sizeBytes > room)
          throw quotaExceeded(
            `${sizeBytes} bytes are more than the ${Math.max(0, room)} that are left of the tenant’s quota`,
          );
      };
      return toUpload(await begin(scope.tenantId, upload, check, seal));
    },

    async list(scope, { limit = 50, cursor }) {
      const rows = await db.upload.findMany({
        where: { ...uploadsOf(scope), ...(cursor === undefined ? {} : { id: { gt: decodeCursor(cursor) } }) },
        orderBy: { id: 'asc' },
        take: limit + 1,
      });
      return toPage(rows, limit, toUpload);
    },

    async get(scope, id) {
      return toUpload(await findUpload(db, scope, id));
    },

    async append(scope, id, part) {
      const { source } = part;
      await findUpload(db, scope, id);
      for (let former = writing.get(id); former !== undefined; former = writing.get(id)) {
        former.source.destroy();
        await former.over;
      }
      const over = Promise.withResolvers<void>();
      writing.set(id, { source, over: over.promise });
      try {
        const lease = await takeLease(db, id);
        try {
          return await appendWith(lease, part);
        } finally {
          await lease.release();
        }
      } finally {
        writing.delete(id);
        over.resolve();
      }
    },

    async remove(scope, id) {
      const upload = await findUpload(db, scope, id);
      writing.get(id)?.source.destroy();
      await db.upload.deleteMany({ where: { id } });
      if (upload.imageId === null) await store.remove(upload.path);
    },

    async receive(tenantId, file, seal) {
      const { name, kind, format = null, sha256 = null } = file;
      requireDiskFor(format, kind);
      const limit = limitOf(kind);
      const sizeBytes = file.sizeBytes ?? 0;
      const check = (room: number): void => {
        if (room <= 0) throw quotaExceeded('the tenant’s quota of images is used up');
        if (sizeBytes > Math.min(room, limit)) throw tooLarge(Math.min(room, limit));
      };
      const upload = await begin(
        tenantId,
        { name, kind, format, sha256, sizeBytes, resumable: false },
        check,
      );
      try {
        const lease = await takeLease(db, upload.id);
        await store.append(upload.path, file.source, {
          offset: 0,
          maxBytes: sizeBytes,
          checkpoint: (bytes) => lease.record(bytes),
          moreRoom: () =>
            file.sizeBytes === undefined ? grow(upload.id, limit) : Promise.resolve(sizeBytes),
        });
        return await complete(upload, (tx) => tx.upload.delete({ where: { id: upload.id } }), seal);
      } catch (err) {
        await discard(upload);
        throw err;
      }
    },

    async expire() {
      for (const { path, imageId } of await deleteExpired(db)) if (imageId === null) await store.remove(path);
    },
  };
}

function requireDiskFor(format: DiskFormat | null, kind: FileKind): void {
  if (format !== null && kind !== 'disk')
    throw new Problem('invalid_request', '`format` goes with the kind `disk`');
}

/** @throws {Problem} digest_mismatch, unusable_file */
function columnsOf(
  upload: Upload,
  file: StoredFile,
): Omit<Prisma.ImageUncheckedCreateInput, 'id' | 'tenantId' | 'packages'> {
  const { path, sha256, sizeBytes } = file;
  const kind = upload.kind as FileKind; // the database checks these two columns
  const format = upload.format as DiskFormat | null;
  const facts = examineHead(file, kind, format ?? undefined);
  if (upload.sha256 !== null && upload.sha256 !== sha256) {
    throw new Problem('digest_mismatch', `the file that arrived has SHA-256 ${sha256}`, {
      hint: 'send it again',
    });
  }
  return {
    name: upload.name,
    kind,
    sha256,
    sizeBytes,
    format: facts.format,
    diskBytes: facts.diskBytes,
    // A worker looks into discs and disks before VMs may use them.
    state: kind === 'iso' || kind === 'disk' ? 'checking' : 'ready',
    ...(kind === 'kernel'
      ? { kernelPath: path }
      : kind === 'initrd'
        ? { initrdPath: path }
        : { mediaPath: path }),
  };
}
