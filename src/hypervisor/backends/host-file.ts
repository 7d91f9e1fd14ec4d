import type { BigIntStats } from 'node:fs';
import { constants, writeSync } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { DiskError } from './disk.ts';
import { type DiskCalls, diskCalls } from './libc.ts';

/**
 * A file of the host that a disk image is kept in. Offsets and lengths are in
 * bytes. Calls may overlap in time; a failed one rejects with the host's error.
 */
export interface ImageFile {
  /** For messages. */
  readonly path: string;
  readonly readOnly: boolean;
  /** Whether a write behind the end lengthens it, zeroes in between: files do, block devices do not. */
  readonly grows: boolean;
  /** As far as writes have come by now. */
  readonly length: number;
  /** Fills all of `target`; what lies behind the end reads as zero. */
  readAt(offset: number, target: Uint8Array): Promise<void>;
  writeAt(offset: number, source: Uint8Array): Promise<void>;
  /** Resolves once everything whose `writeAt` had resolved survives a power cut. */
  flush(): Promise<void>;
  /** Gives the space of a range back, leaving zeroes; false when the file system cannot, and nothing is changed. */
  punch(offset: number, length: number): Promise<boolean>;
  close(): Promise<void>;
}

export interface HostFileOptions {
  readonly readOnly?: boolean;
  /** Refuse a file that another process, or another disk of this one, writes to. Default true. */
  readonly exclusive?: boolean;
  /** Refuse to follow a symbolic link at the path's end. */
  readonly noFollow?: boolean;
}

const SECTOR = 512;

/** Files open in this process, by device and inode: how many read, or -1 for one that writes. */
const openHere = new Map<string, number>();

/**
 * Opens a file or (on Linux) a block device that holds a disk image.
 *
 * @throws DiskError with a message for the user: no such file, no permission,
 *   not a file, or in use.
 */
export async function openHostFile(path: string, options: HostFileOptions = {}): Promise<HostFile> {
  const readOnly = options.readOnly ?? false;
  const handle = await openHandle(path, readOnly, options.noFollow ?? false);
  let claimed: string | undefined;
  try {
    const stat = await handle.stat({ bigint: true });
    const length = await lengthOf(path, stat);
    const calls = await diskCalls();
    const identity = `${stat.dev}:${stat.ino}`;
    if (options.exclusive ?? true) {
      claim(path, identity, readOnly);
      claimed = identity;
      if (calls?.lock(handle.fd, readOnly) === 'held') throw inUse(path);
    }
    return new HostFile({ path, handle, length, readOnly, calls, identity, claimed, grows: stat.isFile() });
  } catch (error) {
    if (claimed !== undefined) release(claimed, readOnly);
    await handle.close();
    throw error;
  }
}

async function openHandle(path: string, readOnly: boolean, noFollow: boolean): Promise<FileHandle> {
  // O_NONBLOCK: opening a FIFO must fail or return, never wait for its other end.
  const flags = (constants.O_NONBLOCK ?? 0) | (noFollow ? (constants.O_NOFOLLOW ?? 0) : 0);
  try {
    return await open(path, (readOnly ? constants.O_RDONLY : constants.O_RDWR) | flags);
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

async function lengthOf(path: string, stat: BigIntStats): Promise<number> {
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

interface OpenFile {
  readonly path: string;
  readonly handle: FileHandle;
  readonly length: number;
  readonly readOnly: boolean;
  readonly calls: DiskCalls | undefined;
  readonly identity: string;
  readonly claimed: string | undefined;
  readonly grows: boolean;
}

/** Longest read, and longest write, that is tried in the host's memory first. */
const CACHED_BYTES = 1 << 17;
/** A write takes this long when the host has it wait. Milliseconds. */
const SLOW_MS = 2;
/** After one that did, all go to threads; longer each time in a row. Milliseconds. */
const HOLD_MS = { least: 16, most: 2048 } as const;

/** See `openHostFile`. */
export class HostFile implements ImageFile {
  readonly path: string;
  readonly readOnly: boolean;
  readonly grows: boolean;
  /** Device and inode: the same for one file under all its names. */
  readonly identity: string;
  readonly #handle: FileHandle;
  readonly #calls: DiskCalls | undefined;
  readonly #claim: string | undefined;
  #length: number;
  #canPunch: boolean;
  #closed = false;
  #flushes = 0;
  #holdMs: number = HOLD_MS.least;
  #holdUntil = 0;

  constructor(file: OpenFile) {
    this.path = file.path;
    this.readOnly = file.readOnly;
    this.grows = file.grows;
    this.identity = file.identity;
    this.#handle = file.handle;
    this.#calls = file.calls;
    this.#claim = file.claimed;
    this.#length = file.length;
    this.#canPunch = file.calls?.punchHole !== undefined;
  }

  get length(): number {
    return this.#length;
  }

  async readAt(offset: number, target: Uint8Array): Promise<void> {
    let done = this.#readCached(offset, target);
    while (done < target.length) {
      const { bytesRead } = await this.#handle.read(target, done, target.length - done, offset + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    if (done < target.length) target.fill(0, done);
  }

  async writeAt(offset: number, source: Uint8Array): Promise<void> {
    let done = this.#writeCached(offset, source);
    while (done < source.length) {
      const { bytesWritten } = await this.#handle.write(source, done, source.length - done, offset + done);
      done += bytesWritten;
    }
    if (offset + done > this.#length) this.#length = offset + done;
  }

  async flush(): Promise<void> {
    if (this.readOnly) return;
    this.#flushes += 1;
    try {
      await this.#handle.datasync();
    } finally {
      this.#flushes -= 1;
    }
  }

  /** What can be had without a thread that waits: to hand a read to one takes longer than a small one itself. */
  #readCached(offset: number, target: Uint8Array): number {
    if (this.#closed || target.length > CACHED_BYTES) return 0;
    return Math.max(0, this.#calls?.readCached?.(this.#handle.fd, offset, target) ?? 0);
  }

  /**
   * A write that the host only has to keep in memory takes microseconds, and to hand it to a thread ten times as long.
   * The host says beforehand for few file systems whether it will have a writer wait, so that is learnt from how long
   * they take; while a flush is under way it is likely.
   */
  #writeCached(offset: number, source: Uint8Array): number {
    if (this.#closed || source.length > CACHED_BYTES || this.#flushes > 0) return 0;
    const begun = performance.now();
    if (begun < this.#holdUntil) return 0;
    const written = writeSync(this.#handle.fd, source, 0, source.length, offset);
    const now = performance.now();
    if (now - begun < SLOW_MS) {
      this.#holdMs = HOLD_MS.least;
    } else {
      this.#holdUntil = now + this.#holdMs;
      this.#holdMs = Math.min(HOLD_MS.most, 2 * this.#holdMs);
    }
    return written;
  }

  async punch(offset: number, length: number): Promise<boolean> {
    if (length === 0) return true;
    if (!this.#canPunch) return false;
    const punched = (await this.#calls?.punchHole?.(this.#handle.fd, offset, length)) ?? false;
    if (!punched) this.#canPunch = false;
    return punched;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#claim !== undefined) release(this.#claim, this.readOnly);
    await this.#handle.close();
  }
}
