import type { Screen, ScreenChange, ScreenWatch, Surface } from '../../src/hypervisor/backends/screen.ts';

/** What is shown before there is a machine. */
const BLANK = { width: 720, height: 400 } as const;

function blankSurface(): Surface {
  const { width, height } = BLANK;
  return { width, height, stride: 4 * width, memory: new SharedArrayBuffer(4 * width * height), offset: 0 };
}

/**
 * The screen of a VM over all its machines: a reset puts a new one in the old
 * one's place, and whoever watches goes on watching.
 */
export class SwitchedScreen implements Screen {
  #screen: Screen | undefined;
  readonly #watches = new Set<SwitchedWatch>();

  /** Shows another machine's screen from now on; without one the last picture stays. */
  show(screen: Screen | undefined): void {
    this.#screen = screen;
    for (const watch of this.#watches) watch.follow(screen);
  }

  watch(): ScreenWatch {
    const watch = new SwitchedWatch((closed) => this.#watches.delete(closed));
    this.#watches.add(watch);
    watch.follow(this.#screen);
    return watch;
  }

  text(): readonly string[] | undefined {
    return this.#screen?.text();
  }
}

class SwitchedWatch implements ScreenWatch {
  readonly #onClose: (watch: SwitchedWatch) => void;
  #inner: ScreenWatch | undefined;
  #switched = true;
  #last: Surface | undefined;

  constructor(onClose: (watch: SwitchedWatch) => void) {
    this.#onClose = onClose;
  }

  follow(screen: Screen | undefined): void {
    this.#inner?.close();
    this.#inner = screen?.watch();
    this.#switched = true;
  }

  update(): ScreenChange {
    const switched = this.#switched;
    this.#switched = false;
    if (this.#inner === undefined) {
      const isNew = this.#last === undefined;
      this.#last ??= blankSurface();
      return { surface: this.#last, replaced: isNew, rects: isNew ? [whole(this.#last)] : [] };
    }
    const change = this.#inner.update();
    this.#last = change.surface;
    return switched ? { surface: change.surface, replaced: true, rects: [whole(change.surface)] } : change;
  }

  close(): void {
    this.#inner?.close();
    this.#inner = undefined;
    this.#onClose(this);
  }
}

function whole({ width, height }: Surface): ScreenChange['rects'][number] {
  return { x: 0, y: 0, width, height };
}
