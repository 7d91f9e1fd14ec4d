import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { Problem } from '../lib/errors.ts';

export interface StoredFile {
  /** Relative to the images directory. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

export interface ImageStore {
  /**
   * Streams a file to disk, under a name of its own, whole or not at all.
   * @throws {Problem} body_too_large, digest_mismatch, unusable_file, insufficient_storage.
   */
  put(
    source: Readable,
    limits: { maxBytes: number; kind: 'kernel' | 'initrd'; sha256?: string },
  ): Promise<StoredFile>;
  /** Removes a stored file; nothing happens when it is gone already. */
  remove(relativePath: string): Promise<void>;
  /** The digest of files, one after the other. @throws when one cannot be read. */
  digest(relativePaths: readonly string[]): Promise<{ sha256: string; sizeBytes: number }>;
  /**
   * Removes files that no image has: those of uploads that never ended, or whose process died before it could
   * record them. Files younger than an hour stay, since an upload may be under way in another process.
   * @param known the paths that images have, as `put` gave them
   */
  sweep(known: ReadonlySet<string>): Promise<void>;
}

const UPLOAD_SUFFIX = '.partial';
/** A file without an image that is this old has nobody who will record it. Milliseconds. */
const ABANDONED_MS = 3_600_000;

export function createImageStore(directory: string): ImageStore {
  const within = (relative: string): string => {
    const full = path.resolve(directory, relative);
    if (!full.startsWith(directory + path.sep)) throw new Error(`${relative} is not in the images directory`);
    return full;
  };

  return {
    async put(source, limits) {
      await mkdir(path.join(directory, 'files'), { recursive: true, mode: 0o700 });
      const relative = path.join('files', randomUUID());
      const partial = within(relative + UPLOAD_SUFFIX);
      try {
        const meter = createMeter(limits.maxBytes);
        const file = await open(partial, 'wx', 0o600);
        try {
          await file.writeFile(meter.read(source));
          await file.sync();
        } finally {
          await file.close();
        }
        const stored = { path: relative, ...meter.result() };
        requireUsable(stored, meter.head(), limits);
        await rename(partial, within(relative));
        return stored;
      } catch (err) {
        await rm(partial, { force: true });
        throw storageProblem(err);
      }
    },

    async remove(relativePath) {
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
        if (known.has(relative)) continue;
        const { mtimeMs } = await stat(within(relative)).catch(() => ({ mtimeMs: Date.now() }));
        if (Date.now() - mtimeMs > ABANDONED_MS) await rm(within(relative), { force: true });
      }
    },
  };
}

/** Bytes of a file's beginning that are looked at: the Linux header's magic ends at 0x206. */
const HEAD_BYTES = 0x206;

function createMeter(maxBytes: number) {
  const hash = createHash('sha256');
  const head = Buffer.alloc(HEAD_BYTES);
  let sizeBytes = 0;
  /** Passes the chunks on. The source is left open when it is too large, so that its sender can be answered. */
  async function* read(source: Readable): AsyncGenerator<Buffer> {
    for await (const data of source.iterator({ destroyOnReturn: false })) {
      const chunk: Buffer = data;
      if (sizeBytes < HEAD_BYTES) chunk.copy(head, sizeBytes);
      sizeBytes += chunk.length;
      if (sizeBytes > maxBytes) {
        throw new Problem(
          'body_too_large',
          `the file is larger than ${Math.floor(maxBytes / (1024 * 1024))} MiB`,
          {
            hint: 'the limit is TEREMOK_MAX_IMAGE_MIB of the service, or what is left of the tenant’s quota',
            headers: { connection: 'close' },
          },
        );
      }
      hash.update(chunk);
      yield chunk;
    }
  }
  return {
    read,
    head: () => head.subarray(0, Math.min(sizeBytes, HEAD_BYTES)),
    result: () => ({ sizeBytes, sha256: hash.digest('hex') }),
  };
}

function requireUsable(
  stored: StoredFile,
  head: Buffer,
  limits: { readonly kind: 'kernel' | 'initrd'; readonly sha256?: string },
): void {
  if (stored.sizeBytes === 0) throw new Problem('unusable_file', 'the file is empty');
  if (limits.sha256 !== undefined && limits.sha256 !== stored.sha256) {
    throw new Problem('digest_mismatch', `the file that arrived has SHA-256 ${stored.sha256}`, {
      hint: 'send it again',
    });
  }
  if (limits.kind !== 'kernel' || isBzImage(head) || isElf(head)) return;
  throw new Problem('unusable_file', 'the file is neither a Linux bzImage nor an ELF kernel', {
    hint: 'a bzImage is /boot/vmlinuz-… of a distribution; PVH and multiboot kernels are ELF files',
  });
}

/** "HdrS" at 0x202: the Linux boot protocol's header, version 2.00 or later. */
const isBzImage = (head: Buffer): boolean =>
  head.length >= 0x206 && head.toString('latin1', 0x202, 0x206) === 'HdrS';
const isElf = (head: Buffer): boolean => head.length >= 4 && head.toString('latin1', 0, 4) === '\x7fELF';

function storageProblem(err: unknown): unknown {
  if (!(err instanceof Error) || !('code' in err)) return err;
  if (err.code === 'ENOSPC' || err.code === 'EDQUOT') {
    return new Problem('insufficient_storage', 'the disk of the images is full', { cause: err });
  }
  if (err.code === 'ERR_STREAM_PREMATURE_CLOSE' || err.code === 'ECONNRESET') {
    return new Problem('malformed_request', 'the upload ended before it was whole', { cause: err });
  }
  return err;
}
