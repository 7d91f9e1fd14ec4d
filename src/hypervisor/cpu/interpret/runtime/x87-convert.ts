import { S } from '../../layout.ts';
import type { FunctionBuilder, FunctionRef, Local } from '../../wasm/function.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i32, i64, select, type Value } from '../../wasm/value.ts';
import {
  BIAS,
  DE,
  exponentOf,
  field,
  flag,
  IE,
  INDEFINITE,
  INTEGER_BIT,
  isEmpty,
  isMaximal,
  isNan,
  isSignaling,
  isUnsupported,
  isZero,
  loadE,
  loadM,
  normalize,
  OE,
  PE,
  physical,
  roundingControl,
  setResult,
  shiftRightJam,
  signOf,
  UE,
  type X87Core,
} from './x87-core.ts';

/** Loads, stores and conversions (SDM vol. 1, 8.3.3; formats: 4.2, 4.7). */

export interface X87Widen {
  /** (bits) → result: m32 as extended, DE when it is denormal; a signaling NaN stays one. */
  readonly widen32: FunctionRef;
  readonly widen64: FunctionRef;
  readonly widenInteger: FunctionRef;
}

interface Format {
  readonly bits: 32 | 64;
  /** Fraction bits. */
  readonly fraction: number;
  readonly bias: number;
}
const SINGLE: Format = { bits: 32, fraction: 23, bias: 127 };
const DOUBLE: Format = { bits: 64, fraction: 52, bias: 1023 };
const maxExponent = (format: Format): number => format.bias * 2 + 1;

export function addX87Widen(x: X87Core): X87Widen {
  const widenInteger = x.m.fn('x87_widenInteger', [I64], [], (f) => {
    const value = f.params[0] as Local;
    const sign = f.let(value.shrU(63).wrap());
    f.if(
      value.eqz(),
      () => setResult(f, x, 0, 0),
      () => {
        const magnitude = f.let(select(sign, value.neg(), value));
        const n = f.let(magnitude.clz());
        setResult(f, x, magnitude.shl(n), sign.shl(15).or(i32(BIAS + 63).sub(n.wrap())));
      },
    );
  });
  return { widen32: addWiden(x, SINGLE), widen64: addWiden(x, DOUBLE), widenInteger };
}

function addWiden(x: X87Core, format: Format): FunctionRef {
  const type = format.bits === 32 ? I32 : I64;
  return x.m.fn(`x87_widen${format.bits}`, [type], [], (f) => {
    const raw = f.let((f.params[0] as Local).extendU());
    const sign = f.let(
      raw
        .shrU(format.bits - 1)
        .wrap()
        .shl(15),
    );
    const exponent = f.let(raw.shrU(format.fraction).wrap().and(maxExponent(format)));
    const high = f.let(raw.shl(63 - format.fraction).or(INTEGER_BIT));
    f.if(exponent.sub(1).ltU(maxExponent(format) - 1), () => {
      setResult(f, x, high, sign.or(exponent.add(BIAS - format.bias)));
      f.return();
    });
    f.if(exponent, () => {
      setResult(f, x, high, sign.or(0x7fff));
      f.return();
    });
    const fraction = f.let(raw.shl(64 - format.fraction));
    f.if(fraction.eqz(), () => {
      setResult(f, x, 0, sign);
      f.return();
    });
    flag(f, x, DE);
    const n = f.let(fraction.clz());
    setResult(f, x, fraction.shl(n), sign.or(i32(BIAS - format.bias).sub(n.wrap())));
  });
}

export function addX87Convert(x: X87Core, widen: X87Widen): Record<string, FunctionRef> {
  return { ...addLoads(x, widen), ...addStores(x), ...addIntegerStores(x), ...addDecimal(x, widen) };
}

function addLoads(x: X87Core, widen: X87Widen): Record<string, FunctionRef> {
  const { m } = x;
  const functions: Record<string, FunctionRef> = {};
  const forms = [
    ['m32', I32, widen.widen32],
    ['m64', I64, widen.widen64],
  ] as const;
  for (const [form, type, convert] of forms) {
    functions[`x87_fld_${form}`] = m.fn(`x87_fld_${form}`, [type], [], (f) => {
      f.setGlobal(x.xf, 0);
      f.run(convert, f.params[0] as Local);
      f.if(isMaximal(x.re), () => f.run(x.nan1, x.rm, x.re));
      // A denormal is pushed even when its exception is unmasked.
      const denormal = f.let(x.xf.and(DE));
      f.setGlobal(x.xf, x.xf.and(~DE));
      f.if(f.call(x.push), () => f.return());
      f.if(denormal.ne(0).and(x.xf.eqz()), () => {
        flag(f, x, DE);
        f.run(x.settle);
      });
    });
  }
  functions['x87_fild'] = m.fn('x87_fild', [I64], [], (f) => {
    f.setGlobal(x.xf, 0);
    f.run(widen.widenInteger, f.params[0] as Local);
    f.run(x.push);
  });
  functions['x87_fld_m80'] = m.fn('x87_fld_m80', [I64, I32], [], (f) => {
    f.setGlobal(x.xf, 0);
    setResult(f, x, f.params[0] as Local, f.params[1] as Local);
    f.run(x.push);
  });
  functions['x87_fld'] = m.fn('x87_fld', [I32], [], (f) => {
    const from = physical(f, f.params[0] as Local);
    f.setGlobal(x.xf, 0);
    f.if(isEmpty(f, from), () => {
      // An empty source comes before a full stack.
      f.run(x.underflow);
      f.run(x.pushAnyway);
      f.return();
    });
    setResult(f, x, loadM(f, from), loadE(f, from));
    f.run(x.push);
  });
  // (m, e, direction): a constant rounded to nearest; direction 1 when that rounded it up, -1 down, 0 exact.
  functions['x87_fld_constant'] = m.fn('x87_fld_constant', [I64, I32, I32], [], (f) => {
    const [cm, ce, direction] = f.params as [Local, Local, Local];
    const rc = f.let(roundingControl(f));
    f.setGlobal(x.xf, 0);
    f.if(direction.eq(1).and(rc.and(1)), () => f.set(cm, cm.sub(1)));
    f.if(direction.eq(-1).and(rc.eq(2)), () => f.set(cm, cm.add(1)));
    setResult(f, x, cm, ce);
    f.run(x.push);
  });
  return functions;
}

/**
 * Stores are in three steps, so that the row itself can write to memory: a
 * function that puts the value into `rm` (and `re`) and gives 1 when it is to
 * be stored, the write, and `x87_stored` for flags and pop.
 */
function ready(f: FunctionBuilder, x: X87Core): void {
  f.if(x.xf.and(field(f, S.fpuControl).not()).and(IE | OE | UE), () => {
    f.run(x.settle);
    f.return(0);
  });
  f.return(1);
}

/** ST(0) as the result, or the response to an empty one. */
function takeTop(f: FunctionBuilder, x: X87Core): void {
  const top = physical(f, 0);
  f.setGlobal(x.xf, 0);
  f.if(
    isEmpty(f, top),
    () => f.run(x.underflow),
    () => setResult(f, x, loadM(f, top), loadE(f, top)),
  );
}

function addStores(x: X87Core): Record<string, FunctionRef> {
  const { m } = x;
  const functions: Record<string, FunctionRef> = {};
  for (const format of [SINGLE, DOUBLE]) {
    const narrow = addNarrow(x, format);
    const name = `x87_fst_m${format.bits}`;
    functions[name] = m.fn(name, [], [I32], (f) => {
      takeTop(f, x);
      f.run(narrow, x.rm, x.re);
      ready(f, x);
    });
  }
  functions['x87_fstp_m80'] = m.fn('x87_fstp_m80', [], [I32], (f) => {
    takeTop(f, x);
    ready(f, x);
  });
  functions['x87_result'] = m.fn('x87_result', [], [I64], (f) => f.return(x.rm));
  functions['x87_resultHigh'] = m.fn('x87_resultHigh', [], [I32], (f) => f.return(x.re));
  // (linear) → 1 after a fault: ten bytes that may lie on two pages.
  functions['x87_write80'] = m.fn('x87_write80', [I64], [I32], (f) => {
    const at = f.let(f.call(x.env.writable, f.params[0] as Local, 10, 0));
    f.if(at.eqz(), () => f.return(1));
    f.store('i64.store', at, x.rm);
    f.store('i32.store16', at, x.re, 8);
    f.run(x.env.commit);
    f.return(0);
  });
  functions['x87_stored'] = m.fn('x87_stored', [I32], [], (f) => {
    f.run(x.settle);
    f.if(f.params[0] as Local, () => f.run(x.pop));
  });
  // ST(i) = ST(0); tags follow.
  functions['x87_fst'] = m.fn('x87_fst', [I32, I32], [], (f) => {
    const [i, pops] = f.params as [Local, Local];
    takeTop(f, x);
    f.if(f.call(x.finish, physical(f, i)), () => f.return());
    f.if(pops, () => f.run(x.pop));
  });
  // The reserved form of FSTP ST(i): an empty ST(0) is popped without more.
  functions['x87_fstpnce'] = m.fn('x87_fstpnce', [I32], [], (f) => {
    takeTop(f, x);
    f.if(
      x.xf.eqz(),
      () => f.run(x.finish, physical(f, f.params[0] as Local)),
      () => {
        f.setGlobal(x.xf, 0);
        f.run(x.settle);
      },
    );
    f.run(x.pop);
  });
  return functions;
}

/** (m, e): the bits of the nearer format into `rm`. */
function addNarrow(x: X87Core, format: Format): FunctionRef {
  const below = 63 - format.fraction;
  const mask = (1n << BigInt(below)) - 1n;
  const infinity = BigInt(maxExponent(format)) << BigInt(format.fraction);
  return x.m.fn(`x87_narrow${format.bits}`, [I64, I32], [], (f) => {
    const [vm, ve] = f.params as [Local, Local];
    const sign = f.let(signOf(ve));
    const give = (value: Value): void => {
      f.setGlobal(x.rm, value.or(sign.extendU().shl(format.bits - 1)));
      f.return();
    };
    f.if(isUnsupported(vm, ve), () => {
      f.setGlobal(x.xf, IE);
      f.set(vm, INDEFINITE);
      f.set(sign, 1);
      f.set(ve, 0xffff);
    });
    f.if(isMaximal(ve), () => {
      f.if(isNan(vm, ve), () => {
        flag(f, x, isSignaling(vm, ve));
        give(
          vm
            .and(0x7fff_ffff_ffff_ffffn)
            .shrU(below)
            .or(infinity | (1n << BigInt(format.fraction - 1))),
        );
      });
      give(i64(infinity));
    });
    f.if(isZero(vm, ve), () => give(i64(0)));
    const exponent = normalize(f, vm, ve);
    f.set(exponent, exponent.sub(BIAS - format.bias));
    const low = f.local(I64, 0);
    const fraction = f.local(I64);
    const up = f.local(I32);
    const decide = (): void => {
      f.set(fraction, vm.shl(64 - below).or(low.ne(0).extendU()));
      f.set(up, f.call(x.increment, fraction, vm.shrU(below).wrap().and(1), sign, roundingControl(f)));
    };
    const inexact = (): void => f.if(fraction.ne(0), () => flag(f, x, up.shl(9).or(PE)));
    decide();
    f.if(exponent.leS(0), () => {
      const tiny = f.let(exponent.eqz().and(up).and(vm.or(mask).eq(-1)).eqz());
      f.if(tiny.and(field(f, S.fpuControl).and(UE).eqz()), () => {
        flag(f, x, UE);
        f.return();
      });
      shiftRightJam(f, vm, low, i32(1).sub(exponent));
      decide();
      inexact();
      f.if(tiny.and(fraction.ne(0)), () => flag(f, x, UE));
      give(vm.shrU(below).add(up.extendU()));
    });
    const value = f.local(I64, exponent.extendU().shl(format.fraction));
    f.set(value, value.add(vm.and(0x7fff_ffff_ffff_ffffn).shrU(below)).add(up.extendU()));
    // A huge exponent would leave the field.
    f.if(exponent.gtS(maxExponent(format) - 1).or(value.geU(infinity)), () => {
      flag(f, x, OE);
      f.if(field(f, S.fpuControl).and(OE).eqz(), () => f.return());
      const rc = f.let(roundingControl(f));
      const infinite = f.let(rc.eqz().or(select(sign, rc.eq(1), rc.eq(2))));
      flag(f, x, infinite.shl(9).or(PE));
      give(select(infinite, i64(infinity), i64(infinity - 1n)));
    });
    inexact();
    give(value);
  });
}

/** (m, e, RC, limit): an integer of magnitude up to limit (+1 when negative) into `rm`; else invalid and -limit-1. */
function addToInteger(x: X87Core): FunctionRef {
  return x.m.fn('x87_toInteger', [I64, I32, I32, I64], [], (f) => {
    const [vm, ve, rc, limit] = f.params as [Local, Local, Local, Local];
    const refuse = (): void => {
      f.setGlobal(x.rm, limit.not());
      f.setGlobal(x.xf, IE);
      f.return();
    };
    f.if(isUnsupported(vm, ve).or(exponentOf(ve).gtU(BIAS + 63)), refuse);
    const sign = f.let(signOf(ve));
    const low = f.local(I64, 0);
    const exponent = f.let(select(exponentOf(ve).eqz(), i32(1), exponentOf(ve)));
    shiftRightJam(f, vm, low, i32(BIAS + 63).sub(exponent));
    const up = f.let(f.call(x.increment, low, vm.wrap().and(1), sign, rc));
    f.set(vm, vm.add(up.extendU()));
    f.if(vm.gtU(limit.add(sign.extendU())), refuse);
    f.if(low.ne(0), () => flag(f, x, up.shl(9).or(PE)));
    f.setGlobal(x.rm, select(sign, vm.neg(), vm));
  });
}

function addIntegerStores(x: X87Core): Record<string, FunctionRef> {
  const toInteger = addToInteger(x);
  const functions: Record<string, FunctionRef> = {};
  for (const bits of [16, 32, 64] as const) {
    const name = `x87_fist_m${bits}`;
    const limit = (1n << BigInt(bits - 1)) - 1n;
    // (truncate)
    functions[name] = x.m.fn(name, [I32], [I32], (f) => {
      const truncate = f.params[0] as Local;
      const top = physical(f, 0);
      f.setGlobal(x.xf, 0);
      f.if(
        isEmpty(f, top),
        () => {
          f.run(x.underflow);
          f.setGlobal(x.rm, ~limit);
        },
        () => {
          f.run(
            toInteger,
            loadM(f, top),
            loadE(f, top),
            select(truncate, i32(3), roundingControl(f)),
            i64(limit),
          );
        },
      );
      ready(f, x);
    });
  }
  return functions;
}

const DECIMAL_LIMIT = 999_999_999_999_999_999n;

/** Packed decimals of 18 digits (SDM vol. 1, 4.7). */
function addDecimal(x: X87Core, widen: X87Widen): Record<string, FunctionRef> {
  const toDecimal = x.m.fn('x87_toDecimal', [I64, I32], [], (f) => {
    const [vm, ve] = f.params as [Local, Local];
    const sign = f.let(signOf(ve));
    const refuse = (): void => {
      f.run(x.invalid);
      f.return();
    };
    f.if(isUnsupported(vm, ve).or(exponentOf(ve).gtU(BIAS + 62)), refuse);
    const low = f.local(I64, 0);
    const exponent = f.let(select(exponentOf(ve).eqz(), i32(1), exponentOf(ve)));
    shiftRightJam(f, vm, low, i32(BIAS + 63).sub(exponent));
    const up = f.let(f.call(x.increment, low, vm.wrap().and(1), sign, roundingControl(f)));
    f.set(vm, vm.add(up.extendU()));
    f.if(vm.gtU(DECIMAL_LIMIT), refuse);
    f.if(low.ne(0), () => flag(f, x, up.shl(9).or(PE)));
    // The lower 16 digits are the significand's nibbles, the last two and the sign the upper two bytes.
    const digits = f.local(I64, 0);
    const shift = f.local(I64, 0);
    f.loop((again) => {
      f.set(digits, digits.or(vm.remU(10).shl(shift)));
      f.set(vm, vm.divU(10));
      f.set(shift, shift.add(4));
      f.brIf(again, shift.ltU(64));
    });
    const top = vm.divU(10).shl(4).or(vm.remU(10)).wrap();
    setResult(f, x, digits, top.or(sign.shl(15)));
  });
  return {
    x87_fbstp: x.m.fn('x87_fbstp', [], [I32], (f) => {
      const top = physical(f, 0);
      f.setGlobal(x.xf, 0);
      // The packed indefinite has the very bits of the real one.
      f.if(
        isEmpty(f, top),
        () => f.run(x.underflow),
        () => f.run(toDecimal, loadM(f, top), loadE(f, top)),
      );
      ready(f, x);
    }),
    x87_fbld: x.m.fn('x87_fbld', [I64, I32], [], (f) => {
      const [digits, top] = f.params as [Local, Local];
      f.setGlobal(x.xf, 0);
      const value = f.local(I64, top.shrU(4).and(15).mul(10).add(top.and(15)).extendU());
      const shift = f.local(I64, 60);
      f.loop((again) => {
        f.set(value, value.mul(10).add(digits.shrU(shift).and(15)));
        f.set(shift, shift.sub(4));
        f.brIf(again, shift.geS(0));
      });
      f.run(widen.widenInteger, value);
      f.setGlobal(x.re, x.re.or(top.and(0x8000)));
      f.run(x.push);
    }),
  };
}
