import { MXCSR, SSE } from '../../isa/sse-scratch.ts';
import { S } from '../../layout.ts';
import { type FunctionBuilder, type FunctionRef, I32, I64, type Local } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { i32, i64, select, type Value } from '../../wasm/value.ts';
import { wideProduct } from './wide.ts';

/**
 * Binary floating-point arithmetic on integers, exact in result and in
 * exceptions (IEEE 754-2008; SDM vol. 1, 4.8, 4.9 and 11.5). Numbers travel as their
 * bits, zero-extended in an i64, for both formats.
 *
 * Rounding, flush-to-zero and masks come from MXCSR in the state block; raised
 * exceptions are gathered in `SSE.exceptions`. Operands of the arithmetic
 * functions are no NaNs, and denormals have been flushed where DAZ says so.
 */
export interface Format {
  readonly bits: 16 | 32 | 64;
  /** Stored bits of the significand. */
  readonly fraction: number;
  readonly bias: number;
  /** Biased exponent of infinities and NaNs. */
  readonly exponentMax: number;
  readonly sign: bigint;
  readonly infinity: bigint;
  readonly quiet: bigint;
  readonly defaultNaN: bigint;
}

export const SINGLE = {
  bits: 32,
  fraction: 23,
  bias: 127,
  exponentMax: 255,
  sign: 0x8000_0000n,
  infinity: 0x7f80_0000n,
  quiet: 0x0040_0000n,
  defaultNaN: 0xffc0_0000n,
} as const satisfies Format;

export const DOUBLE = {
  bits: 64,
  fraction: 52,
  bias: 1023,
  exponentMax: 2047,
  sign: 0x8000_0000_0000_0000n,
  infinity: 0x7ff0_0000_0000_0000n,
  quiet: 0x0008_0000_0000_0000n,
  defaultNaN: 0xfff8_0000_0000_0000n,
} as const satisfies Format;

/** Half precision, of F16C alone. */
export const HALF = {
  bits: 16,
  fraction: 10,
  bias: 15,
  exponentMax: 31,
  sign: 0x8000n,
  infinity: 0x7c00n,
  quiet: 0x0200n,
  defaultNaN: 0xfe00n,
} as const satisfies Format;

export const magnitude = (t: Format, x: Value): Value => x.and(t.sign - 1n);
export const isNaNBits = (t: Format, x: Value): Value => magnitude(t, x).gtU(t.infinity);
export const isSignalling = (t: Format, x: Value): Value => isNaNBits(t, x).and(x.and(t.quiet).eqz());
export const isInfinite = (t: Format, x: Value): Value => magnitude(t, x).eq(t.infinity);
export const isZeroBits = (t: Format, x: Value): Value => magnitude(t, x).eqz();
/** Magnitude - 1 is below the largest denormal's only for denormals: zero wraps around. */
export const isDenormal = (t: Format, x: Value): Value =>
  magnitude(t, x)
    .sub(1)
    .ltU((1n << BigInt(t.fraction)) - 1n);
export const signOf = (t: Format, x: Value): Value =>
  x
    .shrU(t.bits - 1)
    .wrap()
    .and(1);

export function mxcsr(f: FunctionBuilder): Value {
  return f.load('i32.load', S.mxcsr);
}

/** Adds to the exceptions of the running instruction. */
export function signal(f: FunctionBuilder, flags: Value | number): void {
  f.store('i32.store', SSE.exceptions, f.load('i32.load', SSE.exceptions).or(flags));
}

export interface SoftFloat {
  readonly format: Format;
  /** (sign i32, biased exponent i32, significand i64 ≠ 0 of any position) → bits. The significand's bit 62 weighs 2^(exponent - bias). */
  readonly normalizeRound: FunctionRef;
  readonly add: FunctionRef;
  readonly mul: FunctionRef;
  readonly div: FunctionRef;
  readonly sqrt: FunctionRef;
}

/** i64 shifted right by an i32 count ≥ 0, every bit lost kept as a one in bit 0. */
function shiftRightJam(f: FunctionBuilder, value: Local, count: Value): Value {
  const n = f.let(count.extendU());
  const lost = value.and(i64(1).shl(n).sub(1)).ne(0).extendU();
  return select(n.gtU(63), value.ne(0).extendU(), value.shrU(n).or(lost));
}

interface Parts {
  readonly exponent: Local;
  readonly significand: Local;
}

/** Splits a finite number ≠ 0: significand with bit 62 set, whatever it was; a denormal's exponent goes below 1. */
export function unpackNormal(f: FunctionBuilder, t: Format, x: Value): Parts {
  const exponent = f.let(x.shrU(t.fraction).wrap().and(t.exponentMax));
  const significand = f.let(x.and((1n << BigInt(t.fraction)) - 1n).shl(62 - t.fraction));
  f.if(
    exponent.eqz(),
    () => {
      const shift = f.let(significand.clz().sub(1));
      f.set(significand, significand.shl(shift));
      f.set(exponent, i32(1).sub(shift.wrap()));
    },
    () => f.set(significand, significand.or(1n << 62n)),
  );
  return { exponent, significand };
}

/** What a rounding adds below the last kept bit, by MXCSR.RC: half, all ones, or nothing. */
function increment(f: FunctionBuilder, t: Format, mode: Value, sign: Value): Local {
  const dropped = 62 - t.fraction;
  const ones = i64((1n << BigInt(dropped)) - 1n);
  const directed = select(mode.eq(3).or(mode.eq(select(sign, i32(2), i32(1)))), i64(0), ones);
  return f.let(select(mode.eqz(), i64(1n << BigInt(dropped - 1)), directed));
}

function defineRound(m: ModuleBuilder, t: Format, control: typeof mxcsr): FunctionRef {
  const dropped = 62 - t.fraction;
  const mask = (1n << BigInt(dropped)) - 1n;
  const half = 1n << BigInt(dropped - 1);
  return m.fn(`sseRound${t.bits}`, [I32, I32, I64], [I64], (f) => {
    const [sign, exponent, significand] = f.params as [Local, Local, Local];
    const mx = f.let(control(f));
    const mode = f.let(mx.shrU(MXCSR.rcShift).and(3));
    const signBit = f.let(sign.extendU().shl(t.bits - 1));
    const inc = increment(f, t, mode, sign);
    f.if(exponent.ltS(1), () => {
      // Tiny, unless rounding with an unbounded exponent carries into the smallest normal number.
      f.if(exponent.ltS(0).or(significand.add(inc).geS(0)), () => {
        f.if(
          mx.and(MXCSR.um).eqz(),
          () => {
            signal(f, select(significand.and(mask).eqz(), i32(MXCSR.ue), i32(MXCSR.ue | MXCSR.pe)));
            f.return(signBit);
          },
          () => {
            f.if(mx.and(MXCSR.ftz), () => {
              signal(f, MXCSR.ue | MXCSR.pe);
              f.return(signBit);
            });
            const denormal = shiftRightJam(f, significand, i32(1).sub(exponent)).and(mask);
            f.if(denormal.ne(0), () => signal(f, MXCSR.ue));
          },
        );
      });
      f.set(significand, shiftRightJam(f, significand, i32(1).sub(exponent)));
      f.set(exponent, 1);
    });
    const rest = f.let(significand.and(mask));
    const sum = f.let(significand.add(inc));
    const kept = f.let(sum.shrU(dropped));
    f.if(mode.eqz().and(rest.eq(half)), () => f.set(kept, kept.and(-2n)));
    // The hidden bit adds one to the exponent: none for a denormal, two after a carry.
    const packed = f.let(exponent.sub(1).extendS().shl(t.fraction).add(kept));
    f.if(exponent.geS(t.exponentMax).or(packed.geU(t.infinity)), () => {
      signal(f, MXCSR.oe);
      f.if(rest.ne(0).or(mx.and(MXCSR.om).ne(0)), () => signal(f, MXCSR.pe));
      f.return(signBit.or(i64(t.infinity)).sub(inc.eqz().extendU()));
    });
    f.if(rest.ne(0), () => signal(f, MXCSR.pe));
    f.return(signBit.or(packed));
  });
}

function defineNormalizeRound(m: ModuleBuilder, t: Format, round: FunctionRef): FunctionRef {
  return m.fn(`sseNormalize${t.bits}`, [I32, I32, I64], [I64], (f) => {
    const [sign, exponent, significand] = f.params as [Local, Local, Local];
    const zeros = f.let(significand.clz().wrap());
    f.if(zeros.eqz(), () => {
      f.set(significand, significand.shrU(1).or(significand.and(1)));
      f.return(f.call(round, sign, exponent.add(1), significand));
    });
    f.set(significand, significand.shl(zeros.sub(1).extendU()));
    f.return(f.call(round, sign, exponent.sub(zeros.sub(1)), significand));
  });
}

function invalid(f: FunctionBuilder, t: Format): void {
  signal(f, MXCSR.ie);
  f.return(i64(t.defaultNaN));
}

function defineAdd(m: ModuleBuilder, t: Format, normalizeRound: FunctionRef): FunctionRef {
  return m.fn(`sseAdd${t.bits}`, [I64, I64], [I64], (f) => {
    const [x, y] = f.params as [Local, Local];
    f.if(isInfinite(t, x), () => {
      f.if(isInfinite(t, y).and(x.ne(y)), () => invalid(f, t));
      f.return(x);
    });
    f.if(isInfinite(t, y), () => f.return(y));
    const swapped = f.local(I64);
    f.if(magnitude(t, x).ltU(magnitude(t, y)), () => {
      f.set(swapped, x);
      f.set(x, y);
      f.set(y, swapped);
    });
    f.if(isZeroBits(t, y), () => {
      f.if(isZeroBits(t, x).eqz(), () => {
        f.if(isDenormal(t, x).eqz(), () => f.return(x));
        const only = unpackNormal(f, t, x);
        f.return(f.call(normalizeRound, signOf(t, x), only.exponent, only.significand));
      });
      // Zeroes: their common sign, else minus only when rounding down.
      const minus = mxcsr(f)
        .shrU(MXCSR.rcShift)
        .and(3)
        .eq(1)
        .extendU()
        .shl(t.bits - 1);
      f.return(select(x.eq(y), x, minus));
    });
    const a = unpackNormal(f, t, x);
    const b = unpackNormal(f, t, y);
    const small = f.let(shiftRightJam(f, b.significand, a.exponent.sub(b.exponent)));
    f.if(signOf(t, x).eq(signOf(t, y)), () => {
      f.return(f.call(normalizeRound, signOf(t, x), a.exponent, a.significand.add(small)));
    });
    const difference = f.let(a.significand.sub(small));
    f.if(difference.eqz(), () => {
      f.return(
        mxcsr(f)
          .shrU(MXCSR.rcShift)
          .and(3)
          .eq(1)
          .extendU()
          .shl(t.bits - 1),
      );
    });
    f.return(f.call(normalizeRound, signOf(t, x), a.exponent, difference));
  });
}

/** High 64 bits of the 128-bit product of two unsigned i64, the low ones jammed into bit 0. */
function multiplyHighJam(f: FunctionBuilder, a: Local, b: Local): Value {
  return wideProduct(f, a, b).high.or(a.mul(b).ne(0).extendU());
}

function defineMul(m: ModuleBuilder, t: Format, normalizeRound: FunctionRef): FunctionRef {
  return m.fn(`sseMul${t.bits}`, [I64, I64], [I64], (f) => {
    const [x, y] = f.params as [Local, Local];
    const sign = f.let(signOf(t, x).xor(signOf(t, y)));
    const signBit = f.let(sign.extendU().shl(t.bits - 1));
    f.if(isInfinite(t, x).or(isInfinite(t, y)), () => {
      f.if(isZeroBits(t, x).or(isZeroBits(t, y)), () => invalid(f, t));
      f.return(signBit.or(t.infinity));
    });
    f.if(isZeroBits(t, x).or(isZeroBits(t, y)), () => f.return(signBit));
    const a = unpackNormal(f, t, x);
    const b = unpackNormal(f, t, y);
    f.set(b.significand, b.significand.shl(1));
    const product = f.let(multiplyHighJam(f, a.significand, b.significand));
    f.return(f.call(normalizeRound, sign, a.exponent.add(b.exponent).add(1 - t.bias), product));
  });
}

function defineDiv(m: ModuleBuilder, t: Format, normalizeRound: FunctionRef): FunctionRef {
  return m.fn(`sseDiv${t.bits}`, [I64, I64], [I64], (f) => {
    const [x, y] = f.params as [Local, Local];
    const sign = f.let(signOf(t, x).xor(signOf(t, y)));
    const signBit = f.let(sign.extendU().shl(t.bits - 1));
    f.if(isInfinite(t, x), () => {
      f.if(isInfinite(t, y), () => invalid(f, t));
      f.return(signBit.or(t.infinity));
    });
    f.if(isInfinite(t, y), () => f.return(signBit));
    f.if(isZeroBits(t, y), () => {
      f.if(isZeroBits(t, x), () => invalid(f, t));
      signal(f, MXCSR.ze);
      f.return(signBit.or(t.infinity));
    });
    f.if(isZeroBits(t, x), () => f.return(signBit));
    const a = unpackNormal(f, t, x);
    const b = unpackNormal(f, t, y);
    const quotient = f.local(I64);
    const count = f.local(I32, 63);
    f.loop((again) => {
      f.set(quotient, quotient.shl(1));
      f.if(a.significand.geU(b.significand), () => {
        f.set(a.significand, a.significand.sub(b.significand));
        f.set(quotient, quotient.or(1));
      });
      f.set(a.significand, a.significand.shl(1));
      f.set(count, count.sub(1));
      f.brIf(again, count);
    });
    const jammed = quotient.or(a.significand.ne(0).extendU());
    f.return(f.call(normalizeRound, sign, a.exponent.sub(b.exponent).add(t.bias), jammed));
  });
}

function defineSqrt(m: ModuleBuilder, t: Format, normalizeRound: FunctionRef): FunctionRef {
  return m.fn(`sseSqrt${t.bits}`, [I64], [I64], (f) => {
    const [x] = f.params as [Local];
    f.if(isZeroBits(t, x), () => f.return(x));
    f.if(signOf(t, x), () => invalid(f, t));
    f.if(isInfinite(t, x), () => f.return(x));
    const a = unpackNormal(f, t, x);
    const unbiased = f.let(a.exponent.sub(t.bias));
    f.if(unbiased.and(1), () => f.set(a.significand, a.significand.shl(1)));
    // Digit by digit: 32 pairs of bits of the significand, then 24 pairs of zeroes, give 56 bits of root.
    const root = f.local(I64);
    const remainder = f.local(I64);
    const count = f.local(I32, 56);
    f.loop((again) => {
      f.set(remainder, remainder.shl(2).or(a.significand.shrU(62)));
      f.set(a.significand, a.significand.shl(2));
      const trial = f.let(root.shl(2).or(1));
      f.set(root, root.shl(1));
      f.if(remainder.geU(trial), () => {
        f.set(remainder, remainder.sub(trial));
        f.set(root, root.or(1));
      });
      f.set(count, count.sub(1));
      f.brIf(again, count);
    });
    const jammed = root.shl(7).or(remainder.ne(0).extendU());
    f.return(f.call(normalizeRound, i32(0), unbiased.shrS(1).add(t.bias), jammed));
  });
}

/** (sign, exponent, significand) → bits, as `SoftFloat.normalizeRound`; `control` is where MXCSR's rounding and masks are read. */
export function addRounding(m: ModuleBuilder, format: Format, control: typeof mxcsr): FunctionRef {
  return defineNormalizeRound(m, format, defineRound(m, format, control));
}

/** Defines the arithmetic of one format in `m`. */
export function addSoftFloat(m: ModuleBuilder, format: Format): SoftFloat {
  const normalizeRound = addRounding(m, format, mxcsr);
  return {
    format,
    normalizeRound,
    add: defineAdd(m, format, normalizeRound),
    mul: defineMul(m, format, normalizeRound),
    div: defineDiv(m, format, normalizeRound),
    sqrt: defineSqrt(m, format, normalizeRound),
  };
}
