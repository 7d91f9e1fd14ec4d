import type { Rect } from '../backends/screen.ts';

/** Bits of a tile's side: tiles have 16 × 16 pixels. */
const TILE_BITS = 4;
export const TILE = 1 << TILE_BITS;

/** Some of the tiles of a picture; those at its right and lower edge may be smaller. */
export class TileSet {
  /** Of the picture, in pixels. */
  readonly width: number;
  readonly height: number;
  readonly #columns: number;
  readonly #marks: Uint8Array;

  constructor(width: number, height: number) {
    this.width = width;
    this.height = height;
    this.#columns = (width + TILE - 1) >> TILE_BITS;
    this.#marks = new Uint8Array(this.#columns * ((height + TILE - 1) >> TILE_BITS));
  }

  /** Tiles in it. */
  get size(): number {
    let size = 0;
    for (const mark of this.#marks) size += mark;
    return size;
  }

  /** Tiles of the whole picture. */
  get tiles(): number {
    return this.#marks.length;
  }

  get empty(): boolean {
    return this.#marks.indexOf(1) < 0;
  }

  /** Adds the tile with the pixel `x`, `y`. */
  addAt(x: number, y: number): void {
    this.#marks[(y >> TILE_BITS) * this.#columns + (x >> TILE_BITS)] = 1;
  }

  /** Whether the tile with the pixel `x`, `y` is in it. */
  hasAt(x: number, y: number): boolean {
    return this.#marks[(y >> TILE_BITS) * this.#columns + (x >> TILE_BITS)] === 1;
  }

  /** Adds all tiles that have a pixel of the rectangle. */
  addRect(rect: Rect): void {
    this.#eachRow(rect, (from, to) => void this.#marks.fill(1, from, to));
  }

  /** Whether any tile that has a pixel of the rectangle is in it. */
  meets(rect: Rect): boolean {
    let found = false;
    this.#eachRow(rect, (from, to) => {
      for (let i = from; i < to && !found; i++) found = this.#marks[i] === 1;
    });
    return found;
  }

  /** Adds the tiles of another set of the same picture. */
  addAll(other: TileSet): void {
    for (let i = 0; i < this.#marks.length; i++) this.#marks[i] |= other.#marks[i];
  }

  /**
   * The tiles have moved with their pixels: what is in `to` came from `dy` rows below. A tile of which some may be in
   * the set stays in it.
   */
  scroll(to: Rect, dy: number): void {
    const before = new TileSet(this.width, this.height);
    before.addAll(this);
    this.#eachRow(to, (from, end, y) => {
      const top = Math.max(y, to.y);
      const bottom = Math.min(y + TILE, to.y + to.height);
      const wholeRows = top === y && bottom === Math.min(y + TILE, this.height);
      const rowStart = (y >> TILE_BITS) * this.#columns;
      for (let i = from; i < end; i++) {
        const x = (i - rowStart) << TILE_BITS;
        const left = Math.max(x, to.x);
        const right = Math.min(x + TILE, to.x + to.width);
        const whole = wholeRows && left === x && right === Math.min(x + TILE, this.width);
        const source = { x: left, y: top + dy, width: right - left, height: bottom - top };
        if (before.meets(source)) this.#marks[i] = 1;
        else if (whole) this.#marks[i] = 0;
      }
    });
  }

  /** Tiles in it that have a pixel of the rectangle. */
  countIn(rect: Rect): number {
    let count = 0;
    this.#eachRow(rect, (from, to) => {
      for (let i = from; i < to; i++) count += this.#marks[i];
    });
    return count;
  }

  /**
   * Takes the tiles within a rectangle out of the set and says where they are, in few rectangles that do not
   * overlap, cut to the picture: runs of tiles in a row, joined with equal ones below.
   */
  takeRects(within: Rect): Rect[] {
    const done: Rect[] = [];
    let open: Rect[] = [];
    this.#eachRow(within, (from, to, y) => {
      const runs = this.#takeRuns(from, to, y);
      const next = runs.map((run) => {
        const above = open.find((rect) => rect.x === run.x && rect.width === run.width);
        return above === undefined ? run : { ...above, height: above.height + run.height };
      });
      for (const rect of open) {
        if (!next.some((run) => run.x === rect.x && run.y === rect.y && run.width === rect.width))
          done.push(rect);
      }
      open = next;
    });
    return [...done, ...open];
  }

  /** The runs of tiles among those from index `from` on, all in the row of tiles that begins at `y`; taken out. */
  #takeRuns(from: number, to: number, y: number): Rect[] {
    const runs: Rect[] = [];
    const rowStart = (y >> TILE_BITS) * this.#columns;
    for (let i = from; i < to; i++) {
      if (this.#marks[i] === 0) continue;
      let end = i;
      while (end < to && this.#marks[end] === 1) this.#marks[end++] = 0;
      const x = (i - rowStart) << TILE_BITS;
      const width = Math.min((end - rowStart) << TILE_BITS, this.width) - x;
      runs.push({ x, y, width, height: Math.min(TILE, this.height - y) });
      i = end;
    }
    return runs;
  }

  /** Calls with indices of the tiles that the rectangle touches, for each row of tiles, and where that row begins. */
  #eachRow(rect: Rect, visit: (from: number, to: number, y: number) => void): void {
    const left = Math.max(rect.x, 0);
    const right = Math.min(rect.x + rect.width, this.width);
    const bottom = Math.min(rect.y + rect.height, this.height);
    if (left >= right) return;
    for (let y = Math.max(rect.y, 0) & -TILE; y < bottom; y += TILE) {
      const row = (y >> TILE_BITS) * this.#columns;
      visit(row + (left >> TILE_BITS), row + ((right - 1) >> TILE_BITS) + 1, y);
    }
  }
}
