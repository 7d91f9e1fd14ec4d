import { FRAMES } from '../cpu/layout.ts';
import type { DirtyPages } from '../devices/vga/dirty-pages.ts';
import type { MappedRange, MemoryMapping } from './mapping.ts';

/**
 * A video adapter's memory as the processor has it: read and written like RAM
 * where a PCI BAR puts it. Which of its pages were written is followed only
 * while somebody looks.
 */
export class VideoMemory implements DirtyPages {
  readonly #mapping: MemoryMapping;
  /** Written before the last move, and not told yet. */
  readonly #left = new Set<number>();
  #base: number | undefined;
  #followed = false;

  constructor(mapping: MemoryMapping) {
    this.#mapping = mapping;
  }

  /** Where the processor finds it from now on, a multiple of its size; undefined: nowhere. */
  place(base: number | undefined): void {
    if (base === this.#base) return;
    const before = this.#range();
    if (before) {
      if (this.#followed) for (const page of this.#mapping.writtenPages(before)) this.#left.add(page);
      this.#mapping.unmapMemory(before.base, before.length);
    }
    this.#base = base;
    const now = this.#range();
    if (!now) return;
    this.#mapping.mapMemory(now);
    if (this.#followed) this.#mapping.writtenPages(now);
  }

  enable(on: boolean): void {
    if (on === this.#followed) return;
    this.#followed = on;
    this.#left.clear();
    const range = this.#range();
    if (!range) return;
    if (on) this.#mapping.writtenPages(range);
    else this.#mapping.forgetWrites(range);
  }

  take(pages: Uint8Array): void {
    if (!this.#followed) return;
    for (const page of this.#left) pages[page] = 1;
    this.#left.clear();
    const range = this.#range();
    if (range) for (const page of this.#mapping.writtenPages(range)) pages[page] = 1;
  }

  #range(): MappedRange | undefined {
    if (this.#base === undefined) return undefined;
    const { base: frame, bytes: length } = FRAMES.video;
    return { base: this.#base, length, frame, read: true, write: true };
  }
}
