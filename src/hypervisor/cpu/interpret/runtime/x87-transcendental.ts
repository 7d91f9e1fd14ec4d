import type { FunctionRef } from '../../wasm/function.ts';
import { addArctangent } from './x87-arctangent.ts';
import type { X87Core } from './x87-core.ts';
import { addExponential } from './x87-exponential.ts';
import { addX87Fixed } from './x87-fixed.ts';
import { addLogarithms } from './x87-logarithm.ts';
import { addTrigonometry } from './x87-trigonometry.ts';

/**
 * F2XM1 FYL2X FYL2XP1 FPATAN FSIN FCOS FSINCOS FPTAN (SDM vol. 1, 8.3.7-8.3.10).
 * Results are rounded by RC to 64 bits, whatever PC says.
 */
export function addX87Transcendental(x: X87Core, add: FunctionRef): Record<string, FunctionRef> {
  const p = addX87Fixed(x);
  return {
    ...addExponential(x, p),
    ...addLogarithms(x, p, add),
    ...addArctangent(x, p),
    ...addTrigonometry(x, p),
  };
}
