import type { Rect } from '../../backends/screen.ts';

/** Most rectangles that `take` gives. */
const RECTS = 32;
/** Pixels that two neighbouring rows may have too many when they go into one rectangle, for each row. */
const SLACK = 64;

/**
 * Which pixels of a picture have changed: for each row the columns from the
 * first to the last one.
 */
export class Damage {
  readonly width: number;
  readonly height: number;
  readonly #left: Int32Array;
  readonly #right: Int32Array;
  /** Rows outside [top, bottom) have no damage. */
  #top: number;
  #bottom = 0;

  constructor(width: number, height: number) {
    this.width = width;
    this.height = height;
    this.#left = new Int32Array(height).fill(width);
    this.#right = new Int32Array(height);
    this.#top = height;
  }

  get empty(): boolean {
    return this.#top >= this.#bottom;
  }

  /** Columns `[left, right)` of a row; they lie inside the picture. */
  add(row: number, left: number, right: number): void {
    if (left >= right) return;
    if (left < this.#left[row]) this.#left[row] = left;
    if (right > this.#right[row]) this.#right[row] = right;
    if (row < this.#top) this.#top = row;
    if (row >= this.#bottom) this.#bottom = row + 1;
  }

  all(): void {
    this.#left.fill(0);
    this.#right.fill(this.width);
    this.#top = 0;
    this.#bottom = this.height;
  }

  /** Adds the damage of a picture of the same size. */
  merge(other: Damage): void {
    for (let row = other.#top; row < other.#bottom; row++) this.add(row, other.#left[row], other.#right[row]);
  }

  clear(): void {
    if (this.empty) return;
    this.#left.fill(this.width, this.#top, this.#bottom);
    this.#right.fill(0, this.#top, this.#bottom);
    this.#top = this.height;
    this.#bottom = 0;
  }

  /** The damage as rectangles that do not overlap, from top to bottom; there is none afterwards. */
  take(): Rect[] {
    const rects: Rect[] = [];
    for (let row = this.#top; row < this.#bottom; ) {
      if (this.#left[row] >= this.#right[row]) row += 1;
      else row = this.#rectFrom(row, rects);
    }
    this.clear();
    return rects;
  }

  /** Adds the rectangle that begins at `row`; the row behind it. */
  #rectFrom(first: number, rects: Rect[]): number {
    // The last one allowed takes all that is left.
    const last = rects.length === RECTS - 1;
    let x = this.#left[first];
    let right = this.#right[first];
    let row = first + 1;
    let end = row;
    for (; row < this.#bottom; row++) {
      const left = Math.min(x, this.#left[row]);
      const wide = Math.max(right, this.#right[row]);
      if (!last) {
        if (this.#left[row] >= this.#right[row]) break;
        const waste = (wide - left) * 2 - (right - x) - (this.#right[row] - this.#left[row]);
        if (waste > SLACK && waste > (wide - left) / 2) break;
      }
      if (this.#left[row] >= this.#right[row]) continue;
      x = left;
      right = wide;
      end = row + 1;
    }
    rects.push({ x, y: first, width: right - x, height: end - first });
    return last ? this.#bottom : end;
  }
}
