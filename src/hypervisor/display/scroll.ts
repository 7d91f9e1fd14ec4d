import type { Rect } from '../backends/screen.ts';
import type { Picture } from './picture.ts';
import type { Source } from './shadow.ts';

/** Pixels that went up or down: what is now in `to` was `dy` rows below it before, or above it when negative. */
export interface Scroll {
  readonly to: Rect;
  readonly dy: number;
}

/** A smaller area is cheaper to send than to look through. Pixels. */
const LEAST = { width: 64, height: 48 } as const;
/** Of the rows that stand out, so many must have come from the same distance. */
const LEAST_ROWS = 8;
const LEAST_SHARE = 0.5;
/** One in so many pixels of a row goes into its hash; odd, so that it meets every column of a character. */
const SAMPLE = 3;

/**
 * Looks whether most of what changed is a scroll, by hashes of the rows before (`picture`) and after (`source`): a
 * guess that costs little. Who acts on it must compare pixels afterwards, whatever it says.
 */
export function findScroll(picture: Picture, source: Source, areas: readonly Rect[]): Scroll | undefined {
  const box = bounds(areas);
  if (box === undefined || box.width < LEAST.width || box.height < LEAST.height) return undefined;
  const covered = areas.reduce((sum, area) => sum + area.width * area.height, 0);
  if (2 * covered < box.width * box.height) return undefined;

  const before = hashRows(picture.pixels, 0, picture.width, box);
  const after = hashRows(source.words, source.start, source.pitch, box);
  const origin = new Map<number, number>();
  before.forEach((hash, row) => void origin.set(hash, origin.has(hash) ? -1 : row));
  const moves = new Map<number, { count: number; first: number; last: number }>();
  let standOut = 0;
  after.forEach((hash, row) => {
    const from = origin.get(hash) ?? -1;
    // A row that is like others, such as a blank one, says nothing.
    if (from < 0) return;
    standOut++;
    const move = moves.get(from - row);
    if (move === undefined) moves.set(from - row, { count: 1, first: row, last: row });
    else {
      move.count++;
      move.last = row;
    }
  });
  const best = [...moves].reduce(
    (a, b) => (b[1].count > a[1].count ? b : a),
    [0, { count: 0, first: 0, last: 0 }],
  );
  const [dy, { count, first, last }] = best;
  if (dy === 0 || count < LEAST_ROWS || count < LEAST_SHARE * standOut) return undefined;
  return { to: { x: box.x, y: box.y + first, width: box.width, height: last - first + 1 }, dy };
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

function hashRows(words: Uint32Array, start: number, pitch: number, box: Rect): Int32Array {
  const hashes = new Int32Array(box.height);
  for (let row = 0; row < box.height; row++) {
    const from = start + (box.y + row) * pitch + box.x;
    let hash = 0;
    for (let i = from; i < from + box.width; i += SAMPLE)
      hash = Math.imul(hash ^ (words[i] & 0xffffff), 0x01000193);
    hashes[row] = hash;
  }
  return hashes;
}
