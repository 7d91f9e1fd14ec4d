import type { FunctionRef } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { addAvxRuntime } from './avx.ts';
import type { RuntimeEnv } from './env.ts';
import { addF16cRuntime } from './f16c.ts';
import { addFmaRuntime } from './fma.ts';
import { addExactArithmetic } from './sse-arith.ts';
import { addBitFunctions } from './sse-bits.ts';
import { addExactConversions } from './sse-convert.ts';
import { addSoftFloat, DOUBLE, SINGLE } from './sse-soft.ts';
import { addStateImages } from './sse-state.ts';

/** Defines in `m` every runtime function that the MMX, SSE, AVX and FXSAVE rows call, by name. Needs nothing of the environment. */
export function addSseRuntime(m: ModuleBuilder, _env?: RuntimeEnv): Record<string, FunctionRef> {
  const soft32 = addSoftFloat(m, SINGLE);
  const soft64 = addSoftFloat(m, DOUBLE);
  const exact = addExactArithmetic(m, soft32, soft64);
  return {
    ...exact.functions,
    ...addExactConversions(m, soft32, soft64, exact.finish),
    ...addBitFunctions(m),
    ...addFmaRuntime(m, soft32, soft64, exact.finish),
    ...addF16cRuntime(m, exact.finish),
    ...addAvxRuntime(m),
    ...addStateImages(m),
  };
}
