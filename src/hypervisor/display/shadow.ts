import type { Rect, ScreenChange, Surface } from '../backends/screen.ts';
import type { Picture } from './picture.ts';
import { type Scroll, ScrollFinder, scrollBox } from './scroll.ts';
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
   * The screen as it is now, where it may have changed: read once and in one go, for the guest goes on drawing. What
   * it draws meanwhile is in the next change.
   */
  #now = new Uint32Array(0);
  #nowBytes = Buffer.alloc(0);
  readonly #scrolls = new ScrollFinder();

  /**
   * Brings the copy up to date.
   * @throws RangeError when the surface does not lie in its memory, or not at multiples of four bytes
   */
  absorb({ surface, replaced, rects }: ScreenChange): Difference {
    check(surface);
    const { width, height } = surface;
    const resized = width !== this.width || height !== this.height;
    if (resized) this.#resize(width, height);
    const whole = { x: 0, y: 0, width, height };
    const written = resized || replaced ? [whole] : rects.map((rect) => toTiles(rect, whole));
    const box = resized || replaced ? undefined : scrollBox(written);
    const areas = box === undefined ? written : [box];
    this.#read(surface, areas);
    const now = { width, height, pixels: this.#now };
    if (box === undefined) this.#scrolls.forget();
    const scroll = box === undefined ? undefined : this.#scrolls.find(this, now, box);
    const changed = new TileSet(width, height);
    this.#compare(areas, changed, scroll === undefined);
    if (resized) changed.addRect(whole);
    if (scroll === undefined) return { resized, changed, scroll };

    this.#move(scroll);
    const rest = new TileSet(width, height);
    this.#compare(areas, rest, true);
    return { resized, changed, scroll: { ...scroll, rest } };
  }

  #resize(width: number, height: number): void {
    this.width = width;
    this.height = height;
    this.pixels = new Uint32Array(width * height);
    this.#bytes = Buffer.from(this.pixels.buffer);
    this.#now = new Uint32Array(width * height);
    this.#nowBytes = Buffer.from(this.#now.buffer);
  }

  #read({ memory, offset, stride }: Surface, areas: readonly Rect[]): void {
    const theirs = Buffer.from(memory);
    const pitch = 4 * this.width;
    for (const { x, y, width, height } of areas) {
      // Rows that follow one another without gaps go in one piece.
      const together = stride === pitch && width === this.width ? height : 1;
      for (let row = y; row < y + height; row += together) {
        const from = offset + row * stride + 4 * x;
        theirs.copy(this.#nowBytes, row * pitch + 4 * x, from, from + 4 * width + (together - 1) * stride);
      }
    }
  }

  /** Marks the tiles with other pixels now, and takes these over if `copy`. */
  #compare(areas: readonly Rect[], changed: TileSet, copy: boolean): void {
    for (const { x, y: top, width, height } of areas) {
      for (let y = top; y < top + height; y++) {
        if (!this.#isSame(y * this.width + x, width)) this.#compareRow(x, x + width, y, changed, copy);
      }
    }
  }

  #compareRow(left: number, right: number, y: number, changed: TileSet, copy: boolean): void {
    const { width } = this;
    const pixels = this.pixels;
    const now = this.#now;
    for (let x = left; x < right; ) {
      const tileEnd = Math.min((x | (TILE - 1)) + 1, right);
      let at = y * width + x;
      const end = y * width + tileEnd;
      if (copy || !changed.hasAt(x, y)) {
        while (at < end && ((now[at] ^ pixels[at]) & COLOUR) === 0) at++;
        if (at < end) changed.addAt(x, y);
        if (copy) for (; at < end; at++) pixels[at] = now[at] & COLOUR;
      }
      x = tileEnd;
    }
  }

  /** Whether so many words are the same, the meaningless bytes included: a quick answer for most rows. */
  #isSame(at: number, length: number): boolean {
    const [from, to] = [4 * at, 4 * (at + length)];
    return this.#nowBytes.compare(this.#bytes, from, to, from, to) === 0;
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

function check({ memory, offset, stride, width, height }: Surface): void {
  const end = offset + (height - 1) * stride + 4 * width;
  if (offset % 4 !== 0 || stride % 4 !== 0 || width < 1 || height < 1 || end > memory.byteLength) {
    throw new RangeError(`no surface of ${width}x${height} at ${offset}, stride ${stride}`);
  }
}

/** The tiles that a rectangle touches, cut to the picture. */
function toTiles(rect: Rect, picture: Rect): Rect {
  const x = Math.max(rect.x & -TILE, 0);
  const y = Math.max(rect.y & -TILE, 0);
  const right = Math.min((rect.x + rect.width + TILE - 1) & -TILE, picture.width);
  const bottom = Math.min((rect.y + rect.height + TILE - 1) & -TILE, picture.height);
  return { x, y, width: Math.max(right - x, 0), height: Math.max(bottom - y, 0) };
}
