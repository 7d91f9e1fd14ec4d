import { S } from '../layout.ts';
import { shuffle, simd } from '../wasm/value.ts';
import type { Builder, Val } from './builder.ts';
import { type Instruction, instruction } from './rows.ts';
import {
  and,
  andnot,
  bitselect,
  enterMmx,
  fromLow,
  high64,
  I32,
  i32,
  imm8,
  lanes,
  low32,
  low64,
  or,
  select,
  selectBySign,
  setHigh64,
  setLow32,
  setLow64,
  splat32,
  splat64,
  swizzle,
  writeMmx,
  xor,
} from './sse-common.ts';
import { maskFromBits, shuffleDwords, xmm0 } from './sse-element.ts';

/** Moves, shuffles, blends and logic between XMM, MMX, general registers and memory. */

const SSE1 = { cpuid: 'SSE', unit: 'sse' } as const;
const SSE2 = { cpuid: 'SSE2', unit: 'sse' } as const;
const SSE3 = { cpuid: 'SSE3', unit: 'sse' } as const;
const SSE41 = { cpuid: 'SSE4_1', unit: 'sse' } as const;
const MMX = { cpuid: 'MMX', unit: 'mmx' } as const;

const copy = (b: Builder): void => b.write(0, b.read(1));
/** Writes operand 0 as an XMM register whose rest is zero. */
const zeroing = (b: Builder): void => b.write(0, fromLow(b.read(1)));

const wholeMoves: readonly Instruction[] = [
  instruction('movaps', ['NP 0F 28 Vx:w,Wx', 'NP 0F 29 Wx:w,Vx'], copy, SSE1),
  instruction('movapd', ['66 0F 28 Vx:w,Wx', '66 0F 29 Wx:w,Vx'], copy, SSE2),
  instruction('movups', ['NP 0F 10 Vu:w,Wu', 'NP 0F 11 Wu:w,Vu'], copy, SSE1),
  instruction('movupd', ['66 0F 10 Vu:w,Wu', '66 0F 11 Wu:w,Vu'], copy, SSE2),
  instruction('movdqa', ['66 0F 6F Vx:w,Wx', '66 0F 7F Wx:w,Vx'], copy, SSE2),
  instruction('movdqu', ['F3 0F 6F Vu:w,Wu', 'F3 0F 7F Wu:w,Vu'], copy, SSE2),
  instruction('lddqu', 'F2 0F F0 Vu:w,Wu mem', copy, SSE3),
  instruction('movntps', 'NP 0F 2B Wx:w,Vx mem', copy, SSE1),
  instruction('movntpd', '66 0F 2B Wx:w,Vx mem', copy, SSE2),
  instruction('movntdq', '66 0F E7 Wx:w,Vx mem', copy, SSE2),
  instruction('movntdqa', '66 0F 38 2A Vx:w,Wx mem', copy, SSE41),
  instruction('movnti', 'NP 0F C3 My:w,Gy', copy, { cpuid: 'SSE2' }),
];

const scalarMoves: readonly Instruction[] = [
  // A load clears what is above; between registers the rest stays (SDM vol. 2, MOVSS).
  instruction('movss', 'F3 0F 10 Vx:w,Wd mem', zeroing, SSE1),
  instruction('movss', 'F3 0F 10 Vx,Ux reg', (b) => b.write(0, setLow32(b.read(0), low32(b.read(1)))), SSE1),
  instruction('movss', 'F3 0F 11 Wd:w,Vd mem', copy, SSE1),
  instruction(
    'movss',
    'F3 0F 11 Ux:rw,Vx reg',
    (b) => b.write(0, setLow32(b.read(0), low32(b.read(1)))),
    SSE1,
  ),
  instruction('movsd', 'F2 0F 10 Vx:w,Wq mem', zeroing, SSE2),
  instruction('movsd', 'F2 0F 10 Vx,Ux reg', (b) => b.write(0, setLow64(b.read(0), low64(b.read(1)))), SSE2),
  instruction('movsd', 'F2 0F 11 Wq:w,Vq mem', copy, SSE2),
  instruction(
    'movsd',
    'F2 0F 11 Ux:rw,Vx reg',
    (b) => b.write(0, setLow64(b.read(0), low64(b.read(1)))),
    SSE2,
  ),
  instruction('movq', 'F3 0F 7E Vx:w,Wq', zeroing, SSE2),
  instruction('movq', '66 0F D6 Wq:w,Vq mem', copy, SSE2),
  instruction('movq', '66 0F D6 Ux:w,Vq reg', zeroing, SSE2),
  instruction('movd', '66 0F 6E Vx:w,Ed w0', zeroing, SSE2),
  instruction('movq', '66 0F 6E Vx:w,Eq w1', zeroing, SSE2),
  instruction('movd', '66 0F 7E Ed:w,Vd w0', copy, SSE2),
  instruction('movq', '66 0F 7E Eq:w,Vq w1', copy, SSE2),
];

const halfMoves: readonly Instruction[] = [
  instruction('movlps', 'NP 0F 12 Vx,Wq mem', (b) => setLow(b, b.read(1)), SSE1),
  instruction('movhlps', 'NP 0F 12 Vx,Ux reg', (b) => setLow(b, high64(b.read(1))), SSE1),
  instruction('movlpd', '66 0F 12 Vx,Wq mem', (b) => setLow(b, b.read(1)), SSE2),
  instruction('movlps', 'NP 0F 13 Wq:w,Vq mem', copy, SSE1),
  instruction('movlpd', '66 0F 13 Wq:w,Vq mem', copy, SSE2),
  instruction('movhps', 'NP 0F 16 Vx,Wq mem', (b) => setHigh(b, b.read(1)), SSE1),
  instruction('movlhps', 'NP 0F 16 Vx,Ux reg', (b) => setHigh(b, low64(b.read(1))), SSE1),
  instruction('movhpd', '66 0F 16 Vx,Wq mem', (b) => setHigh(b, b.read(1)), SSE2),
  instruction('movhps', 'NP 0F 17 Wq:w,Vx mem', (b) => b.write(0, high64(b.read(1))), SSE1),
  instruction('movhpd', '66 0F 17 Wq:w,Vx mem', (b) => b.write(0, high64(b.read(1))), SSE2),
  instruction(
    'movsldup',
    'F3 0F 12 Vx:w,Wx',
    (b) => {
      const y = b.read(1);
      b.write(0, shuffle(y, y, [0, 1, 2, 3, 0, 1, 2, 3, 8, 9, 10, 11, 8, 9, 10, 11]));
    },
    SSE3,
  ),
  instruction(
    'movshdup',
    'F3 0F 16 Vx:w,Wx',
    (b) => {
      const y = b.read(1);
      b.write(0, shuffle(y, y, [4, 5, 6, 7, 4, 5, 6, 7, 12, 13, 14, 15, 12, 13, 14, 15]));
    },
    SSE3,
  ),
  instruction('movddup', 'F2 0F 12 Vx:w,Wq', (b) => b.write(0, splat64(b.read(1))), SSE3),
];

function setLow(b: Builder, value: Val): void {
  b.write(0, setLow64(b.read(0), value));
}

function setHigh(b: Builder, value: Val): void {
  b.write(0, setHigh64(b.read(0), value));
}

const mmxMoves: readonly Instruction[] = [
  instruction('movd', 'NP 0F 6E Pq:w,Ed w0', (b) => writeMmx(b, 0, b.read(1).extendU()), MMX),
  instruction('movq', 'NP 0F 6E Pq:w,Eq w1', (b) => writeMmx(b, 0, b.read(1)), MMX),
  instruction('movd', 'NP 0F 7E Ed:w,Pd w0', (b) => leave(b), MMX),
  instruction('movq', 'NP 0F 7E Eq:w,Pq w1', (b) => leave(b), MMX),
  instruction('movq', 'NP 0F 6F Pq:w,Qq', (b) => writeMmx(b, 0, b.read(1)), MMX),
  instruction('movq', 'NP 0F 7F Qq:w,Pq', (b) => writeMmx(b, 0, b.read(1)), MMX),
  instruction('movntq', 'NP 0F E7 Qq:w,Pq mem', (b) => leave(b), { cpuid: 'SSE', unit: 'mmx' }),
  instruction(
    'movq2dq',
    'F3 0F D6 Vx:w,Nq',
    (b) => {
      b.write(0, fromLow(b.read(1)));
      enterMmx(b);
    },
    { cpuid: 'SSE2', unit: 'mmx' },
  ),
  instruction('movdq2q', 'F2 0F D6 Pq:w,Uq', (b) => writeMmx(b, 0, b.read(1)), {
    cpuid: 'SSE2',
    unit: 'mmx',
  }),
  instruction(
    'emms',
    'NP 0F 77',
    (b) => {
      enterMmx(b);
      b.setState('i32.store', S.fpuEmpty, i32(255));
    },
    MMX,
  ),
  instruction(
    'maskmovq',
    'NP 0F F7 Pq:r,Nq',
    (b) => {
      maskedStore(b, fromLow(b.read(0)), simd('i8x16.bitmask', [fromLow(b.read(1))], I32), 8);
      enterMmx(b);
    },
    { cpuid: 'SSE', unit: 'mmx' },
  ),
];

/** A move out of an MMX register. */
function leave(b: Builder): void {
  copy(b);
  enterMmx(b);
}

/**
 * Bytes of `data` whose mask bit is set go to DS:rDI (segment override allowed).
 * A fault must find nothing stored, so every page is tried before the first byte is.
 */
function maskedStore(b: Builder, data: Val, mask: Val, bytes: number): void {
  const raw = b.gpr(7, 64);
  const size = b.addressSize();
  const offset = b.let(
    select(size.eq(64), raw, select(size.eq(32), raw.and(0xffff_ffffn), raw.and(0xffffn))),
  );
  const at = b.let(b.segmented('record', offset, bytes, 'w'));
  const rest = b.let(mask);
  const value = b.let(data);
  b.if(rest, () => {
    const last = b.let(i32(31).sub(rest.clz()));
    const probe = b.let(at.add(last.extendU()));
    // Writing back what is there proves that it can be written.
    const there = b.load('i32.load8_u', probe);
    b.store('i32.store8', probe, there);
    b.loop((again) => {
      const lane = b.let(rest.ctz());
      b.store('i32.store8', at.add(lane.extendU()), simdByte(value, lane));
      b.set(rest, rest.and(rest.sub(1)));
      b.brIf(again, rest);
    });
  });
}

const simdByte = (v: Val, lane: Val): Val => low32(swizzle(v, simd('i8x16.splat', [lane]))).and(255);

const logic = (name: string, opcode: string, f: (x: Val, y: Val) => Val): Instruction[] => {
  const semantics = (b: Builder): void => {
    const y = b.read(1);
    b.write(0, f(b.read(0), y));
  };
  return [
    instruction(`${name}ps`, `NP 0F ${opcode} Vx,Wx`, semantics, SSE1),
    instruction(`${name}pd`, `66 0F ${opcode} Vx,Wx`, semantics, SSE2),
  ];
};

const UNPACK_PS_LOW = [0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23];
const UNPACK_PS_HIGH = [8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31];
const UNPACK_PD_LOW = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23];
const UNPACK_PD_HIGH = [8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31];

const fixedShuffle = (
  name: string,
  encoding: string,
  bytes: readonly number[],
  options: typeof SSE1 | typeof SSE2,
): Instruction =>
  instruction(
    name,
    encoding,
    (b) => {
      const y = b.read(1);
      b.write(0, shuffle(b.read(0), y, bytes));
    },
    options,
  );

/** Quadword `bit` of v in both halves. */
const quad = (v: Val, bit: Val): Val =>
  select(bit, shuffle(v, v, UNPACK_PD_HIGH), shuffle(v, v, UNPACK_PD_LOW));

function blendImmediate(b: Builder, bits: 32 | 64): void {
  const y = b.read(1);
  b.write(0, bitselect(y, b.read(0), maskFromBits(imm8(b, 2), bits)));
}

function blendVariable(b: Builder, shape: 'i32x4' | 'i64x2'): void {
  const y = b.read(1);
  b.write(0, selectBySign(shape, y, b.read(0), xmm0(b)));
}

/** INSERTPS behind the choice of the source dword. */
function insertSingle(b: Builder, value: Val, imm: Val): void {
  const lane = simd('i32x4.eq', [lanes(32, [0, 1, 2, 3]), splat32(imm.shrU(4).and(3))]);
  const placed = bitselect(splat32(value), b.read(0), lane);
  b.write(0, andnot(placed, maskFromBits(imm, 32)));
}

const shuffles: readonly Instruction[] = [
  fixedShuffle('unpcklps', 'NP 0F 14 Vx,Wx', UNPACK_PS_LOW, SSE1),
  fixedShuffle('unpckhps', 'NP 0F 15 Vx,Wx', UNPACK_PS_HIGH, SSE1),
  fixedShuffle('unpcklpd', '66 0F 14 Vx,Wx', UNPACK_PD_LOW, SSE2),
  fixedShuffle('unpckhpd', '66 0F 15 Vx,Wx', UNPACK_PD_HIGH, SSE2),
  instruction(
    'shufps',
    'NP 0F C6 Vx,Wx,Ib',
    (b) => {
      const y = b.read(1);
      const imm = imm8(b, 2);
      const low = shuffleDwords(b.read(0), imm);
      b.write(
        0,
        shuffle(low, shuffleDwords(y, imm), [0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31]),
      );
    },
    SSE1,
  ),
  instruction(
    'shufpd',
    '66 0F C6 Vx,Wx,Ib',
    (b) => {
      const y = b.read(1);
      const imm = imm8(b, 2);
      b.write(0, shuffle(quad(b.read(0), imm.and(1)), quad(y, imm.and(2)), UNPACK_PD_LOW));
    },
    SSE2,
  ),
  instruction('blendps', '66 0F 3A 0C Vx,Wx,Ib', (b) => blendImmediate(b, 32), SSE41),
  instruction('blendpd', '66 0F 3A 0D Vx,Wx,Ib', (b) => blendImmediate(b, 64), SSE41),
  instruction('blendvps', '66 0F 38 14 Vx,Wx', (b) => blendVariable(b, 'i32x4'), SSE41),
  instruction('blendvpd', '66 0F 38 15 Vx,Wx', (b) => blendVariable(b, 'i64x2'), SSE41),
  instruction('insertps', '66 0F 3A 21 Vx,Wd,Ib mem', (b) => insertSingle(b, b.read(1), imm8(b, 2)), SSE41),
  instruction(
    'insertps',
    '66 0F 3A 21 Vx,Ux,Ib reg',
    (b) => {
      const imm = imm8(b, 2);
      const wanted = simd('i8x16.splat', [imm.shrU(6).shl(2)]);
      const index = simd('i8x16.add', [wanted, lanes(8, [0, 1, 2, 3])]);
      insertSingle(b, low32(swizzle(b.read(1), index)), imm);
    },
    SSE41,
  ),
  instruction(
    'extractps',
    '66 0F 3A 17 Ed:w,Vx,Ib',
    (b) => {
      const wanted = simd('i8x16.splat', [imm8(b, 2).and(3).shl(2)]);
      b.write(0, low32(swizzle(b.read(1), simd('i8x16.add', [wanted, lanes(8, [0, 1, 2, 3])]))));
    },
    SSE41,
  ),
  instruction(
    'movmskps',
    'NP 0F 50 Gd:w,Ux',
    (b) => b.write(0, simd('i32x4.bitmask', [b.read(1)], I32)),
    SSE1,
  ),
  instruction(
    'movmskpd',
    '66 0F 50 Gd:w,Ux',
    (b) => b.write(0, simd('i64x2.bitmask', [b.read(1)], I32)),
    SSE2,
  ),
  instruction(
    'maskmovdqu',
    '66 0F F7 Vx:r,Ux',
    (b) => {
      maskedStore(b, b.read(0), simd('i8x16.bitmask', [b.read(1)], I32), 16);
    },
    SSE2,
  ),
];

export const sseMoveInstructions: readonly Instruction[] = [
  ...wholeMoves,
  ...scalarMoves,
  ...halfMoves,
  ...mmxMoves,
  ...logic('and', '54', and),
  ...logic('andn', '55', (x, y) => andnot(y, x)),
  ...logic('or', '56', or),
  ...logic('xor', '57', xor),
  ...shuffles,
];
