import { MXCSR, SSE } from '../../isa/sse-scratch.ts';
import { type FunctionRef, I32, I64, type Local, V128 } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { i64, select } from '../../wasm/value.ts';
import { begin, flushDenormal, lanesOf, storeLane } from './sse-arith.ts';
import { returnSpecials } from './sse-convert.ts';
import {
  addRounding,
  HALF,
  isInfinite,
  isNaNBits,
  isSignalling,
  magnitude,
  mxcsr,
  SINGLE,
  signal,
  signOf,
  unpackNormal,
} from './sse-soft.ts';

/** Half to single precision, always exact; denormals are numbers like all others, whatever MXCSR says (SDM vol. 1, 14.4.1). */
function defineWiden(m: ModuleBuilder): FunctionRef {
  return m.fn('f16Widen', [I64], [I64], (f) => {
    const [x] = f.params as [Local];
    const signBit = f.let(signOf(HALF, x).extendU().shl(31));
    f.if(isNaNBits(HALF, x), () => {
      f.if(isSignalling(HALF, x), () => signal(f, MXCSR.ie));
      f.return(signBit.or(SINGLE.infinity | SINGLE.quiet).or(x.and(0x3ffn).shl(13)));
    });
    f.if(isInfinite(HALF, x), () => f.return(signBit.or(SINGLE.infinity)));
    // As a single's bits it is smaller by the difference of the biases.
    const scaled = magnitude(HALF, x)
      .shl(13)
      .wrap()
      .reinterpret()
      .mul(2 ** (SINGLE.bias - HALF.bias));
    f.return(signBit.or(scaled.reinterpret().extendU()));
  });
}

/** Single to half precision, rounded as SSE.control says, never flushed to zero. */
function defineNarrow(m: ModuleBuilder): FunctionRef {
  const round = addRounding(m, HALF, (f) => f.load('i32.load', SSE.control));
  return m.fn('f16Narrow', [I64], [I64], (f) => {
    const [x] = f.params as [Local];
    flushDenormal(f, SINGLE, x);
    const sign = returnSpecials(f, SINGLE, HALF, x);
    const parts = unpackNormal(f, SINGLE, x);
    f.return(f.call(round, sign, parts.exponent.sub(SINGLE.bias - HALF.bias), parts.significand));
  });
}

/** Defines `f16ToSingle` (four numbers as an i64) and `f16FromSingle` (lanes, immediate): 0 with the result in SSE.result, or 1 with #XM raised. */
export function addF16cRuntime(m: ModuleBuilder, finish: FunctionRef): Record<string, FunctionRef> {
  const widen = defineWiden(m);
  const narrow = defineNarrow(m);
  return {
    f16ToSingle: m.fn('f16ToSingle', [I64], [I32], (f) => {
      const [x] = f.params as [Local];
      begin(f);
      for (let i = 0; i < 4; i += 1) storeLane(f, SINGLE, i, f.call(widen, x.shrU(16 * i).and(0xffff)));
      f.return(f.call(finish));
    }),
    f16FromSingle: m.fn('f16FromSingle', [V128, I32], [I32], (f) => {
      const [x, imm] = f.params as [Local, Local];
      begin(f);
      const mx = f.let(mxcsr(f));
      const rounding = select(imm.and(4), mx.shrU(MXCSR.rcShift), imm).and(3);
      f.store(
        'i32.store',
        SSE.control,
        mx.and(~(MXCSR.ftz | (3 << MXCSR.rcShift))).or(rounding.shl(MXCSR.rcShift)),
      );
      const result = f.local(I64, 0);
      lanesOf(SINGLE, x).forEach((lane, i) => {
        f.set(result, result.or(f.call(narrow, lane).shl(16 * i)));
      });
      f.store('i64.store', SSE.result, result);
      f.store('i64.store', SSE.result, i64(0), 8);
      f.return(f.call(finish));
    }),
  };
}
