import { FMA, MXCSR } from '../../isa/sse-scratch.ts';
import { type FunctionBuilder, type FunctionRef, I32, I64, type Local, V128 } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { i32, i64, select, type Value } from '../../wasm/value.ts';
import { begin, flushDenormal, lanesOf, storeLane } from './sse-arith.ts';
import {
  DOUBLE,
  type Format,
  isDenormal,
  isInfinite,
  isNaNBits,
  isSignalling,
  isZeroBits,
  mxcsr,
  SINGLE,
  type SoftFloat,
  signal,
  signOf,
  unpackNormal,
} from './sse-soft.ts';
import { wideProduct } from './wide.ts';

/**
 * a × b + c with one rounding (IEEE 754-2008, fusedMultiplyAdd; SDM vol. 1,
 * 14.5), exact in result and exceptions. The product and what is added are
 * 128-bit numbers; the smaller of the two moves right to the other's exponent, every bit
 * lost kept as a one in bit 0, which cannot be reached by cancellation.
 */
interface Wide {
  readonly high: Local;
  readonly low: Local;
}

/** Moves a 128-bit number right by an i32 count ≥ 0, jamming what is lost into bit 0. */
function shiftRightJam(f: FunctionBuilder, v: Wide, count: Value): void {
  const n = f.let(count.extendU());
  const lost = f.local(I64, 0);
  f.if(n.geU(128), () => {
    f.set(v.low, v.high.or(v.low).ne(0).extendU());
    f.set(v.high, 0);
    f.set(n, 0);
  });
  f.if(n.geU(64), () => {
    f.set(lost, v.low);
    f.set(v.low, v.high);
    f.set(v.high, 0);
    f.set(n, n.sub(64));
  });
  f.if(n.ne(0), () => {
    f.set(lost, lost.or(v.low.shl(i64(64).sub(n))));
    f.set(v.low, v.low.shrU(n).or(v.high.shl(i64(64).sub(n))));
    f.set(v.high, v.high.shrU(n));
  });
  f.set(v.low, v.low.or(lost.ne(0).extendU()));
}

/** The sum of finite numbers other than zero, whose product is a × b. */
function finiteSum(f: FunctionBuilder, t: Format, soft: SoftFloat, a: Local, b: Local, c: Local): void {
  const sign = f.let(signOf(t, a).xor(signOf(t, b)));
  const signC = f.let(signOf(t, c));
  const x = unpackNormal(f, t, a);
  const y = unpackNormal(f, t, b);
  const z = unpackNormal(f, t, c);
  // Bit 124 of either weighs 2^(its exponent - bias).
  const exponent = f.let(x.exponent.add(y.exponent).sub(t.bias));
  const product: Wide = {
    high: f.let(wideProduct(f, x.significand, y.significand).high),
    low: f.let(x.significand.mul(y.significand)),
  };
  const added: Wide = { high: f.let(z.significand.shrU(2)), low: f.let(z.significand.shl(62)) };
  const distance = f.let(exponent.sub(z.exponent));
  f.if(
    distance.geS(0),
    () => shiftRightJam(f, added, distance),
    () => {
      shiftRightJam(f, product, i32(0).sub(distance));
      f.set(exponent, z.exponent);
    },
  );
  const high = f.local(I64);
  const low = f.local(I64);
  f.if(
    sign.eq(signC),
    () => {
      f.set(low, product.low.add(added.low));
      f.set(high, product.high.add(added.high).add(low.ltU(added.low).extendU()));
    },
    () => {
      const less = product.high
        .ltU(added.high)
        .or(product.high.eq(added.high).and(product.low.ltU(added.low)));
      f.if(less, () => {
        exchange(f, product.high, added.high);
        exchange(f, product.low, added.low);
        f.set(sign, signC);
      });
      f.set(high, product.high.sub(added.high).sub(product.low.ltU(added.low).extendU()));
      f.set(low, product.low.sub(added.low));
      f.if(high.or(low).eqz(), () => f.return(zeroOfDifference(f, t)));
    },
  );
  f.if(high.eqz(), () => {
    f.set(high, low);
    f.set(low, 0);
    f.set(exponent, exponent.sub(64));
  });
  const zeros = f.let(high.clz());
  f.if(zeros.ne(0), () => {
    f.set(high, high.shl(zeros).or(low.shrU(i64(64).sub(zeros))));
    f.set(low, low.shl(zeros));
  });
  // Bit 63 now; `normalizeRound` brings it to bit 62, whose weight it is told: bit 60 had the exponent's.
  const jammed = high.or(low.ne(0).extendU());
  f.return(f.call(soft.normalizeRound, sign, exponent.add(2).sub(zeros.wrap()), jammed));
}

function exchange(f: FunctionBuilder, x: Local, y: Local): void {
  const kept = f.local(x.type, x);
  f.set(x, y);
  f.set(y, kept);
}

/** The sign of an exact zero of a difference: minus only when rounding down. */
function zeroOfDifference(f: FunctionBuilder, t: Format): Value {
  return mxcsr(f)
    .shrU(MXCSR.rcShift)
    .and(3)
    .eq(1)
    .extendU()
    .shl(t.bits - 1);
}

/** (signs as FMA has them for an even element, a, b, c) → bits. */
function defineLane(m: ModuleBuilder, soft: SoftFloat): FunctionRef {
  const t = soft.format;
  return m.fn(`fmaLane${t.bits}`, [I32, I64, I64, I64], [I64], (f) => {
    const [signs, a, b, c] = f.params as [Local, Local, Local, Local];
    for (const x of [a, b, c]) flushDenormal(f, t, x);
    const nanA = f.let(isNaNBits(t, a));
    const nanB = f.let(isNaNBits(t, b));
    const nanC = f.let(isNaNBits(t, c));
    const product0 = f.let(isZeroBits(t, a).or(isZeroBits(t, b)));
    const productInfinite = f.let(isInfinite(t, a).or(isInfinite(t, b)));
    f.if(nanA.or(nanB).or(nanC), () => {
      const signalling = isSignalling(t, a).or(isSignalling(t, b)).or(isSignalling(t, c));
      f.if(signalling, () => signal(f, MXCSR.ie));
      f.return(select(nanA, a, select(nanB, b, c)).or(t.quiet));
    });
    f.if(signs.and(FMA.negateProduct), () => f.set(a, a.xor(t.sign)));
    f.if(signs.and(FMA.subtractEven), () => f.set(c, c.xor(t.sign)));
    const sign = signOf(t, a).xor(signOf(t, b));
    const opposed = isInfinite(t, c).and(sign.ne(signOf(t, c)));
    f.if(productInfinite.and(product0.or(opposed)), () => {
      signal(f, MXCSR.ie);
      f.return(i64(t.defaultNaN));
    });
    f.if(isDenormal(t, a).or(isDenormal(t, b)).or(isDenormal(t, c)), () => signal(f, MXCSR.de));
    const signBit = f.let(sign.extendU().shl(t.bits - 1));
    f.if(productInfinite, () => f.return(signBit.or(t.infinity)));
    f.if(isInfinite(t, c), () => f.return(c));
    f.if(product0, () => f.return(f.call(soft.add, signBit, c)));
    f.if(isZeroBits(t, c), () => f.return(f.call(soft.mul, a, b)));
    finiteSum(f, t, soft, a, b, c);
  });
}

/** Signs of an odd element in the places of an even one's. */
const ofOdd = (signs: Local): Value => signs.and(FMA.negateProduct).or(signs.and(FMA.subtractOdd).shrU(1));

/** (signs, a, b, c): 0 with the result in SSE.result, or 1 with #XM raised; of all elements, or of one. */
export function addFmaRuntime(
  m: ModuleBuilder,
  soft32: SoftFloat,
  soft64: SoftFloat,
  finish: FunctionRef,
): Record<string, FunctionRef> {
  const out: Record<string, FunctionRef> = {};
  for (const [soft, t] of [
    [soft32, SINGLE],
    [soft64, DOUBLE],
  ] as const) {
    const lane = defineLane(m, soft);
    const type = t.bits === 32 ? I32 : I64;
    out[`fmaPacked${t.bits}`] = m.fn(`fmaPacked${t.bits}`, [I32, V128, V128, V128], [I32], (f) => {
      const [signs, a, b, c] = f.params as [Local, Local, Local, Local];
      begin(f);
      const odd = f.let(ofOdd(signs));
      const bs = lanesOf(t, b);
      const cs = lanesOf(t, c);
      lanesOf(t, a).forEach((x, i) => {
        storeLane(f, t, i, f.call(lane, i % 2 === 0 ? signs : odd, x, bs[i] ?? x, cs[i] ?? x));
      });
      f.return(f.call(finish));
    });
    out[`fmaScalar${t.bits}`] = m.fn(`fmaScalar${t.bits}`, [I32, type, type, type], [I32], (f) => {
      const [signs, a, b, c] = f.params as [Local, Local, Local, Local];
      begin(f);
      storeLane(f, t, 0, f.call(lane, signs, a.extendU(), b.extendU(), c.extendU()));
      f.return(f.call(finish));
    });
  }
  return out;
}
