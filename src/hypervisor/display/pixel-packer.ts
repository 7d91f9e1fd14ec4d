import type { Rect } from '../backends/screen.ts';
import type { Picture } from './picture.ts';
import type { PixelFormat } from './pixel-format.ts';

/**
 * Turns colours into pixels of a client's format. A pixel here is a word whose lowest byte is the first on the wire,
 * whatever the format's byte order: so encoders compare and count words, and only `ByteWriter.pixels` makes bytes.
 */
export class PixelPacker {
  /** Of a pixel on the wire. */
  readonly bytes: number;
  readonly #red: Uint32Array;
  readonly #green: Uint32Array;
  readonly #blue: Uint32Array;
  readonly #identical: boolean;

  private constructor(bytes: number, format: PixelFormat, place: (pixel: number) => number) {
    this.bytes = bytes;
    const table = ({ max, shift }: PixelFormat['red']): Uint32Array =>
      Uint32Array.from({ length: 256 }, (_, value) => place(Math.round((value * max) / 255) * 2 ** shift));
    this.#red = table(format.red);
    this.#green = table(format.green);
    this.#blue = table(format.blue);
    this.#identical = this.#isIdentity();
  }

  /** PIXEL: RFC 6143 §7.4. */
  static pixel(format: PixelFormat): PixelPacker {
    return new PixelPacker(format.bitsPerPixel / 8, format, (pixel) => onWire(pixel, format));
  }

  /** CPIXEL, ZRLE's: a byte that no colour reaches is left out (RFC 6143 §7.7.5). */
  static compressed(format: PixelFormat): PixelPacker {
    const unused = unusedByte(format);
    if (unused === undefined) return PixelPacker.pixel(format);
    const skip = (unused === 'highest') === format.bigEndian ? 8 : 0;
    return new PixelPacker(3, format, (pixel) => onWire(pixel, format) >>> skip);
  }

  /** TPIXEL, Tight's: where each colour has 8 bits of 24, three bytes, red, green, blue (rfbproto, Tight encoding). */
  static tight(format: PixelFormat): PixelPacker {
    const { red, green, blue, bitsPerPixel, depth, trueColour } = format;
    const whole = trueColour && bitsPerPixel === 32 && depth === 24;
    if (!whole || red.max !== 255 || green.max !== 255 || blue.max !== 255) return PixelPacker.pixel(format);
    const places = {
      ...format,
      bigEndian: false,
      red: { max: 255, shift: 0 },
      green: { max: 255, shift: 8 },
      blue: { max: 255, shift: 16 },
    };
    return new PixelPacker(3, places, (pixel) => pixel);
  }

  /** One colour, 0xRRGGBB. */
  pack(colour: number): number {
    return (
      (this.#red[(colour >>> 16) & 0xff] | this.#green[(colour >>> 8) & 0xff] | this.#blue[colour & 0xff]) >>>
      0
    );
  }

  /** The pixels of a rectangle, row after row, into `words`. */
  packRect({ pixels, width }: Picture, rect: Rect, words: Uint32Array): void {
    const red = this.#red;
    const green = this.#green;
    const blue = this.#blue;
    let out = 0;
    for (let y = rect.y; y < rect.y + rect.height; y++) {
      const start = y * width + rect.x;
      const end = start + rect.width;
      if (this.#identical) {
        words.set(pixels.subarray(start, end), out);
        out += rect.width;
        continue;
      }
      for (let i = start; i < end; i++) {
        const colour = pixels[i];
        words[out++] = red[colour >>> 16] | green[(colour >>> 8) & 0xff] | blue[colour & 0xff];
      }
    }
  }

  #isIdentity(): boolean {
    for (let value = 0; value < 256; value++) {
      const here = this.#red[value] === value << 16 && this.#green[value] === value << 8;
      if (!here || this.#blue[value] !== value) return false;
    }
    return true;
  }
}

/** A pixel's value with its bytes in the order of the wire, the first one lowest. */
function onWire(pixel: number, { bigEndian, bitsPerPixel }: PixelFormat): number {
  if (!bigEndian || bitsPerPixel === 8) return pixel;
  if (bitsPerPixel === 16) return ((pixel & 0xff) << 8) | (pixel >>> 8);
  return (((pixel & 0xff) << 24) | ((pixel & 0xff00) << 8) | ((pixel >>> 8) & 0xff00) | (pixel >>> 24)) >>> 0;
}

function unusedByte({ bitsPerPixel, depth, trueColour, red, green, blue }: PixelFormat) {
  if (bitsPerPixel !== 32 || depth > 24 || !trueColour) return undefined;
  const channels = [red, green, blue];
  if (channels.every(({ max, shift }) => max * 2 ** shift < 2 ** 24)) return 'highest';
  if (channels.every(({ shift }) => shift >= 8)) return 'lowest';
  return undefined;
}
