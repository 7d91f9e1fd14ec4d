import type {
  Rect,
  Screen,
  ScreenChange,
  ScreenWatch,
  Surface,
} from '../../../src/hypervisor/backends/screen.ts';

/** Kept apart; more become one that holds them all. */
const MOST_RECTS = 8;

/** A screen without an adapter: a test paints on it. */
export class PaintedScreen implements Screen {
  #surface: Surface;
  readonly #watches = new Set<{ replaced: boolean; rects: Rect[] }>();

  constructor(width: number, height: number) {
    this.#surface = newSurface(width, height);
  }

  get surface(): Surface {
    return this.#surface;
  }

  /** The pixels, rows `surface.stride / 4` apart; whoever changes them says so by `touch`. */
  get pixels(): Uint32Array {
    return new Uint32Array(this.#surface.memory, this.#surface.offset);
  }

  get watched(): boolean {
    return this.#watches.size > 0;
  }

  text(): undefined {
    return undefined;
  }

  watch(): ScreenWatch {
    const state = { replaced: true, rects: [] as Rect[] };
    this.#watches.add(state);
    return {
      update: (): ScreenChange => {
        const { width, height } = this.#surface;
        const change = state.replaced
          ? { surface: this.#surface, replaced: true, rects: [{ x: 0, y: 0, width, height }] }
          : { surface: this.#surface, replaced: false, rects: state.rects };
        state.replaced = false;
        state.rects = [];
        return change;
      },
      close: () => void this.#watches.delete(state),
    };
  }

  resize(width: number, height: number): void {
    this.#surface = newSurface(width, height);
    for (const watch of this.#watches) watch.replaced = true;
  }

  touch(rect: Rect): void {
    for (const watch of this.#watches) {
      if (watch.rects.length < MOST_RECTS) watch.rects.push(rect);
      else watch.rects = [bounds([...watch.rects, rect])];
    }
  }

  /** Sets a rectangle's pixels by their place in it; colours are 0xRRGGBB. */
  paint(rect: Rect, colour: (x: number, y: number) => number): void {
    const { pixels } = this;
    const pitch = this.#surface.stride / 4;
    for (let y = 0; y < rect.height; y++) {
      for (let x = 0; x < rect.width; x++) pixels[(rect.y + y) * pitch + rect.x + x] = colour(x, y);
    }
    this.touch(rect);
  }

  /** Moves all rows up, as a console does. */
  scroll(rows: number): void {
    const { width, height, stride } = this.#surface;
    this.pixels.copyWithin(0, (rows * stride) / 4, (height * stride) / 4);
    this.touch({ x: 0, y: 0, width, height });
  }
}

function bounds(rects: readonly Rect[]): Rect {
  const x = Math.min(...rects.map((rect) => rect.x));
  const y = Math.min(...rects.map((rect) => rect.y));
  const right = Math.max(...rects.map((rect) => rect.x + rect.width));
  const bottom = Math.max(...rects.map((rect) => rect.y + rect.height));
  return { x, y, width: right - x, height: bottom - y };
}

/** With something unused before, beside and behind the pixels, as an adapter's may have. */
function newSurface(width: number, height: number): Surface {
  const stride = 4 * (width + 3);
  const offset = 16;
  return { width, height, stride, offset, memory: new SharedArrayBuffer(offset + stride * height + 12) };
}
