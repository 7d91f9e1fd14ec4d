import { MXCSR, SSE } from '../../isa/sse-scratch.ts';
import {
  F64,
  type FunctionBuilder,
  type FunctionRef,
  I32,
  I64,
  type Local,
  V128,
} from '../../wasm/function.ts';
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
  magnitude,
  mxcsr,
  SINGLE,
  type SoftFloat,
  signal,
  signOf,
} from './sse-soft.ts';

/** (f64, rounding mode as in MXCSR.RC) → integral f64. */
function defineIntegral(m: ModuleBuilder): FunctionRef {
  return m.fn('sseIntegral', [F64, I32], [F64], (f) => {
    const [x, mode] = f.params as [Local, Local];
    f.if(mode.eqz(), () => f.return(x.unary('nearest', F64)));
    f.if(mode.eq(1), () => f.return(x.unary('floor', F64)));
    f.if(mode.eq(2), () => f.return(x.unary('ceil', F64)));
    f.return(x.unary('trunc', F64));
  });
}

/** Bits of one format to a wasm f64 of the same value (or some NaN), DAZ applied. */
function defineWiden(m: ModuleBuilder, t: Format): FunctionRef {
  return m.fn(`sseWiden${t.bits}`, [I64], [F64], (f) => {
    const [x] = f.params as [Local];
    flushDenormal(f, t, x);
    f.return(t.bits === 32 ? x.wrap().reinterpret().convert('f64.promote_f32', F64) : x.reinterpret());
  });
}

/** (f64, mode) → i64 integer of `bits` bits; the indefinite integer and IE out of range. */
function defineToInteger(m: ModuleBuilder, bits: 32 | 64, integral: FunctionRef): FunctionRef {
  const limit = bits === 32 ? 2 ** 31 : 2 ** 63;
  return m.fn(`sseToInteger${bits}`, [F64, I32], [I64], (f) => {
    const [x, mode] = f.params as [Local, Local];
    const rounded = f.let(f.call(integral, x, mode));
    f.if(rounded.ge(-limit).and(rounded.lt(limit)), () => {
      f.if(rounded.ne(x), () => signal(f, MXCSR.pe));
      f.return(rounded.convert('i64.trunc_sat_f64_s', I64));
    });
    signal(f, MXCSR.ie);
    f.return(i64(bits === 32 ? -0x8000_0000n : -0x8000_0000_0000_0000n));
  });
}

/** MXCSR.RC, or towards zero for the truncating instructions. */
function modeFor(f: FunctionBuilder, truncate: Value): Local {
  return f.let(select(truncate, i32(3), mxcsr(f).shrU(MXCSR.rcShift).and(3)));
}

/** (i64) → bits of the nearest number as RC says. */
function defineFromInteger(m: ModuleBuilder, soft: SoftFloat): FunctionRef {
  const t = soft.format;
  return m.fn(`sseFromInteger${t.bits}`, [I64], [I64], (f) => {
    const [value] = f.params as [Local];
    f.if(value.eqz(), () => f.return(0));
    const negative = f.let(value.ltS(0));
    const size = select(negative, i64(0).sub(value), value);
    f.return(f.call(soft.normalizeRound, negative, i32(t.bias + 62), size));
  });
}

/** Returns what is no number to be rounded, in the narrower format; else tells of a denormal and gives the sign, i32. */
export function returnSpecials(f: FunctionBuilder, from: Format, to: Format, x: Local): Local {
  const sign = f.let(signOf(from, x));
  const signBit = f.let(sign.extendU().shl(to.bits - 1));
  f.if(isNaNBits(from, x), () => {
    f.if(isSignalling(from, x), () => signal(f, MXCSR.ie));
    const payload = x.shrU(from.fraction - to.fraction).and((1n << BigInt(to.fraction)) - 1n);
    f.return(signBit.or(to.infinity | to.quiet).or(payload));
  });
  f.if(isInfinite(from, x), () => f.return(signBit.or(to.infinity)));
  f.if(isZeroBits(from, x), () => f.return(signBit));
  f.if(isDenormal(from, x), () => signal(f, MXCSR.de));
  return sign;
}

/** Double to single precision, and back: NaNs keep their upper bits and become quiet. */
function defineNarrow(m: ModuleBuilder, soft32: SoftFloat): FunctionRef {
  return m.fn('sseNarrow', [I64], [I64], (f) => {
    const [x] = f.params as [Local];
    flushDenormal(f, DOUBLE, x);
    const sign = returnSpecials(f, DOUBLE, SINGLE, x);
    const exponent = f.let(x.shrU(52).wrap().and(2047));
    const significand = f.let(x.and(0xf_ffff_ffff_ffffn).shl(10));
    f.if(
      exponent.eqz(),
      () => f.set(exponent, 1),
      () => f.set(significand, significand.or(1n << 62n)),
    );
    f.return(f.call(soft32.normalizeRound, sign, exponent.sub(DOUBLE.bias - SINGLE.bias), significand));
  });
}

function defineExtend(m: ModuleBuilder): FunctionRef {
  return m.fn('sseExtend', [I64], [I64], (f) => {
    const [x] = f.params as [Local];
    flushDenormal(f, SINGLE, x);
    f.if(isNaNBits(SINGLE, x), () => {
      f.if(isSignalling(SINGLE, x), () => signal(f, MXCSR.ie));
      const upper = signOf(SINGLE, x)
        .extendU()
        .shl(63)
        .or(DOUBLE.infinity | DOUBLE.quiet);
      f.return(upper.or(magnitude(SINGLE, x).and(0x7f_ffffn).shl(29)));
    });
    f.if(isDenormal(SINGLE, x), () => signal(f, MXCSR.de));
    f.return(x.wrap().reinterpret().convert('f64.promote_f32', F64).reinterpret());
  });
}

/** (bits, immediate of ROUNDPS) → bits. */
function defineRoundLane(m: ModuleBuilder, t: Format, integral: FunctionRef): FunctionRef {
  return m.fn(`sseRoundLane${t.bits}`, [I64, I32], [I64], (f) => {
    const [x, imm] = f.params as [Local, Local];
    flushDenormal(f, t, x);
    f.if(isNaNBits(t, x), () => {
      f.if(isSignalling(t, x), () => signal(f, MXCSR.ie));
      f.return(x.or(t.quiet));
    });
    const mode = select(imm.and(4), mxcsr(f).shrU(MXCSR.rcShift).and(3), imm.and(3));
    const wide = f.let(
      t.bits === 32 ? x.wrap().reinterpret().convert('f64.promote_f32', F64) : x.reinterpret(),
    );
    const rounded = f.let(f.call(integral, wide, mode));
    f.if(rounded.ne(wide).and(imm.and(8).eqz()), () => signal(f, MXCSR.pe));
    f.return(
      t.bits === 32 ? rounded.convert('f32.demote_f64', 0x7d).reinterpret().extendU() : rounded.reinterpret(),
    );
  });
}

/** Defines the exact conversions; each returns 0 with the result in SSE.result, or 1 with #XM raised. */
export function addExactConversions(
  m: ModuleBuilder,
  soft32: SoftFloat,
  soft64: SoftFloat,
  finish: FunctionRef,
): Record<string, FunctionRef> {
  const out: Record<string, FunctionRef> = {};
  const integral = defineIntegral(m);
  const widen = { 32: defineWiden(m, SINGLE), 64: defineWiden(m, DOUBLE) };
  const toInteger = { 32: defineToInteger(m, 32, integral), 64: defineToInteger(m, 64, integral) };
  const fromInteger = { 32: defineFromInteger(m, soft32), 64: defineFromInteger(m, soft64) };
  const narrow = defineNarrow(m, soft32);
  const extend = defineExtend(m);

  const entry = (
    name: string,
    params: FunctionRef['params'],
    emit: (f: FunctionBuilder, params: Local[]) => void,
  ): void => {
    out[name] = m.fn(name, params, [I32], (f) => {
      begin(f);
      emit(f, [...f.params]);
      f.return(f.call(finish));
    });
  };

  for (const t of [SINGLE, DOUBLE]) {
    const bits = t.bits;
    const scalar = bits === 32 ? I32 : I64;
    const round = defineRoundLane(m, t, integral);
    for (const size of [32, 64] as const) {
      // (value, truncate) → integer.
      entry(`sseToInt${size}From${bits}`, [scalar, I32], (f, [x, truncate]) => {
        if (!x || !truncate) return;
        const wide = f.call(widen[bits], x.extendU());
        f.store('i64.store', SSE.result, f.call(toInteger[size], wide, modeFor(f, truncate)));
      });
    }
    entry(`sseFromInt${bits}`, [I64], (f, [x]) => {
      if (x) f.store('i64.store', SSE.result, f.call(fromInteger[bits], x));
    });
    // (lanes, truncate) → as many 32-bit integers, zeroes above them.
    entry(`ssePackedToInt${bits}`, [V128, I32], (f, [x, truncate]) => {
      if (!x || !truncate) return;
      const mode = modeFor(f, truncate);
      f.store('i64.store', SSE.result, i64(0), 8);
      lanesOf(t, x).forEach((lane, i) => {
        const value = f.call(toInteger[32], f.call(widen[bits], lane), mode);
        storeLane(f, SINGLE, i, value);
      });
    });
    entry(`sseRoundPacked${bits}`, [V128, I32], (f, [x, imm]) => {
      if (!x || !imm) return;
      lanesOf(t, x).forEach((lane, i) => storeLane(f, t, i, f.call(round, lane, imm)));
    });
    entry(`sseRoundScalar${bits}`, [scalar, I32], (f, [x, imm]) => {
      if (x && imm) storeLane(f, t, 0, f.call(round, x.extendU(), imm));
    });
  }
  entry('sseFromPackedInt32', [V128], (f, [x]) => {
    if (!x) return;
    lanesOf(SINGLE, x).forEach((lane, i) => storeLane(f, SINGLE, i, f.call(fromInteger[32], lane.ext32())));
  });
  entry('sseNarrowScalar', [I64], (f, [x]) => {
    if (x) storeLane(f, SINGLE, 0, f.call(narrow, x));
  });
  entry('sseExtendScalar', [I32], (f, [x]) => {
    if (x) storeLane(f, DOUBLE, 0, f.call(extend, x.extendU()));
  });
  entry('sseNarrowPacked', [V128], (f, [x]) => {
    if (!x) return;
    f.store('i64.store', SSE.result, i64(0), 8);
    lanesOf(DOUBLE, x).forEach((lane, i) => storeLane(f, SINGLE, i, f.call(narrow, lane)));
  });
  entry('sseExtendPacked', [V128], (f, [x]) => {
    if (!x) return;
    lanesOf(SINGLE, x)
      .slice(0, 2)
      .forEach((lane, i) => storeLane(f, DOUBLE, i, f.call(extend, lane)));
  });
  return out;
}
