import { createHash } from 'node:crypto';
import type { HostSource } from './machine-door.ts';

/** What the calendar shows at power-on: 1 January 2026, 00:00 UTC. Milliseconds since the Unix epoch. */
const EPOCH = Date.UTC(2026, 0, 1);
/** Nanoseconds of an instruction. */
export const INSTRUCTION_NS = { least: 1, most: 1000 } as const;

/**
 * A world without a host: time comes from the instructions that the processor
 * has run, the calendar begins on a fixed day, and random numbers are the same
 * ones in every run. They are no secret: this is for finding faults, not for
 * guests that need entropy.
 */
export class InstructionClock implements HostSource {
  /** Of one tick of the processor. */
  readonly nanoseconds: number;
  readonly #ticks: () => number;
  #skipped = 0;
  #drawn = 0;

  /** `ticks` as CpuEngine has them. */
  constructor(nanoseconds: number, ticks: () => number) {
    const { least, most } = INSTRUCTION_NS;
    if (!Number.isInteger(nanoseconds) || nanoseconds < least || nanoseconds > most)
      throw new RangeError(`an instruction takes ${least} to ${most} ns, not ${nanoseconds}`);
    this.nanoseconds = nanoseconds;
    this.#ticks = ticks;
  }

  monotonic(): number {
    return this.#ticks() * this.nanoseconds + this.#skipped;
  }

  calendar(): number {
    return EPOCH + Math.floor(this.monotonic() / 1e6);
  }

  /** SHA-256 of a count. */
  random(target: Uint8Array): void {
    for (let at = 0; at < target.length; at += 32) {
      const block = createHash('sha256')
        .update(`teremok ${this.#drawn++}`)
        .digest();
      target.set(block.subarray(0, target.length - at), at);
    }
  }

  /** The processor waits: time goes on by so many nanoseconds at once. */
  skip(nanoseconds: number): void {
    this.#skipped += Math.max(0, nanoseconds);
  }

  /** Ticks until so many nanoseconds have passed, rounded up; at least 1. */
  ticksIn(nanoseconds: number): number {
    return Math.max(1, Math.ceil(nanoseconds / this.nanoseconds));
  }
}
