import type { FunctionRef } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import type { RuntimeEnv } from './env.ts';
import { addIntegerRuntime } from './integer.ts';

/** All runtime functions that instruction semantics may call, by name. */
export function addRuntime(m: ModuleBuilder, env: RuntimeEnv): ReadonlyMap<string, FunctionRef> {
  return new Map(Object.entries({ ...addIntegerRuntime(m, env) }));
}
