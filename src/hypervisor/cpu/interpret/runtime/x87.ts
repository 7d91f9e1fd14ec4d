import type { FunctionRef } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import type { RuntimeEnv } from './env.ts';
import { addX87Arith } from './x87-arith.ts';
import { addX87Convert, addX87Widen } from './x87-convert.ts';
import { addX87Core } from './x87-core.ts';
import { addX87Environment } from './x87-environment.ts';
import { addX87Misc } from './x87-misc.ts';
import { addAllQuick } from './x87-quick.ts';
import { addX87Transcendental } from './x87-transcendental.ts';

/**
 * Adds the x87 to a module: what the rows of isa/x87.ts call, by name.
 * A function that gives an i32 and takes a linear address raises: 0 to go on,
 * 1 after a fault was recorded.
 */
export function addX87Runtime(m: ModuleBuilder, env: RuntimeEnv): Record<string, FunctionRef> {
  const core = addX87Core(m, env);
  const widen = addX87Widen(core);
  const arith = addX87Arith(core, widen);
  const general = {
    x87_summarize: core.summarize,
    x87_pop: core.pop,
    ...arith.functions,
    ...addX87Convert(core, widen),
    ...addX87Misc(core, widen),
    ...addX87Environment(core),
    ...addX87Transcendental(core, arith.add),
  };
  return { ...general, ...addAllQuick(m, general) };
}
