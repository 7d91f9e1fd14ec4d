import type { Instruction } from '../rows.ts';
import { f16cInstructions } from './f16c.ts';
import { fmaInstructions } from './fma.ts';
import { fromSseInstructions } from './from-sse.ts';
import { memoryInstructions } from './memory.ts';
import { permuteInstructions } from './permute.ts';

/** Every row of AVX, AVX2, FMA and F16C. */
export const avxInstructions: readonly Instruction[] = [
  ...fromSseInstructions,
  ...permuteInstructions,
  ...memoryInstructions,
  ...fmaInstructions,
  ...f16cInstructions,
];
