import assert from 'node:assert/strict';
import { crc32, deflateSync } from 'node:zlib';
import type { Surface } from '../../src/hypervisor/backends/screen.ts';

/** Red, green and blue of each pixel, row after row. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly rgb: Uint8Array;
}

export function pictureOf(surface: Surface): Picture {
  const { width, height, stride, offset } = surface;
  const bytes = new Uint8Array(surface.memory, offset);
  const rgb = new Uint8Array(width * height * 3);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0, from = y * stride; x < width; x++, from += 4) {
      rgb[to++] = bytes[from + 2];
      rgb[to++] = bytes[from + 1];
      rgb[to++] = bytes[from];
    }
  }
  return { width, height, rgb };
}

/** Fails where two pictures first differ. */
export function assertSame(actual: Picture, expected: Picture, message = 'pictures'): void {
  assert.deepEqual([actual.width, actual.height], [expected.width, expected.height], message);
  if (Buffer.compare(actual.rgb, expected.rgb) === 0) return;
  const at = actual.rgb.findIndex((component, i) => component !== expected.rgb[i]);
  const pixel = Math.floor(at / 3);
  assert.fail(`${message} differ at ${pixel % actual.width}, ${Math.floor(pixel / actual.width)}`);
}

/** A PNG file (ISO/IEC 15948) with 8 bits a component and no filters. */
export function png({ width, height, rgb }: Picture): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8);
  const rows = Buffer.alloc(height * (1 + width * 3));
  for (let y = 0; y < height; y++)
    rows.set(rgb.subarray(y * width * 3, (y + 1) * width * 3), y * (1 + width * 3) + 1);
  const start = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([
    start,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const bytes = Buffer.alloc(12 + data.length);
  bytes.writeUInt32BE(data.length, 0);
  bytes.write(type, 4, 'latin1');
  data.copy(bytes, 8);
  bytes.writeUInt32BE(crc32(bytes.subarray(4, 8 + data.length)), 8 + data.length);
  return bytes;
}

/** Reads a binary PPM with 8 bits a component, as QEMU's screendump writes it. */
export function readPpm(file: Buffer): Picture {
  const [, width, height, start] =
    /^P6\s+(\d+)\s+(\d+)\s+255(\s)/.exec(file.subarray(0, 64).toString('latin1')) ?? [];
  if (start === undefined) throw new Error('no PPM of 8 bits');
  const size = Number(width) * Number(height) * 3;
  return { width: Number(width), height: Number(height), rgb: file.subarray(file.length - size) };
}
