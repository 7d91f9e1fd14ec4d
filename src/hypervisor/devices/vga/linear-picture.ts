import type { Damage } from './damage.ts';
import { VBE_MOST } from './dispi.ts';
import type { LinearMode } from './mode.ts';
import type { Canvas, VideoMemory } from './pixels.ts';

/** Bytes a pixel takes, by the depth of a linear mode. */
export function pixelBytes(depth: number): number {
  return depth === 15 ? 2 : depth >> 3;
}

/** Whether memory has the pixels just as a surface has them. */
export function isSurfaceFormat(mode: LinearMode): boolean {
  return mode.depth === 32 && !mode.bigEndian;
}

/** Notes as damage what lies in written pages: for a surface that is video memory itself. */
export function noteWritten(memory: VideoMemory, mode: LinearMode, damage: Damage): void {
  eachWritten(memory, mode, (y, left, right) => damage.add(y, left, right));
}

/** Draws the VBE modes of 8 bits a pixel and more, where memory was written, or everywhere. */
export function drawLinear(
  canvas: Canvas,
  memory: VideoMemory,
  mode: LinearMode,
  colours: Uint32Array,
  everything: boolean,
): void {
  const draw = (y: number, left: number, right: number): void =>
    drawSpan(canvas, memory.bytes, mode, colours, y, left, right);
  if (everything) for (let y = 0; y < mode.height; y++) draw(y, 0, mode.width);
  else eachWritten(memory, mode, draw);
}

/** Calls `visit` with each stretch of a row that has bytes in written pages. */
function eachWritten(
  { pages }: VideoMemory,
  mode: LinearMode,
  visit: (y: number, left: number, right: number) => void,
): void {
  const end = mode.offset + (mode.height - 1) * mode.stride + mode.width * pixelBytes(mode.depth);
  const lastPage = (end - 1) >>> 12;
  let page = mode.offset >>> 12;
  while (page <= lastPage) {
    if (pages[page] === 0) {
      page += 1;
      continue;
    }
    const first = page;
    while (page <= lastPage && pages[page] !== 0) page += 1;
    const from = Math.max(first * 4096, mode.offset) - mode.offset;
    const to = Math.min(page * 4096, end) - mode.offset;
    eachRow(mode, from, to, visit);
  }
}

/** The rows' stretches of the bytes `[from, to)` of the picture. */
function eachRow(
  mode: LinearMode,
  from: number,
  to: number,
  visit: (y: number, left: number, right: number) => void,
): void {
  const { stride, width } = mode;
  const bytes = pixelBytes(mode.depth);
  const firstRow = Math.floor(from / stride);
  const lastRow = Math.min(Math.floor((to - 1) / stride), mode.height - 1);
  for (let y = firstRow; y <= lastRow; y++) {
    const left = y === firstRow ? Math.floor((from - y * stride) / bytes) : 0;
    const right = y === lastRow ? Math.ceil((to - y * stride) / bytes) : width;
    if (left < width) visit(y, left, Math.min(right, width));
  }
}

/** One row, converted. */
const line = new Uint32Array(VBE_MOST.width);

function drawSpan(
  canvas: Canvas,
  bytes: Uint8Array,
  mode: LinearMode,
  colours: Uint32Array,
  y: number,
  from: number,
  to: number,
): void {
  const { pixels, width } = canvas.surface;
  convert(bytes, mode, colours, mode.offset + y * mode.stride + from * pixelBytes(mode.depth), to - from);
  const row = y * width;
  let left = to;
  let right = from;
  for (let x = from; x < to; x++) {
    const pixel = line[x - from];
    if (pixels[row + x] === pixel) continue;
    pixels[row + x] = pixel;
    if (x < left) left = x;
    right = x + 1;
  }
  canvas.damage.add(y, left, right);
}

/** Puts `count` pixels from `at` in video memory into `line`. A loop for each depth: this is most of the work. */
function convert(bytes: Uint8Array, mode: LinearMode, colours: Uint32Array, at: number, count: number): void {
  // The byte of a pixel that has the lower half, and the other.
  const low = mode.bigEndian ? 1 : 0;
  const high = 1 - low;
  switch (mode.depth) {
    case 8:
      for (let x = 0; x < count; x++) line[x] = colours[bytes[at + x]];
      break;
    case 15:
      for (let x = 0; x < count; x++, at += 2) line[x] = from555(bytes[at + low] | (bytes[at + high] << 8));
      break;
    case 16:
      for (let x = 0; x < count; x++, at += 2) line[x] = from565(bytes[at + low] | (bytes[at + high] << 8));
      break;
    case 24:
      for (let x = 0; x < count; x++, at += 3)
        line[x] = bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16);
      break;
    default: {
      const [blue, green, red] = mode.bigEndian ? [3, 2, 1] : [0, 1, 2];
      for (let x = 0; x < count; x++, at += 4)
        line[x] = bytes[at + blue] | (bytes[at + green] << 8) | (bytes[at + red] << 16);
    }
  }
}

/** Components get their upper bits again below, so that full stays full. */
function from555(pixel: number): number {
  const red = (pixel >> 10) & 31;
  const green = (pixel >> 5) & 31;
  const blue = pixel & 31;
  return (((red << 3) | (red >> 2)) << 16) | (((green << 3) | (green >> 2)) << 8) | (blue << 3) | (blue >> 2);
}

function from565(pixel: number): number {
  const red = (pixel >> 11) & 31;
  const green = (pixel >> 5) & 63;
  const blue = pixel & 31;
  return (((red << 3) | (red >> 2)) << 16) | (((green << 2) | (green >> 4)) << 8) | (blue << 3) | (blue >> 2);
}
