import { checkRange, type DiskBackend, DiskError } from './disk.ts';
import { type HostFileOptions, type ImageFile, openHostFile } from './host-file.ts';

const SECTOR = 512;
const ZERO_CHUNK = 1 << 20;

/**
 * Opens a raw disk image: the file's bytes are the disk's bytes. A size that
 * is no multiple of 512 is rounded up; the tail reads as zero, and writing it
 * lengthens the file. Block devices work too (Linux).
 *
 * @throws DiskError with a message for the user: no such file, no permission,
 *   not a file, empty, or in use.
 */
export async function openRawDisk(path: string, options: HostFileOptions = {}): Promise<DiskBackend> {
  const file = await openHostFile(path, options);
  try {
    return new RawDisk(file);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** A disk whose bytes are a file's bytes; closing it closes the file. */
export class RawDisk implements DiskBackend {
  readonly size: number;
  readonly readOnly: boolean;
  readonly #file: ImageFile;

  /** @throws DiskError `DISK_EMPTY` */
  constructor(file: ImageFile) {
    if (file.length === 0) throw new DiskError('DISK_EMPTY', `disk image ${file.path} is empty`);
    this.#file = file;
    this.size = Math.ceil(file.length / SECTOR) * SECTOR;
    this.readOnly = file.readOnly;
  }

  async readAt(offset: number, target: Uint8Array): Promise<void> {
    checkRange(this.size, offset, target.length);
    return this.#file.readAt(offset, target);
  }

  async writeAt(offset: number, source: Uint8Array): Promise<void> {
    this.#checkWrite(offset, source.length);
    return this.#file.writeAt(offset, source);
  }

  async flush(): Promise<void> {
    return this.#file.flush();
  }

  async discard(offset: number, length: number): Promise<void> {
    this.#checkWrite(offset, length);
    // A file system that cannot punch keeps the bytes, which a discard allows.
    await this.#file.punch(offset, length);
  }

  async writeZeroes(offset: number, length: number, mayUnmap: boolean): Promise<void> {
    this.#checkWrite(offset, length);
    if (mayUnmap && (await this.#file.punch(offset, length))) return;
    const zeroes = new Uint8Array(Math.min(length, ZERO_CHUNK));
    for (let done = 0; done < length; done += zeroes.length) {
      await this.#file.writeAt(offset + done, zeroes.subarray(0, Math.min(zeroes.length, length - done)));
    }
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  #checkWrite(offset: number, length: number): void {
    checkRange(this.size, offset, length);
    if (this.readOnly) throw new DiskError('DISK_READ_ONLY', `disk image ${this.#file.path} is read-only`);
  }
}
