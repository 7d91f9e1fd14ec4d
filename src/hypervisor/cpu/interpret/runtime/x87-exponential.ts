import type { FunctionRef, Local } from '../../wasm/function.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i32, i64 } from '../../wasm/value.ts';
import {
  BIAS,
  DE,
  exponentOf,
  flag,
  INTEGER_BIT,
  isDenormal,
  isMaximal,
  isZero,
  normalize,
  PE,
  setResult,
  signOf,
  type X87Core,
} from './x87-core.ts';
import { high, LOG_E_2, low, SERIES, type X87Fixed } from './x87-fixed.ts';
import { unary } from './x87-shapes.ts';

/** F2XM1: 2^x - 1 = x ln 2 (1 + t/2 + t^2/6 + …), t = x ln 2. */
export function addExponential(x: X87Core, p: X87Fixed): Record<string, FunctionRef> {
  const value = x.m.fn('x87_exponentialValue', [I64, I32], [], (f) => {
    const [vm, ve] = f.params as [Local, Local];
    f.if(f.call(x.nan1, vm, ve), () => f.return());
    const sign = f.let(signOf(ve));
    f.if(isZero(vm, ve), () => {
      setResult(f, x, vm, ve);
      f.return();
    });
    f.if(isMaximal(ve), () => {
      f.if(
        sign,
        () => setResult(f, x, INTEGER_BIT, 0x8000 | BIAS),
        () => setResult(f, x, vm, ve),
      );
      f.return();
    });
    // 2^1 - 1 and 2^-1 - 1; beyond, where results are undefined, operands stay.
    f.if(exponentOf(ve).geU(BIAS), () => {
      flag(f, x, PE);
      setResult(f, x, vm, ve);
      f.if(ve.eq(0x8000 | BIAS).and(vm.eq(INTEGER_BIT)), () =>
        setResult(f, x, INTEGER_BIT, 0x8000 | (BIAS - 1)),
      );
      f.return();
    });
    f.if(isDenormal(vm, ve), () => flag(f, x, DE));
    const exponent = normalize(f, vm, ve);
    const uh = f.let(f.call(p.mul, vm, i64(0), high(LOG_E_2), low(LOG_E_2)));
    const ul = f.let(p.lo);
    const th = f.let(f.call(p.shift, uh, ul, i32(BIAS - 1).sub(exponent)));
    p.series(f, SERIES.exponential, th, p.lo, sign);
    const result = f.let(f.call(p.mul, uh, ul, p.ah, p.al));
    f.run(p.give, sign, exponent.sub(BIAS - 2), result, p.lo.or(1));
  });
  return { x87_f2xm1: unary(x, 'x87_f2xm1', value) };
}
