import { S } from '../layout.ts';
import { I32, I64, V128 } from '../wasm/opcodes.ts';
import { extractLane, i32, i64, replaceLane, select, shuffle, simd, vconst } from '../wasm/value.ts';
import type { Builder, Val } from './builder.ts';
import { evaluate, folded } from './sse-fold.ts';

/** A v128 constant of equal lanes, or of the lanes given, lowest first. */
export function lanes(bits: 8 | 16 | 32 | 64, values: readonly (number | bigint)[]): Val {
  const bytes: number[] = [];
  for (let i = 0; bytes.length < 16; i += 1) {
    let rest = BigInt.asUintN(bits, BigInt(values[i % values.length] ?? 0));
    for (let n = 0; n < bits / 8; n += 1) {
      bytes.push(Number(rest & 0xffn));
      rest >>= 8n;
    }
  }
  return vconst(bytes);
}

/** 0, 1, … 15. */
export const IOTA = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15] as const;
export const iota = (): Val => vconst(IOTA);
export const zero128 = (): Val => lanes(64, [0]);

export const and = (a: Val, b: Val): Val => simd('v128.and', [a, b]);
/** a and not b. */
export const andnot = (a: Val, b: Val): Val => simd('v128.andnot', [a, b]);
export const or = (a: Val, b: Val): Val => simd('v128.or', [a, b]);
export const xor = (a: Val, b: Val): Val => simd('v128.xor', [a, b]);
/** Bits of `a` where the mask has ones, else of `b`. */
export const bitselect = (a: Val, b: Val, mask: Val): Val => simd('v128.bitselect', [a, b, folded(mask)]);
/** Elements of `a` where those of the mask are negative, else of `b`. */
export const selectBySign = (shape: 'i8x16' | 'i32x4' | 'i64x2', a: Val, b: Val, mask: Val): Val =>
  bitselect(a, b, simd(`${shape}.shr_s`, [mask, i32(SIGN_BIT[shape])]));
const SIGN_BIT = { i8x16: 7, i32x4: 31, i64x2: 63 } as const;
/** Byte `indices[i]` of a in byte i, zero for numbers from 16 on; a shuffle when the numbers are known. */
export function swizzle(a: Val, indices: Val): Val {
  const known = evaluate(indices);
  if (!(known instanceof Uint8Array)) return simd('i8x16.swizzle', [a, indices]);
  return shuffle(
    a,
    zero128(),
    Array.from(known, (index) => Math.min(index, 16)),
  );
}
export const op2 =
  (name: string) =>
  (a: Val, b: Val): Val =>
    simd(name, [a, b]);
export const shift = (name: string, a: Val, count: Val): Val => simd(name, [a, count]);

export const low64 = (v: Val): Val => extractLane('i64x2.extract_lane', v, 0);
export const high64 = (v: Val): Val => extractLane('i64x2.extract_lane', v, 1);
export const low32 = (v: Val): Val => extractLane('i32x4.extract_lane', v, 0);
export const setLow64 = (v: Val, value: Val): Val => replaceLane('i64x2.replace_lane', v, 0, value);
export const setHigh64 = (v: Val, value: Val): Val => replaceLane('i64x2.replace_lane', v, 1, value);
export const setLow32 = (v: Val, value: Val): Val => replaceLane('i32x4.replace_lane', v, 0, value);
/** An integer in the low lane, zeroes above. */
export const fromLow = (value: Val): Val =>
  value.type === I64 ? setLow64(zero128(), value) : setLow32(zero128(), value);
export const splat64 = (value: Val): Val => simd('i64x2.splat', [value]);
export const splat32 = (value: Val): Val => simd('i32x4.splat', [value]);
export const splat16 = (value: Val): Val => simd('i16x8.splat', [value]);
export const splat8 = (value: Val): Val => simd('i8x16.splat', [value]);

/** Operand `index` as raw bits, whatever its type. */
export function bitsOf(value: Val): Val {
  return value.type === I32 || value.type === I64 || value.type === V128 ? value : value.reinterpret();
}

/** Evaluates now, as `let` does, but leaves constants constants. */
export function keep(b: Builder, value: Val): Val {
  return evaluate(value) === undefined ? b.let(value) : folded(value);
}

/** An 8-bit immediate as an i32, 0-255. */
export function imm8(b: Builder, index: number): Val {
  return keep(b, b.immediate(index, I32).and(255));
}

/** min(value, limit) of unsigned i32. */
export const atMost = (value: Val, limit: number): Val => select(value.ltU(limit), value, i32(limit));

/** MMX instructions make the whole x87 stack valid with TOP 0 (SDM vol. 1, 9.5.1). Behind everything that may fault. */
export function enterMmx(b: Builder): void {
  b.setState('i32.store', S.fpuTop, i32(0));
  b.setState('i32.store', S.fpuEmpty, i32(0));
}

/** Writes the MMX register that is operand `index`: the mantissa, and ones above it. */
export function writeMmx(b: Builder, index: number, value: Val): void {
  b.write(index, value);
  if (!b.isMemory(index)) b.run('mmxMark', b.registerAddress(index));
  enterMmx(b);
}

/** v128 whose low half is the MMX operand. */
export const mmxVector = (value: Val): Val => splat64(value);
export { I32, I64, i32, i64, select, V128 };
