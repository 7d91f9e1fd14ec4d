import type { FunctionBuilder, FunctionRef } from '../../wasm/function.ts';
import type { Value } from '../../wasm/value.ts';
import {
  INTEGER_BIT,
  isEmpty,
  loadE,
  loadM,
  MAX_EXPONENT,
  physical,
  setResult,
  type X87Core,
} from './x87-core.ts';

/** What functions of one and of two stack registers have in common. */

export const zeroOf = (f: FunctionBuilder, x: X87Core, sign: Value): void => setResult(f, x, 0, sign.shl(15));
export const infinityOf = (f: FunctionBuilder, x: X87Core, sign: Value): void =>
  setResult(f, x, INTEGER_BIT, sign.shl(15).or(MAX_EXPONENT));

/** ST(0) = value(ST(0)). */
export function unary(x: X87Core, name: string, value: FunctionRef): FunctionRef {
  return x.m.fn(name, [], [], (f) => {
    const top = physical(f, 0);
    f.setGlobal(x.xf, 0);
    f.if(
      isEmpty(f, top),
      () => f.run(x.underflow),
      () => f.run(value, loadM(f, top), loadE(f, top)),
    );
    f.run(x.finish, top);
  });
}

/** ST(1) = value(ST(1), ST(0)), then a pop. */
export function binary(x: X87Core, name: string, value: FunctionRef): FunctionRef {
  return x.m.fn(name, [], [], (f) => {
    const top = physical(f, 0);
    const next = physical(f, 1);
    f.setGlobal(x.xf, 0);
    f.if(
      isEmpty(f, top).or(isEmpty(f, next)),
      () => f.run(x.underflow),
      () => {
        f.run(value, loadM(f, next), loadE(f, next), loadM(f, top), loadE(f, top));
      },
    );
    f.if(f.call(x.finish, next), () => f.return());
    f.run(x.pop);
  });
}
