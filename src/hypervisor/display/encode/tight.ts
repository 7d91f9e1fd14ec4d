import type { Rect } from '../../backends/screen.ts';
import { ByteWriter } from '../byte-writer.ts';
import type { Picture } from '../picture.ts';
import type { PixelFormat } from '../pixel-format.ts';
import { PixelPacker } from '../pixel-packer.ts';
import type { JpegEncoder, JpegQuality } from './jpeg.ts';
import { Palette } from './palette.ts';
import { bands, ENCODING, type RectEncoder, writeRectHeader } from './rect-encoder.ts';
import { ZlibStream } from './zlib-stream.ts';

/** The widest rectangle (rfbproto, "Tight Encoding"), and the largest that this encoder takes as one piece. */
const WIDEST = 2048;
const MOST_PIXELS = 65536;
/** Pieces of many colours are halved until both sides are at most this, in search of parts with few. */
const LEAST_SIDE = 64;
/** Less data than this goes uncompressed and without a length. */
const LEAST_COMPRESSED = 12;
/** A palette pays when there are so many pixels to a colour, at least. */
const PIXELS_PER_COLOUR = 4;

/** Compression control: the upper four bits of the first byte. */
const CONTROL = { fill: 0x80, jpeg: 0x90, explicitFilter: 0x40 } as const;
const FILTER_PALETTE = 1;
/** Which of the four zlib streams has which sort of data. */
const STREAM = { colours: 0, mono: 1, indexed: 2 } as const;

/** JPEG is for what looks like a photo: neighbours differ, but by little. */
const PHOTO = { leastArea: 1024, mostEqual: 0.4, mostHarsh: 0.15, harsh: 48 } as const;

/** The zlib streams of one viewer, which last as long as it, whatever else changes. */
export type TightStreams = readonly [ZlibStream, ZlibStream, ZlibStream];

export function newTightStreams(): TightStreams {
  return [new ZlibStream(), new ZlibStream(), new ZlibStream()];
}

export interface TightOptions {
  readonly format: PixelFormat;
  /** 1 to 9. */
  readonly level: number;
  readonly streams: TightStreams;
  /** Absent: nothing may be lost. */
  readonly jpeg?: { readonly encoder: JpegEncoder; readonly quality: JpegQuality } | undefined;
}

/** What a part can be sent as, from the cheapest on. */
type Kind = 'fill' | 'mono' | 'indexed' | 'colours';

/** Bytes, about, that a pixel takes once compressed, and what a part of its own costs besides. */
const COST: Readonly<Record<Kind, number>> = { fill: 0, mono: 0.04, indexed: 0.12, colours: 1.5 };
const PART_COST = 40;

/** A part of the band that is being encoded, as it will be sent. */
interface Piece {
  /** Within the picture. */
  readonly rect: Rect;
  readonly kind: Kind;
  /** The colour of a fill, the two of a mono piece. */
  readonly first: number;
  readonly second: number;
}

/** Tight: rfbproto, "Tight Encoding". Fill, palette and copy filter, JPEG; no gradient filter. */
export class TightEncoder implements RectEncoder {
  readonly #options: TightOptions;
  readonly #packer: PixelPacker;
  readonly #palette = new Palette();
  /** The band's pixels, rows `#band.width` apart. */
  readonly #words = new Uint32Array(MOST_PIXELS);
  #band: Rect = { x: 0, y: 0, width: 0, height: 0 };
  readonly #plain = new ByteWriter();

  constructor(options: TightOptions) {
    this.#options = options;
    this.#packer = PixelPacker.tight(options.format);
  }

  encode(picture: Picture, rect: Rect, out: ByteWriter): number {
    let rects = 0;
    for (const band of bands(rect, WIDEST, MOST_PIXELS)) {
      this.#band = band;
      this.#packer.packRect(picture, band, this.#words);
      for (const piece of this.#carve(band)) {
        writeRectHeader(out, piece.rect, ENCODING.tight);
        this.#write(picture, piece, out);
        rects++;
      }
    }
    return rects;
  }

  /** Cuts a part of the band where that separates few colours from many. */
  #carve(rect: Rect): Piece[] {
    const whole = this.#whole(rect);
    const small = rect.width <= LEAST_SIDE && rect.height <= LEAST_SIDE;
    if (small || whole.kind === 'fill' || whole.kind === 'mono') return [whole];
    const pieces = this.#join(halves(rect).flatMap((half) => this.#carve(half)));
    return costOf(pieces) < costOf([whole]) ? pieces : [whole];
  }

  /** Joins neighbours of one kind that make a rectangle together. */
  #join(pieces: Piece[]): Piece[] {
    for (let i = 0; i < pieces.length; i++) {
      for (let k = i + 1; k < pieces.length; k++) {
        const joined = this.#joinTwo(pieces[i], pieces[k]);
        if (joined === undefined) continue;
        // What has grown may fit to one that did not fit before.
        return this.#join([...pieces.slice(0, i), joined, ...pieces.slice(i + 1, k), ...pieces.slice(k + 1)]);
      }
    }
    return pieces;
  }

  #joinTwo(a: Piece, b: Piece): Piece | undefined {
    if (a.kind !== b.kind) return undefined;
    const rect = joinRects(a.rect, b.rect);
    if (rect === undefined) return undefined;
    switch (a.kind) {
      case 'fill':
        return a.first === b.first ? { ...a, rect } : undefined;
      case 'mono': {
        const same = a.first === b.first && a.second === b.second;
        return same || (a.first === b.second && a.second === b.first) ? { ...a, rect } : undefined;
      }
      case 'indexed': {
        const joined = this.#whole(rect);
        return joined.kind === 'indexed' ? joined : undefined;
      }
      case 'colours':
        return { ...a, rect };
    }
  }

  /** A part of the band as one piece. */
  #whole(rect: Rect): Piece {
    const { width, height } = rect;
    const palette = this.#palette;
    const most = Math.min(256, Math.max(2, Math.floor((width * height) / PIXELS_PER_COLOUR)));
    const few = palette.count(this.#words, this.#at(rect), this.#band.width, width, height, most);
    const kind = !few ? 'colours' : palette.size === 1 ? 'fill' : palette.size === 2 ? 'mono' : 'indexed';
    return { rect, kind, first: palette.words[0], second: palette.words[1] };
  }

  #write(picture: Picture, { rect, kind, first, second }: Piece, out: ByteWriter): void {
    if (kind === 'fill') {
      out.u8(CONTROL.fill);
      out.pixel(first, this.#packer.bytes);
    } else if (kind === 'mono') {
      this.#beginPalette(STREAM.mono, Uint32Array.of(first, second), out);
      this.#putBits(rect, second);
      this.#writeData(out, STREAM.mono);
    } else if (kind === 'indexed') {
      this.#writeIndexed(rect, out);
    } else if (
      this.#options.jpeg !== undefined &&
      this.#options.format.bitsPerPixel > 8 &&
      isPhoto(picture, rect)
    ) {
      const { encoder, quality } = this.#options.jpeg;
      const file = encoder.encode(picture, rect, quality);
      out.u8(CONTROL.jpeg);
      writeLength(out, file.length);
      out.bytes(file);
    } else {
      out.u8(STREAM.colours << 4);
      for (let y = 0, from = this.#at(rect); y < rect.height; y++, from += this.#band.width) {
        this.#plain.pixels(this.#words, from, from + rect.width, this.#packer.bytes);
      }
      this.#writeData(out, STREAM.colours);
    }
  }

  #writeIndexed(rect: Rect, out: ByteWriter): void {
    const palette = this.#palette;
    palette.count(this.#words, this.#at(rect), this.#band.width, rect.width, rect.height, 256);
    this.#beginPalette(STREAM.indexed, palette.words.subarray(0, palette.size), out);
    this.#putIndexes(rect);
    this.#writeData(out, STREAM.indexed);
  }

  #beginPalette(stream: number, colours: Uint32Array, out: ByteWriter): void {
    out.u8((stream << 4) | CONTROL.explicitFilter);
    out.u8(FILTER_PALETTE);
    out.u8(colours.length - 1);
    out.pixels(colours, 0, colours.length, this.#packer.bytes);
  }

  /** A bit for each pixel, set where it is `one`; each row begins with a byte of its own. */
  #putBits(rect: Rect, one: number): void {
    for (let y = 0, from = this.#at(rect); y < rect.height; y++, from += this.#band.width) {
      for (let x = 0; x < rect.width; x += 8) {
        let byte = 0;
        const end = Math.min(8, rect.width - x);
        for (let k = 0; k < end; k++) if (this.#words[from + x + k] === one) byte |= 0x80 >> k;
        this.#plain.u8(byte);
      }
    }
  }

  #putIndexes(rect: Rect): void {
    const words = this.#words;
    let word = words[this.#at(rect)];
    let index = this.#palette.indexOf(word);
    for (let y = 0, from = this.#at(rect); y < rect.height; y++, from += this.#band.width) {
      for (let i = from; i < from + rect.width; i++) {
        if (words[i] !== word) index = this.#palette.indexOf((word = words[i]));
        this.#plain.u8(index);
      }
    }
  }

  /** What was put into `#plain`, compressed if it is worth it. */
  #writeData(out: ByteWriter, stream: 0 | 1 | 2): void {
    const plain = this.#plain.view();
    if (plain.length < LEAST_COMPRESSED) out.bytes(plain);
    else {
      const data = this.#options.streams[stream].compress(plain, this.#options.level);
      writeLength(out, data.length);
      out.bytes(data);
    }
    this.#plain.truncate(0);
  }

  /** Where a part of the band begins in `#words`. */
  #at(rect: Rect): number {
    return (rect.y - this.#band.y) * this.#band.width + rect.x - this.#band.x;
  }
}

/**
 * Rows first, since what people look at is in lines and bars; at a multiple of 16, so that pieces keep to the tiles in
 * which changes are counted.
 */
function halves({ x, y, width, height }: Rect): [Rect, Rect] {
  if (height > LEAST_SIDE) {
    const upper = ((height >> 1) + 15) & -16;
    return [
      { x, y, width, height: upper },
      { x, y: y + upper, width, height: height - upper },
    ];
  }
  const left = ((width >> 1) + 15) & -16;
  return [
    { x, y, width: left, height },
    { x: x + left, y, width: width - left, height },
  ];
}

/** Of two that lie side by side or one above the other, without a gap. */
function joinRects(a: Rect, b: Rect): Rect | undefined {
  const { x, y, width, height } = a;
  if (b.x === x && b.width === width) {
    if (b.y === y + height) return { x, y, width, height: height + b.height };
    if (y === b.y + b.height) return { x, y: b.y, width, height: height + b.height };
  }
  if (b.y === y && b.height === height) {
    if (b.x === x + width) return { x, y, width: width + b.width, height };
    if (x === b.x + b.width) return { x: b.x, y, width: width + b.width, height };
  }
  return undefined;
}

function costOf(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, { rect, kind }) => sum + PART_COST + COST[kind] * rect.width * rect.height, 0);
}

/** Tight's own length: seven bits, then seven, then eight, each byte but the last with bit 7 set. */
function writeLength(out: ByteWriter, length: number): void {
  if (length < 0x80) {
    out.u8(length);
    return;
  }
  out.u8((length & 0x7f) | 0x80);
  if (length < 0x4000) {
    out.u8(length >> 7);
    return;
  }
  out.u8(((length >> 7) & 0x7f) | 0x80);
  out.u8(length >> 14);
}

function isPhoto({ pixels, width }: Picture, rect: Rect): boolean {
  if (rect.width * rect.height < PHOTO.leastArea) return false;
  let equal = 0;
  let harsh = 0;
  let seen = 0;
  for (let y = rect.y; y < rect.y + rect.height; y += 2) {
    const start = y * width + rect.x;
    for (let i = start + 1; i < start + rect.width; i++, seen++) {
      const a = pixels[i - 1];
      const b = pixels[i];
      if (a === b) equal++;
      // Green is most of what the eye sees of brightness.
      else if (Math.abs(((a >>> 8) & 0xff) - ((b >>> 8) & 0xff)) > PHOTO.harsh) harsh++;
    }
  }
  return equal < PHOTO.mostEqual * seen && harsh < PHOTO.mostHarsh * seen;
}
