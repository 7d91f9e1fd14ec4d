import { S } from '../layout.ts';
import { fxsaveInstructions } from './fxsave.ts';
import type { Instruction } from './rows.ts';
import { sseArithmeticInstructions } from './sse-arith.ts';
import { sseConvertInstructions } from './sse-convert.ts';
import { sseElementInstructions } from './sse-element.ts';
import { sseMoveInstructions } from './sse-move.ts';
import { ssePackedInstructions } from './sse-packed.ts';
import { sseStringInstructions } from './sse-string.ts';

const FSW_ES = 0x80;

/** MMX instructions begin like waiting x87 ones: #MF when an unmasked x87 exception is pending (SDM vol. 3, table 12-3). */
function waiting(row: Instruction): Instruction {
  if (row.unit !== 'mmx') return row;
  const semantics: Instruction['semantics'] = (b) => {
    b.if(b.state('i32.load', S.fpuStatus).and(FSW_ES), () => b.raise(16));
    row.semantics(b);
  };
  return { ...row, semantics };
}

/**
 * Every row of MMX, SSE to SSE4.2, PCLMULQDQ, AES, FXSAVE, XSAVE, prefetches and fences.
 *
 * Where processors differ: RCPPS and RSQRTPS give more bits than hardware's twelve; CVTPI2PS from
 * memory leaves the x87 stack alone, as CVTPI2PD does; EMMS sets TOP to 0 too; conversions to MMX
 * leave x87 mode before #XM; XSAVE reports every component in use; MXCSR_MASK is FFFF.
 */
export const sseInstructions: readonly Instruction[] = [
  ...sseMoveInstructions,
  ...ssePackedInstructions,
  ...sseElementInstructions,
  ...sseArithmeticInstructions,
  ...sseConvertInstructions,
  ...sseStringInstructions,
  ...fxsaveInstructions,
].map(waiting);
