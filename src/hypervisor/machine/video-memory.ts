import type { MappedRange, MemoryMapping } from './mapping.ts';

const PAGE = 0x1000;

/**
 * A video adapter's memory. The processor reads and writes it like RAM where a
 * PCI BAR puts it. Which of its pages were written is followed only while
 * somebody asks; who writes to it otherwise says so by `touch`.
 */
export class VideoMemory {
  readonly buffer: SharedArrayBuffer;
  /** In `buffer`. */
  readonly offset: number;
  /** In bytes: a power of two. */
  readonly size: number;
  readonly bytes: Uint8Array;
  readonly #mapping: MemoryMapping;
  readonly #frame: number;
  readonly #touched: Uint8Array;
  #base: number | undefined;
  #followed = false;

  /** `size` bytes at `offset` of `buffer`, which are the frames from `frame` on. */
  constructor(
    mapping: MemoryMapping,
    memory: { readonly buffer: SharedArrayBuffer; readonly offset: number; readonly size: number },
    frame: number,
  ) {
    this.buffer = memory.buffer;
    this.offset = memory.offset;
    this.size = memory.size;
    this.bytes = new Uint8Array(memory.buffer, memory.offset, memory.size);
    this.#mapping = mapping;
    this.#frame = frame;
    this.#touched = new Uint8Array(memory.size / PAGE);
  }

  /** Where the processor finds it from now on; undefined: nowhere. */
  place(base: number | undefined): void {
    if (base === this.#base) return;
    const before = this.#range();
    if (before) {
      if (this.#followed) this.#collect(before);
      this.#mapping.unmapMemory(before.base, before.length);
    }
    this.#base = base;
    const now = this.#range();
    if (!now) return;
    this.#mapping.mapMemory(now);
    if (this.#followed) this.#mapping.writtenPages(now);
  }

  /** Notes that a device wrote bytes. */
  touch(at: number, length: number): void {
    if (!this.#followed) return;
    const last = Math.min(at + length, this.size) - 1;
    for (let page = Math.floor(at / PAGE); page <= last / PAGE; page++) this.#touched[page] = 1;
  }

  /** From now on it is followed which pages are written, or no more; at the first look all were. */
  follow(on: boolean): void {
    if (on === this.#followed) return;
    this.#followed = on;
    const range = this.#range();
    if (on) this.#touched.fill(1);
    if (on && range) this.#mapping.writtenPages(range);
    else if (range) this.#mapping.forgetWrites(range);
  }

  /** Of each page of 4 KiB 1 if it was written since the last call, while followed. Good until the next call into this. */
  takeWritten(into: Uint8Array): void {
    const range = this.#range();
    if (range && this.#followed) this.#collect(range);
    into.set(this.#touched);
    this.#touched.fill(0);
  }

  #collect(range: MappedRange): void {
    for (const page of this.#mapping.writtenPages(range)) this.#touched[page] = 1;
  }

  #range(): MappedRange | undefined {
    if (this.#base === undefined) return undefined;
    return { base: this.#base, length: this.size, frame: this.#frame, read: true, write: true };
  }
}
