import type { FunctionRef } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { addBmiRuntime } from './bmi.ts';
import type { FlushEnv, OutsideEnv, RuntimeEnv } from './env.ts';
import { addIntegerRuntime } from './integer.ts';
import { addShaRuntime } from './sha.ts';
import { addSseRuntime } from './sse-runtime.ts';
import { addSystemRuntime } from './system.ts';
import { addX87Runtime } from './x87.ts';

/** All runtime functions that instruction semantics may call, by name. */
export function addRuntime(
  m: ModuleBuilder,
  env: RuntimeEnv & OutsideEnv & FlushEnv,
): ReadonlyMap<string, FunctionRef> {
  return new Map(
    Object.entries({
      ...addIntegerRuntime(m, env),
      ...addSystemRuntime(m, env),
      ...addBmiRuntime(m),
      ...addShaRuntime(m),
      ...addSseRuntime(m, env),
      ...addX87Runtime(m, env),
    }),
  );
}
