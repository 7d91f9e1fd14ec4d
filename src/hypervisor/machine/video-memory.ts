import { FRAMES } from '../cpu/layout.ts';
import type { DirtyPages } from '../devices/vga/dirty-pages.ts';
import type { MappedRange, MemoryMapping } from './mapping.ts';

const PAGE = 4096;
/**
 * A run of so many pages that was written at two looks in a row is taken for written at so many further ones, without
 * following it: a guest that draws the screen anew all the while has no first writes then.
 */
const BUSY = { pages: 256, looks: 6 } as const;

/** Pages `[from, end)`. */
interface Run {
  readonly from: number;
  readonly end: number;
}

const NO_RUN: Run = { from: 0, end: 0 };

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
  /** Written at the last look that asked. */
  #run: Run = NO_RUN;
  /** What of it was written at the one before as well, and for how many looks that is trusted. */
  #busy: Run = NO_RUN;
  #trusted = 0;

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
    this.#calm();
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
    this.#calm();
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
    if (!range) return;
    if (this.#trusted === 0) {
      const written = this.#mapping.writtenPages(range);
      for (const page of written) pages[page] = 1;
      this.#follow(longestRun(written));
      return;
    }
    this.#trusted--;
    // What the next look finds there may have been written long before.
    if (this.#trusted === 0) this.#run = NO_RUN;
    const { from, end } = this.#busy;
    pages.fill(1, from, end);
    const all = range.length / PAGE;
    for (const part of [
      { from: 0, end: from },
      { from: end, end: all },
    ]) {
      if (part.from === part.end) continue;
      for (const page of this.#mapping.writtenPages(partOf(range, part))) pages[part.from + page] = 1;
    }
  }

  #follow(run: Run): void {
    const { from, end } = this.#run;
    this.#run = run;
    this.#busy = { from: Math.max(from, run.from), end: Math.min(end, run.end) };
    this.#trusted = this.#busy.end - this.#busy.from < BUSY.pages ? 0 : BUSY.looks;
  }

  #calm(): void {
    this.#run = NO_RUN;
    this.#trusted = 0;
  }

  #range(): MappedRange | undefined {
    if (this.#base === undefined) return undefined;
    const { base: frame, bytes: length } = FRAMES.video;
    return { base: this.#base, length, frame, read: true, write: true };
  }
}

function partOf(range: MappedRange, { from, end }: Run): MappedRange {
  const offset = from * PAGE;
  return { ...range, base: range.base + offset, frame: range.frame + offset, length: end * PAGE - offset };
}

/** The longest run among page numbers that ascend. */
function longestRun(pages: readonly number[]): Run {
  let longest = NO_RUN;
  for (let i = 0; i < pages.length; ) {
    const first = i;
    do i++;
    while (i < pages.length && pages[i] === pages[i - 1] + 1);
    if (i - first > longest.end - longest.from) longest = { from: pages[first], end: pages[i - 1] + 1 };
  }
  return longest;
}
