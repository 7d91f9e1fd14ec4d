import type { DiskBackend } from '../backends/disk.ts';
import type { ByteSink } from '../backends/streams.ts';
import type { Clock, Timer } from './door.ts';

/** Nanoseconds of machine time from a disk request to its end. */
const LATENCY = 100_000;

interface Transfer {
  readonly due: number;
  /** Resolves, when the host is done, with what tells the device. */
  readonly outcome: Promise<() => void>;
}

/**
 * The host's disks and streams for a machine whose time is its own: a disk
 * request ends at a fixed moment of machine time, and where the host is late
 * the machine waits for it. The guest cannot tell how fast the host is.
 */
export class PacedIo {
  readonly #clock: Clock;
  readonly #timer: Timer;
  readonly #transfers: Transfer[] = [];
  readonly #full = new Set<ByteSink>();
  #onRoom: () => void = () => {};
  #due = false;
  #released = false;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#timer = clock.timer('paced-io', () => {
      this.#due = true;
    });
  }

  /** Transfers have come to their moment: nothing may run before `settle`. */
  get due(): boolean {
    return this.#due;
  }

  /** A stream has more than it wants: the machine waits for it, with its time standing still. */
  get full(): boolean {
    return this.#full.size > 0;
  }

  /** Who is told when no stream is full any more. */
  onRoom(listener: () => void): void {
    this.#onRoom = listener;
  }

  /** Ends the transfers that are due, one after the other, each once the host is done with it. */
  async settle(): Promise<void> {
    const now = this.#clock.now();
    for (let [first] = this.#transfers; first && first.due <= now; [first] = this.#transfers) {
      this.#transfers.shift();
      (await first.outcome)();
      // Whatever the device does next is done behind this.
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    this.#due = false;
    const [next] = this.#transfers;
    if (next) this.#timer.arm(next.due);
  }

  /** Machine time is over: from now on transfers end as the host does them. */
  release(): void {
    this.#released = true;
    this.#timer.cancel();
    for (const { outcome } of this.#transfers.splice(0)) void outcome.then((tell) => tell());
  }

  #paced(work: Promise<void>): Promise<void> {
    if (this.#released) return work;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const outcome = work.then(
      () => () => resolve(),
      (error: unknown) => () => reject(error),
    );
    const due = this.#clock.now() + LATENCY;
    this.#transfers.push({ due, outcome });
    if (this.#timer.deadline === undefined && !this.#due) this.#timer.arm(due);
    return promise;
  }

  disk(host: DiskBackend): DiskBackend {
    return {
      size: host.size,
      readOnly: host.readOnly,
      readAt: (offset, target) => this.#paced(host.readAt(offset, target)),
      writeAt: (offset, source) => this.#paced(host.writeAt(offset, source)),
      flush: () => this.#paced(host.flush()),
      discard: (offset, length) => this.#paced(host.discard(offset, length)),
      writeZeroes: (offset, length, mayUnmap) => this.#paced(host.writeZeroes(offset, length, mayUnmap)),
      close: () => host.close(),
    };
  }

  /** A sink that never tells its device to hold. */
  sink(host: ByteSink): ByteSink {
    host.onPressure?.((full) => {
      if (full) this.#full.add(host);
      else if (this.#full.delete(host) && !this.full) this.#onRoom();
    });
    return { write: (bytes) => host.write(bytes) };
  }
}
