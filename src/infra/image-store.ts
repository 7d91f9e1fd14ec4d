import { createHash, type Hash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { Problem } from '../lib/errors.ts';
import { HEAD_BYTES } from './image-files.ts';

export interface StoredFile {
  /** Relative to the images directory. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** Its first bytes, HEAD_BYTES at most. */
  readonly head: Buffer;
}

export interface Appending {
  /** Where in the file the source begins: what is there from here on is cut off first. */
  readonly offset: number;
  /** The most that the file may hold. */
  readonly maxBytes: number;
  /** SHA-256 of all that the source brings, which then counts as a whole or not at all. */
  readonly sha256?: Buffer;
  /** Asked for more room when maxBytes would be passed; without it, or when it gives none, the source is too large. */
  readonly moreRoom?: () => Promise<number>;
  /** Told, now and then and at the end, how many bytes of the file are on the disk. What it throws ends the writing. */
  readonly checkpoint: (bytes: number) => Promise<void>;
}

/**
 * Files of images. A file grows under a name of its own with the suffix `.partial`, which it loses when it is whole;
 * what of it survives a power cut is what `checkpoint` was told.
 */
export interface ImageStore {
  /** Makes an empty file; gives its path, relative to the images directory. @throws {Problem} insufficient_storage */
  create(): Promise<string>;
  /** Bytes that an unfinished file holds, confirmed or not; 0 when it is not there. */
  size(relativePath: string): Promise<number>;
  /**
   * Streams bytes to the end of a file. What has arrived when the source breaks off is kept.
   * @throws {Problem} body_too_large, malformed_request when the source broke off, checksum_mismatch,
   *   insufficient_storage.
   */
  append(relativePath: string, source: Readable, how: Appending): Promise<void>;
  /** Takes a file as whole: on the disk, under its own name. May be repeated. */
  finish(relativePath: string): Promise<StoredFile>;
  /** Removes a file, whole or not; nothing happens when it is gone already. */
  remove(relativePath: string): Promise<void>;
  /** The digest of files, one after the other. @throws when one cannot be read. */
  digest(relativePaths: readonly string[]): Promise<{ sha256: string; sizeBytes: number }>;
  /**
   * Removes files that belong to nothing, as when a process died before it could record them. Files younger than an
   * hour stay, since another process may be about to.
   * @param known the paths that images and uploads have
   */
  sweep(known: ReadonlySet<string>): Promise<void>;
}

const PARTIAL = '.partial';
/** A file that belongs to nothing and is this old has nobody who will record it. Milliseconds. */
const ABANDONED_MS = 3_600_000;
/** What is written is made safe after this many bytes or milliseconds. */
const CHECKPOINT_BYTES = 32 * 1024 * 1024;
const CHECKPOINT_MS = 1_000;
/** Digests under way that are remembered; another is made again from the file when its upload goes on. */
const MAX_REMEMBERED = 256;

/** The digest of a file's first `bytes` bytes. */
interface Progress {
  readonly hash: Hash;
  readonly bytes: number;
}

export function createImageStore(directory: string): ImageStore {
  const digests = new Map<string, Progress>();
  const within = (relative: string): string => {
    const full = path.resolve(directory, relative);
    if (!full.startsWith(directory + path.sep)) throw new Error(`${relative} is not in the images directory`);
    return full;
  };
  const partialOf = (relative: string): string => within(relative) + PARTIAL;

  const remember = (relative: string, progress: Progress): void => {
    digests.delete(relative);
    digests.set(relative, progress);
    for (const oldest of digests.keys()) {
      if (digests.size <= MAX_REMEMBERED) break;
      digests.delete(oldest);
    }
  };

  /** The digest of a file's beginning: remembered, or made again from what is on the disk. */
  const digestOf = async (relative: string, file: string, bytes: number): Promise<Hash> => {
    const known = digests.get(relative);
    if (known?.bytes === bytes) return known.hash;
    const hash = createHash('sha256');
    if (bytes > 0) for await (const chunk of createReadStream(file, { end: bytes - 1 })) hash.update(chunk);
    return hash;
  };

  return {
    async create() {
      const relative = path.join('files', randomUUID());
      try {
        await mkdir(path.join(directory, 'files'), { recursive: true, mode: 0o700 });
        await (await open(partialOf(relative), 'wx', 0o600)).close();
        await syncDirectory(path.join(directory, 'files'));
        return relative;
      } catch (err) {
        throw storageProblem(err);
      }
    },

    async size(relativePath) {
      const info = await stat(partialOf(relativePath)).catch(() =>
        stat(within(relativePath)).catch(() => null),
      );
      return info?.size ?? 0;
    },

    async append(relativePath, source, how) {
      try {
        const partial = partialOf(relativePath);
        const file = await open(partial, 'r+');
        try {
          await file.truncate(how.offset);
          const hash = await digestOf(relativePath, partial, how.offset);
          digests.delete(relativePath);
          const before = { hash: hash.copy(), bytes: how.offset };
          const { broken, ...progress } = await write(file, source, hash, how);
          if (broken !== undefined && how.sha256 !== undefined) {
            await file.truncate(how.offset);
            remember(relativePath, before);
          } else remember(relativePath, progress);
          if (broken !== undefined) throw broken;
        } finally {
          await file.close();
        }
      } catch (err) {
        throw storageProblem(err);
      }
    },

    async finish(relativePath) {
      const partial = partialOf(relativePath);
      const whole = within(relativePath);
      const { size } = await stat(partial).catch(() => stat(whole));
      const file = await open(partial, 'r').catch(() => open(whole, 'r'));
      try {
        await file.sync();
        const head = Buffer.alloc(HEAD_BYTES);
        const { bytesRead } = await file.read(head, 0, HEAD_BYTES, 0);
        const digest = await digestOf(relativePath, await pathThatIs(partial, whole), size);
        const sha256 = digest.copy().digest('hex');
        await rename(partial, whole).catch(ignoreMissing);
        await syncDirectory(path.dirname(whole));
        return { path: relativePath, sizeBytes: size, sha256, head: head.subarray(0, bytesRead) };
      } finally {
        await file.close();
      }
    },

    async remove(relativePath) {
      digests.delete(relativePath);
      await rm(partialOf(relativePath), { force: true });
      await rm(within(relativePath), { force: true });
    },

    async digest(relativePaths) {
      const hash = createHash('sha256');
      let sizeBytes = 0;
      for (const relative of relativePaths) {
        for await (const chunk of createReadStream(within(relative))) {
          hash.update(chunk);
          sizeBytes += chunk.length;
        }
      }
      return { sha256: hash.digest('hex'), sizeBytes };
    },

    async sweep(known) {
      for (const name of await readdir(path.join(directory, 'files')).catch(() => [])) {
        const relative = path.join('files', name);
        if (known.has(relative) || known.has(relative.replace(/\.partial$/, ''))) continue;
        const { mtimeMs } = await stat(within(relative)).catch(() => ({ mtimeMs: Date.now() }));
        if (Date.now() - mtimeMs > ABANDONED_MS) await rm(within(relative), { force: true });
      }
    },
  };
}

/**
 * Writes a source to a file. The source is left open when it is too large, so that its sender can be answered.
 * @returns the digest up to where the file ends now, and what broke the source off, if something did.
 */
async function write(
  file: FileHandle,
  source: Readable,
  hash: Hash,
  how: Appending,
): Promise<Progress & { readonly broken?: unknown }> {
  let bytes = how.offset;
  let safe = bytes;
  let safeAt = performance.now();
  let limit = how.maxBytes;
  /** Of what the source brings: until it has been compared nothing of that counts. */
  const part = how.sha256 === undefined ? undefined : createHash('sha256');
  const makeSafe = async (counts = part === undefined): Promise<void> => {
    await file.datasync();
    await how.checkpoint(counts ? bytes : how.offset);
    safe = bytes;
    safeAt = performance.now();
  };
  try {
    for await (const data of source.iterator({ destroyOnReturn: false })) {
      const chunk: Buffer = data;
      while (bytes + chunk.length > limit) {
        const more = (await how.moreRoom?.()) ?? limit;
        if (more <= limit) throw tooLarge(limit);
        limit = more;
      }
      for (let at = 0; at < chunk.length; ) {
        at += (await file.write(chunk, at, chunk.length - at, bytes + at)).bytesWritten;
      }
      hash.update(chunk);
      part?.update(chunk);
      bytes += chunk.length;
      if (bytes - safe >= CHECKPOINT_BYTES || performance.now() - safeAt >= CHECKPOINT_MS) await makeSafe();
    }
  } catch (err) {
    // A source that broke off has brought something; one that is refused has not.
    if (err instanceof Problem) throw err;
    if (bytes > safe) await makeSafe();
    return { hash, bytes, broken: err };
  }
  if (part !== undefined && how.sha256?.equals(part.digest()) === false)
    return { hash, bytes, broken: damaged(how.offset) };
  if (bytes > safe || part !== undefined) await makeSafe(true);
  return { hash, bytes };
}

async function pathThatIs(first: string, second: string): Promise<string> {
  return (await stat(first).catch(() => null)) === null ? second : first;
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function ignoreMissing(err: NodeJS.ErrnoException): void {
  if (err.code !== 'ENOENT') throw err;
}

function damaged(offset: number): Problem {
  return new Problem('checksum_mismatch', 'the part has not the digest that its Upload-Checksum says', {
    hint: 'send it again',
    headers: { 'upload-offset': String(offset) },
  });
}

/** 413 for a body that does not fit; `bytes` is what would have. */
export function tooLarge(bytes: number): Problem {
  return new Problem('body_too_large', `the file is larger than ${bytes} bytes`, {
    hint: 'the limit is what was announced, TEREMOK_MAX_IMAGE_MIB of the service, or what is left of the tenant’s quota',
    headers: { connection: 'close' },
  });
}

function storageProblem(err: unknown): unknown {
  if (!(err instanceof Error) || !('code' in err) || err instanceof Problem) return err;
  if (err.code === 'ENOSPC' || err.code === 'EDQUOT') {
    return new Problem('insufficient_storage', 'the disk of the images is full', { cause: err });
  }
  if (err.code === 'ENOENT')
    return new Problem('internal', 'a file of the images is missing', { cause: err });
  if (err.code === 'ERR_STREAM_PREMATURE_CLOSE' || err.code === 'ECONNRESET') {
    return new Problem('malformed_request', 'the upload ended before it was whole', { cause: err });
  }
  return err;
}
