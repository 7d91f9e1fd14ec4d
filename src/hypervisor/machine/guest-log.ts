import type { GuestLog } from './log.ts';

/** Lines that guests may cause a second. */
const LINES_PER_SECOND = 5;

/** Where log lines go. */
export type LogSink = (line: {
  readonly message: string;
  readonly details?: Record<string, unknown>;
  readonly guest: boolean;
}) => void;

/** Passes a guest's lines on at a bounded rate; tells how many it held back. */
export class RateLimitedLog implements GuestLog {
  readonly #sink: LogSink;
  readonly #now: () => number;
  #window = Number.NEGATIVE_INFINITY;
  #lines = 0;
  #held = 0;

  /** `now` in milliseconds. */
  constructor(sink: LogSink, now: () => number) {
    this.#sink = sink;
    this.#now = now;
  }

  guest(message: string, details?: Record<string, unknown>): void {
    const now = this.#now();
    if (now - this.#window >= 1000) {
      if (this.#held > 0) this.#sink({ message: `${this.#held} lines of the guest held back`, guest: true });
      this.#window = now;
      this.#lines = 0;
      this.#held = 0;
    }
    this.#lines += 1;
    if (this.#lines <= LINES_PER_SECOND)
      this.#sink({ message, guest: true, ...(details ? { details } : {}) });
    else this.#held += 1;
  }

  host(message: string, details?: Record<string, unknown>): void {
    this.#sink({ message, guest: false, ...(details ? { details } : {}) });
  }
}
