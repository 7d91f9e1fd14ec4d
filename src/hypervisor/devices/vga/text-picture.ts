import { type Part, planeAddress, same, type TextMode } from './mode.ts';
import { type Canvas, type VideoMemory, written } from './pixels.ts';

const GLYPHS = 256;
/** Lines of a glyph that memory has room for. */
const GLYPH_LINES = 32;
const FONT_PLANE = 2;
const ATTRIBUTE_BLINK = 0x80;
const ATTRIBUTE_FONT = 0x08;
const UNDERLINED = 1;
const JOINED = { first: 0xc0, last: 0xdf } as const;

/** Bits of what a cell was last drawn as, above its character and attribute. */
const WITH_CURSOR = 0x1_0000;
const HIDDEN = 0x2_0000;
/** No cell looks like this. */
const UNKNOWN = 0xffff_ffff;

/** Frames: a cursor is seen for 8 and not for the next 8, blinking text for 16. */
const CURSOR_FRAMES = 8;
const TEXT_FRAMES = 16;

/** What of blinking is seen in a frame. */
interface Phase {
  readonly cursor: boolean;
  readonly text: boolean;
}

export function phaseOf(frame: number): Phase {
  return {
    cursor: Math.floor(frame / CURSOR_FRAMES) % 2 === 0,
    text: Math.floor(frame / TEXT_FRAMES) % 2 === 0,
  };
}

/** Where a part's cells lie on the screen. */
type CellGrid = Pick<TextMode, 'columns' | 'cellWidth' | 'dotRepeat' | 'lineRepeat' | 'rowLines'>;

/** Draws text modes: keeps what each cell was drawn as, and draws those that are another now. */
export class TextPicture {
  #cells = new Uint32Array(0);
  /** The glyphs of both fonts as last drawn, one after the other. */
  readonly #glyphs = new Uint8Array(2 * GLYPHS * GLYPH_LINES);
  #mode: TextMode | undefined;
  #phase: Phase = { cursor: true, text: true };

  /**
   * `colours`: 16 pixels. `everything`: the surface, or the colours, are
   * others than at the last call.
   */
  draw(
    canvas: Canvas,
    memory: VideoMemory,
    mode: TextMode,
    colours: Uint32Array,
    frame: number,
    everything: boolean,
  ): void {
    const phase = phaseOf(frame);
    const before = this.#mode;
    const moved = before === undefined || !same({ ...before, cursor: 0 }, { ...mode, cursor: 0 });
    const cursorMoved = !same(before?.cursor, mode.cursor);
    const looked = everything || moved || memoryWritten(memory, mode);
    if (!looked && !cursorMoved && same(phase, this.#phase)) return;
    if (everything || !before || !sameGrid(before, mode)) this.#forget(mode);
    if (looked && this.#readFonts(memory, mode)) this.#cells.fill(UNKNOWN);
    // A cursor of another shape where the old one was is no other cell.
    if (cursorMoved) this.#forgetCursor();
    this.#mode = mode;
    this.#phase = phase;
    let first = 0;
    for (const part of mode.parts) first = this.#drawPart(canvas, memory, mode, part, colours, first);
  }

  #forget(mode: TextMode): void {
    let cells = 0;
    for (const part of mode.parts) cells += rowsOf(mode, part) * (mode.columns + 1);
    if (this.#cells.length !== cells) this.#cells = new Uint32Array(cells);
    this.#cells.fill(UNKNOWN);
  }

  #forgetCursor(): void {
    const cells = this.#cells;
    for (let i = 0; i < cells.length; i++) if (cells[i] & WITH_CURSOR) cells[i] = UNKNOWN;
  }

  /** Brings the glyphs up to date; whether any has changed. */
  #readFonts(memory: VideoMemory, mode: TextMode): boolean {
    const glyphs = this.#glyphs;
    const mask = memory.words.length * 4 - 1;
    let changed = false;
    let to = 0;
    for (const font of mode.fonts) {
      let from = font * 4 + FONT_PLANE;
      for (const end = to + GLYPHS * GLYPH_LINES; to < end; to++, from += 4) {
        const bits = memory.bytes[from & mask];
        if (glyphs[to] === bits) continue;
        glyphs[to] = bits;
        changed = true;
      }
    }
    return changed;
  }

  /** Draws the cells of a part, the first of which is number `first`; the number behind its last. */
  #drawPart(
    canvas: Canvas,
    memory: VideoMemory,
    mode: TextMode,
    part: Part,
    colours: Uint32Array,
    first: number,
  ): number {
    const { addressing, columns } = mode;
    const cells = this.#cells;
    const rows = rowsOf(mode, part);
    const shown = columns + (part.pan > 0 ? 1 : 0);
    const cursor = this.#phase.cursor && mode.cursor ? mode.cursor.at : -1;
    const hides = mode.blink && !this.#phase.text ? ATTRIBUTE_BLINK : 0;
    for (let row = 0; row < rows; row++) {
      const counter = part.start + row * mode.rowStep;
      const cell = first + row * (columns + 1);
      for (let column = 0; column < shown; column++) {
        const address = planeAddress(addressing, counter + column, 0);
        let look = memory.words[address] & 0xffff;
        if (((counter + column) & addressing.mask) === cursor) look |= WITH_CURSOR;
        if ((look >> 8) & hides) look |= HIDDEN;
        if (cells[cell + column] === look) continue;
        cells[cell + column] = look;
        this.#drawCell(canvas, mode, part, colours, row, column, look);
      }
    }
    return first + rows * (columns + 1);
  }

  #drawCell(
    canvas: Canvas,
    mode: TextMode,
    part: Part,
    colours: Uint32Array,
    row: number,
    column: number,
    look: number,
  ): void {
    const { surface, damage } = canvas;
    const { cellWidth, dotRepeat, lineRepeat, rowLines } = mode;
    const character = look & 0xff;
    const attribute = (look >> 8) & 0xff;
    const background = colours[(attribute >> 4) & (mode.blink ? 7 : 15)];
    const foreground = look & HIDDEN ? background : colours[attribute & 15];
    const font = attribute & ATTRIBUTE_FONT ? GLYPHS * GLYPH_LINES : 0;
    const joined = mode.joinNinth && character >= JOINED.first && character <= JOINED.last;
    const underline = (attribute & 7) === UNDERLINED ? mode.underline : -1;
    const left = column * cellWidth * dotRepeat - part.pan * dotRepeat;
    const from = Math.max(left, 0);
    const to = Math.min(left + cellWidth * dotRepeat, surface.width);
    const top = part.top + (row * rowLines - startLine(mode, part)) * lineRepeat;
    const firstLine = Math.max(top, part.top);
    const lastLine = Math.min(top + rowLines * lineRepeat, part.bottom);
    for (let y = firstLine; y < lastLine; y++) {
      const line = lineRepeat === 2 ? (y - top) >> 1 : y - top;
      // Nine dots: the ninth is the lowest bit.
      let bits = this.#glyphs[font + character * GLYPH_LINES + line] << 1;
      if (joined) bits |= (bits >> 1) & 1;
      const cursor =
        look & WITH_CURSOR && mode.cursor && line >= mode.cursor.first && line <= mode.cursor.last;
      if (cursor || line === underline) bits = 0x1ff;
      const at = y * surface.width;
      for (let x = from; x < to; x++) {
        const dot = dotRepeat === 2 ? (x - left) >> 1 : x - left;
        surface.pixels[at + x] = bits & (0x100 >> dot) ? foreground : background;
      }
      damage.add(y, from, to);
    }
  }
}

/** The scan line of its first row at which a part begins. */
function startLine(mode: CellGrid, part: Part): number {
  return Math.min(part.rowScan, mode.rowLines - 1);
}

/** Rows of cells that a part shows, in part or whole. */
export function rowsOf(mode: CellGrid, part: Part): number {
  const lines = Math.ceil((part.bottom - part.top) / mode.lineRepeat) + startLine(mode, part);
  return Math.ceil(lines / mode.rowLines);
}

/** Whether cells that look the same are drawn the same, and at the same places. */
function sameGrid(a: TextMode, b: TextMode): boolean {
  const grid = (mode: TextMode): unknown => ({
    ...mode,
    cursor: 0,
    fonts: 0,
    rowStep: 0,
    addressing: 0,
    parts: mode.parts.map((part) => ({ ...part, start: 0 })),
  });
  return same(grid(a), grid(b));
}

/** Whether memory that the mode shows was written: its cells or its fonts. */
function memoryWritten(memory: VideoMemory, mode: TextMode): boolean {
  for (const font of mode.fonts) {
    if (written(memory.pages, font * 4, (font + GLYPHS * GLYPH_LINES) * 4)) return true;
  }
  return mode.parts.some((part) => {
    const last = part.start + rowsOf(mode, part) * mode.rowStep + mode.columns;
    const from = planeAddress(mode.addressing, part.start, 0);
    const to = planeAddress(mode.addressing, last, 0);
    return to < from || written(memory.pages, from * 4, to * 4 + 4);
  });
}
