import type { Rect } from '../backends/screen.ts';
import type { Picture } from './picture.ts';

/** Pixels that went up or down: what is now in `to` was `dy` rows below it before, or above it when negative. */
export interface Scroll {
  readonly to: Rect;
  readonly dy: number;
}

/** A smaller area is cheaper to send than to look through. Pixels. */
const LEAST = { width: 64, height: 48 } as const;
/** Rows that must have come from the same distance, at least, and as a share of those that were looked at. */
const LEAST_ROWS = 8;
const LEAST_SHARE = 0.5;
/** No better distance is looked for. */
const ENOUGH_SHARE = 0.85;
/** Rows that are looked at, at most. */
const MOST_ROWS = 256;
/** One in so many pixels of a row goes into its hash; odd, so that it meets every column of a character. */
const SAMPLE = 3;

/** Where to look for a scroll: the box around what may have changed, when that is large and covers most of it. */
export function scrollBox(areas: readonly Rect[]): Rect | undefined {
  const box = bounds(areas);
  if (box === undefined || box.width < LEAST.width || box.height < LEAST.height) return undefined;
  const covered = areas.reduce((sum, area) => sum + area.width * area.height, 0);
  return 2 * covered < box.width * box.height ? undefined : box;
}

/** Looks for scrolls in pictures that come one after the other. */
export class ScrollFinder {
  /** Hashes of the last picture's rows. */
  #last: { readonly box: Rect; readonly hashes: Int32Array } | undefined;

  /** The next `old` is not what `now` was at the last `find`. */
  forget(): void {
    this.#last = undefined;
  }

  /**
   * Looks whether most of what changed in the box is a scroll, by hashes of the rows before (`old`) and after (`now`):
   * a guess that costs little. Who acts on it must compare pixels afterwards, whatever it says.
   */
  find(old: Picture, now: Picture, box: Rect): Scroll | undefined {
    const last = this.#last;
    const before = last !== undefined && sameRect(last.box, box) ? last.hashes : hashRows(old, box);
    const after = hashRows(now, box);
    this.#last = { box, hashes: after };
    const rows = tellingRows(before, after);
    const dy = bestDistance(before, after, rows);
    if (dy === undefined) return undefined;
    const moved = rows.filter((row) => after[row] === before[row + dy]);
    const first = moved[0];
    const height = moved[moved.length - 1] - first + 1;
    return { to: { x: box.x, y: box.y + first, width: box.width, height }, dy };
  }
}

/** Rows that changed and are not like most others, as blank ones are: some of them, when there are many. */
function tellingRows(before: Int32Array, after: Int32Array): number[] {
  const counts = new Map<number, number>();
  for (const hash of before) counts.set(hash, (counts.get(hash) ?? 0) + 1);
  const [common] = [...counts].reduce((a, b) => (b[1] > a[1] ? b : a));
  const rows: number[] = [];
  after.forEach((hash, row) => {
    if (hash !== before[row] && hash !== common) rows.push(row);
  });
  const step = Math.ceil(rows.length / MOST_ROWS);
  // The first and the last one say how far it goes.
  return rows.filter((_, i) => i % step === 0 || i === rows.length - 1);
}

/**
 * The distance from which most of the rows came; the shortest that explains nearly all of them. Undefined when none
 * explains most.
 */
function bestDistance(before: Int32Array, after: Int32Array, rows: readonly number[]): number | undefined {
  const votes = voteForDistances(before, after, rows);
  let best: number | undefined;
  let most = Math.max(LEAST_ROWS, Math.ceil(LEAST_SHARE * rows.length)) - 1;
  const enough = Math.max(ENOUGH_SHARE * rows.length, LEAST_ROWS);
  for (let distance = 1; distance < before.length && most < enough; distance++) {
    for (const dy of [distance, -distance]) {
      const count = votes[before.length + dy];
      if (count <= most) continue;
      most = count;
      best = dy;
    }
  }
  return best;
}

/** How many of the rows may have come from `dy` rows below, at index `before.length + dy`. */
function voteForDistances(before: Int32Array, after: Int32Array, rows: readonly number[]): Uint16Array {
  const places = new Map<number, number[]>();
  for (const row of rows) places.set(after[row], []);
  before.forEach((hash, row) => void places.get(hash)?.push(row));
  const votes = new Uint16Array(2 * before.length);
  for (const row of rows)
    for (const from of places.get(after[row]) ?? []) votes[before.length + from - row] += 1;
  return votes;
}

function sameRect(a: Rect, b: Rect): boolean {
  return a.x === b.x && a.y === b.y && a.width === b.width && a.height === b.height;
}

function bounds(areas: readonly Rect[]): Rect | undefined {
  const filled = areas.filter((area) => area.width > 0 && area.height > 0);
  if (filled.length === 0) return undefined;
  const x = Math.min(...filled.map((area) => area.x));
  const y = Math.min(...filled.map((area) => area.y));
  const right = Math.max(...filled.map((area) => area.x + area.width));
  const bottom = Math.max(...filled.map((area) => area.y + area.height));
  return { x, y, width: right - x, height: bottom - y };
}

function hashRows({ pixels, width }: Picture, box: Rect): Int32Array {
  const hashes = new Int32Array(box.height);
  for (let row = 0; row < box.height; row++) {
    const from = (box.y + row) * width + box.x;
    let hash = 0;
    for (let i = from; i < from + box.width; i += SAMPLE)
      hash = Math.imul(hash ^ (pixels[i] & 0xffffff), 0x01000193);
    hashes[row] = hash;
  }
  return hashes;
}
