import { constants, inflateRaw, zstdDecompress } from 'node:zlib';
import type { ImageFile } from '../host-file.ts';
import type { Qcow2Header } from './header.ts';

/** Bytes of decompressed clusters that are kept, so that reading through one does not decompress it again and again. */
const KEPT_BYTES = 4 << 20;

/** Whether this Node's zlib has the compression. */
export function canDecompress(compression: Qcow2Header['compression']): boolean {
  return compression === 'deflate' || typeof zstdDecompress === 'function';
}

/** Reads compressed clusters; the last few are kept. */
export class CompressedClusters {
  readonly #file: ImageFile;
  readonly #clusterSize: number;
  readonly #compression: Qcow2Header['compression'];
  /** By place in the file, the least recently used first. */
  readonly #kept = new Map<number, Promise<Uint8Array>>();

  constructor(file: ImageFile, header: Qcow2Header) {
    this.#file = file;
    this.#clusterSize = header.clusterSize;
    this.#compression = header.compression;
  }

  /**
   * The bytes of the cluster whose compressed data begins at `offset`; not to be changed.
   *
   * @param bytes of compressed data at most
   * @throws Error when they are no compressed cluster
   */
  read(offset: number, bytes: number): Promise<Uint8Array> {
    const cluster = this.#kept.get(offset) ?? this.#decompress(offset, bytes);
    this.#kept.delete(offset);
    this.#kept.set(offset, cluster);
    cluster.catch(() => this.#kept.delete(offset));
    const most = Math.max(2, Math.floor(KEPT_BYTES / this.#clusterSize));
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= most) break;
      this.#kept.delete(oldest);
    }
    return cluster;
  }

  /** The data at `offset` is no longer in use: something else may come there. */
  forget(offset: number): void {
    this.#kept.delete(offset);
  }

  async #decompress(offset: number, bytes: number): Promise<Uint8Array> {
    const data = new Uint8Array(Math.min(bytes, this.#file.length - offset));
    await this.#file.readAt(offset, data);
    const cluster = await (this.#compression === 'zstd' ? unzstd : inflate)(data, this.#clusterSize);
    if (cluster.length !== this.#clusterSize)
      throw new Error(`${cluster.length} bytes in a compressed cluster`);
    return cluster;
  }
}

/** A raw deflate stream (RFC 1951); what lies behind its end is ignored, as is a missing end mark. */
function inflate(data: Uint8Array, maxOutputLength: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const options = { maxOutputLength, finishFlush: constants.Z_SYNC_FLUSH };
    inflateRaw(data, options, (error, result) => (error ? reject(error) : resolve(result)));
  });
}

/** A zstd frame (RFC 8878); what lies behind it is ignored, be it another frame. */
function unzstd(data: Uint8Array, maxOutputLength: number): Promise<Uint8Array> {
  const frame = data.subarray(0, zstdFrameLength(data));
  return new Promise((resolve, reject) => {
    zstdDecompress(frame, { maxOutputLength }, (error, result) => (error ? reject(error) : resolve(result)));
  });
}

/** Bytes of the frame at the beginning of `data`, RFC 8878 § 3.1.1; all of them when it does not end there. */
function zstdFrameLength(data: Uint8Array): number {
  const descriptor = data[4];
  const singleSegment = (descriptor >>> 5) & 1;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3];
  const sizeBytes = [singleSegment, 2, 4, 8][descriptor >>> 6];
  let at = 5 + (1 - singleSegment) + dictionaryBytes + sizeBytes;
  for (let last = false; !last && at + 3 <= data.length; ) {
    const header = data[at] | (data[at + 1] << 8) | (data[at + 2] << 16);
    last = (header & 1) === 1;
    const repeated = ((header >>> 1) & 3) === 1;
    at += 3 + (repeated ? 1 : header >>> 3);
  }
  const checksumBytes = (descriptor & 4) !== 0 ? 4 : 0;
  return Math.min(at + checksumBytes, data.length);
}
