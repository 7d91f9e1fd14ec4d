import { type FunctionRef, V128 } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { extractLane, i32, i64, replaceLane, select, type Value, vconst } from '../../wasm/value.ts';

/** Shifts of each element by a count of its own (SDM vol. 2, VPSLLVD): (values, counts) → results. */
export function addAvxRuntime(m: ModuleBuilder): Record<string, FunctionRef> {
  const out: Record<string, FunctionRef> = {};
  const define = (name: string, bits: 32 | 64, shifted: (x: Value, count: Value) => Value): void => {
    const lane = bits === 32 ? 'i32x4' : 'i64x2';
    out[name] = m.fn(name, [V128, V128], [V128], (f, values, counts) => {
      let result: Value = vconst(new Array<number>(16).fill(0));
      for (let i = 0; i < 128 / bits; i += 1) {
        const x = f.let(extractLane(`${lane}.extract_lane`, values, i));
        const count = f.let(extractLane(`${lane}.extract_lane`, counts, i));
        result = replaceLane(`${lane}.replace_lane`, result, i, shifted(x, count));
      }
      f.return(result);
    });
  };
  for (const bits of [32, 64] as const) {
    const zero = bits === 32 ? i32(0) : i64(0);
    const within = (count: Value, value: Value): Value => select(count.ltU(bits), value, zero);
    define(`avxShiftLeft${bits}`, bits, (x, count) => within(count, x.shl(count)));
    define(`avxShiftRight${bits}`, bits, (x, count) => within(count, x.shrU(count)));
  }
  define('avxShiftSigned32', 32, (x, count) => x.shrS(select(count.ltU(32), count, i32(31))));
  return out;
}
