import type { FunctionBuilder, Local } from '../../wasm/function.ts';
import { I64 } from '../../wasm/opcodes.ts';
import type { Value } from '../../wasm/value.ts';

/** Products and quotients of 128 bits, of which WebAssembly has the lower half alone: in digits of base 2^32. */
export const LOW_HALF = 0xffff_ffffn;

/** The unsigned product of two i64, as two i64 that are computed where they are used. */
export function wideProduct(f: FunctionBuilder, a: Local, b: Local): { high: Value; low: Value } {
  const a0 = f.let(a.and(LOW_HALF));
  const a1 = f.let(a.shrU(32));
  const b0 = f.let(b.and(LOW_HALF));
  const b1 = f.let(b.shrU(32));
  const lowest = f.let(a0.mul(b0));
  const middle = f.let(a1.mul(b0).add(lowest.shrU(32)));
  const other = f.let(a0.mul(b1).add(middle.and(LOW_HALF)));
  return {
    high: a1.mul(b1).add(middle.shrU(32)).add(other.shrU(32)),
    low: other.shl(32).or(lowest.and(LOW_HALF)),
  };
}

/**
 * One digit of the quotient of `n`, with the digit `next` behind it, by `d`, and the rest (Knuth vol. 2, 4.3.1,
 * algorithm D); `d` has its highest bit set and is greater than `n`.
 */
export function quotientDigit(
  f: FunctionBuilder,
  n: Local,
  next: Value,
  d: Local,
): { q: Local; rest: Local } {
  const d1 = f.let(d.shrU(32));
  const d0 = f.let(d.and(LOW_HALF));
  const q = f.local(I64, n.divU(d1));
  const r = f.local(I64, n.sub(q.mul(d1)));
  f.block((done) => {
    f.loop((again) => {
      const fits = q
        .shrU(32)
        .eqz()
        .and(q.mul(d0).leU(r.shl(32).or(next)));
      f.brIf(done, fits);
      f.set(q, q.sub(1));
      f.set(r, r.add(d1));
      f.brIf(again, r.shrU(32).eqz());
    });
  });
  return { q, rest: f.let(n.shl(32).or(next).sub(q.mul(d))) };
}
