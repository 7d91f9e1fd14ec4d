import type { BigIntStats } from 'node:fs';
import { constants } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { checkRange, type DiskBackend, DiskError } from './disk.ts';
import { type DiskCalls, diskCalls } from './libc.ts';

export interface RawDiskOptions {
  readonly readOnly?: boolean;
  /** Refuse a file that another process, or another disk of this one, writes to. Default true. */
  readonly exclusive?: boolean;
}

const SECTOR = 512;
const ZERO_CHUNK = 1 << 20;
/** Longest read that is tried in the host's memory first. */
const CACHED_BYTES = 1 << 17;

/** Files open in this process, by device and inode: how many read, or -1 for one that writes. */
const openHere = new Map<string, number>();

/**
 * Opens a raw disk image: the file's bytes are the disk's bytes. A size that
 * is no multiple of 512 is rounded up; the tail reads as zero, and writing it
 * lengthens the file. Block devices work too (Linux).
 *
 * @throws DiskError with a message for the user: no such file, no permission,
 *   not a file, empty, or in use.
 */
export async function openRawDisk(path: string, options: RawDiskOptions = {}): Promise<DiskBackend> {
  const readOnly = options.readOnly ?? false;
  const handle = await openHandle(path, readOnly);
  let claimed: string | undefined;
  try {
    const stat = await handle.stat({ bigint: true });
    const bytes = await sizeOf(path, stat);
    if (bytes === 0) throw new DiskError('DISK_EMPTY', `disk image ${path} is empty`);
    const calls = await diskCalls();
    if (options.exclusive ?? true) {
      const key = `${stat.dev}:${stat.ino}`;
      claim(path, key, readOnly);
      claimed = key;
      if (calls?.lock(handle.fd, readOnly) === 'held') throw inUse(path);
    }
    return new RawDisk(path, handle, bytes, readOnly, calls, claimed);
  } catch (error) {
    if (claimed !== undefined) release(claimed, readOnly);
    await handle.close();
    throw error;
  }
}

async function openHandle(path: string, readOnly: boolean): Promise<FileHandle> {
  try {
    // O_NONBLOCK: opening a FIFO must fail or return, never wait for its other end.
    const nonblock = constants.O_NONBLOCK ?? 0;
    return await open(path, (readOnly ? constants.O_RDONLY : constants.O_RDWR) | nonblock);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new DiskError('DISK_NOT_FOUND', `disk image ${path} does not exist`, { cause: error });
    }
    if (code === 'EISDIR')
      throw new DiskError('DISK_KIND', `disk image ${path} is a directory`, { cause: error });
    const how = readOnly ? 'read' : 'opened for writing';
    throw new DiskError('DISK_ACCESS', `disk image ${path} cannot be ${how} (${code})`, { cause: error });
  }
}

async function sizeOf(path: string, stat: BigIntStats): Promise<number> {
  if (stat.isFile()) return Number(stat.size);
  if (stat.isBlockDevice()) {
    // dev_t as Linux packs it: linux/kdev_t.h, new_encode_dev.
    const major = (stat.rdev >> 8n) & 0xfffn;
    const minor = (stat.rdev & 0xffn) | ((stat.rdev >> 12n) & 0xfff00n);
    try {
      return Number(await readFile(`/sys/dev/block/${major}:${minor}/size`, 'ascii')) * SECTOR;
    } catch (error) {
      throw new DiskError('DISK_KIND', `the size of block device ${path} cannot be found`, { cause: error });
    }
  }
  throw new DiskError('DISK_KIND', `disk image ${path} is neither a file nor a block device`);
}

function inUse(path: string): DiskError {
  return new DiskError('DISK_IN_USE', `disk image ${path} is in use by another machine`);
}

function claim(path: string, key: string, readOnly: boolean): void {
  const users = openHere.get(key) ?? 0;
  if (users < 0 || (users > 0 && !readOnly)) throw inUse(path);
  openHere.set(key, readOnly ? users + 1 : -1);
}

function release(key: string, readOnly: boolean): void {
  const left = readOnly ? (openHere.get(key) ?? 1) - 1 : 0;
  if (left > 0) openHere.set(key, left);
  else openHere.delete(key);
}

class RawDisk implements DiskBackend {
  readonly size: number;
  readonly readOnly: boolean;
  readonly #path: string;
  readonly #handle: FileHandle;
  readonly #calls: DiskCalls | undefined;
  readonly #claim: string | undefined;
  #canPunch: boolean;
  #closed = false;

  constructor(
    path: string,
    handle: FileHandle,
    bytes: number,
    readOnly: boolean,
    calls: DiskCalls | undefined,
    claimed: string | undefined,
  ) {
    this.#path = path;
    this.#handle = handle;
    this.size = Math.ceil(bytes / SECTOR) * SECTOR;
    this.readOnly = readOnly;
    this.#calls = calls;
    this.#canPunch = calls?.punchHole !== undefined;
    this.#claim = claimed;
  }

  async readAt(offset: number, target: Uint8Array): Promise<void> {
    checkRange(this.size, offset, target.length);
    let done = this.#readCached(offset, target);
    while (done < target.length) {
      const { bytesRead } = await this.#handle.read(target, done, target.length - done, offset + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    target.fill(0, done);
  }

  async writeAt(offset: number, source: Uint8Array): Promise<void> {
    this.#checkWrite(offset, source.length);
    let done = 0;
    while (done < source.length) {
      const { bytesWritten } = await this.#handle.write(source, done, source.length - done, offset + done);
      done += bytesWritten;
    }
  }

  async flush(): Promise<void> {
    if (!this.readOnly) await this.#handle.datasync();
  }

  async discard(offset: number, length: number): Promise<void> {
    this.#checkWrite(offset, length);
    // A file system that cannot punch keeps the bytes, which a discard allows.
    await this.#punch(offset, length);
  }

  async writeZeroes(offset: number, length: number, mayUnmap: boolean): Promise<void> {
    this.#checkWrite(offset, length);
    if (mayUnmap && (await this.#punch(offset, length))) return;
    const zeroes = new Uint8Array(Math.min(length, ZERO_CHUNK));
    for (let done = 0; done < length; done += zeroes.length) {
      await this.writeAt(offset + done, zeroes.subarray(0, Math.min(zeroes.length, length - done)));
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#claim !== undefined) release(this.#claim, this.readOnly);
    await this.#handle.close();
  }

  /** What can be had without a thread that waits: to hand a read to one takes longer than a small one itself. */
  #readCached(offset: number, target: Uint8Array): number {
    if (this.#closed || target.length > CACHED_BYTES) return 0;
    return Math.max(0, this.#calls?.readCached?.(this.#handle.fd, offset, target) ?? 0);
  }

  async #punch(offset: number, length: number): Promise<boolean> {
    if (!this.#canPunch || length === 0) return length === 0;
    const punched = (await this.#calls?.punchHole?.(this.#handle.fd, offset, length)) ?? false;
    if (!punched) this.#canPunch = false;
    return punched;
  }

  #checkWrite(offset: number, length: number): void {
    checkRange(this.size, offset, length);
    if (this.readOnly) throw new DiskError('DISK_READ_ONLY', `disk image ${this.#path} is read-only`);
  }
}
