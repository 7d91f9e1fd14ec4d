import { randomUUID } from 'node:crypto';
import { UPLOAD_EXPIRY_MS, type Upload as UploadView } from '../../contracts/uploads.ts';
import type { Database, Prisma, Transaction, Upload } from '../../infra/prisma.ts';
import { notFound, Problem } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { TenantScope } from '../access/principal.ts';

const MIB = 1024 * 1024;
/** Unfinished uploads that one tenant, or the operators together, may have. */
const MAX_UNDER_WAY = 32;
/** How long a writer that says nothing more keeps others away. It says something every second. Milliseconds. */
const WRITER_MS = 10_000;
/** How long the body of one request that nobody writes any more is kept, for its process to come to it. Milliseconds. */
const BROKEN_OFF_MS = 60_000;

export interface NewUpload {
  readonly name: string;
  readonly kind: string;
  readonly format: string | null;
  readonly resumable: boolean;
  /** Bytes to set aside. */
  readonly sizeBytes: number;
  readonly sha256: string | null;
  readonly path: string;
}

/** Uploads of a scope; an operator without a tenant sees all, and makes those of everybody's images. */
export function uploadsOf(scope: TenantScope): Prisma.UploadWhereInput {
  return scope.tenantId === null ? {} : { tenantId: scope.tenantId };
}

/** @throws {Problem} not_found */
export async function findUpload(tx: Transaction, scope: TenantScope, id: string): Promise<Upload> {
  const row = await tx.upload.findFirst({ where: { id, ...uploadsOf(scope) } });
  if (row === null) throw notFound('upload', id);
  return row;
}

/** Locks what a tenant's quota is counted under, so that what takes from it goes one after another. */
export async function lockQuota(tx: Transaction, tenantId: string | null): Promise<void> {
  if (tenantId !== null) await tx.$queryRaw`SELECT 1 FROM tenants WHERE id = ${tenantId} FOR NO KEY UPDATE`;
}

/**
 * Bytes of images that a tenant may still store: its quota without its images and all of what is under way.
 * Infinity for everybody's images, which only operators make.
 */
export async function roomOf(tx: Transaction, tenantId: string | null): Promise<number> {
  if (tenantId === null) return Number.POSITIVE_INFINITY;
  const tenant = await tx.tenant.findUniqueOrThrow({ where: { id: tenantId } });
  const images = await tx.image.aggregate({
    where: { tenantId, kind: { not: 'system' } },
    _sum: { sizeBytes: true },
  });
  const uploads = await tx.upload.aggregate({
    where: { tenantId, imageId: null },
    _sum: { sizeBytes: true },
  });
  return (
    tenant.quotaImageMiB * MIB - Number(images._sum.sizeBytes ?? 0n) - Number(uploads._sum.sizeBytes ?? 0n)
  );
}

/** 409 for a quota with no room at all, or not enough. */
export function quotaExceeded(detail: string): Problem {
  return new Problem('quota_exceeded', detail, {
    hint: 'delete an image or an upload under way (GET /v1/uploads), or ask the operator for a larger quota',
  });
}

/** Inserts an upload. Call it with the quota locked, in the transaction that has checked it. @throws {Problem} */
export async function insertUpload(
  tx: Transaction,
  tenantId: string | null,
  upload: NewUpload,
): Promise<Upload> {
  const underWay = await tx.upload.count({ where: { tenantId, imageId: null } });
  if (underWay >= MAX_UNDER_WAY) {
    throw new Problem('too_many_uploads', `${underWay} uploads are under way`, {
      hint: 'complete or DELETE some: GET /v1/uploads lists them',
      headers: { 'retry-after': '5' },
    });
  }
  return tx.upload.create({
    data: { ...upload, id: newId('upl'), tenantId, expiresAt: new Date(Date.now() + UPLOAD_EXPIRY_MS) },
  });
}

/** What a writer holds while it writes. */
export interface Lease {
  readonly upload: Upload;
  /** Records that so many bytes are safe, and keeps the lease. @throws {Problem} upload_busy when it is lost. */
  record(receivedBytes: number): Promise<void>;
  release(): Promise<void>;
}

/**
 * Makes the caller the writer of an upload: one at a time, over all processes. A writer that died is waited for
 * WRITER_MS at most.
 * @throws {Problem} upload_busy
 */
export async function takeLease(db: Database, id: string): Promise<Lease> {
  const writer = randomUUID();
  const taken = await db.$executeRaw`
    UPDATE uploads SET writer = ${writer}, writer_until = now() + ${WRITER_MS}::int * interval '1 millisecond'
    WHERE id = ${id} AND (writer IS NULL OR writer_until < now())`;
  if (taken === 0) throw busy(id);
  const upload = await db.upload.findUnique({ where: { id } });
  if (upload === null) throw notFound('upload', id);
  return {
    upload,
    async record(receivedBytes) {
      const kept = await db.$executeRaw`
        UPDATE uploads SET received_bytes = ${receivedBytes}::bigint,
                           writer_until = now() + ${WRITER_MS}::int * interval '1 millisecond',
                           expires_at = now() + ${UPLOAD_EXPIRY_MS}::int * interval '1 millisecond'
        WHERE id = ${id} AND writer = ${writer}`;
      if (kept === 0) throw new Problem('upload_busy', `${id} was deleted, or another request writes to it`);
    },
    async release() {
      await db.upload.updateMany({ where: { id, writer }, data: { writer: null, writerUntil: null } });
    },
  };
}

function busy(id: string): Problem {
  return new Problem('upload_busy', `another request writes to ${id}, or died doing so`, {
    hint: `try again in ${WRITER_MS / 1000} s`,
    headers: { 'retry-after': String(WRITER_MS / 1000) },
  });
}

/** Deletes the rows of uploads that nobody will complete; gives those whose files are to go with them. */
export async function deleteExpired(db: Database): Promise<{ path: string; imageId: string | null }[]> {
  return db.$queryRaw<{ path: string; imageId: string | null }[]>`
    DELETE FROM uploads
    WHERE (writer_until IS NULL OR writer_until < now())
      AND (expires_at < now()
        OR NOT resumable AND created_at < now() - ${BROKEN_OFF_MS}::int * interval '1 millisecond'
          AND (writer_until IS NULL OR writer_until < now() - ${BROKEN_OFF_MS}::int * interval '1 millisecond'))
    RETURNING path, image_id AS "imageId"`;
}

/** The row as clients see it. */
export function toUpload(row: Upload): UploadView {
  return {
    id: row.id,
    name: row.name,
    kind: row.kind as UploadView['kind'], // the database checks these two columns
    format: row.format as UploadView['format'],
    sizeBytes: Number(row.sizeBytes),
    offset: Number(row.receivedBytes),
    sha256: row.sha256,
    resumable: row.resumable,
    imageId: row.imageId,
    createdAt: row.createdAt.toISOString(),
    expiresAt: row.expiresAt.toISOString(),
  };
}
