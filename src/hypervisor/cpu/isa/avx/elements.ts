import { simd } from '../../wasm/value.ts';
import type { Builder, Val } from '../builder.ts';
import { and, bitselect, I32, iota, lanes, low32, low64, select, splat8, swizzle } from '../sse-common.ts';

/** A vector operand as its halves; one of 128 bits has only the lower one. */
export type Halves = readonly [low: Val, high?: Val];

export function readHalves(b: Builder, index: number): Halves {
  return b.operandSize(index) === 256 ? b.readPair(index) : [b.read(index)];
}

export function writeHalves(b: Builder, index: number, [low, high]: Halves): void {
  if (high) b.writePair(index, low, high);
  else b.write(index, low);
}

const shapeOf = (bits: 32 | 64): 'i32x4' | 'i64x2' => (bits === 32 ? 'i32x4' : 'i64x2');

/** Element `i` (i32, at run time) of 32 or 64 bits: i32 or i64. */
export function elementAt(v: Halves, i: Val, bits: 32 | 64): Val {
  const [low, high] = v;
  const inHalf = 128 / bits;
  const half = high ? select(i.ltU(inHalf), low, high) : low;
  const at = i.and(inHalf - 1).mul(bits / 8);
  const moved = swizzle(half, simd('i8x16.add', [iota(), splat8(at)]));
  return bits === 32 ? low32(moved) : low64(moved);
}

/** All ones in element `i` (i32, at run time), for each half of `v`. */
function maskOf(v: Halves, i: Val, bits: 32 | 64): Val[] {
  const inHalf = 128 / bits;
  const wanted = simd(`${shapeOf(bits)}.splat`, [bits === 32 ? i : i.extendU()]);
  return v.flatMap((half, h) =>
    half
      ? [
          simd(`${shapeOf(bits)}.eq`, [
            lanes(
              bits,
              Array.from({ length: inHalf }, (_, n) => h * inHalf + n),
            ),
            wanted,
          ]),
        ]
      : [],
  );
}

/** `v` with another element `i`: an i32 or i64 by `bits`. */
export function withElement(v: Halves, i: Val, bits: 32 | 64, value: Val): Halves {
  const [first, second] = maskOf(v, i, bits);
  const all = simd(`${shapeOf(bits)}.splat`, [value]);
  const [low, high] = v;
  if (!first) throw new TypeError('no lower half');
  return high && second
    ? [bitselect(all, low, first), bitselect(all, high, second)]
    : [bitselect(all, low, first)];
}

/** Sign bits of the first `count` elements, from bit 0 on: i32. */
export function signBits(v: Halves, bits: 32 | 64, count: number): Val {
  const [low, high] = v;
  const of = (half: Val): Val => simd(`${shapeOf(bits)}.bitmask`, [half], I32);
  const all = high ? of(low).or(of(high).shl(128 / bits)) : of(low);
  return all.and((1 << count) - 1);
}

/** Runs `body` for the number of every bit that is set, from the lowest on. */
export function forEachBit(b: Builder, bits: Val, body: (i: Val) => void): void {
  const rest = b.local(I32, bits);
  b.if(rest, () => {
    b.loop((again) => {
      body(b.let(rest.ctz()));
      b.set(rest, rest.and(rest.sub(1)));
      b.brIf(again, rest);
    });
  });
}

/** `v` with zeroes in the elements before `i` (i32, at run time). */
export function withoutBefore(v: readonly [Val, Val], i: Val, bits: 32 | 64): readonly [Val, Val] {
  const kept = ([0, 1] as const).map((half) => {
    const numbers = Array.from({ length: 128 / bits }, (_, n) => (half * 128) / bits + n);
    const first = simd(`${shapeOf(bits)}.splat`, [bits === 32 ? i : i.extendU()]);
    return simd(`${shapeOf(bits)}.ge_s`, [lanes(bits, numbers), first]);
  });
  return [and(v[0], kept[0] ?? v[0]), and(v[1], kept[1] ?? v[1])];
}
