import type { ByteWriter } from './byte-writer.ts';
import { ProtocolError } from './protocol-error.ts';

/** How a client wants its pixels: RFC 6143 §7.4. */
export interface PixelFormat {
  readonly bitsPerPixel: 8 | 16 | 32;
  readonly depth: number;
  readonly bigEndian: boolean;
  /** False: pixels are indices into a colour map, which is then that of `COLOUR_MAP`. */
  readonly trueColour: boolean;
  readonly red: Channel;
  readonly green: Channel;
  readonly blue: Channel;
}

interface Channel {
  /** The intensity that is full, 0 to 65535. */
  readonly max: number;
  /** Bits from the pixel's least significant one. */
  readonly shift: number;
}

/** Bytes of a pixel format on the wire. */
export const PIXEL_FORMAT_LENGTH = 16;

/** That of a `Surface`, announced in ServerInit. */
export const SERVER_FORMAT: PixelFormat = {
  bitsPerPixel: 32,
  depth: 24,
  bigEndian: false,
  trueColour: true,
  red: { max: 255, shift: 16 },
  green: { max: 255, shift: 8 },
  blue: { max: 255, shift: 0 },
};

/** What a client without true colour gets: 8 bits, of which red and green have three each and blue two. */
const MAPPED: PixelFormat = {
  bitsPerPixel: 8,
  depth: 8,
  bigEndian: false,
  trueColour: false,
  red: { max: 7, shift: 5 },
  green: { max: 7, shift: 2 },
  blue: { max: 3, shift: 0 },
};

/** Red, green and blue, 0 to 65535, of each entry of the colour map that belongs to `MAPPED`. */
export const COLOUR_MAP: readonly (readonly [number, number, number])[] = Array.from(
  { length: 256 },
  (_, i) => [
    Math.round(((i >> 5) * 65535) / 7),
    Math.round((((i >> 2) & 7) * 65535) / 7),
    Math.round(((i & 3) * 65535) / 3),
  ],
);

/**
 * Reads the 16 bytes of a SetPixelFormat message.
 * @throws ProtocolError when there are no such pixels
 */
export function readPixelFormat(bytes: Uint8Array, at: number): PixelFormat {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, PIXEL_FORMAT_LENGTH);
  const bitsPerPixel = view.getUint8(0);
  if (bitsPerPixel !== 8 && bitsPerPixel !== 16 && bitsPerPixel !== 32) {
    throw new ProtocolError(`pixels of ${bitsPerPixel} bits`);
  }
  if (view.getUint8(3) === 0) {
    if (bitsPerPixel !== 8) throw new ProtocolError(`a colour map for pixels of ${bitsPerPixel} bits`);
    return MAPPED;
  }
  const channel = (max: number, shift: number): Channel => {
    if (max * 2 ** shift >= 2 ** bitsPerPixel) {
      throw new ProtocolError(`an intensity up to ${max} at bit ${shift} of a pixel of ${bitsPerPixel} bits`);
    }
    return { max, shift };
  };
  return {
    bitsPerPixel,
    depth: view.getUint8(1),
    bigEndian: view.getUint8(2) !== 0,
    trueColour: true,
    red: channel(view.getUint16(4), view.getUint8(10)),
    green: channel(view.getUint16(6), view.getUint8(11)),
    blue: channel(view.getUint16(8), view.getUint8(12)),
  };
}

export function writePixelFormat(out: ByteWriter, format: PixelFormat): void {
  out.u8(format.bitsPerPixel);
  out.u8(format.depth);
  out.u8(format.bigEndian ? 1 : 0);
  out.u8(format.trueColour ? 1 : 0);
  for (const { max } of [format.red, format.green, format.blue]) out.u16(max);
  for (const { shift } of [format.red, format.green, format.blue]) out.u8(shift);
  out.bytes([0, 0, 0]);
}
