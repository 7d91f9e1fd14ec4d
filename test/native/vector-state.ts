import { UPPER_BYTES } from './host-cpu.ts';
import { type Random, vectorValue } from './random.ts';

/** Upper halves of YMM registers. */
export function randomUpper(rng: Random): Uint8Array {
  const upper = new Uint8Array(UPPER_BYTES);
  const view = new DataView(upper.buffer);
  for (let at = 0; at < UPPER_BYTES; at += 8) view.setBigUint64(at, vectorValue(rng), true);
  return upper;
}

/** MXCSR as after a reset, or with an inexact result behind it, mostly; or any rounding, DAZ and FTZ, flags already set, and now and then exceptions that are not masked. */
function randomMxcsr(rng: Random): number {
  if (rng.chance(0.6)) return rng.chance(0.6) ? 0x1f80 : 0x1fa0;
  const masks = rng.chance(0.3) ? rng.below(64) << 7 : 0x1f80;
  const flags = rng.chance(0.5) ? rng.below(64) : 0x20;
  return masks | flags | (rng.below(4) << 13) | (rng.chance(0.3) ? 0x40 : 0) | (rng.chance(0.3) ? 0x8000 : 0);
}

/** An FXSAVE image of random XMM and MMX registers. */
export function randomFx(rng: Random): Uint8Array {
  const fx = new Uint8Array(512);
  const view = new DataView(fx.buffer);
  view.setUint16(0, 0x37f, true);
  view.setUint8(4, 0xff);
  view.setUint32(24, randomMxcsr(rng), true);
  for (let n = 0; n < 8; n++) {
    view.setBigUint64(32 + n * 16, rng.value(), true);
    view.setUint16(40 + n * 16, 0xffff, true);
  }
  for (let at = 160; at < 416; at += 8) view.setBigUint64(at, vectorValue(rng), true);
  return fx;
}
