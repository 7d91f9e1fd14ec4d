import type { Rect } from '../backends/screen.ts';
import type { Scroll } from './scroll.ts';
import type { Difference } from './shadow.ts';
import { TILE, TileSet } from './tile-set.ts';

/** More copies than this wait for no viewer: what they would bring is sent as pixels. */
const MOST_COPIES = 4;

/**
 * What one viewer does not have yet of the shadow. Always true: once the copies are done at the viewer, in their
 * order, every tile that is not in the set is there as it is in the shadow.
 */
export class Missing {
  readonly #width: number;
  readonly #height: number;
  readonly #tiles: TileSet;
  #copies: Scroll[] = [];

  /** Of a picture of that size, everything. */
  constructor(width: number, height: number) {
    this.#width = width;
    this.#height = height;
    this.#tiles = new TileSet(width, height);
    this.#tiles.addRect({ x: 0, y: 0, width, height });
  }

  get nothing(): boolean {
    return this.#copies.length === 0 && this.#tiles.empty;
  }

  /** Takes in a change of the shadow that is no change of its size. */
  add({ changed, scroll }: Difference, canCopy: boolean): void {
    if (
      scroll === undefined ||
      !canCopy ||
      this.#copies.length >= MOST_COPIES ||
      !this.#isWorthCopying(scroll)
    ) {
      this.#tiles.addAll(changed);
      return;
    }
    this.#copies.push({ to: scroll.to, dy: scroll.dy });
    this.#tiles.scroll(scroll.to, scroll.dy);
    this.#tiles.addAll(scroll.rest);
  }

  /** The viewer may have lost what it had there. */
  forget(area: Rect): void {
    this.#dropCopies();
    this.#tiles.addRect(area);
  }

  /** Whether there is something to send for the area. */
  in(area: Rect): boolean {
    return this.#tiles.meets(area) || this.#copies.length > 0;
  }

  /**
   * What to send for the area, which counts as sent: copies first, in order.
   * @param size of the viewer's picture: what is outside is nobody's, what is outside the area alone may come too
   */
  take(
    area: Rect,
    size: { readonly width: number; readonly height: number },
  ): { readonly copies: readonly Scroll[]; readonly rects: readonly Rect[] } {
    const whole = area.x === 0 && area.y === 0 && area.width >= this.#width && area.height >= this.#height;
    if (!whole) this.#dropCopies();
    const copies = this.#copies;
    this.#copies = [];
    const rects = this.#tiles.takeRects(area).map((rect) => {
      const { x, y } = rect;
      return {
        x,
        y,
        width: Math.min(rect.width, size.width - x),
        height: Math.min(rect.height, size.height - y),
      };
    });
    return { copies, rects: rects.filter(({ width, height }) => width > 0 && height > 0) };
  }

  /** A copy moves what the viewer has: that is worth it if it has most of it. */
  #isWorthCopying({ to, dy }: Scroll): boolean {
    const area = to.width * to.height;
    return 2 * TILE * TILE * this.#tiles.countIn({ ...to, y: to.y + dy }) < area;
  }

  #dropCopies(): void {
    for (const { to } of this.#copies) this.#tiles.addRect(to);
    this.#copies = [];
  }
}
