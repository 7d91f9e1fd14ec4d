import { inflateSync } from 'node:zlib';

export interface DecodedPng {
  readonly width: number;
  readonly height: number;
  /** Each 0xRRGGBB. */
  readonly pixels: Uint32Array;
}

/** Reads a PNG of 8-bit true colour, with or without alpha, not interlaced (RFC 2083). */
export function decodePng(file: Buffer): DecodedPng {
  const data: Buffer[] = [];
  let header: Buffer | undefined;
  for (let at = 8; at < file.length; ) {
    const length = file.readUInt32BE(at);
    const type = file.toString('latin1', at + 4, at + 8);
    const body = file.subarray(at + 8, at + 8 + length);
    if (type === 'IHDR') header = body;
    if (type === 'IDAT') data.push(body);
    at += 12 + length;
  }
  if (header === undefined || header[8] !== 8 || header[12] !== 0) throw new Error('a PNG of another kind');
  const channels = header[9] === 2 ? 3 : header[9] === 6 ? 4 : 0;
  if (channels === 0) throw new Error(`a PNG of colour type ${header[9]}`);
  const width = header.readUInt32BE(0);
  const height = header.readUInt32BE(4);
  const rows = unfilter(inflateSync(Buffer.concat(data)), width * channels, height, channels);
  const pixels = Uint32Array.from({ length: width * height }, (_, i) => {
    const at = i * channels;
    return (rows[at] << 16) | (rows[at + 1] << 8) | rows[at + 2];
  });
  return { width, height, pixels };
}

function unfilter(data: Buffer, pitch: number, height: number, bpp: number): Uint8Array {
  if (data.length !== (pitch + 1) * height) throw new Error(`${data.length} bytes of PNG rows`);
  const rows = new Uint8Array(pitch * height);
  for (let y = 0; y < height; y++) {
    const filter = data[y * (pitch + 1)];
    for (let i = 0; i < pitch; i++) {
      const left = i < bpp ? 0 : rows[y * pitch + i - bpp];
      const up = y === 0 ? 0 : rows[(y - 1) * pitch + i];
      const corner = y === 0 || i < bpp ? 0 : rows[(y - 1) * pitch + i - bpp];
      rows[y * pitch + i] = data[y * (pitch + 1) + 1 + i] + predict(filter, left, up, corner);
    }
  }
  return rows;
}

function predict(filter: number, left: number, up: number, corner: number): number {
  switch (filter) {
    case 0:
      return 0;
    case 1:
      return left;
    case 2:
      return up;
    case 3:
      return (left + up) >> 1;
    default: {
      const guess = left + up - corner;
      const [a, b, c] = [left, up, corner].map((value) => Math.abs(guess - value));
      if (a <= b && a <= c) return left;
      return b <= c ? up : corner;
    }
  }
}
