import { avxInstructions } from './avx/index.ts';
import { arithmeticInstructions } from './integer/arithmetic.ts';
import { bmiInstructions } from './integer/bmi.ts';
import { flowInstructions } from './integer/flow.ts';
import { moveInstructions } from './integer/move.ts';
import { shiftInstructions } from './integer/shift.ts';
import { stringInstructions } from './integer/string.ts';
import type { Instruction } from './rows.ts';
import { shaInstructions } from './sha.ts';
import { sseInstructions } from './sse-instructions.ts';
import { systemInstructions } from './system.ts';
import { X87_INSTRUCTIONS } from './x87.ts';

/** The one table: every instruction that the processor has. */
export const allInstructions: readonly Instruction[] = [
  ...arithmeticInstructions,
  ...bmiInstructions,
  ...flowInstructions,
  ...moveInstructions,
  ...shiftInstructions,
  ...stringInstructions,
  ...systemInstructions,
  ...sseInstructions,
  ...shaInstructions,
  ...avxInstructions,
  ...X87_INSTRUCTIONS,
];
