import { promisify } from 'node:util';
import { crc32, deflate } from 'node:zlib';
import type { Surface } from '../backends/screen.ts';

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
/** IHDR, after the size: 8 bits a sample, true colour, deflate, the five filters, not interlaced. */
const TRUE_COLOUR = Uint8Array.of(8, 2, 0, 0, 0);
/** Filter type 2, "up": each byte less the one above it. */
const FILTER_UP = 2;

/**
 * A surface as a PNG file (RFC 2083, or ISO/IEC 15948), 24-bit true colour. The pixels are copied before the first
 * turn of the event loop; compressing them happens off this thread.
 */
export async function encodePng(surface: Surface): Promise<Buffer> {
  const { width, height } = surface;
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set(TRUE_COLOUR, 8);
  const data = await promisify<Uint8Array, Buffer>(deflate)(filterRows(surface));
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', header),
    chunk('IDAT', data),
    chunk('IEND', new Uint8Array(0)),
  ]);
}

/** Rows as PNG compresses them: a filter byte, then red, green, blue of each pixel, filtered (RFC 2083 §6). */
function filterRows({ width, height, stride, memory, offset }: Surface): Uint8Array {
  const source = new Uint8Array(memory, offset);
  const length = 1 + 3 * width;
  const rows = new Uint8Array(length * height);
  let out = 0;
  for (let y = 0; y < height; y++) {
    rows[out++] = FILTER_UP;
    let at = y * stride;
    const above = y === 0 ? -1 : at - stride;
    for (let x = 0; x < width; x++, at += 4) {
      const up = above < 0 ? -1 : above + 4 * x;
      for (const channel of [2, 1, 0]) {
        rows[out++] = source[at + channel] - (up < 0 ? 0 : source[up + channel]);
      }
    }
  }
  return rows;
}

function chunk(type: string, data: Uint8Array): Buffer {
  const out = Buffer.alloc(12 + data.length);
  out.writeUInt32BE(data.length, 0);
  out.write(type, 4, 'latin1');
  out.set(data, 8);
  out.writeUInt32BE(crc32(out.subarray(4, 8 + data.length)), 8 + data.length);
  return out;
}
