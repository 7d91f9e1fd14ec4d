import type { HostState } from './host-cpu.ts';

/** How x87 states are compared with the host's, and where processors may differ. */

const TOP_BIT = 1n << 63n;
const TRANSCENDENTAL = new Set(['f2xm1', 'fyl2x', 'fyl2xp1', 'fptan', 'fpatan', 'fsin', 'fcos', 'fsincos']);
const COMPARISON = /^fu?com|^ficom|^ftst/;

/** A number on a line on which neighbours differ by one. */
function ordinal(fx: Uint8Array, i: number): bigint {
  const view = new DataView(fx.buffer, fx.byteOffset);
  const e = view.getUint16(40 + 16 * i, true);
  const m = view.getBigUint64(32 + 16 * i, true);
  const magnitude = (BigInt(e & 0x7fff) << 63n) + ((e & 0x7fff) === 0 ? m : m & (TOP_BIT - 1n));
  return e & 0x8000 ? -magnitude : magnitude;
}

/** How many numbers apart ST(i) is in two images. */
export function distance(a: Uint8Array, b: Uint8Array, i: number): bigint {
  const d = ordinal(a, i) - ordinal(b, i);
  return d < 0n ? -d : d;
}

/** A comparison that an unmasked exception ended: the SDM leaves its flags as they were, AMD's processors write them. */
export function comparisonEnded(name: string, ours: HostState): boolean {
  return COMPARISON.test(name) && ((ours.fx[2] ?? 0) & 0x80) !== 0;
}

/**
 * Status word bits in which a row may differ from this processor: conditions
 * of a comparison that an unmasked exception ended, C1 of FCOMI (the SDM
 * clears it, AMD leaves it), and rounding up of a transcendental result.
 */
function statusMask(name: string, ours: HostState): number {
  let mask = 0xffff;
  if (comparisonEnded(name, ours)) mask &= ~0x4500;
  if (/^fu?comi/.test(name) || TRANSCENDENTAL.has(name)) mask &= ~0x200;
  return mask;
}

/** What of control word, status word, tags and stack differs after a row; a transcendental result may be off by one unit. */
export function x87Differences(name: string, theirs: HostState, ours: HostState): string[] {
  const found: string[] = [];
  const word = (state: HostState, at: number): number => new DataView(state.fx.buffer).getUint16(at, true);
  if (word(theirs, 0) !== word(ours, 0)) found.push('control word');
  if ((word(theirs, 2) ^ word(ours, 2)) & statusMask(name, ours)) found.push('status word');
  if (theirs.fx[4] !== ours.fx[4]) found.push('tags');
  for (let i = 0; i < 8; i++) {
    const from = 32 + 16 * i;
    const same = Buffer.compare(theirs.fx.subarray(from, from + 10), ours.fx.subarray(from, from + 10)) === 0;
    if (!same && !(TRANSCENDENTAL.has(name) && distance(theirs.fx, ours.fx, i) <= 1n)) found.push(`ST(${i})`);
  }
  return found;
}

/** FYL2XP1 is defined below 1 - sqrt(1/2) alone. */
export function isUndefinedX87(name: string, fx: Uint8Array): boolean {
  if (name !== 'fyl2xp1') return false;
  const exponent = new DataView(fx.buffer, fx.byteOffset).getUint16(40, true) & 0x7fff;
  return exponent >= 0x3ffd && exponent < 0x7fff;
}
