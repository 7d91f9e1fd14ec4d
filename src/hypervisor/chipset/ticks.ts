/**
 * Exact conversion between nanoseconds of machine time and the ticks of a
 * device's own clock. A plain product of the two leaves the exact range of a
 * number after seconds, so whole periods are split off first.
 */
export interface TickScale {
  readonly hz: number;
  /** Whole ticks that have passed at `ns` nanoseconds (rounded down). */
  toTicks(ns: number): number;
  /** The first nanosecond at which `ticks` ticks have passed (rounded up). */
  toNs(ticks: number): number;
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

/** `a * b / c`, rounded down, exact for non-negative integers however large the product. */
function mulDiv(a: number, b: number, c: number): number {
  const product = a * b;
  if (product <= Number.MAX_SAFE_INTEGER) return Math.floor(product / c);
  return Number((BigInt(a) * BigInt(b)) / BigInt(c));
}

/** A scale for a clock of `hz` hertz (a positive integer). */
export function tickScale(hz: number): TickScale {
  if (!Number.isSafeInteger(hz) || hz <= 0) throw new RangeError(`not a clock frequency: ${hz} Hz`);
  const divisor = gcd(hz, 1e9);
  const ticksPerSpan = hz / divisor;
  const nsPerSpan = 1e9 / divisor;
  return {
    hz,
    toTicks(ns) {
      const spans = Math.floor(ns / nsPerSpan);
      return spans * ticksPerSpan + mulDiv(ns - spans * nsPerSpan, ticksPerSpan, nsPerSpan);
    },
    toNs(ticks) {
      const spans = Math.floor(ticks / ticksPerSpan);
      const rest = ticks - spans * ticksPerSpan;
      const down = mulDiv(rest, nsPerSpan, ticksPerSpan);
      const exact = mulDiv(down, ticksPerSpan, nsPerSpan) === rest;
      return spans * nsPerSpan + (exact ? down : down + 1);
    },
  };
}

/**
 * The least distance, in nanoseconds, between two firings of one periodic
 * timer. A guest may program periods far below what a host can follow; beyond
 * this rate several periods become one interrupt, and the phase is kept.
 */
export const MIN_PERIOD_NS = 20_000;
