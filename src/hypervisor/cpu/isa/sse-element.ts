import { xmm as xmmAddress } from '../layout.ts';
import { extractLane, simd } from '../wasm/value.ts';
import type { Builder, Val } from './builder.ts';
import { type Instruction, instruction } from './rows.ts';
import {
  and,
  andnot,
  atMost,
  bitselect,
  enterMmx,
  fromLow,
  I32,
  i32,
  imm8,
  iota,
  keep,
  lanes,
  low64,
  mmxVector,
  or,
  selectBySign,
  setHigh64,
  shift,
  splat8,
  splat16,
  splat32,
  swizzle,
  writeMmx,
} from './sse-common.ts';
import { folded } from './sse-fold.ts';

/** Shuffles, blends, extensions and single elements of packed integers (SDM vol. 1, 9.4, 11.4.2, 12.6, 12.8). */

/** Bytes of x moved up (by `count` > 0 bytes) or down, zeroes coming in: an index out of range gives zero. */
const moveBytes = (x: Val, name: string, count: Val): Val =>
  swizzle(x, simd(name, [iota(), splat8(atMost(count, 16))]));

/** PALIGNR: bytes of the pair high:low from `count` on. */
function alignBytes(b: Builder, high: Val, low: Val, count: Val): Val {
  const from = keep(b, simd('i8x16.add', [iota(), splat8(atMost(count, 32))]));
  return or(swizzle(low, from), swizzle(high, simd('i8x16.sub', [from, lanes(8, [16])])));
}

/** The two-bit fields of an immediate, times 4, in each dword, as its bytes' numbers. */
function dwordIndices(imm: Val): Val {
  const fields = simd('i32x4.mul', [splat32(imm), lanes(32, [64, 16, 4, 1])]);
  const scaled = and(shift('i32x4.shr_u', fields, i32(4)), lanes(32, [12]));
  const spread = swizzle(scaled, lanes(8, [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12]));
  return simd('i8x16.add', [spread, lanes(8, [0, 1, 2, 3])]);
}

export function shuffleDwords(x: Val, imm: Val): Val {
  return swizzle(x, dwordIndices(imm));
}

/** PSHUFLW, PSHUFHW and PSHUFW: the four words from word `base` on; the others stay. */
function shuffleWords(x: Val, imm: Val, base: 0 | 4): Val {
  const factors = base === 0 ? [64, 16, 4, 1, 0, 0, 0, 0] : [0, 0, 0, 0, 64, 16, 4, 1];
  const fields = simd('i16x8.mul', [splat16(imm), lanes(16, factors)]);
  const scaled = and(shift('i16x8.shr_u', fields, i32(5)), lanes(16, [6]));
  const spread = swizzle(scaled, lanes(8, [0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 14, 14]));
  const moving = base === 0 ? [0, 1, 0, 1, 0, 1, 0, 1] : [0, 1, 2, 3, 4, 5, 6, 7];
  const other = base === 0 ? [8, 9, 10, 11, 12, 13, 14, 15] : [8, 9, 8, 9, 8, 9, 8, 9];
  return swizzle(x, simd('i8x16.add', [spread, lanes(8, [...moving, ...other])]));
}

/** All ones in lanes whose bit in the immediate is set. */
export function maskFromBits(imm: Val, bits: 16 | 32 | 64): Val {
  const powers = lanes(
    bits,
    Array.from({ length: 128 / bits }, (_, i) => 1 << i),
  );
  const all = bits === 16 ? splat16(imm) : bits === 32 ? splat32(imm) : simd('i64x2.splat', [imm.extendU()]);
  const shape = bits === 16 ? 'i16x8' : bits === 32 ? 'i32x4' : 'i64x2';
  return folded(simd(`${shape}.eq`, [and(all, powers), powers]));
}

const SSE2 = { cpuid: 'SSE2', unit: 'sse' } as const;
const SSE41 = { cpuid: 'SSE4_1', unit: 'sse' } as const;
const SSE_MMX = { cpuid: 'SSE', unit: 'mmx' } as const;

const shuffles: readonly Instruction[] = [
  instruction(
    'psrldq',
    '66 0F 73 /3 Ux:rw,Ib',
    (b) => b.write(0, moveBytes(b.read(0), 'i8x16.add', imm8(b, 1))),
    SSE2,
  ),
  instruction(
    'pslldq',
    '66 0F 73 /7 Ux:rw,Ib',
    (b) => b.write(0, moveBytes(b.read(0), 'i8x16.sub', imm8(b, 1))),
    SSE2,
  ),
  instruction('pshufd', '66 0F 70 Vx:w,Wx,Ib', (b) => b.write(0, shuffleDwords(b.read(1), imm8(b, 2))), SSE2),
  instruction(
    'pshuflw',
    'F2 0F 70 Vx:w,Wx,Ib',
    (b) => b.write(0, shuffleWords(b.read(1), imm8(b, 2), 0)),
    SSE2,
  ),
  instruction(
    'pshufhw',
    'F3 0F 70 Vx:w,Wx,Ib',
    (b) => b.write(0, shuffleWords(b.read(1), imm8(b, 2), 4)),
    SSE2,
  ),
  instruction(
    'pshufw',
    'NP 0F 70 Pq:w,Qq,Ib',
    (b) => {
      writeMmx(b, 0, low64(shuffleWords(mmxVector(b.read(1)), imm8(b, 2), 0)));
    },
    SSE_MMX,
  ),
  instruction(
    'palignr',
    '66 0F 3A 0F Vx,Wx,Ib',
    (b) => {
      const y = b.read(1);
      b.write(0, alignBytes(b, b.read(0), y, imm8(b, 2)));
    },
    { cpuid: 'SSSE3', unit: 'sse' },
  ),
  instruction(
    'palignr',
    'NP 0F 3A 0F Pq,Qq,Ib',
    (b) => {
      const y = b.read(1);
      // The pair of 8-byte operands is one vector; nothing lies above it.
      writeMmx(b, 0, low64(moveBytes(setHigh64(mmxVector(y), b.read(0)), 'i8x16.add', imm8(b, 2))));
    },
    { cpuid: 'SSSE3', unit: 'mmx' },
  ),
  instruction(
    'pblendw',
    '66 0F 3A 0E Vx,Wx,Ib',
    (b) => {
      const y = b.read(1);
      b.write(0, bitselect(y, b.read(0), maskFromBits(imm8(b, 2), 16)));
    },
    SSE41,
  ),
  instruction(
    'pblendvb',
    '66 0F 38 10 Vx,Wx',
    (b) => {
      const y = b.read(1);
      b.write(0, selectBySign('i8x16', y, b.read(0), xmm0(b)));
    },
    SSE41,
  ),
  instruction(
    'mpsadbw',
    '66 0F 3A 42 Vx,Wx,Ib',
    (b) => {
      const y = b.read(1);
      b.write(0, b.call('sseMultipleSums', b.read(0), y, imm8(b, 2)));
    },
    SSE41,
  ),
  instruction(
    'ptest',
    '66 0F 38 17 Vx:r,Wx',
    (b) => {
      const y = b.read(1);
      const x = b.read(0);
      const none = (v: Val): Val => simd('v128.any_true', [v], I32).eqz();
      const clear = i32(0);
      b.flagsAll({ cf: none(andnot(y, x)), zf: none(and(x, y)), pf: clear, af: clear, sf: clear, of: clear });
    },
    SSE41,
  ),
];

/** The implicit mask of the variable blends. */
export function xmm0(b: Builder): Val {
  return b.state('v128.load', xmmAddress(0));
}

/** Widths, last opcode digit and source. */
const EXTENSIONS: readonly (readonly [string, string, string])[] = [
  ['bw', '0', 'Wq'],
  ['bd', '1', 'Wd'],
  ['bq', '2', 'Ww'],
  ['wd', '3', 'Wq'],
  ['wq', '4', 'Wd'],
  ['dq', '5', 'Wq'],
];
const EXTENSION_CHAIN: Readonly<Record<string, readonly string[]>> = {
  bw: ['i16x8.extend_low_i8x16'],
  bd: ['i16x8.extend_low_i8x16', 'i32x4.extend_low_i16x8'],
  bq: ['i16x8.extend_low_i8x16', 'i32x4.extend_low_i16x8', 'i64x2.extend_low_i32x4'],
  wd: ['i32x4.extend_low_i16x8'],
  wq: ['i32x4.extend_low_i16x8', 'i64x2.extend_low_i32x4'],
  dq: ['i64x2.extend_low_i32x4'],
};

function extensionRows(): Instruction[] {
  return (['s', 'u'] as const).flatMap((sign) =>
    EXTENSIONS.map(([kind, digit, source]) =>
      instruction(
        `pmov${sign === 's' ? 'sx' : 'zx'}${kind}`,
        `66 0F 38 ${sign === 's' ? '2' : '3'}${digit} Vx:w,${source}`,
        (b) => {
          let v = fromLow(b.read(1));
          for (const step of EXTENSION_CHAIN[kind] ?? []) v = simd(`${step}_${sign}`, [v]);
          b.write(0, v);
        },
        SSE41,
      ),
    ),
  );
}

/** The byte (word, …) of x that the immediate names, at the bottom. */
const lowered = (x: Val, index: Val, bytes: number): Val =>
  swizzle(x, simd('i8x16.add', [iota(), splat8(index.mul(bytes))]));

/** x with the named element replaced: `value` in every element, selected by a mask. */
function inserted(x: Val, values: Val, index: Val, shape: 'i8x16' | 'i16x8' | 'i32x4' | 'i64x2'): Val {
  const count = Number(shape.slice(shape.indexOf('x') + 1));
  const bits = (128 / count) as 8 | 16 | 32 | 64;
  const numbers = lanes(
    bits,
    Array.from({ length: count }, (_, i) => i),
  );
  const wanted = shape === 'i64x2' ? simd('i64x2.splat', [index.extendU()]) : simd(`${shape}.splat`, [index]);
  return bitselect(values, x, simd(`${shape}.eq`, [numbers, wanted]));
}

const elements: readonly Instruction[] = [
  instruction('pinsrw', '66 0F C4 Vx,Ed,Ib reg', (b) => insert(b, 'i16x8'), SSE2),
  instruction('pinsrw', '66 0F C4 Vx,Mw,Ib', (b) => insert(b, 'i16x8'), SSE2),
  instruction('pinsrb', '66 0F 3A 20 Vx,Ed,Ib reg', (b) => insert(b, 'i8x16'), SSE41),
  instruction('pinsrb', '66 0F 3A 20 Vx,Mb,Ib', (b) => insert(b, 'i8x16'), SSE41),
  instruction('pinsrd', '66 0F 3A 22 Vx,Ed,Ib w0', (b) => insert(b, 'i32x4'), SSE41),
  instruction('pinsrq', '66 0F 3A 22 Vx,Eq,Ib w1 o64', (b) => insert(b, 'i64x2'), SSE41),
  instruction('pinsrw', 'NP 0F C4 Pq,Ed,Ib reg', insertMmx, SSE_MMX),
  instruction('pinsrw', 'NP 0F C4 Pq,Mw,Ib', insertMmx, SSE_MMX),
  instruction(
    'pextrw',
    '66 0F C5 Gd:w,Ux,Ib',
    (b) => {
      b.write(0, extractLane('i16x8.extract_lane_u', lowered(b.read(1), imm8(b, 2).and(7), 2), 0));
    },
    SSE2,
  ),
  instruction(
    'pextrw',
    'NP 0F C5 Gd:w,Nq,Ib',
    (b) => {
      const bit = imm8(b, 2).and(3).shl(4);
      b.write(0, b.read(1).shrU(bit.extendU()).wrap().and(0xffff));
      enterMmx(b);
    },
    SSE_MMX,
  ),
  instruction(
    'pextrb',
    ['66 0F 3A 14 Ed:w,Vx,Ib reg', '66 0F 3A 14 Mb:w,Vx,Ib'],
    (b) => {
      b.write(0, extractLane('i8x16.extract_lane_u', lowered(b.read(1), imm8(b, 2).and(15), 1), 0));
    },
    SSE41,
  ),
  instruction(
    'pextrw',
    ['66 0F 3A 15 Ed:w,Vx,Ib reg', '66 0F 3A 15 Mw:w,Vx,Ib'],
    (b) => {
      b.write(0, extractLane('i16x8.extract_lane_u', lowered(b.read(1), imm8(b, 2).and(7), 2), 0));
    },
    SSE41,
  ),
  instruction(
    'pextrd',
    '66 0F 3A 16 Ed:w,Vx,Ib w0',
    (b) => {
      b.write(0, extractLane('i32x4.extract_lane', lowered(b.read(1), imm8(b, 2).and(3), 4), 0));
    },
    SSE41,
  ),
  instruction(
    'pextrq',
    '66 0F 3A 16 Eq:w,Vx,Ib w1 o64',
    (b) => {
      b.write(0, low64(lowered(b.read(1), imm8(b, 2).and(1), 8)));
    },
    SSE41,
  ),
  instruction(
    'pmovmskb',
    '66 0F D7 Gd:w,Ux',
    (b) => b.write(0, simd('i8x16.bitmask', [b.read(1)], I32)),
    SSE2,
  ),
  instruction(
    'pmovmskb',
    'NP 0F D7 Gd:w,Nq',
    (b) => {
      b.write(0, simd('i8x16.bitmask', [fromLow(b.read(1))], I32));
      enterMmx(b);
    },
    SSE_MMX,
  ),
];

function insert(b: Builder, shape: 'i8x16' | 'i16x8' | 'i32x4' | 'i64x2'): void {
  const value = b.read(1);
  const count = Number(shape.slice(shape.indexOf('x') + 1));
  b.write(0, inserted(b.read(0), simd(`${shape}.splat`, [value]), imm8(b, 2).and(count - 1), shape));
}

function insertMmx(b: Builder): void {
  const value = b.read(1);
  const x = mmxVector(b.read(0));
  writeMmx(b, 0, low64(inserted(x, splat16(value), imm8(b, 2).and(3), 'i16x8')));
}

export const sseElementInstructions: readonly Instruction[] = [...shuffles, ...extensionRows(), ...elements];
