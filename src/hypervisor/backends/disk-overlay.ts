import { checkRange, type DiskBackend, DiskError } from './disk.ts';

export interface OverlayOptions {
  /** Most bytes that may differ from the base; a write beyond fails with `DISK_FULL`. Default: the disk's size, at most 4 GiB. */
  readonly maxBytes?: number;
}

const BLOCK = 4096;
const DEFAULT_LIMIT = 2 ** 32;

/**
 * A disk whose writes live in this process's memory over a base that is never
 * written, and are gone when it is closed. Space is taken in blocks of 4096
 * bytes. Closing it closes the base.
 */
export class OverlayDisk implements DiskBackend {
  readonly size: number;
  readonly readOnly = false;
  readonly #base: DiskBackend;
  readonly #maxBlocks: number;
  /** Changed blocks by index; `null` is a block of zeroes. */
  readonly #blocks = new Map<number, Uint8Array | null>();
  /** Tail of the queue of writers of each block: a copy-up must not race with another write to it. */
  readonly #copying = new Map<number, Promise<Uint8Array>>();

  constructor(base: DiskBackend, options: OverlayOptions = {}) {
    this.#base = base;
    this.size = base.size;
    this.#maxBlocks = Math.ceil((options.maxBytes ?? Math.min(base.size, DEFAULT_LIMIT)) / BLOCK);
  }

  /** Bytes held in memory. */
  get heldBytes(): number {
    let held = 0;
    for (const block of this.#blocks.values()) if (block !== null) held += BLOCK;
    return held;
  }

  async readAt(offset: number, target: Uint8Array): Promise<void> {
    checkRange(this.size, offset, target.length);
    let fromBase = false;
    for (const piece of pieces(offset, target.length)) {
      if (!this.#blocks.has(piece.index)) fromBase = true;
    }
    if (fromBase) await this.#base.readAt(offset, target);
    for (const piece of pieces(offset, target.length)) {
      const block = this.#blocks.get(piece.index);
      if (block === undefined) continue;
      const into = target.subarray(piece.at, piece.at + piece.length);
      if (block === null) into.fill(0);
      else into.set(block.subarray(piece.start, piece.start + piece.length));
    }
  }

  async writeAt(offset: number, source: Uint8Array): Promise<void> {
    checkRange(this.size, offset, source.length);
    for (const piece of pieces(offset, source.length)) {
      const part = source.subarray(piece.at, piece.at + piece.length);
      const block = await this.#own(piece.index, piece.length === BLOCK);
      block.set(part, piece.start);
    }
  }

  async flush(): Promise<void> {}

  async discard(): Promise<void> {}

  async writeZeroes(offset: number, length: number): Promise<void> {
    checkRange(this.size, offset, length);
    for (const piece of pieces(offset, length)) {
      if (piece.length === BLOCK) this.#zero(piece.index);
      else (await this.#own(piece.index, false)).fill(0, piece.start, piece.start + piece.length);
    }
  }

  async close(): Promise<void> {
    this.#blocks.clear();
    await this.#base.close();
  }

  /** The memory of a block, brought up from the base first unless all of it will be overwritten. */
  async #own(index: number, whole: boolean): Promise<Uint8Array> {
    const held = this.#blocks.get(index);
    if (held) return held;
    const underWay = this.#copying.get(index);
    if (underWay !== undefined) return underWay;
    if (held === undefined) this.#checkRoom();
    if (whole || held === null) {
      const block = new Uint8Array(BLOCK);
      this.#blocks.set(index, block);
      return block;
    }
    const copy = this.#copyUp(index);
    this.#copying.set(index, copy);
    try {
      return await copy;
    } finally {
      this.#copying.delete(index);
    }
  }

  #zero(index: number): void {
    if (!this.#blocks.has(index)) this.#checkRoom();
    this.#blocks.set(index, null);
  }

  #checkRoom(): void {
    if (this.#blocks.size + this.#copying.size < this.#maxBlocks) return;
    const limit = this.#maxBlocks * BLOCK;
    throw new DiskError('DISK_FULL', `the throw-away overlay has reached its limit of ${limit} bytes`);
  }

  async #copyUp(index: number): Promise<Uint8Array> {
    const block = new Uint8Array(BLOCK);
    const start = index * BLOCK;
    await this.#base.readAt(start, block.subarray(0, Math.min(BLOCK, this.size - start)));
    // Someone may have replaced the block whole while the base was being read.
    const now = this.#blocks.get(index);
    if (now) return now;
    if (now === null) block.fill(0);
    this.#blocks.set(index, block);
    return block;
  }
}

interface Piece {
  readonly index: number;
  /** Offset inside the block. */
  readonly start: number;
  /** Offset inside the request. */
  readonly at: number;
  readonly length: number;
}

function* pieces(offset: number, length: number): Generator<Piece> {
  let at = 0;
  while (at < length) {
    const index = Math.floor((offset + at) / BLOCK);
    const start = offset + at - index * BLOCK;
    const part = Math.min(BLOCK - start, length - at);
    yield { index, start, at, length: part };
    at += part;
  }
}
