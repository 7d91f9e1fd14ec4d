interface Held {
  readonly first: number;
  readonly end: number;
  readonly done: Promise<void>;
}

/** Locks over ranges of numbers; whoever comes later waits for all earlier ones that overlap. */
export class RangeLocks {
  readonly #held = new Set<Held>();

  /** Waits for `[first, end)`; the caller calls what it gets when done. */
  async acquire(first: number, end: number): Promise<() => void> {
    const before: Promise<void>[] = [];
    for (const held of this.#held) if (held.first < end && first < held.end) before.push(held.done);
    const { promise: done, resolve } = Promise.withResolvers<void>();
    const mine: Held = { first, end, done };
    this.#held.add(mine);
    if (before.length > 0) await Promise.all(before);
    return () => {
      this.#held.delete(mine);
      resolve();
    };
  }
}

/** Runs one piece of work at a time, in order. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    return result;
  }
}

/**
 * Counts requests in flight by epoch, to tell when nobody can still be using
 * what was in use in an earlier one.
 */
export class InFlight {
  #epoch = 0;
  /** Oldest epoch first, since epochs are entered in order. */
  readonly #counts = new Map<number, number>();

  begin(): number {
    this.#counts.set(this.#epoch, (this.#counts.get(this.#epoch) ?? 0) + 1);
    return this.#epoch;
  }

  end(epoch: number): void {
    const left = (this.#counts.get(epoch) ?? 1) - 1;
    if (left > 0) this.#counts.set(epoch, left);
    else this.#counts.delete(epoch);
  }

  /** Begins a new epoch. @returns the one that ended */
  turn(): number {
    return this.#epoch++;
  }

  /** Whether no request that began in `epoch` or before is still in flight. */
  over(epoch: number): boolean {
    for (const oldest of this.#counts.keys()) return oldest > epoch;
    return true;
  }
}

/** Waits for pieces of work that run side by side; all of them end before the first error is passed on. */
export class Together {
  readonly #most: number;
  #works: Promise<unknown>[] = [];

  /** @param most pieces at a time */
  constructor(most = 16) {
    this.#most = most;
  }

  /** Adds a piece; resolves at once while there is room. */
  async add(work: Promise<unknown>): Promise<void> {
    // Heard in `end`; until then a failure must not count as one that nobody hears.
    work.catch(() => {});
    this.#works.push(work);
    if (this.#works.length >= this.#most) await this.end();
  }

  /** @throws what the first of the pieces that failed threw */
  async end(): Promise<void> {
    const works = this.#works;
    this.#works = [];
    for (const result of await Promise.allSettled(works))
      if (result.status === 'rejected') throw result.reason;
  }
}
