import type { Local } from '../wasm/function.ts';
import { F32, F64, type ValType } from '../wasm/opcodes.ts';
import { select, shuffle, simd } from '../wasm/value.ts';
import type { Builder, FloatLanes, Val } from './builder.ts';
import { type Instruction, type InstructionOptions, instruction } from './rows.ts';
import { and, andnot, bitsOf, I32, i32, i64, imm8, keep, lanes, or, V128, xor } from './sse-common.ts';
import { folded } from './sse-fold.ts';
import { LANE_OP, MXCSR, PREDICATES, SSE } from './sse-scratch.ts';

/**
 * Floating-point arithmetic. The fast path is wasm's own, which rounds to nearest
 * and reports nothing; it serves when nothing but PE can come of the operation and PE is already set and
 * masked (a program's second inexact result), seen from operands and result.
 * Everything else is computed exactly in the runtime (interpret/runtime/sse-arith.ts).
 */
interface Shape {
  readonly bits: 32 | 64;
  readonly type: ValType;
  /** Wasm's SIMD shape. */
  readonly shape: 'f32x4' | 'f64x2';
  readonly integers: 'i32x4' | 'i64x2';
  readonly infinity: bigint;
  /** Bits of the smallest normal number. */
  readonly least: bigint;
}

const PS: Shape = {
  bits: 32,
  type: F32,
  shape: 'f32x4',
  integers: 'i32x4',
  infinity: 0x7f80_0000n,
  least: 0x80_0000n,
};
const PD: Shape = {
  bits: 64,
  type: F64,
  shape: 'f64x2',
  integers: 'i64x2',
  infinity: 0x7ff0_0000_0000_0000n,
  least: 0x10_0000_0000_0000n,
};

export const SINGLE = PS;
export const DOUBLE = PD;

/** Round to nearest, PE set and masked, all else masked too; DAZ and FTZ do not matter to normal numbers. */
export function isSettled(mxcsr: Val): Val {
  const looked = MXCSR.masks | (3 << MXCSR.rcShift) | MXCSR.pe;
  return mxcsr.and(looked).eq(MXCSR.masks | MXCSR.pe);
}

/** Twice the bits: the sign is gone, and the order of magnitudes stays. */
const doubled = (v: Val): Val => bitsOf(v).shl(1);

export const isDenormalScalar = (t: Shape, v: Val): Val =>
  doubled(v)
    .sub(1)
    .ltU(t.least * 2n - 1n);
/** Finite, and no smaller than twice the least normal number, so that it cannot have been tiny before rounding. */
export const isPlain = (t: Shape, v: Val): Val =>
  doubled(v)
    .sub(t.least * 4n)
    .ltU(t.infinity * 2n - t.least * 4n);
const isZero = (v: Val): Val => doubled(v).eqz();

const constantLanes = (t: Shape, value: bigint): Val => lanes(t.bits, [value]);
const abs = (t: Shape, v: Val): Val => simd(`${t.shape}.abs`, [v]);
export const denormalLanes = (t: Shape, v: Val): Val =>
  andnot(simd(`${t.shape}.lt`, [abs(t, v), constantLanes(t, t.least)]), zeroLanes(t, v));
const zeroLanes = (t: Shape, v: Val): Val => simd(`${t.shape}.eq`, [v, constantLanes(t, 0n)]);
export const plainLanes = (t: Shape, v: Val): Val =>
  and(
    simd(`${t.shape}.ge`, [abs(t, v), constantLanes(t, t.least * 2n)]),
    simd(`${t.shape}.lt`, [abs(t, v), constantLanes(t, t.infinity)]),
  );
export const allLanes = (t: Shape, mask: Val): Val => simd(`${t.integers}.all_true`, [mask], I32);

const scalar = (t: Shape): FloatLanes => (t.bits === 32 ? 'ss' : 'sd');
const packed = (t: Shape): FloatLanes => (t.bits === 32 ? 'ps' : 'pd');

export type Operation = 'add' | 'sub' | 'mul' | 'div';

/** Zero results that are exact: a sum of numbers that are not denormal, or a product (quotient) with a zero in it. */
function exactZero(
  op: Operation,
  zero: (v: Val) => Val,
  both: (a: Val, b: Val) => Val,
  either: (a: Val, b: Val) => Val,
  r: Val,
  x: Val,
  y: Val,
): Val {
  if (op === 'mul') return both(zero(r), either(zero(x), zero(y)));
  if (op === 'div') return both(zero(r), zero(x));
  return zero(r);
}

function native(b: Builder, t: Shape, op: Operation, x: Val, y: Val): Local {
  const float = (v: Val): Val => (v.type === t.type ? v : v.reinterpret());
  return b.let(float(x).binary(op, float(y)));
}

/** Values and, where they are a register's, what is known of them: see Builder.holdsNumbers. */
interface Operands {
  readonly x: Val;
  readonly y: Val;
  readonly known: { readonly x: boolean; readonly y: boolean };
}

function operandsOf(b: Builder, lanes: FloatLanes): Operands {
  const y = b.read(1);
  const x = b.read(0);
  return { x, y, known: { x: b.holdsNumbers(0, lanes), y: b.holdsNumbers(1, lanes) } };
}

/**
 * Takes a result that was computed the quick way where `settled` and `quick` hold; else, but for a zero that is
 * exact, what `exactly` computes. Quick results are numbers that are not denormal.
 */
function quickOr(b: Builder, quick: Val, zero: Val, exactly: () => void): void {
  b.unlikely(b.settledMxcsr().and(quick).eqz(), () => {
    b.if(b.settledMxcsr().and(zero).eqz(), () => {
      exactly();
      b.wentExactly();
    });
  });
}

/** The condition, and that none of the operands of which it is not known is denormal. */
const andNot = (condition: Val, unknown: readonly Val[]): Val =>
  unknown.reduce((all, denormal) => all.and(denormal.eqz()), condition);

/** Scalar `op`; gives the result's float. May raise #XM. */
function scalarArithmetic(b: Builder, t: Shape, op: Operation, { x, y, known }: Operands): Val {
  const r = native(b, t, op, x, y);
  const i1 = (p: Val, q: Val): Val => p.and(q);
  const denormal = { x: isDenormalScalar(t, x), y: isDenormalScalar(t, y) };
  const unknown = [...(known.x ? [] : [denormal.x]), ...(known.y ? [] : [denormal.y])];
  const zero = andNot(
    exactZero(op, isZero, i1, (p, q) => p.or(q), r, x, y),
    [denormal.x, denormal.y],
  );
  quickOr(b, andNot(isPlain(t, r), unknown), zero, () => {
    b.callFaulting(`sseScalar${t.bits}`, i32(LANE_OP[op]), bitsOf(x), bitsOf(y));
    b.set(r, b.state(t.bits === 32 ? 'f32.load' : 'f64.load', SSE.result));
  });
  return r;
}

/** Packed `op`. May raise #XM. */
function packedArithmetic(b: Builder, t: Shape, op: Operation, { x, y, known }: Operands): Val {
  const r = b.let(simd(`${t.shape}.${op}`, [x, y]));
  const denormal = { x: denormalLanes(t, x), y: denormalLanes(t, y) };
  const unknown = [...(known.x ? [] : [denormal.x]), ...(known.y ? [] : [denormal.y])];
  const quick = unknown.reduce(andnot, plainLanes(t, r));
  const zeros = exactZero(op, (v) => zeroLanes(t, v), and, or, r, x, y);
  const good = andnot(or(plainLanes(t, r), zeros), or(denormal.x, denormal.y));
  quickOr(b, allLanes(t, quick), allLanes(t, good), () => {
    b.callFaulting(`ssePacked${t.bits}`, i32(LANE_OP[op] * 0x101), x, y);
    b.set(r, b.state('v128.load', SSE.result));
  });
  return r;
}

/** ADDSUBPS: subtraction in even lanes. A sum with the sign turned is the difference, but for NaNs: those go the exact way. */
function addSub(b: Builder, t: Shape): void {
  const y = b.read(1);
  const x = b.read(0);
  const sign = lanes(t.bits, [1n << BigInt(t.bits - 1), 0n]);
  const r = b.let(simd(`${t.shape}.add`, [x, xor(y, sign)]));
  const good = or(plainLanes(t, r), zeroLanes(t, r));
  const denormal = or(denormalLanes(t, x), denormalLanes(t, y));
  b.unlikely(
    b
      .settledMxcsr()
      .and(allLanes(t, andnot(good, denormal)))
      .eqz(),
    () => {
      b.callFaulting(`ssePacked${t.bits}`, i32(LANE_OP.sub | (LANE_OP.add << 8)), x, y);
      b.set(r, b.state('v128.load', SSE.result));
      b.wentExactly();
    },
  );
  b.write(0, r);
}

const EVEN = {
  32: [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27],
  64: [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23],
} as const;
const ODD = { 32: EVEN[32].map((n) => n + 4), 64: EVEN[64].map((n) => n + 8) } as const;

function horizontal(b: Builder, t: Shape, op: 'add' | 'sub'): void {
  const y = b.read(1);
  const x = b.read(0);
  const first = b.let(shuffle(x, y, EVEN[t.bits]));
  const second = b.let(shuffle(x, y, ODD[t.bits]));
  b.write(0, packedArithmetic(b, t, op, { x: first, y: second, known: { x: false, y: false } }));
}

function packedRoot(b: Builder, t: Shape): void {
  const y = b.read(1);
  const r = b.let(simd(`${t.shape}.sqrt`, [y]));
  const denormal = denormalLanes(t, y);
  const quick = b.holdsNumbers(1, packed(t)) ? plainLanes(t, r) : andnot(plainLanes(t, r), denormal);
  const good = andnot(or(plainLanes(t, r), zeroLanes(t, r)), denormal);
  quickOr(b, allLanes(t, quick), allLanes(t, good), () => {
    b.callFaulting(`ssePacked${t.bits}`, i32(LANE_OP.sqrt * 0x101), y, y);
    b.set(r, b.state('v128.load', SSE.result));
  });
  b.write(0, r);
  b.nowNumbers(0, packed(t));
}

function scalarRoot(b: Builder, t: Shape): void {
  const y = b.read(1);
  const r = b.let(y.sqrt());
  const denormal = isDenormalScalar(t, y);
  const quick = andNot(isPlain(t, r), b.holdsNumbers(1, scalar(t)) ? [] : [denormal]);
  quickOr(b, quick, andNot(isZero(r), [denormal]), () => {
    b.callFaulting(`sseScalar${t.bits}`, i32(LANE_OP.sqrt), bitsOf(y), bitsOf(y));
    b.set(r, b.state(t.bits === 32 ? 'f32.load' : 'f64.load', SSE.result));
  });
  b.write(0, r);
  b.nowNumbers(0, scalar(t));
}

/** Comparisons, MIN and MAX raise nothing but IE for NaNs and DE for denormals; without either, MXCSR does not matter. */
function scalarOrdered(t: Shape, x: Val, y: Val): Val {
  const odd = isDenormalScalar(t, x).or(isDenormalScalar(t, y));
  return x.ne(x).or(y.ne(y)).or(odd).eqz();
}

/** Does something the exact way where the operands, registers 0 and 1, are not known to be, or not found to be, numbers that are not denormal. */
function unlessOrdered(b: Builder, lanes: FloatLanes, ordered: Val, exactly: () => void): void {
  const way = (): void => {
    exactly();
    b.wentExactly();
  };
  if (b.holdsNumbers(0, lanes) && b.holdsNumbers(1, lanes))
    b.unlikely(b.settledMxcsr().eqz(), () => b.if(ordered.eqz(), way));
  else b.unlikely(ordered.eqz(), way);
  b.nowNumbers(0, lanes);
  b.nowNumbers(1, lanes);
}

/** All lanes of x and y are numbers and none is denormal. */
function packedOrdered(t: Shape, x: Val, y: Val): Val {
  const numbers = and(simd(`${t.shape}.eq`, [x, x]), simd(`${t.shape}.eq`, [y, y]));
  return allLanes(t, andnot(numbers, or(denormalLanes(t, x), denormalLanes(t, y))));
}

function packedMinMax(b: Builder, t: Shape, op: 'min' | 'max'): void {
  const y = b.read(1);
  const x = b.read(0);
  // pmin(a, b) is b < a ? b : a.
  const r = b.let(simd(`${t.shape}.p${op}`, [y, x]));
  unlessOrdered(b, packed(t), packedOrdered(t, x, y), () => {
    b.callFaulting(`ssePacked${t.bits}`, i32(LANE_OP[op] * 0x101), x, y);
    b.set(r, b.state('v128.load', SSE.result));
  });
  b.write(0, r);
  b.nowNumbers(0, packed(t));
}

function scalarMinMax(b: Builder, t: Shape, op: 'min' | 'max'): void {
  const y = b.read(1);
  const x = b.read(0);
  const r = b.let(select(op === 'min' ? x.lt(y) : x.gt(y), x, y));
  unlessOrdered(b, scalar(t), scalarOrdered(t, x, y), () => {
    b.callFaulting(`sseScalar${t.bits}`, i32(LANE_OP[op]), bitsOf(x), bitsOf(y));
    b.set(r, b.state(t.bits === 32 ? 'f32.load' : 'f64.load', SSE.result));
  });
  b.write(0, r);
  b.nowNumbers(0, scalar(t));
}

/** Bits of a predicate's row in PREDICATES: whether it is true of less (bit 0), equal, greater numbers. */
const truthOf = (b: Builder, predicate: Val): Val =>
  keep(b, i64(PREDICATES).shrU(predicate.and(15).shl(2).extendU()).wrap());
const bitOf = (truth: Val, bit: number): Val => truth.shrU(bit).and(1);

/** Predicates below `predicates`: 8 of SSE, 32 of AVX. */
function packedCompare(b: Builder, t: Shape, predicates: 8 | 32): void {
  const y = b.read(1);
  const x = b.read(0);
  const predicate = keep(b, imm8(b, 2).and(predicates - 1));
  const r = b.local(V128);
  b.if(
    packedOrdered(t, x, y),
    () => {
      const truth = truthOf(b, predicate);
      const whole = (bit: number): Val => folded(simd('i32x4.splat', [i32(0).sub(bitOf(truth, bit))]));
      const less = and(simd(`${t.shape}.lt`, [x, y]), whole(0));
      const equal = and(simd(`${t.shape}.eq`, [x, y]), whole(1));
      const greater = and(simd(`${t.shape}.gt`, [x, y]), whole(2));
      b.set(r, or(or(less, equal), greater));
    },
    () => {
      b.callFaulting(`ssePacked${t.bits}`, predicate.add(LANE_OP.compare).mul(0x101), x, y);
      b.set(r, b.state('v128.load', SSE.result));
    },
  );
  b.write(0, r);
}

function scalarCompare(b: Builder, t: Shape, predicates: 8 | 32): void {
  const y = b.read(1);
  const x = b.read(0);
  const predicate = keep(b, imm8(b, 2).and(predicates - 1));
  const r = b.local(t.type);
  b.if(
    scalarOrdered(t, x, y),
    () => {
      const truth = truthOf(b, predicate);
      const relation = select(x.lt(y), i32(0), select(x.eq(y), i32(1), i32(2)));
      const mask = i32(0).sub(truth.shrU(relation).and(1));
      b.set(r, t.bits === 32 ? mask.reinterpret() : mask.extendS().reinterpret());
    },
    () => {
      b.callFaulting(`sseScalar${t.bits}`, predicate.add(LANE_OP.compare), bitsOf(x), bitsOf(y));
      b.set(r, b.state(t.bits === 32 ? 'f32.load' : 'f64.load', SSE.result));
    },
  );
  b.write(0, r);
}

function compareToFlags(b: Builder, t: Shape, op: 'comis' | 'ucomis'): void {
  const y = b.read(1);
  const x = b.read(0);
  const zf = b.let(x.eq(y));
  const cf = b.let(x.lt(y));
  const pf = b.local(I32, 0);
  unlessOrdered(b, scalar(t), scalarOrdered(t, x, y), () => {
    b.callFaulting(`sseScalar${t.bits}`, i32(LANE_OP[op]), bitsOf(x), bitsOf(y));
    const truth = b.state('i32.load', SSE.result);
    b.set(zf, truth.and(1));
    b.set(pf, truth.shrU(1).and(1));
    b.set(cf, truth.shrU(2).and(1));
  });
  const clear = i32(0);
  b.flagsAll({ cf, pf, zf, af: clear, sf: clear, of: clear });
}

/** DPPS and DPPD: always exact; they are rare. */
function dot(b: Builder, t: Shape): void {
  const y = b.read(1);
  b.callFaulting(`sseDot${t.bits}`, b.read(0), y, imm8(b, 2));
  b.write(0, b.state('v128.load', SSE.result));
}

/** RCPPS and RSQRTPS raise nothing and are good to 1.5 × 2^-12 on hardware; here to the last bit but one. */
function approximate(b: Builder, name: string, scalar: boolean): void {
  const y = b.read(1);
  if (scalar) b.write(0, b.call(name, bitsOf(y)).reinterpret());
  else b.write(0, b.call(`${name}Packed`, y));
}

const sse = (cpuid: string): InstructionOptions => ({ cpuid, unit: 'sse' });

function family(
  stem: string,
  opcode: string,
  whole: (b: Builder, t: Shape) => void,
  lowest: (b: Builder, t: Shape) => void,
  operands = '',
  access = '',
): Instruction[] {
  return [
    instruction(`${stem}ps`, `NP 0F ${opcode} Vx${access},Wx${operands}`, (b) => whole(b, PS), sse('SSE')),
    instruction(`${stem}pd`, `66 0F ${opcode} Vx${access},Wx${operands}`, (b) => whole(b, PD), sse('SSE2')),
    instruction(`${stem}ss`, `F3 0F ${opcode} Vss,Wss${operands}`, (b) => lowest(b, PS), sse('SSE')),
    instruction(`${stem}sd`, `F2 0F ${opcode} Vsd,Wsd${operands}`, (b) => lowest(b, PD), sse('SSE2')),
  ];
}

/** Writes a result of which, and of whose operands, all is known now. */
function arithmetic(b: Builder, lanes: FloatLanes, result: Val): void {
  b.nowNumbers(1, lanes);
  b.write(0, result);
  b.nowNumbers(0, lanes);
}

function binaryFamily(op: Operation, opcode: string): Instruction[] {
  return family(
    op,
    opcode,
    (b, t) => arithmetic(b, packed(t), packedArithmetic(b, t, op, operandsOf(b, packed(t)))),
    (b, t) => arithmetic(b, scalar(t), scalarArithmetic(b, t, op, operandsOf(b, scalar(t)))),
  );
}

function pair(stem: string, opcode: string, semantics: (b: Builder, t: Shape) => void): Instruction[] {
  return [
    instruction(`${stem}ps`, `F2 0F ${opcode} Vx,Wx`, (b) => semantics(b, PS), sse('SSE3')),
    instruction(`${stem}pd`, `66 0F ${opcode} Vx,Wx`, (b) => semantics(b, PD), sse('SSE3')),
  ];
}

/** CMPPS and its kin with predicates below `predicates`: 8, or the 32 of their VEX forms. */
export function comparisons(predicates: 8 | 32): Instruction[] {
  return family(
    'cmp',
    'C2',
    (b, t) => packedCompare(b, t, predicates),
    (b, t) => scalarCompare(b, t, predicates),
    ',Ib',
  );
}

export const sseArithmeticInstructions: readonly Instruction[] = [
  ...family('sqrt', '51', packedRoot, scalarRoot, '', ':w'),
  ...binaryFamily('add', '58'),
  ...binaryFamily('mul', '59'),
  ...binaryFamily('sub', '5C'),
  ...binaryFamily('div', '5E'),
  ...family(
    'min',
    '5D',
    (b, t) => packedMinMax(b, t, 'min'),
    (b, t) => scalarMinMax(b, t, 'min'),
  ),
  ...family(
    'max',
    '5F',
    (b, t) => packedMinMax(b, t, 'max'),
    (b, t) => scalarMinMax(b, t, 'max'),
  ),
  ...comparisons(8),
  ...pair('addsub', 'D0', addSub),
  ...pair('hadd', '7C', (b, t) => horizontal(b, t, 'add')),
  ...pair('hsub', '7D', (b, t) => horizontal(b, t, 'sub')),
  instruction('ucomiss', 'NP 0F 2E Vss:r,Wss', (b) => compareToFlags(b, PS, 'ucomis'), sse('SSE')),
  instruction('ucomisd', '66 0F 2E Vsd:r,Wsd', (b) => compareToFlags(b, PD, 'ucomis'), sse('SSE2')),
  instruction('comiss', 'NP 0F 2F Vss:r,Wss', (b) => compareToFlags(b, PS, 'comis'), sse('SSE')),
  instruction('comisd', '66 0F 2F Vsd:r,Wsd', (b) => compareToFlags(b, PD, 'comis'), sse('SSE2')),
  instruction('rsqrtps', 'NP 0F 52 Vx:w,Wx', (b) => approximate(b, 'sseRsqrt', false), sse('SSE')),
  instruction('rsqrtss', 'F3 0F 52 Vss:w,Wss', (b) => approximate(b, 'sseRsqrt', true), sse('SSE')),
  instruction('rcpps', 'NP 0F 53 Vx:w,Wx', (b) => approximate(b, 'sseRcp', false), sse('SSE')),
  instruction('rcpss', 'F3 0F 53 Vss:w,Wss', (b) => approximate(b, 'sseRcp', true), sse('SSE')),
  instruction('dpps', '66 0F 3A 40 Vx,Wx,Ib', (b) => dot(b, PS), sse('SSE4_1')),
  instruction('dppd', '66 0F 3A 41 Vx,Wx,Ib', (b) => dot(b, PD), sse('SSE4_1')),
];
