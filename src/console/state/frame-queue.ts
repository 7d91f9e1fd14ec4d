/** Collects what arrives and hands it on once a frame, however much it is. */
export class FrameQueue<T> {
  readonly #apply: (items: readonly T[]) => void;
  readonly #schedule: (run: () => void) => void;
  #items: T[] = [];
  #scheduled = false;
  #held = false;

  /** @param schedule runs its argument once, a little later, such as requestAnimationFrame */
  constructor(apply: (items: readonly T[]) => void, schedule: (run: () => void) => void) {
    this.#apply = apply;
    this.#schedule = schedule;
  }

  push(item: T): void {
    this.#items.push(item);
    this.#arrange();
  }

  /** Keeps everything until `release`: while what it changes is being loaded. */
  hold(): void {
    this.#held = true;
  }

  release(): void {
    this.#held = false;
    if (this.#items.length > 0) this.#arrange();
  }

  #arrange(): void {
    if (this.#scheduled || this.#held) return;
    this.#scheduled = true;
    this.#schedule(() => {
      this.#scheduled = false;
      if (this.#held) return;
      const items = this.#items;
      this.#items = [];
      if (items.length > 0) this.#apply(items);
    });
  }
}

/** The next frame; a page that nobody sees has none, and gets half a second. */
export function nextFrame(run: () => void): void {
  if (document.hidden) setTimeout(run, 500);
  else requestAnimationFrame(run);
}
