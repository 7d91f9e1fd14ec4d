import type { Rect } from '../../backends/screen.ts';
import type { ByteWriter } from '../byte-writer.ts';
import type { Picture } from '../picture.ts';
import type { PixelFormat } from '../pixel-format.ts';
import { PixelPacker } from '../pixel-packer.ts';
import { Palette } from './palette.ts';
import { ENCODING, type RectEncoder, writeRectHeader } from './rect-encoder.ts';

const TILE = 16;
/** Subencoding mask of a tile. */
const RAW = 1;
const BACKGROUND = 2;
const FOREGROUND = 4;
const ANY_SUBRECTS = 8;
const COLOURED = 16;

interface Subrect extends Rect {
  readonly word: number;
}

/** Hextile: RFC 6143 §7.7.4. */
export class HextileEncoder implements RectEncoder {
  readonly #packer: PixelPacker;
  readonly #palette = new Palette();
  readonly #words = new Uint32Array(TILE * TILE);
  /** Those of the tiles before in the rectangle; none after a raw one. */
  #background: number | undefined;
  #foreground: number | undefined;

  constructor(format: PixelFormat) {
    this.#packer = PixelPacker.pixel(format);
  }

  encode(picture: Picture, rect: Rect, out: ByteWriter): number {
    writeRectHeader(out, rect, ENCODING.hextile);
    this.#background = undefined;
    this.#foreground = undefined;
    for (let y = rect.y; y < rect.y + rect.height; y += TILE) {
      for (let x = rect.x; x < rect.x + rect.width; x += TILE) {
        const width = Math.min(TILE, rect.x + rect.width - x);
        this.#tile(picture, { x, y, width, height: Math.min(TILE, rect.y + rect.height - y) }, out);
      }
    }
    return 1;
  }

  #tile(picture: Picture, tile: Rect, out: ByteWriter): void {
    const { bytes } = this.#packer;
    const area = tile.width * tile.height;
    this.#packer.packRect(picture, tile, this.#words);
    this.#palette.count(this.#words, 0, tile.width, tile.width, tile.height, 3);
    const colours = this.#palette.size;
    const background = this.#commonest(area);
    const subrects = this.#subrects(tile, background);
    const coloured = colours > 2;
    const length = 2 + 2 * bytes + subrects.length * (coloured ? bytes + 2 : 2);
    if (subrects.length > 255 || length >= area * bytes) {
      out.u8(RAW);
      out.pixels(this.#words, 0, area, bytes);
      this.#background = undefined;
      this.#foreground = undefined;
      return;
    }
    let mask = background === this.#background ? 0 : BACKGROUND;
    const foreground = coloured ? undefined : subrects[0]?.word;
    if (subrects.length > 0) mask |= ANY_SUBRECTS;
    if (coloured) mask |= COLOURED;
    else if (foreground !== undefined && foreground !== this.#foreground) mask |= FOREGROUND;
    out.u8(mask);
    if (mask & BACKGROUND) out.pixel(background, bytes);
    if (mask & FOREGROUND) out.pixel(foreground ?? 0, bytes);
    this.#background = background;
    // A foreground does not outlive a tile that has colours of its own.
    this.#foreground = coloured ? undefined : (foreground ?? this.#foreground);
    if (subrects.length === 0) return;
    out.u8(subrects.length);
    for (const subrect of subrects) {
      if (coloured) out.pixel(subrect.word, bytes);
      out.u8((subrect.x << 4) | subrect.y);
      out.u8(((subrect.width - 1) << 4) | (subrect.height - 1));
    }
  }

  /** The commonest of the first three colours. */
  #commonest(area: number): number {
    const counts = [0, 0, 0];
    for (let i = 0; i < area; i++) {
      for (let k = 0; k < this.#palette.size; k++) if (this.#words[i] === this.#palette.words[k]) counts[k]++;
    }
    return this.#palette.words[counts.indexOf(Math.max(...counts))];
  }

  /** What is not background, as runs in rows that grow downwards; at most one more than a tile may have. */
  #subrects(tile: Rect, background: number): Subrect[] {
    const words = this.#words.slice(0, tile.width * tile.height);
    const found: Subrect[] = [];
    for (let y = 0; y < tile.height && found.length < 256; y++) {
      for (let x = 0; x < tile.width; x++) {
        const word = words[y * tile.width + x];
        if (word === background) continue;
        const all = (row: number, from: number, to: number): boolean => {
          for (let i = from; i < to; i++) if (words[row * tile.width + i] !== word) return false;
          return true;
        };
        let right = x + 1;
        while (right < tile.width && all(y, right, right + 1)) right++;
        let bottom = y + 1;
        while (bottom < tile.height && all(bottom, x, right)) bottom++;
        for (let row = y; row < bottom; row++)
          words.fill(background, row * tile.width + x, row * tile.width + right);
        found.push({ x, y, width: right - x, height: bottom - y, word });
      }
    }
    return found;
  }
}
