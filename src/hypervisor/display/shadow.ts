import type { Rect, ScreenChange, Surface } from '../backends/screen.ts';
import type { Picture } from './picture.ts';
import { findScroll, type Scroll } from './scroll.ts';
import { TILE, TileSet } from './tile-set.ts';

/** A surface's fourth byte means nothing. */
const COLOUR = 0xffffff;

/** What a change turned out to be, once looked at pixel by pixel. */
export interface Difference {
  /** The size is another: nothing of before is left. */
  readonly resized: boolean;
  /** Tiles with other pixels than before. */
  readonly changed: TileSet;
  /** The greater part of the change, when that was a scroll, and the tiles that are not explained by it. */
  readonly scroll: (Scroll & { readonly rest: TileSet }) | undefined;
}

/**
 * The screen as viewers have it or are about to get it: one copy for all of them. What a video adapter reports as
 * changed is compared with it, so what was written but stayed the same costs no viewer a byte.
 */
export class Shadow implements Picture {
  width = 0;
  height = 0;
  pixels = new Uint32Array(0);
  /** The same memory. */
  #bytes = Buffer.alloc(0);

  /**
   * Brings the copy up to date.
   * @throws RangeError when the surface does not lie in its memory, or not at multiples of four bytes
   */
  absorb({ surface, replaced, rects }: ScreenChange): Difference {
    const { width, height } = surface;
    const resized = width !== this.width || height !== this.height;
    if (resized) {
      this.width = width;
      this.height = height;
      this.pixels = new Uint32Array(width * height);
      this.#bytes = Buffer.from(this.pixels.buffer);
    }
    const source = sourceOf(surface);
    const whole = { x: 0, y: 0, width, height };
    const areas = resized || replaced ? [whole] : rects.map((rect) => toTiles(rect, whole));
    const changed = new TileSet(width, height);
    const scroll = resized || replaced ? undefined : findScroll(this, source, areas);
    this.#compare(source, areas, changed, scroll === undefined);
    if (resized) changed.addRect(whole);
    if (scroll === undefined) return { resized, changed, scroll };

    this.#move(scroll);
    const rest = new TileSet(width, height);
    this.#compare(source, [...areas, toTiles(scroll.to, whole)], rest, true);
    return { resized, changed, scroll: { ...scroll, rest } };
  }

  /** Marks the tiles with other pixels in `source`, and takes these over if `copy`. */
  #compare(source: Source, areas: readonly Rect[], changed: TileSet, copy: boolean): void {
    const pixels = this.pixels;
    const { words, pitch } = source;
    for (const { x: left, y: top, width, height } of areas) {
      const right = left + width;
      for (let y = top; y < top + height; y++) {
        const ours = y * this.width;
        const theirs = source.start + y * pitch;
        if (this.#isRowSame(source, 4 * (theirs + left), 4 * (ours + left), 4 * width)) continue;
        for (let x = left; ; ) {
          while (x < right && ((words[theirs + x] ^ pixels[ours + x]) & COLOUR) === 0) x++;
          if (x >= right) break;
          changed.addAt(x, y);
          const end = Math.min((x | (TILE - 1)) + 1, right);
          if (copy) for (; x < end; x++) pixels[ours + x] = words[theirs + x] & COLOUR;
          x = end;
        }
      }
    }
  }

  /** Whether so many bytes are the same, the meaningless ones included: a quick answer for most rows. */
  #isRowSame({ bytes }: Source, theirs: number, ours: number, length: number): boolean {
    return bytes.compare(this.#bytes, ours, ours + length, theirs, theirs + length) === 0;
  }

  #move({ to, dy }: Scroll): void {
    const row = (i: number): void => {
      const from = (to.y + i + dy) * this.width + to.x;
      this.pixels.copyWithin((to.y + i) * this.width + to.x, from, from + to.width);
    };
    if (dy > 0) for (let i = 0; i < to.height; i++) row(i);
    else for (let i = to.height - 1; i >= 0; i--) row(i);
  }
}

/** A surface's pixels as words. */
export interface Source {
  readonly words: Uint32Array;
  /** The same memory. */
  readonly bytes: Buffer;
  /** Index of the first pixel. */
  readonly start: number;
  /** Words from a row to the next. */
  readonly pitch: number;
}

function sourceOf({ memory, offset, stride, width, height }: Surface): Source {
  const end = offset + (height - 1) * stride + 4 * width;
  if (offset % 4 !== 0 || stride % 4 !== 0 || width < 1 || height < 1 || end > memory.byteLength) {
    throw new RangeError(`no surface of ${width}x${height} at ${offset}, stride ${stride}`);
  }
  return {
    words: new Uint32Array(memory, 0, memory.byteLength >>> 2),
    bytes: Buffer.from(memory),
    start: offset / 4,
    pitch: stride / 4,
  };
}

/** The tiles that a rectangle touches, cut to the picture. */
function toTiles(rect: Rect, picture: Rect): Rect {
  const x = Math.max(rect.x & -TILE, 0);
  const y = Math.max(rect.y & -TILE, 0);
  const right = Math.min((rect.x + rect.width + TILE - 1) & -TILE, picture.width);
  const bottom = Math.min((rect.y + rect.height + TILE - 1) & -TILE, picture.height);
  return { x, y, width: Math.max(right - x, 0), height: Math.max(bottom - y, 0) };
}
