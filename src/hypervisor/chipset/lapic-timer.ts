/**
 * The timer of a local APIC: Intel SDM vol. 3, 11.5.4. Counts are computed
 * from the clock when somebody looks; one machine timer stands for the expiry.
 *
 * Deviations:
 * - Changing between one-shot and periodic keeps the count going; changing to
 *   or from TSC-deadline mode stops the timer and clears both counts.
 * - A change of the divide configuration takes effect from the current count.
 * - Periodic expiries come at most every MIN_PERIOD_NS; missed ones merge.
 */
import type { Clock, Timer } from '../machine/door.ts';
import type { TickScale } from './ticks.ts';
import { MIN_PERIOD_NS, tickScale } from './ticks.ts';

/** The time stamp counter as the timer needs it: the guest's TSC, offset included. */
export interface TscClock {
  /** Machine time, in nanoseconds, at which the TSC reaches `ticks`. May be in the past or beyond any clock. */
  ticksToNs(ticks: bigint): number;
  /** The TSC at machine time `ns`. */
  nsToTicks(ns: number): bigint;
}

/** LVT timer bits 18-17. */
export const TimerMode = { oneShot: 0, periodic: 1, tscDeadline: 2 } as const;

export type ApicTimerState = {
  readonly mode: number;
  readonly masked: boolean;
  readonly initial: number;
  readonly divide: number;
  readonly running: boolean;
  readonly from: number;
  readonly start: number;
  readonly deadline: bigint;
};

export interface ApicTimerOptions {
  readonly clock: Clock;
  /** Of the machine timer; unique in a machine. */
  readonly name: string;
  /** Frequency of the counter before the divider, in hertz. */
  readonly busHz: number;
  readonly tsc: TscClock;
  /** Called at each expiry, masked or not. */
  readonly expired: () => void;
}

export class ApicTimer {
  readonly #clock: Clock;
  readonly #timer: Timer;
  readonly #scale: TickScale;
  readonly #tsc: TscClock;
  readonly #expired: () => void;
  #mode: number = TimerMode.oneShot;
  #masked = true;
  #initial = 0;
  /** Divide configuration register as written. */
  #divide = 0;
  #running = false;
  /** The count at `start`, which is in ticks of the undivided bus clock. */
  #from = 0;
  #start = 0;
  #deadline = 0n;

  constructor(options: ApicTimerOptions) {
    this.#clock = options.clock;
    this.#scale = tickScale(options.busHz);
    this.#tsc = options.tsc;
    this.#expired = options.expired;
    this.#timer = options.clock.timer(options.name, () => {
      this.settle();
      this.#arm(this.#clock.now() + MIN_PERIOD_NS);
    });
  }

  /** What the LVT timer entry says. Call `settle` before the entry changes. */
  configure(mode: number, masked: boolean): void {
    if (mode !== this.#mode && (mode > TimerMode.periodic || this.#mode > TimerMode.periodic)) {
      this.#initial = 0;
      this.#running = false;
      this.#deadline = 0n;
    }
    this.#mode = mode;
    this.#masked = masked;
    this.#arm(0);
  }

  get initial(): number {
    return this.#initial;
  }

  /** Initial count register, 32 bits; writing starts the countdown, 0 stops it. Ignored in TSC-deadline mode. */
  set initial(count: number) {
    if (this.#mode > TimerMode.periodic) return;
    this.settle();
    this.#initial = count;
    this.#from = count;
    this.#start = this.#busNow();
    this.#running = count !== 0;
    this.#arm(0);
  }

  /** Current count register. */
  get current(): number {
    this.settle();
    return this.#running ? this.#from - this.#elapsed() : 0;
  }

  get divide(): number {
    return this.#divide;
  }

  set divide(value: number) {
    const current = this.current;
    this.#divide = value & 0x0b;
    if (!this.#running) return;
    this.#from = current;
    this.#start = this.#busNow();
    this.#arm(0);
  }

  /** IA32_TSC_DEADLINE: 0 when disarmed. */
  get deadline(): bigint {
    this.settle();
    return this.#deadline;
  }

  /** Ignored outside TSC-deadline mode. */
  set deadline(value: bigint) {
    if (this.#mode !== TimerMode.tscDeadline) return;
    this.#deadline = value;
    this.settle();
    this.#arm(0);
  }

  /** Notices an expiry that is due. */
  settle(): void {
    if (this.#mode === TimerMode.tscDeadline) {
      if (this.#deadline === 0n || this.#tsc.nsToTicks(this.#clock.now()) < this.#deadline) return;
      this.#deadline = 0n;
      this.#expired();
      return;
    }
    if (!this.#running) return;
    const elapsed = this.#elapsed();
    if (elapsed < this.#from) return;
    if (this.#mode === TimerMode.periodic) {
      const periods = Math.floor((elapsed - this.#from) / this.#initial);
      this.#start += (this.#from + periods * this.#initial) * this.#divisor();
      this.#from = this.#initial;
    } else {
      this.#running = false;
    }
    this.#expired();
  }

  /** To be called when the relation of TSC and machine time changed (IA32_TSC or IA32_TSC_ADJUST written). */
  tscChanged(): void {
    this.settle();
    this.#arm(0);
  }

  reset(): void {
    this.#mode = TimerMode.oneShot;
    this.#masked = true;
    this.#initial = 0;
    this.#divide = 0;
    this.#running = false;
    this.#deadline = 0n;
    this.#timer.cancel();
  }

  save(): ApicTimerState {
    return {
      mode: this.#mode,
      masked: this.#masked,
      initial: this.#initial,
      divide: this.#divide,
      running: this.#running,
      from: this.#from,
      start: this.#start,
      deadline: this.#deadline,
    };
  }

  restore(state: ApicTimerState): void {
    this.#mode = state.mode;
    this.#masked = state.masked;
    this.#initial = state.initial;
    this.#divide = state.divide;
    this.#running = state.running;
    this.#from = state.from;
    this.#start = state.start;
    this.#deadline = state.deadline;
    this.#arm(0);
  }

  #busNow(): number {
    return this.#scale.toTicks(this.#clock.now());
  }

  /** Divide configuration bits 3, 1, 0: 000 = 2 … 110 = 128, 111 = 1. */
  #divisor(): number {
    const code = (this.#divide & 3) | ((this.#divide & 8) >> 1);
    return 1 << ((code + 1) & 7);
  }

  #elapsed(): number {
    return Math.floor((this.#busNow() - this.#start) / this.#divisor());
  }

  #arm(notBefore: number): void {
    // While masked nobody hears the expiry: it is found when the registers are read.
    if (this.#masked) {
      this.#timer.cancel();
    } else if (this.#mode === TimerMode.tscDeadline) {
      if (this.#deadline === 0n) this.#timer.cancel();
      else this.#armDeadline();
    } else if (this.#running && this.#mode <= TimerMode.periodic) {
      const end = this.#scale.toNs(this.#start + this.#from * this.#divisor());
      this.#timer.arm(Math.max(end, this.#mode === TimerMode.periodic ? notBefore : 0));
    } else {
      this.#timer.cancel();
    }
  }

  #armDeadline(): void {
    const ns = Math.ceil(this.#tsc.ticksToNs(this.#deadline));
    // Beyond the exact range of a number lie 104 days of machine time: look again then.
    const bounded = Math.min(ns, Number.MAX_SAFE_INTEGER);
    this.#timer.arm(Math.max(bounded, this.#clock.now() + 1));
  }
}
