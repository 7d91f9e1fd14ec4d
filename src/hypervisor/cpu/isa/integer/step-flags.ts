import type { Size, Val } from '../builder.ts';

/** OF and AF of INC or DEC, each 0 or 1, from the result `r` that had `delta` added (SDM vol. 2, INC and DEC). */
export function stepFlags(size: Size, r: Val, delta: 1 | -1): { of: Val; af: Val } {
  const sign = 1n << BigInt(size - 1);
  // INC overflows to the most negative value, DEC to the largest positive one.
  const edge = delta === 1 ? sign : sign - 1n;
  const of = size === 64 ? r.eq(edge) : r.and(Number(sign * 2n - 1n)).eq(Number(edge));
  return { of, af: r.wrap().and(0xf).eq(delta === 1 ? 0 : 0xf) };
}
