import type { Rect } from '../../backends/screen.ts';
import { ByteWriter } from '../byte-writer.ts';
import type { Picture } from '../picture.ts';
import type { PixelFormat } from '../pixel-format.ts';
import { PixelPacker } from '../pixel-packer.ts';
import { Palette } from './palette.ts';
import { bands, ENCODING, type RectEncoder, writeRectHeader } from './rect-encoder.ts';
import type { ZlibStream } from './zlib-stream.ts';

const TILE = 64;
const MOST_PIXELS = TILE * 16384;
/** The largest palette of a tile. */
const MOST_COLOURS = 127;
/** The largest of one whose pixels are packed into bits. */
const MOST_PACKED = 16;
const PLAIN_RLE = 128;
const PALETTE_RLE = 128;

/** ZRLE: RFC 6143 §7.7.6. */
export class ZrleEncoder implements RectEncoder {
  readonly #packer: PixelPacker;
  readonly #level: number;
  readonly #stream: ZlibStream;
  readonly #words = new Uint32Array(TILE * TILE);
  readonly #palette = new Palette();
  readonly #plain = new ByteWriter();

  /** @param stream the viewer's own, for as long as it lasts, whatever else changes */
  constructor(format: PixelFormat, level: number, stream: ZlibStream) {
    this.#packer = PixelPacker.compressed(format);
    this.#level = level;
    this.#stream = stream;
  }

  encode(picture: Picture, rect: Rect, out: ByteWriter): number {
    let rects = 0;
    for (const band of bands(rect, MOST_PIXELS, MOST_PIXELS)) {
      for (const tile of tiles(band)) this.#tile(picture, tile);
      const data = this.#stream.compress(this.#plain.view(), this.#level);
      this.#plain.truncate(0);
      writeRectHeader(out, band, ENCODING.zrle);
      out.u32(data.length);
      out.bytes(data);
      rects++;
    }
    return rects;
  }

  #tile(picture: Picture, tile: Rect): void {
    const out = this.#plain;
    const words = this.#words;
    const palette = this.#palette;
    const { bytes } = this.#packer;
    const area = tile.width * tile.height;
    this.#packer.packRect(picture, tile, words);
    const few = palette.count(words, 0, tile.width, tile.width, tile.height, MOST_COLOURS);
    if (few && palette.size === 1) {
      out.u8(1);
      out.pixel(words[0], bytes);
      return;
    }
    const { runs, singles } = countRuns(words, area);
    const raw = area * bytes;
    const plainRle = runs * (bytes + 1);
    const paletteRle = few ? palette.size * bytes + 2 * runs - singles : Number.POSITIVE_INFINITY;
    const packable = few && palette.size <= MOST_PACKED;
    const packed = packable
      ? palette.size * bytes + packedLength(tile, palette.size)
      : Number.POSITIVE_INFINITY;
    const least = Math.min(raw, plainRle, paletteRle, packed);
    if (least === packed) this.#packed(tile);
    else if (least === paletteRle) this.#paletteRle(area);
    else if (least === plainRle) this.#plainRle(area);
    else {
      out.u8(0);
      out.pixels(words, 0, area, bytes);
    }
  }

  #packed(tile: Rect): void {
    const out = this.#plain;
    const palette = this.#palette;
    out.u8(palette.size);
    out.pixels(palette.words, 0, palette.size, this.#packer.bytes);
    const bits = bitsFor(palette.size);
    for (let y = 0, i = 0; y < tile.height; y++) {
      let byte = 0;
      let room = 8;
      for (let x = 0; x < tile.width; x++, i++) {
        room -= bits;
        byte |= palette.indexOf(this.#words[i]) << room;
        if (room > 0) continue;
        out.u8(byte);
        byte = 0;
        room = 8;
      }
      if (room < 8) out.u8(byte);
    }
  }

  #plainRle(area: number): void {
    this.#plain.u8(PLAIN_RLE);
    eachRun(this.#words, area, (word, length) => {
      this.#plain.pixel(word, this.#packer.bytes);
      this.#runLength(length);
    });
  }

  #paletteRle(area: number): void {
    const palette = this.#palette;
    this.#plain.u8(PALETTE_RLE + palette.size);
    this.#plain.pixels(palette.words, 0, palette.size, this.#packer.bytes);
    eachRun(this.#words, area, (word, length) => {
      const index = palette.indexOf(word);
      if (length === 1) this.#plain.u8(index);
      else {
        this.#plain.u8(index | 0x80);
        this.#runLength(length);
      }
    });
  }

  #runLength(length: number): void {
    let rest = length - 1;
    for (; rest >= 255; rest -= 255) this.#plain.u8(255);
    this.#plain.u8(rest);
  }
}

function* tiles(band: Rect): Generator<Rect> {
  for (let y = band.y; y < band.y + band.height; y += TILE) {
    for (let x = band.x; x < band.x + band.width; x += TILE) {
      const width = Math.min(TILE, band.x + band.width - x);
      yield { x, y, width, height: Math.min(TILE, band.y + band.height - y) };
    }
  }
}

function bitsFor(colours: number): 1 | 2 | 4 {
  if (colours === 2) return 1;
  return colours <= 4 ? 2 : 4;
}

function packedLength(tile: Rect, colours: number): number {
  return Math.ceil((tile.width * bitsFor(colours)) / 8) * tile.height;
}

function countRuns(words: Uint32Array, area: number): { runs: number; singles: number } {
  let runs = 0;
  let singles = 0;
  eachRun(words, area, (_, length) => {
    runs++;
    if (length === 1) singles++;
  });
  return { runs, singles };
}

function eachRun(words: Uint32Array, area: number, visit: (word: number, length: number) => void): void {
  for (let i = 0; i < area; ) {
    const word = words[i];
    let end = i + 1;
    while (end < area && words[end] === word) end++;
    visit(word, end - i);
    i = end;
  }
}
