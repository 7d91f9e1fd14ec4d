import { fxsaveInstructions } from './fxsave.ts';
import type { Instruction } from './rows.ts';
import { sseArithmeticInstructions } from './sse-arith.ts';
import { sseConvertInstructions } from './sse-convert.ts';
import { sseIntegerInstructions } from './sse-integer.ts';
import { sseMoveInstructions } from './sse-move.ts';
import { sseStringInstructions } from './sse-string.ts';

/** Every row of MMX, SSE to SSE4.2, PCLMULQDQ, AES, FXSAVE, XSAVE, prefetches and fences. */
export const sseInstructions: readonly Instruction[] = [
  ...sseMoveInstructions,
  ...sseIntegerInstructions,
  ...sseArithmeticInstructions,
  ...sseConvertInstructions,
  ...sseStringInstructions,
  ...fxsaveInstructions,
];
