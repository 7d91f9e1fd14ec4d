import type { Rect } from '../../backends/screen.ts';
import type { ByteWriter } from '../byte-writer.ts';
import type { Picture } from '../picture.ts';
import type { PixelFormat } from '../pixel-format.ts';
import { PixelPacker } from '../pixel-packer.ts';
import { bands, ENCODING, type RectEncoder, writeRectHeader } from './rect-encoder.ts';

const MOST_PIXELS = 65536;

/** Raw: RFC 6143 §7.7.1. */
export class RawEncoder implements RectEncoder {
  readonly #packer: PixelPacker;
  readonly #words = new Uint32Array(MOST_PIXELS);

  constructor(format: PixelFormat) {
    this.#packer = PixelPacker.pixel(format);
  }

  encode(picture: Picture, rect: Rect, out: ByteWriter): number {
    let rects = 0;
    for (const band of bands(rect, MOST_PIXELS, MOST_PIXELS)) {
      writeRectHeader(out, band, ENCODING.raw);
      this.#packer.packRect(picture, band, this.#words);
      out.pixels(this.#words, 0, band.width * band.height, this.#packer.bytes);
      rects++;
    }
    return rects;
  }
}
