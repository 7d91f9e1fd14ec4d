import { S } from '../../layout.ts';
import type { FunctionBuilder, FunctionRef, Local } from '../../wasm/function.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i32, i64, select, type Value } from '../../wasm/value.ts';
import type { X87Widen } from './x87-convert.ts';
import {
  BIAS,
  BIAS_ADJUST,
  C0,
  C1,
  C2,
  C3,
  DE,
  exponentOf,
  field,
  flag,
  IE,
  INDEFINITE,
  INTEGER_BIT,
  isDenormal,
  isEmpty,
  isMaximal,
  isNan,
  isSignaling,
  isUnsupported,
  isZero,
  loadE,
  loadM,
  MAX_EXPONENT,
  normalize,
  OE,
  PE,
  physical,
  roundingControl,
  SF,
  setField,
  setResult,
  shiftRightJam,
  signOf,
  storeRegister,
  UE,
  type X87Core,
  ZE,
} from './x87-core.ts';

/** Comparison, classification, moves, rounding to integer, scaling and partial remainders (SDM vol. 1, 8.3.3, 8.3.6, 8.3.5). */
export function addX87Misc(x: X87Core, widen: X87Widen): Record<string, FunctionRef> {
  return {
    ...addCompare(x, widen),
    ...addMoves(x),
    ...addRoundInteger(x),
    ...addExtract(x, widen),
    ...addScale(x),
    ...addRemainder(x),
  };
}

const setConditions = (f: FunctionBuilder, conditions: Value): void =>
  setField(
    f,
    S.fpuStatus,
    field(f, S.fpuStatus)
      .and(~(C0 | C2 | C3))
      .or(conditions),
  );

function addCompare(x: X87Core, widen: X87Widen): Record<string, FunctionRef> {
  const { m } = x;
  // (aM, aE, bM, bE, quiet) → C3 C2 C0 in place.
  const compare = m.fn('x87_compareValues', [I64, I32, I64, I32, I32], [I32], (f) => {
    const [am, ae, bm, be, quiet] = f.params as [Local, Local, Local, Local, Local];
    const unordered = (): void => f.return(C0 | C2 | C3);
    f.if(isUnsupported(am, ae).or(isUnsupported(bm, be)), () => {
      f.setGlobal(x.xf, IE);
      unordered();
    });
    f.if(isNan(am, ae).or(isNan(bm, be)), () => {
      const bad = isSignaling(am, ae).or(isSignaling(bm, be)).or(quiet.eqz());
      f.setGlobal(x.xf, bad);
      unordered();
    });
    f.if(isDenormal(am, ae).or(isDenormal(bm, be)), () => flag(f, x, DE));
    f.if(isZero(am, ae).and(isZero(bm, be)), () => f.return(C3));
    const as = f.let(signOf(ae));
    f.if(as.ne(signOf(be)), () => f.return(as.shl(8)));
    const ax = normalize(f, am, ae);
    const bx = normalize(f, bm, be);
    f.if(ax.eq(bx).and(am.eq(bm)), () => f.return(C3));
    const less = ax.ltS(bx).or(ax.eq(bx).and(am.ltU(bm)));
    f.return(less.xor(as).shl(8));
  });
  /** Compares ST(0) with what `other` gives; conditions, or -1 when an unmasked exception ended it. */
  const against = (f: FunctionBuilder, quiet: Value, missing: Value, other: () => [Value, Value]): Local => {
    const top = physical(f, 0);
    const result = f.local(I32, C0 | C2 | C3);
    f.setGlobal(x.xf, 0);
    f.if(
      isEmpty(f, top).or(missing),
      () => f.run(x.underflow),
      () => {
        const [bm, be] = other();
        f.set(result, f.call(compare, loadM(f, top), loadE(f, top), bm, be, quiet));
      },
    );
    f.if(f.call(x.settle), () => f.set(result, -1));
    return result;
  };
  const report = (f: FunctionBuilder, result: Local, pops: Value): void => {
    f.if(result.ltS(0), () => f.return());
    setConditions(f, result);
    f.if(pops.gtU(0), () => f.run(x.pop));
    f.if(pops.gtU(1), () => f.run(x.pop));
  };
  const functions: Record<string, FunctionRef> = {};
  const forms = [
    ['m32', I32, widen.widen32],
    ['m64', I64, widen.widen64],
    ['int', I64, widen.widenInteger],
  ] as const;
  for (const [form, type, convert] of forms) {
    functions[`x87_fcom_${form}`] = m.fn(`x87_fcom_${form}`, [type, I32], [], (f) => {
      const [value, pops] = f.params as [Local, Local];
      report(
        f,
        against(f, i32(0), i32(0), () => {
          f.run(convert, value);
          return [x.rm, x.re];
        }),
        pops,
      );
    });
  }
  // (i, quiet, pops)
  functions['x87_fcom'] = m.fn('x87_fcom', [I32, I32, I32], [], (f) => {
    const [i, quiet, pops] = f.params as [Local, Local, Local];
    const other = physical(f, i);
    report(
      f,
      against(f, quiet, isEmpty(f, other), () => [loadM(f, other), loadE(f, other)]),
      pops,
    );
  });
  // (i, quiet, pops) → conditions, or -1 when EFLAGS stay.
  functions['x87_fcomi'] = m.fn('x87_fcomi', [I32, I32, I32], [I32], (f) => {
    const [i, quiet, pops] = f.params as [Local, Local, Local];
    const other = physical(f, i);
    const result = against(f, quiet, isEmpty(f, other), () => [loadM(f, other), loadE(f, other)]);
    f.if(pops.and(result.geS(0)), () => f.run(x.pop));
    f.return(result);
  });
  functions['x87_ftst'] = m.fn('x87_ftst', [], [], (f) => {
    report(
      f,
      against(f, i32(0), i32(0), () => [i64(0), i32(0)]),
      i32(0),
    );
  });
  functions['x87_fxam'] = m.fn('x87_fxam', [], [], (f) => {
    const top = physical(f, 0);
    const vm = loadM(f, top);
    const ve = loadE(f, top);
    const kind = f.local(I32, C2);
    f.if(
      isEmpty(f, top),
      () => f.set(kind, C3 | C0),
      () => {
        f.if(
          isUnsupported(vm, ve),
          () => f.set(kind, 0),
          () => {
            f.if(isMaximal(ve), () => f.set(kind, select(isNan(vm, ve), i32(C0), i32(C2 | C0))));
            f.if(isZero(vm, ve), () => f.set(kind, C3));
            f.if(isDenormal(vm, ve), () => f.set(kind, C3 | C2));
          },
        );
      },
    );
    setField(
      f,
      S.fpuStatus,
      field(f, S.fpuStatus)
        .and(~(C0 | C1 | C2 | C3))
        .or(kind)
        .or(signOf(ve).shl(9)),
    );
  });
  return functions;
}

function addMoves(x: X87Core): Record<string, FunctionRef> {
  const { m } = x;
  /** Of an empty register: others are the quick forms' (x87-quick.ts). */
  const emptySign = (name: string): FunctionRef =>
    m.fn(name, [], [], (f) => {
      f.run(x.underflow);
      f.run(x.finish, physical(f, 0));
    });
  return {
    x87_fabs: emptySign('x87_fabs'),
    x87_fchs: emptySign('x87_fchs'),
    // One of the two is empty: others are the quick form's.
    x87_fxch: m.fn('x87_fxch', [I32], [], (f) => {
      const top = physical(f, 0);
      const other = physical(f, f.params[0] as Local);
      const [am, ae] = [loadM(f, top), loadE(f, top)];
      const [bm, be] = [loadM(f, other), loadE(f, other)];
      f.setGlobal(x.xf, 0);
      const fill = (register: Value, vm: Local, ve: Local): void =>
        f.if(isEmpty(f, register), () => {
          f.set(vm, INDEFINITE);
          f.set(ve, 0xffff);
          f.setGlobal(x.xf, IE | SF);
        });
      fill(top, am, ae);
      fill(other, bm, be);
      setResult(f, x, bm, be);
      f.if(f.call(x.finish, top), () => f.return());
      storeRegister(f, other, am, ae);
      setField(f, S.fpuEmpty, field(f, S.fpuEmpty).and(i32(1).shl(other).not()));
    }),
    // (i, condition)
    x87_fcmov: m.fn('x87_fcmov', [I32, I32], [], (f) => {
      const [i, condition] = f.params as [Local, Local];
      const top = physical(f, 0);
      const other = physical(f, i);
      f.if(isEmpty(f, top).or(isEmpty(f, other)), () => {
        f.run(x.underflow);
        f.run(x.finish, top);
        f.return();
      });
      f.if(condition, () => storeRegister(f, top, loadM(f, other), loadE(f, other)));
    }),
    // Rotates the stack by `by` (1 or 7).
    x87_rotate: m.fn('x87_rotate', [I32], [], (f) => {
      setField(
        f,
        S.fpuTop,
        field(f, S.fpuTop)
          .add(f.params[0] as Local)
          .and(7),
      );
      setField(f, S.fpuStatus, field(f, S.fpuStatus).and(~C1));
    }),
    // (i, pops)
    x87_ffree: m.fn('x87_ffree', [I32, I32], [], (f) => {
      const [i, pops] = f.params as [Local, Local];
      setField(f, S.fpuEmpty, field(f, S.fpuEmpty).or(i32(1).shl(physical(f, i))));
      setField(f, S.fpuStatus, field(f, S.fpuStatus).and(~C1));
      f.if(pops, () => f.run(x.pop));
    }),
  };
}

function addRoundInteger(x: X87Core): Record<string, FunctionRef> {
  const value = x.m.fn('x87_roundValue', [I64, I32], [], (f) => {
    const [vm, ve] = f.params as [Local, Local];
    f.if(f.call(x.nan1, vm, ve), () => f.return());
    f.if(isDenormal(vm, ve), () => flag(f, x, DE));
    f.if(isZero(vm, ve).or(exponentOf(ve).geU(BIAS + 63)), () => {
      setResult(f, x, vm, ve);
      f.return();
    });
    const low = f.local(I64, 0);
    const sign = f.let(signOf(ve));
    const exponent = f.let(select(exponentOf(ve).eqz(), i32(1), exponentOf(ve)));
    shiftRightJam(f, vm, low, i32(BIAS + 63).sub(exponent));
    const up = f.let(f.call(x.increment, low, vm.wrap().and(1), sign, roundingControl(f)));
    f.set(vm, vm.add(up.extendU()));
    f.if(low.ne(0), () => flag(f, x, up.shl(9).or(PE)));
    const n = f.let(vm.clz());
    setResult(f, x, vm.shl(n), sign.shl(15).or(select(vm.eqz(), i32(0), i32(BIAS + 63).sub(n.wrap()))));
  });
  return {
    x87_frndint: x.m.fn('x87_frndint', [], [], (f) => {
      const top = physical(f, 0);
      f.setGlobal(x.xf, 0);
      f.if(
        isEmpty(f, top),
        () => f.run(x.underflow),
        () => f.run(value, loadM(f, top), loadE(f, top)),
      );
      f.run(x.finish, top);
    }),
  };
}

function addExtract(x: X87Core, widen: X87Widen): Record<string, FunctionRef> {
  return {
    x87_fxtract: x.m.fn('x87_fxtract', [], [], (f) => {
      const top = physical(f, 0);
      const next = physical(f, 7);
      f.setGlobal(x.xf, 0);
      const vm = loadM(f, top);
      const ve = loadE(f, top);
      const both = (): void => {
        f.set(vm, x.rm);
        f.set(ve, x.re);
      };
      f.block((done) => {
        f.if(isEmpty(f, top).or(isEmpty(f, next).eqz()), () => {
          f.run(x.underflow);
          f.if(isEmpty(f, top).eqz(), () => flag(f, x, C1));
          both();
          f.br(done);
        });
        f.if(f.call(x.nan1, vm, ve), () => {
          both();
          f.br(done);
        });
        f.if(isMaximal(ve), () => {
          setResult(f, x, vm, MAX_EXPONENT);
          f.br(done);
        });
        f.if(isZero(vm, ve), () => {
          flag(f, x, ZE);
          setResult(f, x, INTEGER_BIT, 0xffff);
          f.br(done);
        });
        f.if(isDenormal(vm, ve), () => flag(f, x, DE));
        const exponent = normalize(f, vm, ve);
        f.run(widen.widenInteger, exponent.sub(BIAS).extendS());
        f.set(ve, ve.and(0x8000).or(BIAS));
      });
      f.if(f.call(x.finish, top), () => f.return());
      storeRegister(f, next, vm, ve);
      setField(f, S.fpuEmpty, field(f, S.fpuEmpty).and(i32(1).shl(next).not()));
      setField(f, S.fpuTop, next);
    }),
  };
}

function addScale(x: X87Core): Record<string, FunctionRef> {
  const value = x.m.fn('x87_scaleValues', [I64, I32, I64, I32], [], (f) => {
    const [am, ae, bm, be] = f.params as [Local, Local, Local, Local];
    f.if(f.call(x.nan2, am, ae, bm, be), () => f.return());
    const bs = f.let(signOf(be));
    const az = f.let(isZero(am, ae));
    // Infinity scaled down without bound, zero up.
    f.if(isMaximal(be).and(select(bs, isMaximal(ae), az)), () => {
      f.run(x.invalid);
      f.return();
    });
    f.if(isDenormal(am, ae).or(isDenormal(bm, be)), () => flag(f, x, DE));
    f.if(isMaximal(ae).or(az), () => {
      setResult(f, x, am, ae);
      f.return();
    });
    f.if(isMaximal(be), () => {
      setResult(
        f,
        x,
        select(bs, i64(0), i64(INTEGER_BIT)),
        ae.and(0x8000).or(select(bs, i32(0), i32(MAX_EXPONENT))),
      );
      f.return();
    });
    const exponent = normalize(f, am, ae);
    const power = f.let(exponentOf(be));
    f.if(power.geU(BIAS), () => {
      // Beyond 2^16 nothing changes any more.
      const amount = f.local(I32, 0x1_0000);
      f.if(power.ltU(BIAS + 16), () =>
        f.set(
          amount,
          bm
            .shrU(
              i32(BIAS + 63)
                .sub(power)
                .extendU(),
            )
            .wrap(),
        ),
      );
      f.set(exponent, exponent.add(select(bs, amount.neg(), amount)));
    });
    const control = f.let(field(f, S.fpuControl));
    const sign = f.let(ae.and(0x8000));
    f.if(
      control
        .and(OE)
        .eqz()
        .and(exponent.gtS(BIAS_ADJUST + 0x7ffe)),
      () => {
        flag(f, x, OE | PE | C1);
        setResult(f, x, INTEGER_BIT, sign.or(MAX_EXPONENT));
        f.return();
      },
    );
    f.if(
      control
        .and(UE)
        .eqz()
        .and(exponent.ltS(1 - BIAS_ADJUST)),
      () => {
        flag(f, x, UE | PE);
        setResult(f, x, 0, sign);
        f.return();
      },
    );
    f.run(x.roundExtended, signOf(ae), exponent, am, i64(0));
  });
  return {
    x87_fscale: x.m.fn('x87_fscale', [], [], (f) => {
      const top = physical(f, 0);
      const next = physical(f, 1);
      f.setGlobal(x.xf, 0);
      f.if(
        isEmpty(f, top).or(isEmpty(f, next)),
        () => f.run(x.underflow),
        () => {
          f.run(value, loadM(f, top), loadE(f, top), loadM(f, next), loadE(f, next));
        },
      );
      f.run(x.finish, top);
    }),
  };
}

/** FPREM truncates the quotient, FPREM1 rounds it to nearest (SDM vol. 2, FPREM, FPREM1). */
function addRemainder(x: X87Core): Record<string, FunctionRef> {
  // (aM, aE, bM, bE, nearest) → C0 C2 C3 in place, -1 when there is no quotient; C1 goes to `xf`.
  const value = x.m.fn('x87_remainderValues', [I64, I32, I64, I32, I32], [I32], (f) => {
    const [am, ae, bm, be, nearest] = f.params as [Local, Local, Local, Local, Local];
    f.if(f.call(x.nan2, am, ae, bm, be), () => f.return(-1));
    f.if(isMaximal(ae).or(isZero(bm, be)), () => {
      f.run(x.invalid);
      f.return(-1);
    });
    f.if(isDenormal(am, ae).or(isDenormal(bm, be)), () => flag(f, x, DE));
    f.if(isMaximal(be).or(isZero(am, ae)), () => {
      setResult(f, x, am, ae);
      f.if(isDenormal(am, ae), () => {
        const exponent = normalize(f, am, ae);
        f.run(x.roundExtended, signOf(ae), exponent, am, i64(0));
      });
      f.return(0);
    });
    const sign = f.let(signOf(ae));
    const exponent = normalize(f, am, ae);
    const bx = normalize(f, bm, be);
    const distance = f.let(exponent.sub(bx));
    const quotient = f.local(I64, 0);
    const partial = f.local(I32, 0);
    const reduce = (by: Value): void => {
      f.if(am.geU(bm), () => {
        f.set(am, am.sub(bm));
        f.set(quotient, 1);
      });
      const n = f.let(by.extendU());
      f.if(n.ne(0), () => {
        const digits = f.let(f.call(x.divWide, am.shrU(i64(64).sub(n)), am.shl(n), bm));
        f.set(quotient, quotient.shl(n).add(digits));
        f.set(am, x.lo);
      });
    };
    f.if(
      distance.geS(64),
      () => {
        // One step takes 32 to 63 bits off the exponents' distance.
        const n = f.let(distance.and(31).or(32));
        reduce(n);
        f.set(exponent, exponent.sub(n));
        f.set(partial, 1);
      },
      () => {
        f.if(distance.geS(0), () => {
          reduce(distance);
          f.set(exponent, bx);
        });
        f.if(nearest, () => {
          f.if(distance.geS(0), () => {
            const other = f.let(bm.sub(am));
            f.if(am.gtU(other).or(am.eq(other).and(quotient.wrap().and(1))), () => {
              f.set(am, other);
              f.set(sign, sign.xor(1));
              f.set(quotient, quotient.add(1));
            });
          });
          f.if(distance.eq(-1).and(am.gtU(bm)), () => {
            f.set(am, bm.sub(am.sub(bm)));
            f.set(sign, sign.xor(1));
            f.set(quotient, quotient.add(1));
          });
        });
      },
    );
    f.if(
      am.eqz(),
      () => setResult(f, x, 0, sign.shl(15)),
      () => {
        const n = f.let(am.clz());
        f.run(x.roundExtended, sign, exponent.sub(n.wrap()), am.shl(n), i64(0));
      },
    );
    f.if(partial, () => f.return(C2));
    const q = f.let(quotient.wrap());
    flag(f, x, q.and(1).shl(9));
    f.return(q.and(4).shl(6).or(q.and(2).shl(13)));
  });
  const functions: Record<string, FunctionRef> = {};
  for (const [name, nearest] of [
    ['x87_fprem', 0],
    ['x87_fprem1', 1],
  ] as const) {
    functions[name] = x.m.fn(name, [], [], (f) => {
      const top = physical(f, 0);
      const next = physical(f, 1);
      const conditions = f.local(I32, -1);
      f.setGlobal(x.xf, 0);
      f.if(
        isEmpty(f, top).or(isEmpty(f, next)),
        () => f.run(x.underflow),
        () => {
          f.set(
            conditions,
            f.call(value, loadM(f, top), loadE(f, top), loadM(f, next), loadE(f, next), i32(nearest)),
          );
        },
      );
      setField(f, S.fpuStatus, field(f, S.fpuStatus).and(~C2));
      f.if(f.call(x.finish, top), () => f.return());
      f.if(conditions.geS(0), () => setConditions(f, conditions));
    });
  }
  return functions;
}
