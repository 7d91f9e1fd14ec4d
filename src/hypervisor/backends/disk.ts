/**
 * What a block device stands on: a span of bytes that keeps what is written to
 * it. Offsets and lengths are in bytes; a caller stays inside `[0, size)`.
 *
 * Calls may overlap in time and complete in any order; the caller orders what
 * must be ordered. A failed call rejects with the host's error and leaves the
 * back end usable.
 */
export interface DiskBackend {
  /** In bytes; constant while open. */
  readonly size: number;
  readonly readOnly: boolean;
  /** Fills all of `target`; bytes that were never written read as zero. */
  readAt(offset: number, target: Uint8Array): Promise<void>;
  writeAt(offset: number, source: Uint8Array): Promise<void>;
  /** Resolves once everything whose `writeAt` had resolved survives a power cut. */
  flush(): Promise<void>;
  /** The bytes are no longer needed; what they read as afterwards is unspecified. */
  discard(offset: number, length: number): Promise<void>;
  /** The bytes read as zero afterwards; `mayUnmap` lets the space be given back. */
  writeZeroes(offset: number, length: number, mayUnmap: boolean): Promise<void>;
  close(): Promise<void>;
}

export type DiskErrorCode =
  | 'DISK_NOT_FOUND'
  | 'DISK_ACCESS'
  | 'DISK_IN_USE'
  | 'DISK_EMPTY'
  | 'DISK_KIND'
  | 'DISK_READ_ONLY'
  | 'DISK_RANGE'
  | 'DISK_FULL'
  /** What the file holds is not the format it is said to be in, or contradicts itself. */
  | 'DISK_FORMAT'
  /** A feature of the format that is not implemented. */
  | 'DISK_UNSUPPORTED'
  /** The image is damaged: marked so, or found so while in use. */
  | 'DISK_CORRUPT'
  /** The backing file cannot or must not be used. */
  | 'DISK_BACKING'
  /** A file to be made is there already. */
  | 'DISK_EXISTS';

/** Why a disk cannot be opened or used; `message` is fit to be shown to a user. */
export class DiskError extends Error {
  readonly code: DiskErrorCode;

  constructor(code: DiskErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'DiskError';
    this.code = code;
  }
}

/** @throws DiskError `DISK_RANGE` when `[offset, offset + length)` does not lie inside `[0, size)`. */
export function checkRange(size: number, offset: number, length: number): void {
  const ok =
    Number.isSafeInteger(offset) &&
    Number.isSafeInteger(length) &&
    offset >= 0 &&
    length >= 0 &&
    offset + length <= size;
  if (!ok)
    throw new DiskError('DISK_RANGE', `disk access at ${offset}, ${length} bytes, is outside ${size} bytes`);
}
