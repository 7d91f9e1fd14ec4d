import { shuffle, simd } from '../wasm/value.ts';
import type { Builder, Val } from './builder.ts';
import { type Instruction, instruction } from './rows.ts';
import {
  and,
  andnot,
  i32,
  imm8,
  keep,
  lanes,
  low64,
  mmxVector,
  op2,
  or,
  select,
  setHigh64,
  shift,
  swizzle,
  writeMmx,
  xor,
  zero128,
} from './sse-common.ts';

/** Packed integer instructions in XMM and, where they exist, MMX registers (SDM vol. 1, 9.4, 11.4.2, 12.6, 12.8). */

type Packed = (x: Val, y: Val) => Val;
type Bound = (b: Builder, x: Val, y: Val) => Val;

interface PackedRow {
  readonly name: string;
  /** Bytes behind 0F. */
  readonly opcode: string;
  readonly xmm: Bound;
  /** On the low half; the same as for XMM when lanes do not meet. undefined: no MMX form. */
  readonly mmx?: Bound;
  /** The first operand is written alone; x is y then. */
  readonly unary?: true;
  readonly cpuid: string;
  readonly mmxCpuid?: string;
}

const pure =
  (f: Packed): Bound =>
  (b, x, y) =>
    f(b.let(x), b.let(y));

/** Lanes of x and y in turn, from their low halves and from their high ones. */
const interleave = (size: number, high: boolean, count: number): number[] => {
  const first = high ? count / 2 : 0;
  return Array.from({ length: count }, (_, i) => {
    const element = Math.floor(i / size);
    const source = element % 2 === 0 ? 0 : 16;
    return source + first + Math.floor(element / 2) * size + (i % size);
  });
};

/** Byte numbers for an MMX result in the low half; the rest is not looked at. */
const half = (bytes: readonly number[]): number[] => [...bytes, 0, 0, 0, 0, 0, 0, 0, 0];

const unpack = (size: number, high: boolean): { xmm: Bound; mmx: Bound } => ({
  xmm: pure((x, y) => shuffle(x, y, interleave(size, high, 16))),
  mmx: pure((x, y) => shuffle(x, y, half(interleave(size, high, 8)))),
});

/** Packs x then y: for MMX both halves meet in the low one. */
const pack = (name: string): { xmm: Bound; mmx: Bound } => ({
  xmm: pure(op2(name)),
  mmx: pure((x, y) => {
    const joined = setHigh64(x, low64(y));
    return simd(name, [joined, joined]);
  }),
});

/** Even (0) or odd (1) elements of x then y. */
const alternate = (size: number, odd: number, mmx: boolean): number[] => {
  const bytes = mmx ? 8 : 16;
  const pick = Array.from({ length: bytes }, (_, i) => {
    const element = Math.floor(i / size) * 2 + odd;
    const byte = element * size + (i % size);
    return byte < bytes ? byte : 16 + (byte - bytes);
  });
  return mmx ? half(pick) : pick;
};

const horizontal = (size: number, f: string): { xmm: Bound; mmx: Bound } => {
  const form = (mmx: boolean): Bound =>
    pure((x, y) => simd(f, [shuffle(x, y, alternate(size, 0, mmx)), shuffle(x, y, alternate(size, 1, mmx))]));
  return { xmm: form(false), mmx: form(true) };
};

/** Upper halves of the 32-bit products. */
const multiplyHigh = (sign: 's' | 'u'): Bound =>
  pure((x, y) => {
    const low = simd(`i32x4.extmul_low_i16x8_${sign}`, [x, y]);
    const high = simd(`i32x4.extmul_high_i16x8_${sign}`, [x, y]);
    return shuffle(low, high, [2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31]);
  });

const evenDwords = (v: Val): Val => shuffle(v, v, [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11]);

const sumOfDifferences: Bound = (b, x, y) => {
  const p = b.let(x);
  const q = b.let(y);
  const difference = or(simd('i8x16.sub_sat_u', [p, q]), simd('i8x16.sub_sat_u', [q, p]));
  const sums = simd('i32x4.extadd_pairwise_i16x8_u', [simd('i16x8.extadd_pairwise_i8x16_u', [difference])]);
  const s = b.let(sums);
  const low = and(s, lanes(64, [0xffff_ffffn]));
  return simd('i64x2.add', [low, shift('i64x2.shr_u', s, i32(32))]);
};

/** Products of unsigned bytes of x and signed ones of y, added in pairs. */
const multiplyAddBytes: Bound = (b, x, y) => {
  const p = b.let(x);
  const q = b.let(y);
  const byte = (v: Val, name: string): Val => shift(name, v, i32(8));
  const even = simd('i16x8.mul', [and(p, lanes(16, [255])), byte(byte(q, 'i16x8.shl'), 'i16x8.shr_s')]);
  const odd = simd('i16x8.mul', [byte(p, 'i16x8.shr_u'), byte(q, 'i16x8.shr_s')]);
  return simd('i16x8.add_sat_s', [even, odd]);
};

/** Wasm saturates -1 × -1, where PMULHRSW wraps. */
const multiplyRound: Bound = (b, x, y) => {
  const p = b.let(x);
  const q = b.let(y);
  const least = lanes(16, [0x8000]);
  const saturated = and(simd('i16x8.eq', [p, least]), simd('i16x8.eq', [q, least]));
  return xor(simd('i16x8.q15mulr_sat_s', [p, q]), saturated);
};

const signed =
  (shape: string): Bound =>
  (b, x, y) => {
    const p = b.let(x);
    const q = b.let(y);
    const negative = b.let(simd(`${shape}.lt_s`, [q, zero128()]));
    const value = simd(`${shape}.sub`, [xor(p, negative), negative]);
    return andnot(value, simd(`${shape}.eq`, [q, zero128()]));
  };

const same = (f: Bound): { xmm: Bound; mmx: Bound } => ({ xmm: f, mmx: f });
/** The first operand is written alone. */
const unary = (f: Bound): { xmm: Bound; mmx: Bound; unary: true } => ({ ...same(f), unary: true });
const plain = (name: string): { xmm: Bound; mmx: Bound } => same(pure(op2(name)));

const row = (
  name: string,
  opcode: string,
  forms: { xmm: Bound; mmx?: Bound; unary?: true },
  cpuid = 'SSE2',
  mmxCpuid = 'MMX',
): PackedRow => ({
  name,
  opcode,
  ...forms,
  cpuid,
  mmxCpuid,
});
const sse41 = (name: string, opcode: string, f: Bound): PackedRow => ({
  name,
  opcode: `38 ${opcode}`,
  xmm: f,
  cpuid: 'SSE4_1',
});
const ssse3 = (name: string, opcode: string, forms: { xmm: Bound; mmx?: Bound; unary?: true }): PackedRow =>
  row(name, `38 ${opcode}`, forms, 'SSSE3', 'SSSE3');

const PACKED: readonly PackedRow[] = [
  row('punpcklbw', '60', unpack(1, false)),
  row('punpcklwd', '61', unpack(2, false)),
  row('punpckldq', '62', unpack(4, false)),
  row('packsswb', '63', pack('i8x16.narrow_i16x8_s')),
  row('pcmpgtb', '64', plain('i8x16.gt_s')),
  row('pcmpgtw', '65', plain('i16x8.gt_s')),
  row('pcmpgtd', '66', plain('i32x4.gt_s')),
  row('packuswb', '67', pack('i8x16.narrow_i16x8_u')),
  row('punpckhbw', '68', unpack(1, true)),
  row('punpckhwd', '69', unpack(2, true)),
  row('punpckhdq', '6A', unpack(4, true)),
  row('packssdw', '6B', pack('i16x8.narrow_i32x4_s')),
  { name: 'punpcklqdq', opcode: '6C', xmm: unpack(8, false).xmm, cpuid: 'SSE2' },
  { name: 'punpckhqdq', opcode: '6D', xmm: unpack(8, true).xmm, cpuid: 'SSE2' },
  row('pcmpeqb', '74', plain('i8x16.eq')),
  row('pcmpeqw', '75', plain('i16x8.eq')),
  row('pcmpeqd', '76', plain('i32x4.eq')),
  row('paddq', 'D4', plain('i64x2.add'), 'SSE2', 'SSE2'),
  row('pmullw', 'D5', plain('i16x8.mul')),
  row('psubusb', 'D8', plain('i8x16.sub_sat_u')),
  row('psubusw', 'D9', plain('i16x8.sub_sat_u')),
  row('pminub', 'DA', plain('i8x16.min_u'), 'SSE2', 'SSE'),
  row('pand', 'DB', plain('v128.and')),
  row('paddusb', 'DC', plain('i8x16.add_sat_u')),
  row('paddusw', 'DD', plain('i16x8.add_sat_u')),
  row('pmaxub', 'DE', plain('i8x16.max_u'), 'SSE2', 'SSE'),
  row(
    'pandn',
    'DF',
    same((_, x, y) => andnot(y, x)),
  ),
  row('pavgb', 'E0', plain('i8x16.avgr_u'), 'SSE2', 'SSE'),
  row('pavgw', 'E3', plain('i16x8.avgr_u'), 'SSE2', 'SSE'),
  row('pmulhuw', 'E4', same(multiplyHigh('u')), 'SSE2', 'SSE'),
  row('pmulhw', 'E5', same(multiplyHigh('s'))),
  row('psubsb', 'E8', plain('i8x16.sub_sat_s')),
  row('psubsw', 'E9', plain('i16x8.sub_sat_s')),
  row('pminsw', 'EA', plain('i16x8.min_s'), 'SSE2', 'SSE'),
  row('por', 'EB', plain('v128.or')),
  row('paddsb', 'EC', plain('i8x16.add_sat_s')),
  row('paddsw', 'ED', plain('i16x8.add_sat_s')),
  row('pmaxsw', 'EE', plain('i16x8.max_s'), 'SSE2', 'SSE'),
  row('pxor', 'EF', plain('v128.xor')),
  row(
    'pmuludq',
    'F4',
    same((_, x, y) => simd('i64x2.extmul_low_i32x4_u', [evenDwords(x), evenDwords(y)])),
    'SSE2',
    'SSE2',
  ),
  row('pmaddwd', 'F5', plain('i32x4.dot_i16x8_s')),
  row('psadbw', 'F6', same(sumOfDifferences), 'SSE2', 'SSE'),
  row('psubb', 'F8', plain('i8x16.sub')),
  row('psubw', 'F9', plain('i16x8.sub')),
  row('psubd', 'FA', plain('i32x4.sub')),
  row('psubq', 'FB', plain('i64x2.sub'), 'SSE2', 'SSE2'),
  row('paddb', 'FC', plain('i8x16.add')),
  row('paddw', 'FD', plain('i16x8.add')),
  row('paddd', 'FE', plain('i32x4.add')),

  ssse3('pshufb', '00', {
    xmm: (_, x, y) => swizzle(x, and(y, lanes(8, [0x8f]))),
    mmx: (_, x, y) => swizzle(x, and(y, lanes(8, [0x87]))),
  }),
  ssse3('phaddw', '01', horizontal(2, 'i16x8.add')),
  ssse3('phaddd', '02', horizontal(4, 'i32x4.add')),
  ssse3('phaddsw', '03', horizontal(2, 'i16x8.add_sat_s')),
  ssse3('pmaddubsw', '04', same(multiplyAddBytes)),
  ssse3('phsubw', '05', horizontal(2, 'i16x8.sub')),
  ssse3('phsubd', '06', horizontal(4, 'i32x4.sub')),
  ssse3('phsubsw', '07', horizontal(2, 'i16x8.sub_sat_s')),
  ssse3('psignb', '08', same(signed('i8x16'))),
  ssse3('psignw', '09', same(signed('i16x8'))),
  ssse3('psignd', '0A', same(signed('i32x4'))),
  ssse3('pmulhrsw', '0B', same(multiplyRound)),
  ssse3(
    'pabsb',
    '1C',
    unary((_, _x, y) => simd('i8x16.abs', [y])),
  ),
  ssse3(
    'pabsw',
    '1D',
    unary((_, _x, y) => simd('i16x8.abs', [y])),
  ),
  ssse3(
    'pabsd',
    '1E',
    unary((_, _x, y) => simd('i32x4.abs', [y])),
  ),

  sse41('pmuldq', '28', (_, x, y) => simd('i64x2.extmul_low_i32x4_s', [evenDwords(x), evenDwords(y)])),
  sse41('pcmpeqq', '29', pure(op2('i64x2.eq'))),
  sse41('packusdw', '2B', pure(op2('i16x8.narrow_i32x4_u'))),
  { name: 'pcmpgtq', opcode: '38 37', xmm: pure(op2('i64x2.gt_s')), cpuid: 'SSE4_2' },
  sse41('pminsb', '38', pure(op2('i8x16.min_s'))),
  sse41('pminsd', '39', pure(op2('i32x4.min_s'))),
  sse41('pminuw', '3A', pure(op2('i16x8.min_u'))),
  sse41('pminud', '3B', pure(op2('i32x4.min_u'))),
  sse41('pmaxsb', '3C', pure(op2('i8x16.max_s'))),
  sse41('pmaxsd', '3D', pure(op2('i32x4.max_s'))),
  sse41('pmaxuw', '3E', pure(op2('i16x8.max_u'))),
  sse41('pmaxud', '3F', pure(op2('i32x4.max_u'))),
  sse41('pmulld', '40', pure(op2('i32x4.mul'))),
  { ...sse41('phminposuw', '41', (b, _x, y) => b.call('sseMinPosition', y)), unary: true },
];

function packedRows(p: PackedRow): Instruction[] {
  const semantics = (b: Builder): void => {
    const y = b.read(1);
    b.write(0, p.xmm(b, p.unary ? y : b.read(0), y));
  };
  const operands = p.unary ? 'Vx:w,Wx' : 'Vx,Wx';
  const rows = [
    instruction(p.name, `66 0F ${p.opcode} ${operands}`, semantics, { cpuid: p.cpuid, unit: 'sse' }),
  ];
  const mmx = p.mmx;
  if (mmx) {
    // PUNPCKL takes 32 bits of memory in its MMX form.
    const source = p.name.startsWith('punpckl') ? 'Qd' : 'Qq';
    const semantics = (b: Builder): void => {
      const y = b.read(1);
      const x = b.read(0);
      writeMmx(b, 0, low64(mmx(b, mmxVector(x), mmxVector(y.extendU()))));
    };
    rows.push(
      instruction(p.name, `NP 0F ${p.opcode} Pq,${source}`, semantics, {
        cpuid: p.mmxCpuid ?? 'MMX',
        unit: 'mmx',
      }),
    );
  }
  return rows;
}

interface ShiftRow {
  readonly name: string;
  readonly opcode: string;
  /** Opcode byte and ModRM.reg of the immediate form. */
  readonly group: string;
  readonly shape: string;
  readonly bits: number;
  readonly kind: 'shl' | 'shr_u' | 'shr_s';
}

const SHIFTS: readonly ShiftRow[] = [
  { name: 'psrlw', opcode: 'D1', group: '71 /2', shape: 'i16x8', bits: 16, kind: 'shr_u' },
  { name: 'psrld', opcode: 'D2', group: '72 /2', shape: 'i32x4', bits: 32, kind: 'shr_u' },
  { name: 'psrlq', opcode: 'D3', group: '73 /2', shape: 'i64x2', bits: 64, kind: 'shr_u' },
  { name: 'psraw', opcode: 'E1', group: '71 /4', shape: 'i16x8', bits: 16, kind: 'shr_s' },
  { name: 'psrad', opcode: 'E2', group: '72 /4', shape: 'i32x4', bits: 32, kind: 'shr_s' },
  { name: 'psllw', opcode: 'F1', group: '71 /6', shape: 'i16x8', bits: 16, kind: 'shl' },
  { name: 'pslld', opcode: 'F2', group: '72 /6', shape: 'i32x4', bits: 32, kind: 'shl' },
  { name: 'psllq', opcode: 'F3', group: '73 /6', shape: 'i64x2', bits: 64, kind: 'shl' },
];

/** Counts past the lane give zero, or the sign; wasm takes them modulo the lane. `count` is an i64. */
function shifted(b: Builder, s: ShiftRow, x: Val, count: Val): Val {
  const n = keep(b, count);
  const small = n.ltU(s.bits);
  if (s.kind === 'shr_s') return shift(`${s.shape}.shr_s`, x, select(small, n.wrap(), i32(s.bits - 1)));
  return select(small, shift(`${s.shape}.${s.kind}`, x, n.wrap()), zero128());
}

function shiftRows(s: ShiftRow): Instruction[] {
  const imm = (b: Builder): Val => imm8(b, 1).extendU();
  const sse = { cpuid: 'SSE2', unit: 'sse' } as const;
  const mmx = { cpuid: 'MMX', unit: 'mmx' } as const;
  const mmxResult = (b: Builder, x: Val, count: Val): void =>
    writeMmx(b, 0, low64(shifted(b, s, mmxVector(x), count)));
  return [
    instruction(
      s.name,
      `66 0F ${s.opcode} Vx,Wx`,
      (b) => {
        const count = low64(b.read(1));
        b.write(0, shifted(b, s, b.read(0), count));
      },
      sse,
    ),
    instruction(
      s.name,
      `66 0F ${s.group} Ux:rw,Ib`,
      (b) => b.write(0, shifted(b, s, b.read(0), imm(b))),
      sse,
    ),
    instruction(
      s.name,
      `NP 0F ${s.opcode} Pq,Qq`,
      (b) => {
        const count = b.read(1);
        mmxResult(b, b.read(0), count);
      },
      mmx,
    ),
    instruction(s.name, `NP 0F ${s.group} Nq:rw,Ib`, (b) => mmxResult(b, b.read(0), imm(b)), mmx),
  ];
}

export const ssePackedInstructions: readonly Instruction[] = [
  ...PACKED.flatMap(packedRows),
  ...SHIFTS.flatMap(shiftRows),
];
