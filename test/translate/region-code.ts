import type { GeneratedInterpreter } from '../../src/hypervisor/cpu/interpret/generate.ts';
import { RAM } from '../../src/hypervisor/cpu/layout.ts';
import { RegionCode } from '../../src/hypervisor/cpu/translate/code.ts';
import { emitRegion, type RegionContext } from '../../src/hypervisor/cpu/translate/emit.ts';
import { RegionModule } from '../../src/hypervisor/cpu/translate/module.ts';
import { findRegion } from '../../src/hypervisor/cpu/translate/region.ts';
import { I32 } from '../../src/hypervisor/cpu/wasm/opcodes.ts';
import { i32 } from '../../src/hypervisor/cpu/wasm/value.ts';

/**
 * The module of the region at the start of RAM, whose first page has `code`;
 * undefined when its first instruction is the interpreter's. Throws what the
 * translator throws when a region cannot be emitted.
 */
export function emitCode(
  interpreter: GeneratedInterpreter,
  memory: Uint8Array,
  mode: 32 | 64,
  code: readonly number[],
): Uint8Array<ArrayBuffer> | undefined {
  memory.fill(0x90, RAM, RAM + 4096);
  memory.set(code, RAM);
  const page = { physical: 0, slots: 0 };
  const region = findRegion(
    new RegionCode(
      interpreter.table,
      memory,
      mode === 64 ? 2 : 1,
      (n) => (n === 0 ? page : undefined),
      (decoder) => decoder.handler(mode === 64 ? 2 : 1),
    ),
    0,
    { instructions: 200, callDepth: 3, recursion: true, seen: () => true, observed: () => [] },
  );
  if (!region) return undefined;
  const calls = new Set(region.blocks.flatMap((block) => block.instructions.flatMap((i) => i.effects.calls)));
  const module = new RegionModule(calls, (name) => {
    const ref = interpreter.runtime.get(name);
    if (!ref) throw new RangeError(`no runtime function ${name}`);
    return ref;
  });
  const context: RegionContext = {
    long: mode === 64,
    entryHandler: 1,
    physical: () => 0,
    record: () => i32(64),
    count: false,
    observe: () => i32(128),
    reach: 'region',
    resolves: true,
    seen: () => true,
  };
  module.m.fn('region', [I32], [I32], (f) => emitRegion(f, module, region, context));
  return module.m.finish();
}
