import type { Builder } from '../builder.ts';
import { type Instruction, instruction } from '../rows.ts';
import { i32, imm8 } from '../sse-common.ts';
import { SSE } from '../sse-scratch.ts';
import { bothHalves } from './halves.ts';

/** Conversions between half and single precision (SDM vol. 1, 14.4), by the runtime (interpret/runtime/f16c.ts). */

const NARROWED = { placing: 'same', result: 'narrow' } as const;
const F16C = { cpuid: 'F16C', unit: 'avx' } as const;

/** Four half-precision numbers in the low quadword to singles. */
function toSingles(b: Builder): void {
  b.callFaulting('f16ToSingle', b.read(1));
  b.write(0, b.state('v128.load', SSE.result));
}

/** Four singles to half precision in the low quadword, zeroes above. */
function toHalves(b: Builder): void {
  b.callFaulting('f16FromSingle', b.read(1), imm8(b, 2));
  b.write(0, b.state('v128.load', SSE.result));
}

/** The same to memory, which is tried before MXCSR changes. */
const toMemory =
  (bytes: 8 | 16, semantics: Instruction['semantics']): Instruction['semantics'] =>
  (b) => {
    b.callFaulting('probeWrite', b.linear(0, bytes, 'w'), i32(bytes));
    semantics(b);
  };

export const f16cInstructions: readonly Instruction[] = [
  instruction('vcvtph2ps', 'VEX.128.66.0F38.W0 13 Vu:w,Wq', toSingles, F16C),
  instruction(
    'vcvtph2ps',
    'VEX.256.66.0F38.W0 13 Vqq:w,Wu',
    bothHalves(toSingles, { placing: 'same', source: 'widened' }),
    F16C,
  ),
  instruction('vcvtps2ph', 'VEX.128.66.0F3A.W0 1D Uu:w,Vu,Ib', toHalves, F16C),
  instruction(
    'vcvtps2ph',
    'VEX.128.66.0F3A.W0 1D Wq:w,Vu,Ib mem',
    toMemory(8, (b) => {
      b.callFaulting('f16FromSingle', b.read(1), imm8(b, 2));
      b.write(0, b.state('i64.load', SSE.result));
    }),
    F16C,
  ),
  instruction('vcvtps2ph', 'VEX.256.66.0F3A.W0 1D Uu:w,Vqq,Ib', bothHalves(toHalves, NARROWED), F16C),
  instruction(
    'vcvtps2ph',
    'VEX.256.66.0F3A.W0 1D Wu:w,Vqq,Ib mem',
    toMemory(16, bothHalves(toHalves, NARROWED)),
    F16C,
  ),
];
