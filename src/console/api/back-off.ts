/** The first and the longest wait between two tries, in milliseconds. */
const FIRST_MS = 400;
const MOST_MS = 10_000;

/** Waits between tries that grow, with some chance so that many pages do not come back at once. */
export class BackOff {
  readonly #random: () => number;
  #tries = 0;

  constructor(random: () => number = Math.random) {
    this.#random = random;
  }

  /** How long to wait before the next try: at least half of what this try is allowed. Milliseconds. */
  next(): number {
    const most = Math.min(MOST_MS, FIRST_MS * 2 ** this.#tries);
    this.#tries = Math.min(this.#tries + 1, 16);
    return Math.round(most / 2 + (most / 2) * this.#random());
  }

  /** It worked: begin anew. */
  reset(): void {
    this.#tries = 0;
  }
}
