import { xmm } from '../layout.ts';
import { simd } from '../wasm/value.ts';
import type { Builder, Val } from './builder.ts';
import { type Instruction, instruction } from './rows.ts';
import { fromLow, i32, i64, imm8, lanes, select, swizzle } from './sse-common.ts';
import { maskFromBits } from './sse-element.ts';

/** SSE4.2's string comparisons and CRC32, PCLMULQDQ and AES (SDM vol. 1, 12.12, 12.13; vol. 2, 4.1). */

const SSE42 = { cpuid: 'SSE4_2', unit: 'sse' } as const;

/** Elements in a register: |length| saturated. */
function explicitLength(b: Builder, register: number, imm: Val): Val {
  const raw = b.opsize === 64 ? b.gpr(register, 64) : b.gpr(register, 32).extendS();
  const size = b.let(select(raw.ltS(0), i64(0).sub(raw), raw));
  const most = select(imm.and(1), i64(8), i64(16));
  return b.let(select(size.ltU(most), size, most).wrap());
}

/** Runs the comparison, sets flags; gives IntRes2 and the immediate. */
function compareStrings(b: Builder, explicit: boolean): { result: Val; imm: Val } {
  const y = b.read(1);
  const x = b.read(0);
  const imm = imm8(b, 2);
  const lengths = explicit ? [explicitLength(b, 0, imm), explicitLength(b, 2, imm)] : [i32(-1), i32(-1)];
  const packed = b.let(b.call('sseCompareStrings', x, y, imm, ...lengths));
  const bit = (n: number): Val => packed.shrU(n).and(1);
  b.flagsAll({ cf: bit(16), zf: bit(17), sf: bit(18), of: bit(19), af: i32(0), pf: i32(0) });
  return { result: b.let(packed.and(0xffff)), imm };
}

function toIndex(b: Builder, explicit: boolean): void {
  const { result, imm } = compareStrings(b, explicit);
  const none = select(imm.and(1), i32(8), i32(16));
  const found = select(imm.and(0x40), i32(31).sub(result.clz()), result.ctz());
  b.setGpr(1, 32, select(result, found, none));
}

function toMask(b: Builder, explicit: boolean): void {
  const { result, imm } = compareStrings(b, explicit);
  // Bit n of the mask to all of byte n: the byte with the bit to every lane, then its bit.
  const spread = swizzle(fromLow(result), lanes(8, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]));
  const powers = lanes(8, [1, 2, 4, 8, 16, 32, 64, 128]);
  const bytes = simd('i8x16.eq', [simd('v128.and', [spread, powers]), powers]);
  const wide = select(imm.and(1), maskFromBits(result, 16), bytes);
  b.setState('v128.store', xmm(0), select(imm.and(0x40), wide, fromLow(result)));
}

function crc(b: Builder): void {
  const value = b.read(1);
  const before = b.read(0).wrap();
  const bits = b.operandSize(1);
  const r = b.call('sseCrc32c', before, value.extendU(), i32(bits / 8));
  b.write(0, b.operandSize(0) === 64 ? r.extendU() : r);
}

const aes = (name: string, opcode: string, target: string): Instruction =>
  instruction(
    name,
    `66 0F 38 ${opcode} Vx,Wx`,
    (b) => {
      const y = b.read(1);
      b.write(0, b.call(target, b.read(0), y));
    },
    { cpuid: 'AESNI', unit: 'sse' },
  );

export const sseStringInstructions: readonly Instruction[] = [
  instruction('pcmpestrm', '66 0F 3A 60 Vu:r,Wu,Ib', (b) => toMask(b, true), SSE42),
  instruction('pcmpestri', '66 0F 3A 61 Vu:r,Wu,Ib', (b) => toIndex(b, true), SSE42),
  instruction('pcmpistrm', '66 0F 3A 62 Vu:r,Wu,Ib', (b) => toMask(b, false), SSE42),
  instruction('pcmpistri', '66 0F 3A 63 Vu:r,Wu,Ib', (b) => toIndex(b, false), SSE42),
  instruction('crc32', 'F2 0F 38 F0 Gy,Eb', (b) => crc(b), { cpuid: 'SSE4_2' }),
  instruction('crc32', 'F2 0F 38 F1 Gy,Ev', (b) => crc(b), { cpuid: 'SSE4_2' }),
  instruction(
    'pclmulqdq',
    '66 0F 3A 44 Vx,Wx,Ib',
    (b) => {
      const y = b.read(1);
      b.write(0, b.call('sseCarrylessMultiply', b.read(0), y, imm8(b, 2)));
    },
    { cpuid: 'PCLMULQDQ', unit: 'sse' },
  ),
  aes('aesenc', 'DC', 'sseAesEncrypt'),
  aes('aesenclast', 'DD', 'sseAesEncryptLast'),
  aes('aesdec', 'DE', 'sseAesDecrypt'),
  aes('aesdeclast', 'DF', 'sseAesDecryptLast'),
  instruction('aesimc', '66 0F 38 DB Vx:w,Wx', (b) => b.write(0, b.call('sseAesInverseMix', b.read(1))), {
    cpuid: 'AESNI',
    unit: 'sse',
  }),
  instruction(
    'aeskeygenassist',
    '66 0F 3A DF Vx:w,Wx,Ib',
    (b) => {
      b.write(0, b.call('sseAesKeygen', b.read(1), imm8(b, 2)));
    },
    { cpuid: 'AESNI', unit: 'sse' },
  ),
];
