import { S } from '../layout.ts';
import type { Local } from '../wasm/function.ts';
import { F32, F64 } from '../wasm/opcodes.ts';
import { select, simd } from '../wasm/value.ts';
import type { Builder, Val } from './builder.ts';
import { type Instruction, type InstructionOptions, instruction } from './rows.ts';
import { DOUBLE, denormalLanes, isDenormalScalar, SINGLE } from './sse-arith.ts';
import {
  andnot,
  bitsOf,
  enterMmx,
  fromLow,
  I32,
  I64,
  i32,
  imm8,
  lanes,
  low64,
  or,
  setLow64,
  writeMmx,
} from './sse-common.ts';
import { MXCSR, SSE } from './sse-scratch.ts';

/** Conversions between integers and floating point, and rounding to integral values (SDM vol. 1, 11.4.1.5, 11.4.2, 12.8.6). */

const sse = (cpuid: string): InstructionOptions => ({ cpuid, unit: 'sse' });
const shapeOf = (bits: 32 | 64): typeof SINGLE => (bits === 32 ? SINGLE : DOUBLE);
const name = (bits: 32 | 64): 'f32' | 'f64' => (bits === 32 ? 'f32' : 'f64');
const vector = (bits: 32 | 64): 'f32x4' | 'f64x2' => (bits === 32 ? 'f32x4' : 'f64x2');
const resultFloat = (b: Builder, bits: 32 | 64): Val => b.state(`${name(bits)}.load`, SSE.result);

/** Rounding to nearest, and an inexact result tells nothing new. */
function roundsQuietly(b: Builder): Val {
  const looked = (3 << MXCSR.rcShift) | MXCSR.pm | MXCSR.pe;
  return b
    .state('i32.load', S.mxcsr)
    .and(looked)
    .eq(MXCSR.pm | MXCSR.pe);
}

/** PE is set and masked already, whatever the rounding. */
function inexactIsQuiet(b: Builder): Val {
  return b
    .state('i32.load', S.mxcsr)
    .and(MXCSR.pm | MXCSR.pe)
    .eq(MXCSR.pm | MXCSR.pe);
}

/** CVTSI2SS and CVTSI2SD; 32-bit integers are exact in double precision. */
function fromInteger(b: Builder, bits: 32 | 64): void {
  const value = b.read(1);
  const source = value.type === I32 ? 'i32' : 'i64';
  const r = b.let(value.convert(`${name(bits)}.convert_${source}_s`, bits === 32 ? F32 : F64));
  if (bits === 32 || source === 'i64') {
    b.unlikely(roundsQuietly(b).eqz(), () => {
      b.callFaulting(`sseFromInt${bits}`, value.extendS());
      b.set(r, resultFloat(b, bits));
    });
  }
  b.write(0, r);
  b.nowNumbers(0, bits === 32 ? 'ss' : 'sd');
}

/** CVT(T)SS2SI and CVT(T)SD2SI. */
function toInteger(b: Builder, bits: 32 | 64, truncate: boolean): void {
  const x = b.read(1);
  const size = b.operandSize(0) === 64 ? 64 : 32;
  const type = size === 64 ? I64 : I32;
  const float = bits === 32 ? F32 : F64;
  const rounded = b.let(x.unary(truncate ? 'trunc' : 'nearest', float));
  const limit = size === 64 ? 2 ** 63 : 2 ** 31;
  const inside = rounded.ge(-limit).and(rounded.lt(limit));
  // The exact path also knows that DAZ makes a denormal exact.
  const quiet = truncate ? inexactIsQuiet(b) : roundsQuietly(b);
  const r = b.let(rounded.convert(`i${size}.trunc_sat_${name(bits)}_s`, type));
  b.unlikely(inside.and(quiet.or(rounded.eq(x))).eqz(), () => {
    b.callFaulting(`sseToInt${size}From${bits}`, bitsOf(x), i32(truncate ? 1 : 0));
    b.set(r, b.state(size === 64 ? 'i64.load' : 'i32.load', SSE.result));
  });
  b.write(0, r);
}

/** Four singles, or two doubles with zeroes above, to 32-bit integers. */
function packedToInteger(b: Builder, bits: 32 | 64, truncate: boolean, x: Val): Val {
  const s = vector(bits);
  const rounded = b.let(simd(`${s}.${truncate ? 'trunc' : 'nearest'}`, [x]));
  const limit = bits === 32 ? lanes(32, [0x4f00_0000]) : lanes(64, [0x41e0_0000_0000_0000n]);
  const inside = andnot(
    simd(`${s}.lt`, [rounded, limit]),
    simd(`${s}.lt`, [rounded, simd(`${s}.neg`, [limit])]),
  );
  const all = bits === 32 ? 'i32x4.all_true' : 'i64x2.all_true';
  const exact = simd(all, [simd(`${s}.eq`, [rounded, x])], I32);
  const quiet = truncate ? inexactIsQuiet(b) : roundsQuietly(b);
  const conversion = bits === 32 ? 'i32x4.trunc_sat_f32x4_s' : 'i32x4.trunc_sat_f64x2_s_zero';
  const r = b.let(simd(conversion, [rounded]));
  b.unlikely(simd(all, [inside], I32).and(quiet.or(exact)).eqz(), () => {
    b.callFaulting(`ssePackedToInt${bits}`, x, i32(truncate ? 1 : 0));
    b.set(r, b.state('v128.load', SSE.result));
  });
  return r;
}

/** 32-bit integers to singles. */
function packedFromInteger(b: Builder, x: Val): Val {
  const r = b.let(simd('f32x4.convert_i32x4_s', [x]));
  b.unlikely(roundsQuietly(b).eqz(), () => {
    b.callFaulting('sseFromPackedInt32', x);
    b.set(r, b.state('v128.load', SSE.result));
  });
  return r;
}

/** CVTSD2SS: a plain single, neither tiny nor infinite, or zero from zero. */
function narrow(b: Builder): void {
  const x = b.read(1);
  const r = b.let(x.convert('f32.demote_f64', F32));
  const size = b.let(r.unary('abs', F32));
  // 2^-125 and up was not tiny before rounding either.
  const plain = size
    .ge(2 ** -125)
    .and(size.lt(Infinity))
    .or(x.eq(0));
  b.unlikely(b.settledMxcsr().and(plain).eqz(), () => {
    b.callFaulting('sseNarrowScalar', bitsOf(x));
    b.set(r, b.state('f32.load', SSE.result));
  });
  b.write(0, r);
}

function narrowPacked(b: Builder, x: Val): Val {
  const r = b.let(simd('f32x4.demote_f64x2_zero', [x]));
  const size = b.let(simd('f64x2.promote_low_f32x4', [simd('f32x4.abs', [r])]));
  const least = lanes(64, [0x3820_0000_0000_0000n]);
  const inRange = andnot(
    simd('f64x2.lt', [size, lanes(64, [0x7ff0_0000_0000_0000n])]),
    simd('f64x2.lt', [size, least]),
  );
  const good = or(inRange, simd('f64x2.eq', [x, lanes(64, [0])]));
  b.unlikely(
    b
      .settledMxcsr()
      .and(simd('i64x2.all_true', [good], I32))
      .eqz(),
    () => {
      b.callFaulting('sseNarrowPacked', x);
      b.set(r, b.state('v128.load', SSE.result));
    },
  );
  return r;
}

/** CVTSS2SD: exact, but for NaNs and the report of denormals. */
function extend(b: Builder): void {
  const x = b.read(1);
  const r = b.let(x.convert('f64.promote_f32', F64));
  b.unlikely(x.ne(x).or(isDenormalScalar(SINGLE, x)), () => {
    b.callFaulting('sseExtendScalar', bitsOf(x));
    b.set(r, b.state('f64.load', SSE.result));
  });
  b.write(0, r);
}

function extendPacked(b: Builder): void {
  const x = b.let(fromLow(b.read(1)));
  const r = b.let(simd('f64x2.promote_low_f32x4', [x]));
  const good = andnot(simd('f32x4.eq', [x, x]), denormalLanes(SINGLE, x));
  b.unlikely(simd('i32x4.all_true', [good], I32).eqz(), () => {
    b.callFaulting('sseExtendPacked', x);
    b.set(r, b.state('v128.load', SSE.result));
  });
  b.write(0, r);
}

/** How ROUNDPS rounds: 0 nearest, 1 down, 2 up, 3 towards zero; by the immediate or by MXCSR. */
function roundingMode(b: Builder, imm: Val): Val {
  return b.let(select(imm.and(4), b.state('i32.load', S.mxcsr).shrU(MXCSR.rcShift), imm).and(3));
}

function rounding(b: Builder, mode: Val, apply: (operator: string) => Val): Local {
  const r = b.let(apply('nearest'));
  b.if(mode, () => {
    b.if(mode.eq(1), () => b.set(r, apply('floor')));
    b.if(mode.eq(2), () => b.set(r, apply('ceil')));
    b.if(mode.eq(3), () => b.set(r, apply('trunc')));
  });
  return r;
}

function roundPacked(b: Builder, bits: 32 | 64): void {
  const s = vector(bits);
  const x = b.read(1);
  const imm = imm8(b, 2);
  const r = rounding(b, roundingMode(b, imm), (operator) => simd(`${s}.${operator}`, [x]));
  const all = bits === 32 ? 'i32x4.all_true' : 'i64x2.all_true';
  const exact = simd(all, [simd(`${s}.eq`, [r, x])], I32);
  const numbers = andnot(simd(`${s}.eq`, [x, x]), denormalLanes(shapeOf(bits), x));
  b.unlikely(
    exact
      .or(inexactIsQuiet(b))
      .and(simd(all, [numbers], I32))
      .eqz(),
    () => {
      b.callFaulting(`sseRoundPacked${bits}`, x, imm);
      b.set(r, b.state('v128.load', SSE.result));
    },
  );
  b.write(0, r);
}

function roundScalar(b: Builder, bits: 32 | 64): void {
  const x = b.read(1);
  const imm = imm8(b, 2);
  const r = rounding(b, roundingMode(b, imm), (operator) => x.unary(operator, x.type));
  const odd = x.ne(x).or(isDenormalScalar(shapeOf(bits), x));
  b.unlikely(r.eq(x).or(inexactIsQuiet(b)).and(odd.eqz()).eqz(), () => {
    b.callFaulting(`sseRoundScalar${bits}`, bitsOf(x), imm);
    b.set(r, resultFloat(b, bits));
  });
  b.write(0, r);
}

const scalar: readonly Instruction[] = [
  instruction('cvtsi2ss', 'F3 0F 2A Vss:w,Ey', (b) => fromInteger(b, 32), sse('SSE')),
  instruction('cvtsi2sd', 'F2 0F 2A Vsd:w,Ey', (b) => fromInteger(b, 64), sse('SSE2')),
  instruction('cvttss2si', 'F3 0F 2C Gy:w,Wss', (b) => toInteger(b, 32, true), sse('SSE')),
  instruction('cvttsd2si', 'F2 0F 2C Gy:w,Wsd', (b) => toInteger(b, 64, true), sse('SSE2')),
  instruction('cvtss2si', 'F3 0F 2D Gy:w,Wss', (b) => toInteger(b, 32, false), sse('SSE')),
  instruction('cvtsd2si', 'F2 0F 2D Gy:w,Wsd', (b) => toInteger(b, 64, false), sse('SSE2')),
  instruction('cvtss2sd', 'F3 0F 5A Vsd:w,Wss', extend, sse('SSE2')),
  instruction('cvtsd2ss', 'F2 0F 5A Vss:w,Wsd', narrow, sse('SSE2')),
  instruction('roundss', '66 0F 3A 0A Vss:w,Wss,Ib', (b) => roundScalar(b, 32), sse('SSE4_1')),
  instruction('roundsd', '66 0F 3A 0B Vsd:w,Wsd,Ib', (b) => roundScalar(b, 64), sse('SSE4_1')),
];

const packed: readonly Instruction[] = [
  instruction(
    'cvtdq2ps',
    'NP 0F 5B Vx:w,Wx',
    (b) => b.write(0, packedFromInteger(b, b.read(1))),
    sse('SSE2'),
  ),
  instruction(
    'cvtps2dq',
    '66 0F 5B Vx:w,Wx',
    (b) => b.write(0, packedToInteger(b, 32, false, b.read(1))),
    sse('SSE2'),
  ),
  instruction(
    'cvttps2dq',
    'F3 0F 5B Vx:w,Wx',
    (b) => b.write(0, packedToInteger(b, 32, true, b.read(1))),
    sse('SSE2'),
  ),
  instruction(
    'cvtpd2dq',
    'F2 0F E6 Vx:w,Wx',
    (b) => b.write(0, packedToInteger(b, 64, false, b.read(1))),
    sse('SSE2'),
  ),
  instruction(
    'cvttpd2dq',
    '66 0F E6 Vx:w,Wx',
    (b) => b.write(0, packedToInteger(b, 64, true, b.read(1))),
    sse('SSE2'),
  ),
  instruction(
    'cvtdq2pd',
    'F3 0F E6 Vx:w,Wq',
    (b) => {
      b.write(0, simd('f64x2.convert_low_i32x4_s', [fromLow(b.read(1))]));
    },
    sse('SSE2'),
  ),
  instruction('cvtps2pd', 'NP 0F 5A Vx:w,Wq', extendPacked, sse('SSE2')),
  instruction('cvtpd2ps', '66 0F 5A Vx:w,Wx', (b) => b.write(0, narrowPacked(b, b.read(1))), sse('SSE2')),
  instruction('roundps', '66 0F 3A 08 Vx:w,Wx,Ib', (b) => roundPacked(b, 32), sse('SSE4_1')),
  instruction('roundpd', '66 0F 3A 09 Vx:w,Wx,Ib', (b) => roundPacked(b, 64), sse('SSE4_1')),
];

const mmx = (cpuid: string): InstructionOptions => ({ cpuid, unit: 'mmx' });

/**
 * CVTPI2PS: the low half alone is written. Processors leave x87 mode once an MMX
 * register is read or the source of one is there, even when #XM comes of it; so do these.
 */
function convertPairToSingles(b: Builder): void {
  const source = b.let(fromLow(b.read(1)));
  if (!b.isMemory(1)) enterMmx(b);
  const r = packedFromInteger(b, source);
  b.write(0, setLow64(b.read(0), low64(r)));
}

function pairToMmx(b: Builder, bits: 32 | 64, truncate: boolean): void {
  const source = b.read(1);
  enterMmx(b);
  const lanesIn = source.type === I64 ? b.let(fromLow(source)) : source;
  writeMmx(b, 0, low64(packedToInteger(b, bits, truncate, lanesIn)));
}

/** Conversions with an MMX register on one side. From memory no MMX register takes part, and the x87 stack stays as it is. */
const withMmx: readonly Instruction[] = [
  instruction('cvtpi2ps', 'NP 0F 2A Vx,Nq', convertPairToSingles, mmx('SSE')),
  instruction('cvtpi2ps', 'NP 0F 2A Vx,Wq mem', convertPairToSingles, sse('SSE')),
  instruction(
    'cvtpi2pd',
    '66 0F 2A Vx:w,Nq',
    (b) => {
      b.write(0, simd('f64x2.convert_low_i32x4_s', [fromLow(b.read(1))]));
      enterMmx(b);
    },
    mmx('SSE2'),
  ),
  instruction(
    'cvtpi2pd',
    '66 0F 2A Vx:w,Wq mem',
    (b) => {
      b.write(0, simd('f64x2.convert_low_i32x4_s', [fromLow(b.read(1))]));
    },
    sse('SSE2'),
  ),
  ...([false, true] as const).flatMap((truncate) => [
    instruction(
      `cvt${truncate ? 't' : ''}ps2pi`,
      `NP 0F ${truncate ? '2C' : '2D'} Pq:w,Wq`,
      (b) => {
        pairToMmx(b, 32, truncate);
      },
      mmx('SSE'),
    ),
    instruction(
      `cvt${truncate ? 't' : ''}pd2pi`,
      `66 0F ${truncate ? '2C' : '2D'} Pq:w,Wx`,
      (b) => {
        pairToMmx(b, 64, truncate);
      },
      mmx('SSE2'),
    ),
  ]),
];

export const sseConvertInstructions: readonly Instruction[] = [...scalar, ...packed, ...withMmx];
