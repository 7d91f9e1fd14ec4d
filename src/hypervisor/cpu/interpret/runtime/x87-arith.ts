import type { FunctionBuilder, FunctionRef, Local } from '../../wasm/function.ts';
import { F64, I32, I64 } from '../../wasm/opcodes.ts';
import { i32, i64, select, type Value } from '../../wasm/value.ts';
import type { X87Widen } from './x87-convert.ts';
import {
  BIAS,
  DE,
  exponentOf,
  flag,
  INTEGER_BIT,
  isDenormal,
  isEmpty,
  isMaximal,
  isNormal,
  isZero,
  loadE,
  loadM,
  normalize,
  physical,
  roundingControl,
  setResult,
  shiftRightJam,
  signOf,
  type X87Core,
  ZE,
} from './x87-core.ts';

/** Basic arithmetic: FADD FSUB FSUBR FMUL FDIV FDIVR FSQRT (SDM vol. 1, 8.3.5). */

const NUMBER = [I64, I32, I64, I32] as const;
type Four = [Local, Local, Local, Local];

interface X87Arith {
  /** (aM, aE, bM, bE, flip): a + b, or a - b when `flip` is 1; result, exceptions. */
  readonly add: FunctionRef;
  readonly mul: FunctionRef;
  readonly div: FunctionRef;
}

export function addX87Arith(
  x: X87Core,
  widen: X87Widen,
): X87Arith & { functions: Record<string, FunctionRef> } {
  const arith = { add: addAddition(x), mul: addMultiplication(x), div: addDivision(x) };
  return { ...arith, functions: { ...addOperations(x, widen, arith), x87_sqrt: addSquareRoot(x) } };
}

const infinity = (f: FunctionBuilder, x: X87Core, sign: Value): void =>
  setResult(f, x, INTEGER_BIT, sign.shl(15).or(0x7fff));

function addAddition(x: X87Core): FunctionRef {
  const { m } = x;
  // (aS, aX, aM, bS, bX, bM): both normal, |a| >= |b|.
  const ordered = m.fn('x87_addOrdered', [I32, I32, I64, I32, I32, I64], [], (f) => {
    const [as, ax, am, bs, bx, bm] = f.params as [Local, Local, Local, Local, Local, Local];
    const low = f.local(I64, 0);
    const distance = f.let(ax.sub(bx));
    f.if(distance, () => shiftRightJam(f, bm, low, distance));
    const high = f.local(I64);
    f.if(
      as.eq(bs),
      () => {
        f.set(high, am.add(bm));
        f.if(high.ltU(am), () => {
          f.set(low, low.shrU(1).or(low.and(1)).or(high.shl(63)));
          f.set(high, high.shrU(1).or(INTEGER_BIT));
          f.set(ax, ax.add(1));
        });
      },
      () => {
        f.set(high, am.sub(bm).sub(low.ne(0).extendU()));
        f.set(low, low.neg());
        f.if(high.eqz(), () => {
          f.if(low.eqz(), () => {
            setResult(f, x, 0, roundingControl(f).eq(1).shl(15));
            f.return();
          });
          f.set(high, low);
          f.set(low, 0);
          f.set(ax, ax.sub(64));
        });
        const n = f.let(high.clz());
        f.if(n.ne(0), () => {
          f.set(high, high.shl(n).or(low.shrU(i64(64).sub(n))));
          f.set(low, low.shl(n));
          f.set(ax, ax.sub(n.wrap()));
        });
      },
    );
    f.run(x.round, as, ax, high, low);
  });
  const normal = m.fn('x87_addNormal', [I32, I32, I64, I32, I32, I64], [], (f) => {
    const [as, ax, am, bs, bx, bm] = f.params as [Local, Local, Local, Local, Local, Local];
    f.if(
      ax.gtS(bx).or(ax.eq(bx).and(am.geU(bm))),
      () => f.run(ordered, as, ax, am, bs, bx, bm),
      () => {
        f.run(ordered, bs, bx, bm, as, ax, am);
      },
    );
  });
  const special = m.fn('x87_addSpecial', [...NUMBER, I32], [], (f) => {
    const [am, ae, bm, be, flip] = f.params as [Local, Local, Local, Local, Local];
    f.if(f.call(x.nan2, am, ae, bm, be), () => f.return());
    f.set(be, be.xor(flip.shl(15)));
    f.if(isMaximal(ae).and(isMaximal(be)).and(ae.ne(be)), () => {
      f.run(x.invalid);
      f.return();
    });
    f.if(isDenormal(am, ae).or(isDenormal(bm, be)), () => flag(f, x, DE));
    f.if(isMaximal(ae).or(isMaximal(be)), () => {
      setResult(f, x, INTEGER_BIT, select(isMaximal(ae), ae, be));
      f.return();
    });
    f.if(isZero(am, ae).or(isZero(bm, be)), () => {
      f.if(isZero(am, ae).and(isZero(bm, be)), () => {
        setResult(f, x, 0, select(ae.eq(be), ae, roundingControl(f).eq(1).shl(15)));
        f.return();
      });
      f.if(isZero(am, ae), () => {
        f.set(am, bm);
        f.set(ae, be);
      });
      const exponent = normalize(f, am, ae);
      f.run(x.round, signOf(ae), exponent, am, i64(0));
      f.return();
    });
    const ax = normalize(f, am, ae);
    const bx = normalize(f, bm, be);
    f.run(normal, signOf(ae), ax, am, signOf(be), bx, bm);
  });
  return m.fn('x87_addValues', [...NUMBER, I32], [], (f) => {
    const [am, ae, bm, be, flip] = f.params as [Local, Local, Local, Local, Local];
    f.if(
      isNormal(am, ae).and(isNormal(bm, be)),
      () => {
        f.run(normal, signOf(ae), exponentOf(ae), am, signOf(be).xor(flip), exponentOf(be), bm);
      },
      () => f.run(special, am, ae, bm, be, flip),
    );
  });
}

function addMultiplication(x: X87Core): FunctionRef {
  const { m } = x;
  const normal = m.fn('x87_mulNormal', [I32, I32, I64, I64], [], (f) => {
    const [sign, exponent, am, bm] = f.params as Four;
    const high = f.let(f.call(x.mulWide, am, bm));
    const low = f.let(x.lo);
    f.if(high.geS(0), () => {
      f.set(high, high.shl(1).or(low.shrU(63)));
      f.set(low, low.shl(1));
      f.set(exponent, exponent.sub(1));
    });
    f.run(x.round, sign, exponent, high, low);
  });
  const special = m.fn('x87_mulSpecial', NUMBER, [], (f) => {
    const [am, ae, bm, be] = f.params as Four;
    f.if(f.call(x.nan2, am, ae, bm, be), () => f.return());
    const sign = f.let(signOf(ae.xor(be)));
    const infinite = f.let(isMaximal(ae).or(isMaximal(be)));
    const zero = f.let(isZero(am, ae).or(isZero(bm, be)));
    f.if(infinite.and(zero), () => {
      f.run(x.invalid);
      f.return();
    });
    f.if(isDenormal(am, ae).or(isDenormal(bm, be)), () => flag(f, x, DE));
    f.if(infinite, () => {
      infinity(f, x, sign);
      f.return();
    });
    f.if(zero, () => {
      setResult(f, x, 0, sign.shl(15));
      f.return();
    });
    const ax = normalize(f, am, ae);
    const bx = normalize(f, bm, be);
    f.run(normal, sign, ax.add(bx).sub(BIAS - 1), am, bm);
  });
  return m.fn('x87_mulValues', NUMBER, [], (f) => {
    const [am, ae, bm, be] = f.params as Four;
    f.if(
      isNormal(am, ae).and(isNormal(bm, be)),
      () => {
        f.run(
          normal,
          signOf(ae.xor(be)),
          exponentOf(ae)
            .add(exponentOf(be))
            .sub(BIAS - 1),
          am,
          bm,
        );
      },
      () => f.run(special, am, ae, bm, be),
    );
  });
}

function addDivision(x: X87Core): FunctionRef {
  const { m } = x;
  const normal = m.fn('x87_divNormal', [I32, I32, I64, I64], [], (f) => {
    const [sign, exponent, am, bm] = f.params as Four;
    const low = f.local(I64, 0);
    f.if(am.geU(bm), () => {
      f.set(low, am.shl(63));
      f.set(am, am.shrU(1));
      f.set(exponent, exponent.add(1));
    });
    const quotient = f.let(f.call(x.divWide, am, low, bm));
    const rest = f.let(x.lo);
    // Where the remainder stands against half the divisor is all that rounding asks of the rest.
    const other = f.let(bm.sub(rest));
    const half = select(
      rest.gtU(other),
      i64(-0x4000_0000_0000_0000n),
      select(rest.eq(other), i64(INTEGER_BIT), i64(1)),
    );
    f.run(x.round, sign, exponent, quotient, select(rest.eqz(), i64(0), half));
  });
  const special = m.fn('x87_divSpecial', NUMBER, [], (f) => {
    const [am, ae, bm, be] = f.params as Four;
    f.if(f.call(x.nan2, am, ae, bm, be), () => f.return());
    const sign = f.let(signOf(ae.xor(be)));
    const az = f.let(isZero(am, ae));
    const bz = f.let(isZero(bm, be));
    f.if(isMaximal(ae).and(isMaximal(be)).or(az.and(bz)), () => {
      f.run(x.invalid);
      f.return();
    });
    // Division by zero comes before a denormal dividend; infinity over zero is neither.
    f.if(bz.and(isMaximal(ae).eqz()), () => {
      f.setGlobal(x.xf, ZE);
      infinity(f, x, sign);
      f.return();
    });
    f.if(isDenormal(am, ae).or(isDenormal(bm, be)), () => flag(f, x, DE));
    f.if(isMaximal(ae), () => {
      infinity(f, x, sign);
      f.return();
    });
    f.if(isMaximal(be).or(az), () => {
      setResult(f, x, 0, sign.shl(15));
      f.return();
    });
    const ax = normalize(f, am, ae);
    const bx = normalize(f, bm, be);
    f.run(normal, sign, ax.sub(bx).add(BIAS - 1), am, bm);
  });
  return m.fn('x87_divValues', NUMBER, [], (f) => {
    const [am, ae, bm, be] = f.params as Four;
    f.if(
      isNormal(am, ae).and(isNormal(bm, be)),
      () => {
        f.run(
          normal,
          signOf(ae.xor(be)),
          exponentOf(ae)
            .sub(exponentOf(be))
            .add(BIAS - 1),
          am,
          bm,
        );
      },
      () => f.run(special, am, ae, bm, be),
    );
  });
}

/**
 * (high, low) → floor of the square root of high:low, high >= 2^62; 1 in `lo`
 * when the remainder is above the root, -1 when it is not, 0 when there is none.
 * The root's upper half comes from the exact root of `high`, the lower by one
 * division (P. Zimmermann, Karatsuba Square Root, INRIA RR-3805).
 */
function addWideRoot(x: X87Core): FunctionRef {
  return x.m.fn('x87_rootWide', [I64, I64], [I64], (f) => {
    const [high, low] = f.params as [Local, Local];
    // A double's root is within one of the integer one.
    const s = f.local(I64, high.convert('f64.convert_i64_u', F64).sqrt().convert('i64.trunc_f64_u', I64));
    f.if(s.shrU(32).ne(0), () => f.set(s, 0xffff_ffffn));
    f.if(s.mul(s).gtU(high), () => f.set(s, s.sub(1)));
    f.if(high.sub(s.mul(s)).gtU(s.shl(1)), () => f.set(s, s.add(1)));
    const rest = f.let(high.sub(s.mul(s)));
    const upper = f.let(low.shrU(32));
    const dividend = f.let(rest.shl(31).or(upper.shrU(1)));
    const q = f.let(dividend.divU(s));
    f.if(q.shrU(32).ne(0), () => f.set(q, 0xffff_ffffn));
    const u = f.let(dividend.sub(q.mul(s)).shl(1).or(upper.and(1)));
    const root = f.let(s.shl(32).add(q));
    // rest = u * 2^32 + low half of `low` - q^2, in 128 bits.
    const restLow = f.local(I64, u.shl(32).or(low.and(0xffff_ffffn)));
    const square = f.let(q.mul(q));
    const restHigh = f.local(I64, u.shrU(32).sub(restLow.ltU(square).extendU()));
    f.set(restLow, restLow.sub(square));
    f.loop((again) => {
      f.if(restHigh.ltS(0), () => {
        f.set(root, root.sub(1));
        const twice = f.let(root.shl(1).or(1));
        const sum = f.let(restLow.add(twice));
        f.set(restHigh, restHigh.add(root.shrU(63)).add(sum.ltU(twice).extendU()));
        f.set(restLow, sum);
        f.br(again);
      });
    });
    const above = restHigh.ne(0).or(restLow.gtU(root));
    f.setGlobal(x.lo, select(restHigh.or(restLow).eqz(), i64(0), select(above, i64(1), i64(-1))));
    f.return(root);
  });
}

function addSquareRoot(x: X87Core): FunctionRef {
  const rootWide = addWideRoot(x);
  const root = x.m.fn('x87_rootValue', [I64, I32], [], (f) => {
    const [am, ae] = f.params as [Local, Local];
    f.if(f.call(x.nan1, am, ae), () => f.return());
    f.if(isZero(am, ae), () => {
      setResult(f, x, am, ae);
      f.return();
    });
    f.if(signOf(ae), () => {
      f.run(x.invalid);
      f.return();
    });
    f.if(isMaximal(ae), () => {
      setResult(f, x, am, ae);
      f.return();
    });
    f.if(isDenormal(am, ae), () => flag(f, x, DE));
    const exponent = normalize(f, am, ae);
    f.set(exponent, exponent.sub(BIAS));
    const low = f.local(I64, 0);
    // An even power of two in front of a significand in [1, 4), read as [2^126, 2^128).
    f.if(exponent.and(1).eqz(), () => {
      f.set(low, am.shl(63));
      f.set(am, am.shrU(1));
    });
    const result = f.let(f.call(rootWide, am, low));
    const fraction = select(x.lo.eqz(), i64(0), select(x.lo.gtS(0), i64(-1), i64(1)));
    f.run(x.round, i32(0), exponent.shrS(1).add(BIAS), result, fraction);
  });
  return x.m.fn('x87_sqrt', [], [], (f) => {
    const top = physical(f, 0);
    f.setGlobal(x.xf, 0);
    f.if(
      isEmpty(f, top),
      () => f.run(x.underflow),
      () => f.run(root, loadM(f, top), loadE(f, top)),
    );
    f.run(x.finish, top);
  });
}

/** Name, operation and whether the operands change places or the second its sign. */
const OPERATIONS = [
  ['add', 'add', false, 0],
  ['mul', 'mul', false, 0],
  ['sub', 'add', false, 1],
  ['subr', 'add', true, 1],
  ['div', 'div', false, 0],
  ['divr', 'div', true, 0],
] as const;

/**
 * Per operation: `x87_add(d, s, pops)` for ST(d) op= ST(s), and ST(0) op= memory
 * as `x87_add_m32(bits)`, `x87_add_m64(bits)`, `x87_add_int(value)`.
 */
function addOperations(x: X87Core, widen: X87Widen, arith: X87Arith): Record<string, FunctionRef> {
  const functions: Record<string, FunctionRef> = {};
  for (const [name, operation, swapped, flip] of OPERATIONS) {
    const apply = (f: FunctionBuilder, am: Value, ae: Value, bm: Value, be: Value): void => {
      const operands = swapped ? [bm, be, am, ae] : [am, ae, bm, be];
      f.run(arith[operation], ...operands, ...(operation === 'add' ? [i32(flip)] : []));
    };
    functions[`x87_${name}`] = x.m.fn(`x87_${name}`, [I32, I32, I32], [], (f) => {
      const [d, s, pops] = f.params as [Local, Local, Local];
      const to = physical(f, d);
      const from = physical(f, s);
      f.setGlobal(x.xf, 0);
      f.if(
        isEmpty(f, to).or(isEmpty(f, from)),
        () => f.run(x.underflow),
        () => {
          apply(f, loadM(f, to), loadE(f, to), loadM(f, from), loadE(f, from));
        },
      );
      f.if(f.call(x.finish, to), () => f.return());
      f.if(pops, () => f.run(x.pop));
    });
    const forms = [
      ['m32', I32, widen.widen32],
      ['m64', I64, widen.widen64],
      ['int', I64, widen.widenInteger],
    ] as const;
    for (const [form, type, convert] of forms) {
      const full = `x87_${name}_${form}`;
      functions[full] = x.m.fn(full, [type], [], (f) => {
        const top = physical(f, 0);
        f.setGlobal(x.xf, 0);
        f.if(
          isEmpty(f, top),
          () => f.run(x.underflow),
          () => {
            f.run(convert, f.params[0] as Local);
            apply(f, loadM(f, top), loadE(f, top), x.rm, x.re);
          },
        );
        f.run(x.finish, top);
      });
    }
  }
  return functions;
}
