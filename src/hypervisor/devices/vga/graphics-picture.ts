import { type GraphicsMode, type Part, planeAddress } from './mode.ts';
import { type Canvas, type VideoMemory, written } from './pixels.ts';

/** The bits of a byte as nibbles of a word: the highest bit, the leftmost pixel, in the lowest nibble. */
const SPREAD = Uint32Array.from({ length: 256 }, (_, byte) => {
  let word = 0;
  for (let bit = 0; bit < 8; bit++) if (byte & (0x80 >> bit)) word |= 1 << (4 * bit);
  return word;
});
const MOST_COLUMNS = 512;
const NOTHING = -1;

/** What of the picture has to be drawn although memory has not changed. */
export type Redraw =
  | 'nothing'
  /** Pixels may come from another place or have other colours. */
  | 'lines'
  /** The lines are another sequence than before. */
  | 'all';

/** Draws the VGA's graphics modes and the VBE modes with four planes. */
export class GraphicsPicture {
  /** Colour numbers of one line. */
  readonly #line = new Uint8Array((MOST_COLUMNS + 1) * 8);
  /** Columns that the last line drawn has changed. */
  #left = 0;
  #right = 0;

  /** `colours`: 16 or 256 pixels, by the mode. */
  draw(canvas: Canvas, memory: VideoMemory, mode: GraphicsMode, colours: Uint32Array, redraw: Redraw): void {
    for (const part of mode.parts) this.#drawPart(canvas, memory, mode, part, colours, redraw);
  }

  #drawPart(
    canvas: Canvas,
    memory: VideoMemory,
    mode: GraphicsMode,
    part: Part,
    colours: Uint32Array,
    redraw: Redraw,
  ): void {
    let counter = part.start;
    let rowScan = Math.min(part.rowScan, mode.rowLines - 1);
    let repeated = 0;
    let drawn = NOTHING;
    for (let y = part.top; y < part.bottom; y++) {
      const scan = mode.addressing.rowScanBits === 0 ? 0 : rowScan & 3;
      const key = counter * 4 + scan;
      if (key !== drawn || redraw === 'all') {
        this.#left = this.#right = 0;
        if (redraw !== 'nothing' || lineWritten(memory, mode, counter, scan))
          this.#drawLine(canvas, memory, mode, counter, scan, part.pan, y, colours);
        drawn = key;
      } else if (this.#left < this.#right) {
        const at = y * mode.width;
        canvas.surface.pixels.copyWithin(
          at + this.#left,
          at - mode.width + this.#left,
          at - mode.width + this.#right,
        );
        canvas.damage.add(y, this.#left, this.#right);
      }
      if (++repeated < mode.lineRepeat) continue;
      repeated = 0;
      if (++rowScan < mode.rowLines) continue;
      rowScan = 0;
      counter += mode.rowStep;
    }
  }

  #drawLine(
    canvas: Canvas,
    memory: VideoMemory,
    mode: GraphicsMode,
    counter: number,
    scan: number,
    pan: number,
    y: number,
    colours: Uint32Array,
  ): void {
    const columns = Math.min(mode.columns, MOST_COLUMNS) + (pan > 0 ? 1 : 0);
    const line = this.#line;
    const fill = mode.pixels === 'planes' ? fromPlanes : mode.pixels === 'pairs' ? fromPairs : fromBytes;
    let at = 0;
    for (let column = 0; column < columns; column++) {
      at = fill(line, at, memory.words[planeAddress(mode.addressing, counter + column, scan)]);
    }
    const { pixels, width } = canvas.surface;
    const repeat = mode.dotRepeat;
    const row = y * width;
    let left = width;
    let right = 0;
    for (let x = 0, from = pan; x < width; from++) {
      const pixel = colours[line[from]];
      for (let dot = 0; dot < repeat; dot++, x++) {
        if (pixels[row + x] === pixel) continue;
        pixels[row + x] = pixel;
        if (x < left) left = x;
        right = x + 1;
      }
    }
    this.#left = left;
    this.#right = right;
    canvas.damage.add(y, left, right);
  }
}

/** Whether memory that a line shows was written. */
function lineWritten(memory: VideoMemory, mode: GraphicsMode, counter: number, scan: number): boolean {
  const first = planeAddress(mode.addressing, counter, scan);
  // With panning there is one more column.
  const last = planeAddress(mode.addressing, counter + mode.columns, scan);
  // Addresses that wrap are rare: such a line is drawn each time.
  return last < first || written(memory.pages, first * 4, last * 4 + 4);
}

function fromPlanes(line: Uint8Array, at: number, word: number): number {
  let nibbles =
    SPREAD[word & 0xff] |
    (SPREAD[(word >>> 8) & 0xff] << 1) |
    (SPREAD[(word >>> 16) & 0xff] << 2) |
    (SPREAD[word >>> 24] << 3);
  for (let i = 0; i < 8; i++) {
    line[at + i] = nibbles & 15;
    nibbles >>>= 4;
  }
  return at + 8;
}

/** Planes 0 and 2 have the first four pixels, 1 and 3 the others; the higher planes give the upper bits. */
function fromPairs(line: Uint8Array, at: number, word: number): number {
  for (let i = 0; i < 4; i++) {
    const shift = 6 - 2 * i;
    line[at + i] = ((word >>> shift) & 3) | (((word >>> (16 + shift)) & 3) << 2);
    line[at + 4 + i] = ((word >>> (8 + shift)) & 3) | (((word >>> (24 + shift)) & 3) << 2);
  }
  return at + 8;
}

function fromBytes(line: Uint8Array, at: number, word: number): number {
  line[at] = word & 0xff;
  line[at + 1] = (word >>> 8) & 0xff;
  line[at + 2] = (word >>> 16) & 0xff;
  line[at + 3] = word >>> 24;
  return at + 4;
}
