import { I64 } from '../../wasm/opcodes.ts';
import { i32, i64 } from '../../wasm/value.ts';
import type { Shift, Size, Val } from '../builder.ts';

/** OF and AF of INC or DEC, each 0 or 1, from the result `r` that had `delta` added (SDM vol. 2, INC and DEC). */
export function stepFlags(size: Size, r: Val, delta: 1 | -1): { of: Val; af: Val } {
  const sign = 1n << BigInt(size - 1);
  // INC overflows to the most negative value, DEC to the largest positive one.
  const edge = delta === 1 ? sign : sign - 1n;
  const of = size === 64 ? r.eq(edge) : r.and(Number(sign * 2n - 1n)).eq(Number(edge));
  return {
    of,
    af: r
      .wrap()
      .and(0xf)
      .eq(delta === 1 ? 0 : 0xf),
  };
}

/** What a shift of `x` by `count`, of the type of `x`, gives: bits above the size may be anything. */
export function shifted(shift: Shift, size: Size, x: Val, count: Val): Val {
  if (shift === 'shl') return x.shl(count);
  return shift === 'shr' ? x.shrU(count) : signExtended(size, x).shrS(count);
}

/** CF and OF of a shift of `x` by `count`, an i32 that is not 0, to `r` (SDM vol. 2, SAL/SAR/SHL/SHR). */
export function shiftFlags(shift: Shift, size: Size, r: Val, x: Val, count: Val): { cf: Val; of: Val } {
  const bit = (value: Val): Val => value.wrap().and(1);
  const n = x.type === I64 ? count.extendU() : count;
  if (shift === 'shl') {
    const bits = x.type === I64 ? i64(64) : i32(32);
    const cf = bit(size < 32 ? x.shl(n).shrU(size) : x.shrU(bits.sub(n)));
    return { cf, of: topBit(size, r).xor(cf) };
  }
  const last = n.sub(1);
  if (shift === 'shr') return { cf: bit(x.shrU(last)), of: topBit(size, x) };
  return { cf: bit(signExtended(size, x).shrS(last)), of: i32(0) };
}

export function topBit(size: Size, value: Val): Val {
  return size === 64 ? value.shrU(63n).wrap() : value.shrU(size - 1).and(1);
}

/** As a signed number in its type. */
export function signExtended(size: Size, value: Val): Val {
  return size === 8 ? value.ext8() : size === 16 ? value.ext16() : value;
}

/** The result, sign-extended from its size to i64. */
export function signed64(size: Size, value: Val): Val {
  if (size === 64) return value;
  return signExtended(size, value).extendS();
}
