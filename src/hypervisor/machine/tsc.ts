import type { Clock } from './door.ts';
import type { Stateful } from './state.ts';

export type TscState = { readonly offset: bigint };

/** The time-stamp counter: machine time at a fixed rate, plus what the guest has set. */
export class Tsc implements Stateful<TscState> {
  readonly stateVersion = 1;
  /** Ticks a second. */
  readonly hz: number;
  readonly #clock: Clock;
  #offset = 0n;
  #onOffset: (offset: bigint) => void = () => {};

  constructor(clock: Clock, hz: number) {
    if (!Number.isInteger(hz) || hz < 1e6 || hz > 1e11) throw new RangeError(`a TSC of ${hz} Hz`);
    this.#clock = clock;
    this.hz = hz;
  }

  /** Tells the offset now and whenever it changes: the counter is that and `elapsed`. */
  onOffset(listener: (offset: bigint) => void): void {
    this.#onOffset = listener;
    listener(this.#offset);
  }

  /** Ticks since power-on as a number; undefined where the rate is not that of machine time. */
  get elapsed(): (() => number) | undefined {
    return this.hz === 1e9 ? () => this.#clock.now() : undefined;
  }

  now(): bigint {
    return this.at(this.#clock.now());
  }

  /** The counter at a moment of machine time, in nanoseconds. */
  at(nanoseconds: number): bigint {
    return BigInt.asUintN(64, this.nsToTicks(nanoseconds));
  }

  set(value: bigint): void {
    this.#offset = value - this.#elapsed(this.#clock.now());
    this.#onOffset(this.#offset);
  }

  nsToTicks(nanoseconds: number): bigint {
    return this.#elapsed(nanoseconds) + this.#offset;
  }

  /** The moment at which the counter reaches `ticks`; in the past when it has. */
  ticksToNs(ticks: bigint): number {
    const elapsed = BigInt.asIntN(64, ticks - this.#offset);
    return this.hz === 1e9 ? Number(elapsed) : Math.ceil((Number(elapsed) * 1e9) / this.hz);
  }

  #elapsed(nanoseconds: number): bigint {
    const whole = BigInt(nanoseconds);
    return this.hz === 1e9 ? whole : (whole * BigInt(this.hz)) / 1_000_000_000n;
  }

  /** What a guest multiplies ticks by to get nanoseconds: `(ticks << shift) * multiplier >> 32`; a negative shift goes right. */
  scale(): { multiplier: number; shift: number } {
    let shift = 0;
    let ratio = 1e9 / this.hz;
    while (ratio >= 1) {
      ratio /= 2;
      shift += 1;
    }
    while (ratio < 0.5) {
      ratio *= 2;
      shift -= 1;
    }
    return { multiplier: Math.floor(ratio * 2 ** 32), shift };
  }

  save(): TscState {
    return { offset: this.#offset };
  }

  restore(state: TscState): void {
    this.#offset = state.offset;
    this.#onOffset(this.#offset);
  }
}
