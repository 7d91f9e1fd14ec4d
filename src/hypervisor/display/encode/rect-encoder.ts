import type { Rect } from '../../backends/screen.ts';
import type { ByteWriter } from '../byte-writer.ts';
import type { Picture } from '../picture.ts';

/** Numbers of encodings: RFC 6143 §7.7, rfbproto "Encodings". */
export const ENCODING = { raw: 0, copyRect: 1, hextile: 5, tight: 7, zrle: 16 } as const;

/** One viewer's way of sending pixels. Some have a history, so everything that one wrote must arrive, in order. */
export interface RectEncoder {
  /**
   * Writes the pixels of a rectangle, as one or more rectangles with their headers.
   * @returns how many
   */
  encode(picture: Picture, rect: Rect, out: ByteWriter): number;
}

/** The header of a rectangle: RFC 6143 §7.6.1. */
export function writeRectHeader(out: ByteWriter, rect: Rect, encoding: number): void {
  out.u16(rect.x);
  out.u16(rect.y);
  out.u16(rect.width);
  out.u16(rect.height);
  out.u32(encoding);
}

/** Cuts a rectangle, for encoders that work on a bounded piece: bands of whole rows, or of parts of them if too wide. */
export function* bands(rect: Rect, widest: number, mostPixels: number): Generator<Rect> {
  for (let x = rect.x; x < rect.x + rect.width; x += widest) {
    const width = Math.min(widest, rect.x + rect.width - x);
    const tallest = Math.max(1, Math.floor(mostPixels / width));
    for (let y = rect.y; y < rect.y + rect.height; y += tallest) {
      yield { x, y, width, height: Math.min(tallest, rect.y + rect.height - y) };
    }
  }
}
