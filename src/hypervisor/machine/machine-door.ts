import type { Clock, Door, DoorPayload, DoorPort, Timer } from './door.ts';

/** Where the door gets what it lets in: the host's clock, calendar and entropy. */
export interface HostSource {
  /** Monotonic nanoseconds. */
  monotonic(): number;
  /** Milliseconds since the Unix epoch. */
  calendar(): number;
  random(target: Uint8Array): void;
}

interface Arrival {
  readonly deliver: (payload: DoorPayload) => void;
  readonly payload: DoorPayload;
}

class MachineTimer implements Timer {
  readonly fire: () => void;
  readonly #changed: (deadline?: number) => void;
  #deadline: number | undefined;

  constructor(fire: () => void, changed: (deadline?: number) => void) {
    this.fire = fire;
    this.#changed = changed;
  }

  get deadline(): number | undefined {
    return this.#deadline;
  }

  arm(deadline: number): void {
    this.#deadline = deadline;
    this.#changed(deadline);
  }

  cancel(): void {
    if (this.#deadline === undefined) return;
    this.#deadline = undefined;
    this.#changed();
  }
}

/** Timers that fire in one go at most, so that one that re-arms itself in the past cannot hold the machine. */
const FIRINGS = 256;

/**
 * The door of a running machine. Machine time stands still while it is
 * paused; arrivals wait for `pump`, which the machine calls between slices.
 */
export class MachineDoor implements Door {
  readonly clock: Clock;
  readonly #host: HostSource;
  readonly #timers: MachineTimer[] = [];
  readonly #names = new Set<string>();
  #arrivals: Arrival[] = [];
  #wake: () => void = () => {};
  #armed: (deadline: number) => void = () => {};
  /** Host time at machine time 0, while running. */
  #origin: number;
  /** Machine time while paused. */
  #stopped: number | undefined = 0;
  #next: number | undefined | 'unknown' = 'unknown';
  /** Machine time when the slice under way began, and whom to tell that it has come to a timer. */
  #slice: { readonly began: number; readonly onDue: () => void } | undefined;

  constructor(host: HostSource) {
    this.#host = host;
    this.#origin = host.monotonic();
    this.clock = {
      now: () => this.#now(),
      timer: (name, fire) => {
        this.#claim(`timer ${name}`);
        const timer = new MachineTimer(fire, (deadline) => {
          this.#next = 'unknown';
          if (deadline !== undefined) this.#armed(deadline);
        });
        this.#timers.push(timer);
        return timer;
      },
    };
  }

  #claim(name: string): void {
    if (this.#names.has(name)) throw new Error(`there is a ${name} already`);
    this.#names.add(name);
  }

  /**
   * Within a slice time stands still at the next timer until that is let in:
   * a guest that looks at a clock never sees time go by without what ought to
   * have happened meanwhile, however late the host lets this process run.
   */
  #now(): number {
    const now = this.#real();
    const slice = this.#slice;
    if (!slice) return now;
    const { deadline } = this;
    if (deadline === undefined || now < deadline) return now;
    slice.onDue();
    return Math.max(deadline, slice.began);
  }

  #real(): number {
    return this.#stopped ?? Math.max(0, Math.floor(this.#host.monotonic() - this.#origin));
  }

  wallClock(): number {
    return this.#host.calendar();
  }

  random(target: Uint8Array): void {
    this.#host.random(target);
  }

  port<T extends DoorPayload>(name: string, deliver: (payload: T) => void): DoorPort<T> {
    this.#claim(name);
    // A port gets back just what was posted to it, so the type is its own.
    const entry = deliver as (payload: DoorPayload) => void;
    return {
      post: (payload) => {
        this.#arrivals.push({ deliver: entry, payload });
        this.#wake();
      },
    };
  }

  /** Who is told that something was posted. */
  onArrival(wake: () => void): void {
    this.#wake = wake;
  }

  /** Who is told of each deadline that a timer is given. */
  onArmed(listener: (deadline: number) => void): void {
    this.#armed = listener;
  }

  /** Guest code runs from now on; `onDue` is told, perhaps often, when it looks at a clock and a timer is due. */
  beginSlice(onDue: () => void): void {
    this.#slice = { began: this.#real(), onDue };
  }

  endSlice(): void {
    this.#slice = undefined;
  }

  /** Machine time goes on, from where it stopped. */
  resume(): void {
    if (this.#stopped === undefined) return;
    this.#origin = this.#host.monotonic() - this.#stopped;
    this.#stopped = undefined;
  }

  pause(): void {
    this.#stopped ??= this.#real();
  }

  /** The earliest deadline, or undefined. */
  get deadline(): number | undefined {
    if (this.#next === 'unknown') {
      this.#next = undefined;
      for (const { deadline } of this.#timers) {
        if (deadline !== undefined && (this.#next === undefined || deadline < this.#next))
          this.#next = deadline;
      }
    }
    return this.#next;
  }

  get hasArrivals(): boolean {
    return this.#arrivals.length > 0;
  }

  /** Lets in what has come: arrivals in their order, then the timers that are due, the earliest first. */
  pump(): void {
    if (this.#arrivals.length > 0) {
      const arrived = this.#arrivals;
      this.#arrivals = [];
      for (const { deliver, payload } of arrived) deliver(payload);
    }
    const now = this.#real();
    for (let fired = 0; fired < FIRINGS; fired++) {
      const due = this.deadline;
      if (due === undefined || due > now) return;
      const timer = this.#timers.find(({ deadline }) => deadline === due);
      if (!timer) return;
      timer.cancel();
      timer.fire();
    }
  }
}
