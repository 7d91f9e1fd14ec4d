import { F32, F64 } from '../../wasm/opcodes.ts';
import { extractLane, shuffle, simd } from '../../wasm/value.ts';
import type { Builder, Val } from '../builder.ts';
import { type Instruction, instruction } from '../rows.ts';
import { allLanes, denormalLanes, isDenormalScalar, isPlain, plainLanes, SINGLE } from '../sse-arith.ts';
import { and, andnot, bitsOf, I32, I64, i32, lanes, or, V128, xor } from '../sse-common.ts';
import { FMA, SSE } from '../sse-scratch.ts';
import { withLow } from './halves.ts';
import { ofBothLengths } from './rows.ts';

/**
 * Fused multiplication and addition, rounded once (SDM vol. 1, 14.5): singles
 * with doubles where that serves, everything else exactly in the runtime
 * (interpret/runtime/fma.ts).
 */

/** Which operands are factors and which is added, by the digits in the name: operands 0, 1, 2 of the row are 1, 2, 3 there. */
const ORDERS = [
  ['132', 0x90, [0, 2, 1]],
  ['213', 0xa0, [1, 0, 2]],
  ['231', 0xb0, [1, 2, 0]],
] as const;

/** Name, last digit of the opcode of the packed form, signs; the scalar form is one on. */
const KINDS = [
  ['fmadd', 8, 0],
  ['fmsub', 0xa, FMA.subtractEven | FMA.subtractOdd],
  ['fnmadd', 0xc, FMA.negateProduct],
  ['fnmsub', 0xe, FMA.negateProduct | FMA.subtractEven | FMA.subtractOdd],
] as const;

/** Addition in odd elements and subtraction in even ones, or the other way round; packed alone. */
const ALTERNATING = [
  ['fmaddsub', 6, FMA.subtractEven],
  ['fmsubadd', 7, FMA.subtractOdd],
] as const;

type Order = (typeof ORDERS)[number][2];
type Three = readonly [Val, Val, Val];
const inOrder = (read: Three, [a, b, c]: Order): Three => [read[a], read[b], read[c]];

const HIGH_QUAD = [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15];
/** Two doubles' worth of singles at the bottom of each, side by side. */
const LOW_QUADS = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23];
/** What singles leave out of a double's significand, and the half of it. */
const DROPPED = 0x1fff_ffffn,
  HALFWAY = 0x1000_0000n;

const signMask = (even: boolean, odd: boolean): Val =>
  lanes(32, [even ? 0x8000_0000 : 0, odd ? 0x8000_0000 : 0]);

/**
 * Four singles by way of doubles, in which their product is exact and the sum
 * is rounded once. Rounding that to a single gives what one rounding would have
 * given, but where the double lies just half-way between two singles. `good`: lanes where it
 * does not, and where nothing but PE can come of it.
 */
function bySum(b: Builder, signs: number, operands: Three): { result: Val; good: Val } {
  const [x, y, z] = [b.let(operands[0]), b.let(operands[1]), b.let(operands[2])];
  const turned = (signs & FMA.negateProduct) !== 0 ? b.let(xor(x, signMask(true, true))) : x;
  const subtract = [(signs & FMA.subtractEven) !== 0, (signs & FMA.subtractOdd) !== 0] as const;
  const added = subtract[0] || subtract[1] ? b.let(xor(z, signMask(...subtract))) : z;
  const half = (high: boolean): { sum: Val; tie: Val } => {
    const wide = (v: Val): Val => {
      const low = high ? shuffle(v, v, HIGH_QUAD) : v;
      return simd('f64x2.promote_low_f32x4', [low]);
    };
    const product = simd('f64x2.mul', [wide(turned), wide(y)]);
    const sum = b.let(simd('f64x2.add', [product, wide(added)]));
    const rest = and(sum, lanes(64, [DROPPED]));
    return { sum, tie: simd('i64x2.eq', [rest, lanes(64, [HALFWAY])]) };
  };
  const low = half(false);
  const high = half(true);
  const narrow = (v: Val): Val => simd('f32x4.demote_f64x2_zero', [v]);
  const result = b.let(shuffle(narrow(low.sum), narrow(high.sum), LOW_QUADS));
  const even = [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27];
  const zero = (v: Val): Val => simd('f64x2.eq', [v, lanes(64, [0])]);
  const exact = shuffle(zero(low.sum), zero(high.sum), even);
  const tie = shuffle(low.tie, high.tie, even);
  const denormal = [x, y, z].map((v) => denormalLanes(SINGLE, v)).reduce(or);
  return { result, good: andnot(or(plainLanes(SINGLE, result), exact), or(denormal, tie)) };
}

function packed(bits: 32 | 64, order: Order, signs: number) {
  return (b: Builder): void => {
    // Memory, operand 2, is read first.
    const last = b.read(2);
    const operands = inOrder([b.read(0), b.read(1), last], order);
    const r = b.local(V128);
    const exactly = (): void => {
      b.callFaulting(`fmaPacked${bits}`, i32(signs), ...operands);
      b.set(r, b.state('v128.load', SSE.result));
    };
    if (bits === 64) exactly();
    else {
      const { result, good } = bySum(b, signs, operands);
      b.set(r, result);
      b.unlikely(b.settledMxcsr().and(allLanes(SINGLE, good)).eqz(), exactly);
    }
    b.write(0, r);
  };
}

/** As `bySum`, of one element. */
function scalarBySum(b: Builder, signs: number, operands: Three): { result: Val; good: Val } {
  const single = (v: Val): Val => b.let(v.reinterpret());
  const [x, y, z] = [single(operands[0]), single(operands[1]), single(operands[2])];
  const wide = (v: Val): Val => v.convert('f64.promote_f32', F64);
  const product = wide((signs & FMA.negateProduct) !== 0 ? x.neg() : x).mul(wide(y));
  const sum = b.let(product.add(wide((signs & FMA.subtractEven) !== 0 ? z.neg() : z)));
  const result = b.let(sum.convert('f32.demote_f64', F32));
  const tie = sum.reinterpret().and(DROPPED).eq(HALFWAY);
  const denormal = [x, y, z].map((v) => isDenormalScalar(SINGLE, v)).reduce((p, q) => p.or(q));
  const good = isPlain(SINGLE, result).or(sum.eq(0)).and(tie.or(denormal).eqz());
  return { result: result.reinterpret(), good };
}

function scalar(bits: 32 | 64, order: Order, signs: number) {
  return (b: Builder): void => {
    const last = b.read(2);
    const whole = b.read(0);
    const low = (v: Val): Val => extractLane(bits === 32 ? 'i32x4.extract_lane' : 'i64x2.extract_lane', v, 0);
    const operands = inOrder([low(whole), low(b.read(1)), bitsOf(last)], order);
    const r = b.local(bits === 32 ? I32 : I64);
    const exactly = (): void => {
      b.callFaulting(`fmaScalar${bits}`, i32(signs), ...operands);
      b.set(r, b.state(bits === 32 ? 'i32.load' : 'i64.load', SSE.result));
    };
    if (bits === 64) exactly();
    else {
      const { result, good } = scalarBySum(b, signs, operands);
      b.set(r, result);
      b.unlikely(b.settledMxcsr().and(good).eqz(), exactly);
    }
    b.write(0, withLow(whole, r, bits));
  };
}

const FEATURES = ['FMA', 'FMA'] as const;
const hex = (opcode: number): string => opcode.toString(16).toUpperCase();
const PRECISIONS = [
  [32, 's', 'W0'],
  [64, 'd', 'W1'],
] as const;

export const fmaInstructions: readonly Instruction[] = ORDERS.flatMap(([digits, group, order]) =>
  PRECISIONS.flatMap(([bits, letter, w]) => [
    ...[...KINDS, ...ALTERNATING].flatMap(([name, digit, signs]) =>
      ofBothLengths(
        `v${name}${digits}p${letter}`,
        `VEX.*.66.0F38.${w} ${hex(group + digit)} V*:rw,H*,W*`,
        packed(bits, order, signs),
        FEATURES,
        { placing: 'accumulated' },
      ),
    ),
    ...KINDS.map(([name, digit, signs]) =>
      instruction(
        `v${name}${digits}s${letter}`,
        `VEX.LIG.66.0F38.${w} ${hex(group + digit + 1)} Vu:rw,Hu,Ws${letter}`,
        scalar(bits, order, signs),
        { cpuid: 'FMA', unit: 'avx' },
      ),
    ),
  ]),
);
