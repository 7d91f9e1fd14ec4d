import { shuffle, simd } from '../../wasm/value.ts';
import type { Builder, Val } from '../builder.ts';
import type { Instruction } from '../rows.ts';
import {
  and,
  andnot,
  bitselect,
  I32,
  i32,
  imm8,
  lanes,
  or,
  select,
  selectBySign,
  splat8,
  splat16,
  splat32,
  splat64,
  swizzle,
  zero128,
} from '../sse-common.ts';
import { maskFromBits, shuffleDwords } from '../sse-element.ts';
import { avx, avx2, ofBothLengths } from './rows.ts';

/** Broadcasts, permutations, blends, variable shifts and tests that SSE has not (SDM vol. 1, 14.1 and 14.9). */

const IN_LANE = ['AVX', 'AVX'] as const;
const INTEGERS = ['AVX', 'AVX2'] as const;
const NEW = ['AVX2', 'AVX2'] as const;

const LOW_QUAD = [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7];
const HIGH_QUAD = LOW_QUAD.map((n) => n + 8);
/** Quadword 0 of one and quadword 0 of the other. */
const LOW_QUADS = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23];

const lowQuad = (v: Val): Val => shuffle(v, v, LOW_QUAD);
const highQuad = (v: Val): Val => shuffle(v, v, HIGH_QUAD);

/** Numbers of the bytes that make each dword of the result, from dword numbers 0-3. */
function dwordBytes(numbers: Val): Val {
  const scaled = simd('i32x4.shl', [and(numbers, lanes(32, [3])), i32(2)]);
  const spread = swizzle(scaled, lanes(8, [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12]));
  return simd('i8x16.add', [spread, lanes(8, [0, 1, 2, 3])]);
}

/** VPERMILPD: bit 1 of each control quadword chooses. */
function permuteQuads(b: Builder): void {
  const control = b.read(2);
  const x = b.read(1);
  const mask = simd('i64x2.ne', [and(control, lanes(64, [2])), zero128()]);
  b.write(0, bitselect(highQuad(x), lowQuad(x), mask));
}

const inLane: readonly Instruction[] = [
  ...ofBothLengths(
    'vpermilps',
    'VEX.*.66.0F38.W0 0C V*:w,H*,W*',
    (b) => {
      const control = b.read(2);
      b.write(0, swizzle(b.read(1), dwordBytes(control)));
    },
    IN_LANE,
  ),
  ...ofBothLengths('vpermilpd', 'VEX.*.66.0F38.W0 0D V*:w,H*,W*', permuteQuads, IN_LANE),
  ...ofBothLengths(
    'vpermilps',
    'VEX.*.66.0F3A.W0 04 V*:w,W*,Ib',
    (b) => b.write(0, shuffleDwords(b.read(1), imm8(b, 2))),
    IN_LANE,
  ),
  ...ofBothLengths(
    'vpermilpd',
    'VEX.*.66.0F3A.W0 05 V*:w,W*,Ib',
    (b) => {
      const x = b.read(1);
      b.write(0, bitselect(highQuad(x), lowQuad(x), maskFromBits(imm8(b, 2), 64)));
    },
    IN_LANE,
    { immediateShift: 2 },
  ),
  // Its 128-bit form is MOVDDUP's.
  ...ofBothLengths(
    'vmovddup',
    'VEX.*.F2.0F 12 V*:w,W*',
    (b) => b.write(0, lowQuad(b.read(1))),
    IN_LANE,
  ).slice(1),
  ...ofBothLengths(
    'vpblendd',
    'VEX.*.66.0F3A.W0 02 V*:w,H*,W*,Ib',
    (b) => {
      const y = b.read(2);
      b.write(0, bitselect(y, b.read(1), maskFromBits(imm8(b, 3), 32)));
    },
    NEW,
    { immediateShift: 4 },
  ),
];

const blends: readonly Instruction[] = (
  [
    ['vblendvps', '4A', 'i32x4', IN_LANE],
    ['vblendvpd', '4B', 'i64x2', IN_LANE],
    ['vpblendvb', '4C', 'i8x16', INTEGERS],
  ] as const
).flatMap(([name, opcode, shape, features]) =>
  ofBothLengths(
    name,
    `VEX.*.66.0F3A.W0 ${opcode} V*:w,H*,W*,L*`,
    (b) => {
      const y = b.read(2);
      b.write(0, selectBySign(shape, y, b.read(1), b.read(3)));
    },
    features,
  ),
);

/** Counts from the lane's width on give zeroes, or the sign. */
const variableShifts: readonly Instruction[] = (
  [
    ['vpsrlvd', '45', 'W0', 'avxShiftRight32'],
    ['vpsrlvq', '45', 'W1', 'avxShiftRight64'],
    ['vpsravd', '46', 'W0', 'avxShiftSigned32'],
    ['vpsllvd', '47', 'W0', 'avxShiftLeft32'],
    ['vpsllvq', '47', 'W1', 'avxShiftLeft64'],
  ] as const
).flatMap(([name, opcode, w, target]) =>
  ofBothLengths(
    name,
    `VEX.*.66.0F38.${w} ${opcode} V*:w,H*,W*`,
    (b) => {
      const counts = b.read(2);
      b.write(0, b.call(target, b.read(1), counts));
    },
    NEW,
  ),
);

/** One element, or 128 bits, everywhere. */
function broadcast(splat: (value: Val) => Val) {
  return (b: Builder): void => {
    const v = b.let(splat(b.read(1)));
    if (b.operandSize(0) === 256) b.writePair(0, v, v);
    else b.write(0, v);
  };
}

const broadcasts: readonly Instruction[] = [
  avx('vbroadcastss', 'VEX.128.66.0F38.W0 18 Vu:w,Wd mem', broadcast(splat32)),
  avx('vbroadcastss', 'VEX.256.66.0F38.W0 18 Vqq:w,Wd mem', broadcast(splat32)),
  avx('vbroadcastsd', 'VEX.256.66.0F38.W0 19 Vqq:w,Wq mem', broadcast(splat64)),
  avx(
    'vbroadcastf128',
    'VEX.256.66.0F38.W0 1A Vqq:w,Wu mem',
    broadcast((v) => v),
  ),
  avx2('vbroadcastss', 'VEX.128.66.0F38.W0 18 Vu:w,Ud', broadcast(splat32)),
  avx2('vbroadcastss', 'VEX.256.66.0F38.W0 18 Vqq:w,Ud', broadcast(splat32)),
  avx2('vbroadcastsd', 'VEX.256.66.0F38.W0 19 Vqq:w,Uq', broadcast(splat64)),
  avx2(
    'vbroadcasti128',
    'VEX.256.66.0F38.W0 5A Vqq:w,Wu mem',
    broadcast((v) => v),
  ),
  ...(
    [
      ['vpbroadcastb', '78', 'b', splat8],
      ['vpbroadcastw', '79', 'w', splat16],
      ['vpbroadcastd', '58', 'd', splat32],
      ['vpbroadcastq', '59', 'q', splat64],
    ] as const
  ).flatMap(([name, opcode, width, splat]) => [
    avx2(name, `VEX.128.66.0F38.W0 ${opcode} Vu:w,W${width}`, broadcast(splat)),
    avx2(name, `VEX.256.66.0F38.W0 ${opcode} Vqq:w,W${width}`, broadcast(splat)),
  ]),
];

function insertHalf(b: Builder): void {
  const value = b.read(2);
  const [low, high] = b.readPair(1);
  const upper = imm8(b, 3).and(1);
  b.writePair(0, select(upper, low, value), select(upper, value, high));
}

function extractHalf(b: Builder): void {
  const [low, high] = b.readPair(1);
  b.write(0, select(imm8(b, 2).and(1), high, low));
}

/** VPERM2F128: each half one of four, or zero. */
function permuteHalves(b: Builder): void {
  const second = b.readPair(2);
  const first = b.readPair(1);
  const imm = imm8(b, 3);
  const chosen = (control: Val): Val => {
    const of = ([low, high]: readonly [Val, Val]): Val => select(control.and(1), high, low);
    return select(control.and(8), zero128(), select(control.and(2), of(second), of(first)));
  };
  b.writePair(0, b.let(chosen(imm)), b.let(chosen(imm.shrU(4))));
}

/** VPERMD and VPERMPS: dwords of operand 2 by the numbers in operand 1. */
function permuteDwords(b: Builder): void {
  const [low, high] = b.readPair(2);
  const results = b.readPair(1).map((numbers) => {
    const bytes = b.let(dwordBytes(numbers));
    const upper = simd('i32x4.ne', [and(numbers, lanes(32, [4])), zero128()]);
    return b.let(bitselect(swizzle(high, bytes), swizzle(low, bytes), upper));
  });
  const [a, c] = results;
  if (a && c) b.writePair(0, a, c);
}

/** VPERMQ and VPERMPD: quadwords by two bits of the immediate each. */
function permuteByImmediate(b: Builder): void {
  const [low, high] = b.readPair(1);
  const imm = imm8(b, 2);
  const quad = (n: number): Val => {
    const number = imm.shrU(2 * n);
    const half = b.let(select(number.and(2), high, low));
    return select(number.and(1), highQuad(half), half);
  };
  const pair = (n: number): Val => b.let(shuffle(quad(n), quad(n + 1), LOW_QUADS));
  b.writePair(0, pair(0), pair(2));
}

const acrossLanes: readonly Instruction[] = [
  avx('vinsertf128', 'VEX.256.66.0F3A.W0 18 Vqq:w,Hqq,Wu,Ib', insertHalf),
  avx('vextractf128', 'VEX.256.66.0F3A.W0 19 Wu:w,Vqq,Ib', extractHalf),
  avx('vperm2f128', 'VEX.256.66.0F3A.W0 06 Vqq:w,Hqq,Wqq,Ib', permuteHalves),
  avx2('vinserti128', 'VEX.256.66.0F3A.W0 38 Vqq:w,Hqq,Wu,Ib', insertHalf),
  avx2('vextracti128', 'VEX.256.66.0F3A.W0 39 Wu:w,Vqq,Ib', extractHalf),
  avx2('vperm2i128', 'VEX.256.66.0F3A.W0 46 Vqq:w,Hqq,Wqq,Ib', permuteHalves),
  avx2('vpermd', 'VEX.256.66.0F38.W0 36 Vqq:w,Hqq,Wqq', permuteDwords),
  avx2('vpermps', 'VEX.256.66.0F38.W0 16 Vqq:w,Hqq,Wqq', permuteDwords),
  avx2('vpermq', 'VEX.256.66.0F3A.W1 00 Vqq:w,Wqq,Ib', permuteByImmediate),
  avx2('vpermpd', 'VEX.256.66.0F3A.W1 01 Vqq:w,Wqq,Ib', permuteByImmediate),
];

/** ZF when no bit of `looked` is set in both, CF when none is in the second that is not in the first. */
function test(looked: () => Val, wide: boolean) {
  return (b: Builder): void => {
    const ys = wide ? b.readPair(1) : [b.read(1)];
    const xs = wide ? b.readPair(0) : [b.read(0)];
    const none = (both: (x: Val, y: Val) => Val): Val => {
      const all = ys.map((y, i) => both(xs[i] ?? y, y)).reduce(or);
      return b.let(simd('v128.any_true', [and(all, looked())], I32).eqz());
    };
    const clear = i32(0);
    b.flagsAll({
      cf: none((x, y) => andnot(y, x)),
      zf: none(and),
      pf: clear,
      af: clear,
      sf: clear,
      of: clear,
    });
  };
}

const ones = (): Val => lanes(64, [-1n]);
const singles = (): Val => lanes(32, [0x8000_0000]);
const doubles = (): Val => lanes(64, [1n << 63n]);

const tests: readonly Instruction[] = [
  avx('vptest', 'VEX.256.66.0F38 17 Vqq:r,Wqq', test(ones, true)),
  avx('vtestps', 'VEX.128.66.0F38.W0 0E Vu:r,Wu', test(singles, false)),
  avx('vtestps', 'VEX.256.66.0F38.W0 0E Vqq:r,Wqq', test(singles, true)),
  avx('vtestpd', 'VEX.128.66.0F38.W0 0F Vu:r,Wu', test(doubles, false)),
  avx('vtestpd', 'VEX.256.66.0F38.W0 0F Vqq:r,Wqq', test(doubles, true)),
];

export const permuteInstructions: readonly Instruction[] = [
  ...inLane,
  ...blends,
  ...variableShifts,
  ...broadcasts,
  ...acrossLanes,
  ...tests,
];
