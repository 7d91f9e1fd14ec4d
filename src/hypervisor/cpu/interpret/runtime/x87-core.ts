import { CS, S, SEG, segment } from '../../layout.ts';
import type { FunctionBuilder, FunctionRef, Global, Local } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i32, i64, type Operand, select, type Value } from '../../wasm/value.ts';
import type { RuntimeEnv } from './env.ts';
import { LOW_HALF, quotientDigit, wideProduct } from './wide.ts';

/**
 * What all x87 runtime functions share: the register stack, exceptions and
 * rounding (SDM vol. 1, chapter 8; chapter 4.8-4.9 for NaNs and rounding).
 *
 * A number is a significand (i64, integer bit 63) and its sign and biased
 * exponent (i32, bit 15 and bits 0-14). An operation leaves its result in the
 * globals `rm` and `re` and what happened in `xf`, whose bits are those of the
 * status word; `finish` then decides by the masks what becomes of it.
 */

/** Status word bits (SDM vol. 1, figure 8-4). */
export const IE = 0x01,
  DE = 0x02,
  ZE = 0x04,
  OE = 0x08,
  UE = 0x10,
  PE = 0x20,
  SF = 0x40;
export const C0 = 0x100,
  C1 = 0x200,
  C2 = 0x400,
  C3 = 0x4000;
/** ES and B. */
const SUMMARY = 0x8080;
/** The control word's bits that exist: masks, PC, RC, infinity control; bit 6 reads as one. */
export const CONTROL_BITS = 0x1f3f,
  CONTROL_ONE = 0x40;

export const BIAS = 16383;
export const MAX_EXPONENT = 0x7fff;
/** The integer bit. */
export const INTEGER_BIT = -0x8000_0000_0000_0000n;
/** Significand of the real indefinite QNaN; its sign and exponent are 0xffff. */
export const INDEFINITE = -0x4000_0000_0000_0000n;
/** Bias adjustment of unmasked overflow and underflow results: 3 * 2^13 (SDM vol. 1, 8.5.4). */
export const BIAS_ADJUST = 0x6000;

export interface X87Core {
  readonly m: ModuleBuilder;
  readonly env: RuntimeEnv;
  readonly rm: Global;
  readonly re: Global;
  readonly xf: Global;
  /** Second result of the wide helpers. */
  readonly lo: Global;
  /** (a, b) → high half of the product; the low half in `lo`. */
  readonly mulWide: FunctionRef;
  /** (high, low, divisor with bit 63 set, high < divisor) → quotient; the remainder in `lo`. */
  readonly divWide: FunctionRef;
  /** (sign, exponent, high, low): rounds by RC and PC; bit 63 of `high` set, exponent biased and unbounded. */
  readonly round: FunctionRef;
  /** The same with RC alone, to 64 bits. */
  readonly roundExtended: FunctionRef;
  /** (fraction, odd, sign, RC) → i32 1 when the magnitude grows. */
  readonly increment: FunctionRef;
  /** Exceptions of which one is unmasked: into the status word; 1 when nothing else may happen. */
  readonly unmasked: FunctionRef;
  /** Exceptions of an operation without a register result; 1 when nothing else may happen. */
  readonly settle: FunctionRef;
  /** (physical register) → 1 when an unmasked exception kept the result from being written. */
  readonly finish: FunctionRef;
  /** Pushes the result, or deals with a full stack; 1 when nothing was pushed. */
  readonly push: FunctionRef;
  /** Pushes the result whatever is there. */
  readonly pushAnyway: FunctionRef;
  readonly pop: FunctionRef;
  /** Default response to a read of an empty register: indefinite, IE and SF. */
  readonly underflow: FunctionRef;
  /** Invalid operation: indefinite and IE alone. */
  readonly invalid: FunctionRef;
  /** (aM, aE, bM, bE) → 1 when one of them is a NaN or unsupported; the result is then set. */
  readonly nan2: FunctionRef;
  /** (m, e) → the same for one operand. */
  readonly nan1: FunctionRef;
  /** ES and B anew from flags and masks. */
  readonly summarize: FunctionRef;
}

export const field = (f: FunctionBuilder, offset: number): Value => f.load('i32.load', 0, offset);
export const setField = (f: FunctionBuilder, offset: number, value: Operand): void =>
  f.store('i32.store', 0, value, offset);

export const exponentOf = (e: Value): Value => e.and(MAX_EXPONENT);
export const signOf = (e: Value): Value => e.shrU(15).and(1);
/** Integer bit set and a finite non-zero exponent. */
export const isNormal = (m: Value, e: Value): Value => m.ltS(0).and(exponentOf(e).sub(1).ltU(0x7ffe));
export const isZero = (m: Value, e: Value): Value => m.eqz().and(exponentOf(e).eqz());
export const isDenormal = (m: Value, e: Value): Value => exponentOf(e).eqz().and(m.ne(0));
/** Infinity, given that it is neither NaN nor unsupported. */
export const isMaximal = (e: Value): Value => exponentOf(e).eq(MAX_EXPONENT);
export const isUnsupported = (m: Value, e: Value): Value => exponentOf(e).ne(0).and(m.geS(0));
export const isNan = (m: Value, e: Value): Value => isMaximal(e).and(m.shl(1).ne(0));
export const isSignaling = (m: Value, e: Value): Value => isNan(m, e).and(m.shrU(62).wrap().and(1).eqz());

export const setResult = (
  f: FunctionBuilder,
  x: Pick<X87Core, 'rm' | 're'>,
  m: Operand,
  e: Operand,
): void => {
  f.setGlobal(x.rm, m);
  f.setGlobal(x.re, e);
};
export const flag = (f: FunctionBuilder, x: Pick<X87Core, 'xf'>, bits: Operand): void =>
  f.setGlobal(x.xf, x.xf.or(bits));

/** Physical register of ST(i). */
export const physical = (f: FunctionBuilder, i: Operand): Local => f.let(field(f, S.fpuTop).add(i).and(7));
export const isEmpty = (f: FunctionBuilder, register: Value): Value =>
  field(f, S.fpuEmpty).shrU(register).and(1);
export const loadM = (f: FunctionBuilder, register: Value): Local =>
  f.let(f.load('i64.load', register.shl(4), S.fpr));
export const loadE = (f: FunctionBuilder, register: Value): Local =>
  f.let(f.load('i32.load16_u', register.shl(4), S.fpr + 8));
export function storeRegister(f: FunctionBuilder, register: Value, m: Operand, e: Operand): void {
  f.store('i64.store', register.shl(4), m, S.fpr);
  f.store('i32.store16', register.shl(4), e, S.fpr + 8);
}
export const roundingControl = (f: FunctionBuilder): Value => field(f, S.fpuControl).shrU(10).and(3);

/**
 * Makes a denormal (or pseudo-denormal) significand normal in place, its
 * exponent going below 1; others get their plain exponent. `exponent` is set.
 */
export function normalize(f: FunctionBuilder, m: Local, e: Value): Local {
  const exponent = f.local(I32, exponentOf(e));
  f.if(exponent.eqz(), () => {
    const n = f.let(m.clz());
    f.set(m, m.shl(n));
    f.set(exponent, i32(1).sub(n.wrap()));
  });
  return exponent;
}

export function addX87Core(m: ModuleBuilder, env: RuntimeEnv): X87Core {
  const globals = {
    m,
    env,
    rm: m.global(I64, 0),
    re: m.global(I32, 0),
    xf: m.global(I32, 0),
    lo: m.global(I64, 0),
  };
  const { mulWide, divWide } = addWide(m, globals.lo);
  const { increment, round, roundExtended } = addRounding(globals);
  const outcome = addOutcome(globals);
  const nans = addNans(globals);
  return { ...globals, mulWide, divWide, increment, round, roundExtended, ...outcome, ...nans };
}

type Globals = Pick<X87Core, 'm' | 'env' | 'rm' | 're' | 'xf' | 'lo'>;

function addWide(m: ModuleBuilder, lo: Global): Pick<X87Core, 'mulWide' | 'divWide'> {
  const mulWide = m.fn('x87_mulWide', [I64, I64], [I64], (f) => {
    const [a, b] = f.params as [Local, Local];
    const { high, low } = wideProduct(f, a, b);
    f.setGlobal(lo, low);
    f.return(high);
  });
  const divWide = m.fn('x87_divWide', [I64, I64, I64], [I64], (f) => {
    const [high, low, d] = f.params as [Local, Local, Local];
    const first = quotientDigit(f, high, f.let(low.shrU(32)), d);
    const second = quotientDigit(f, first.rest, f.let(low.and(LOW_HALF)), d);
    f.setGlobal(lo, second.rest);
    f.return(first.q.shl(32).or(second.q));
  });
  return { mulWide, divWide };
}

function addRounding(x: Globals): Pick<X87Core, 'increment' | 'round' | 'roundExtended'> {
  const increment = x.m.fn('x87_increment', [I64, I32, I32, I32], [I32], (f) => {
    const [fraction, odd, sign, rc] = f.params as [Local, Local, Local, Local];
    f.if(rc.eqz(), () => f.return(fraction.ltS(0).and(fraction.ne(INTEGER_BIT).or(odd))));
    // Down (1) grows negative numbers, up (2) positive ones, truncation (3) none.
    f.return(fraction.ne(0).and(select(sign, rc.eq(1), rc.eq(2))));
  });
  const general = addRoundGeneral(x, increment);
  const round = x.m.fn('x87_round', [I32, I32, I64, I64], [], (f) => {
    const [sign, exponent, high, low] = f.params as [Local, Local, Local, Local];
    const control = f.let(field(f, S.fpuControl));
    f.if(control.and(0xf00).eq(0x300).and(exponent.sub(1).ltU(0x7ffd)), () => {
      const up = f.let(low.ltS(0).and(low.ne(INTEGER_BIT).or(high.wrap().and(1))));
      f.set(high, high.add(up.extendU()));
      f.if(high.eqz(), () => {
        f.set(high, INTEGER_BIT);
        f.set(exponent, exponent.add(1));
      });
      f.if(low.ne(0), () => flag(f, x, up.shl(9).or(PE)));
      setResult(f, x, high, sign.shl(15).or(exponent));
      f.return();
    });
    f.run(general, sign, exponent, high, low, control);
  });
  const roundExtended = x.m.fn('x87_roundExtended', [I32, I32, I64, I64], [], (f) => {
    const [sign, exponent, high, low] = f.params as [Local, Local, Local, Local];
    f.run(general, sign, exponent, high, low, field(f, S.fpuControl).or(0x300));
  });
  return { increment, round, roundExtended };
}

/** (sign, exponent, high, low, control word): every mode, and results out of the exponent's range. */
function addRoundGeneral(x: Globals, increment: FunctionRef): FunctionRef {
  return x.m.fn('x87_roundGeneral', [I32, I32, I64, I64, I32], [], (f) => {
    const [sign, exponent, high, low, control] = f.params as [Local, Local, Local, Local, Local];
    const rc = f.let(control.shrU(10).and(3));
    const pc = f.let(control.shrU(8).and(3));
    // Bits of the significand below the precision; precision 1 is reserved and is 64 bits.
    const below = f.let(select(pc.eq(0), i64(0xff_ffff_ffffn), select(pc.eq(2), i64(0x7ff), i64(0))));
    const unit = f.let(below.add(1));
    const fraction = f.local(I64);
    const up = f.local(I32);
    const decide = (): void => {
      f.set(fraction, low);
      f.if(below.ne(0), () => {
        f.set(fraction, high.shl(select(pc.eqz(), i64(24), i64(53))).or(low.ne(0).extendU()));
      });
      f.set(up, f.call(increment, fraction, high.and(unit).ne(0), sign, rc));
    };
    const inexact = (): void => f.if(fraction.ne(0), () => flag(f, x, up.shl(9).or(PE)));

    decide();
    f.if(exponent.leS(0), () => {
      // Tiny is judged after rounding with an unbounded exponent.
      const carries = up.and(high.or(below).eq(-1));
      const tiny = f.let(exponent.eqz().and(carries).eqz());
      f.if(
        tiny.and(control.and(UE).eqz()),
        () => {
          flag(f, x, UE);
          f.set(exponent, exponent.add(BIAS_ADJUST));
        },
        () => {
          shiftRightJam(f, high, low, i32(1).sub(exponent));
          decide();
          f.set(high, high.and(below.not()).add(select(up, unit, i64(0))));
          inexact();
          f.if(tiny.and(fraction.ne(0)), () => flag(f, x, UE));
          setResult(f, x, high, sign.shl(15).or(high.shrU(63).wrap()));
          f.return();
        },
      );
    });
    f.set(high, high.and(below.not()).add(select(up, unit, i64(0))));
    f.if(high.eqz(), () => {
      f.set(high, INTEGER_BIT);
      f.set(exponent, exponent.add(1));
    });
    f.if(exponent.geS(MAX_EXPONENT), () => {
      flag(f, x, OE);
      f.if(control.and(OE), () => {
        const infinite = f.let(rc.eqz().or(select(sign, rc.eq(1), rc.eq(2))));
        flag(f, x, infinite.shl(9).or(PE));
        setResult(
          f,
          x,
          select(infinite, i64(INTEGER_BIT), below.not()),
          sign.shl(15).or(infinite.add(0x7ffe)),
        );
        f.return();
      });
      f.set(exponent, exponent.sub(BIAS_ADJUST));
    });
    inexact();
    setResult(f, x, high, sign.shl(15).or(exponent));
  });
}

/** high:low >>= count, ones that fall out kept as a one in the lowest bit. */
export function shiftRightJam(f: FunctionBuilder, high: Local, low: Local, count: Value): void {
  const n = f.let(count);
  f.if(
    n.geU(128),
    () => {
      f.set(low, high.or(low).ne(0).extendU());
      f.set(high, 0);
    },
    () => {
      f.if(n.geU(64), () => {
        f.set(low, high.or(low.ne(0).extendU()));
        f.set(high, 0);
        f.set(n, n.sub(64));
      });
      f.if(n.ne(0), () => {
        const by = f.let(n.extendU());
        const lost = low.shl(i64(64).sub(by)).ne(0).extendU();
        f.set(
          low,
          low
            .shrU(by)
            .or(high.shl(i64(64).sub(by)))
            .or(lost),
        );
        f.set(high, high.shrU(by));
      });
    },
  );
}

type Outcome = Pick<
  X87Core,
  'unmasked' | 'settle' | 'finish' | 'push' | 'pushAnyway' | 'pop' | 'underflow' | 'invalid' | 'summarize'
>;

function addOutcome(x: Globals): Outcome {
  const { m } = x;
  const opcode = addOpcode(x);
  const unmasked = m.fn('x87_unmasked', [], [I32], (f) => {
    const pending = f.let(x.xf.and(field(f, S.fpuControl).not()));
    const before = f.let(pending.and(IE | DE | ZE).ne(0));
    const stack = select(x.xf.and(SF).ne(0), i32(IE | DE | ZE | SF | C1), i32(IE | DE | ZE));
    const flags = select(before, x.xf.and(stack), x.xf);
    setField(f, S.fpuStatus, field(f, S.fpuStatus).and(~C1).or(flags).or(SUMMARY));
    f.run(opcode);
    f.return(before);
  });
  /** Exceptions into the status word; `aborted` runs when nothing else may happen. In line: every result passes here. */
  const record = (f: FunctionBuilder, aborted: () => void): void => {
    const status = f.let(field(f, S.fpuStatus).and(~C1));
    f.if(
      x.xf.and(field(f, S.fpuControl).not()).and(0x3f),
      () => f.if(f.call(unmasked), aborted),
      () => {
        setField(f, S.fpuStatus, status.or(x.xf));
      },
    );
  };
  const settle = m.fn('x87_settle', [], [I32], (f) => {
    record(f, () => f.return(1));
    f.return(0);
  });
  const write = (f: FunctionBuilder, register: Value): void => {
    storeRegister(f, register, x.rm, x.re);
    setField(f, S.fpuEmpty, field(f, S.fpuEmpty).and(i32(1).shl(register).not()));
  };
  const finish = m.fn('x87_finish', [I32], [I32], (f) => {
    record(f, () => f.return(1));
    write(f, f.params[0] as Local);
    f.return(0);
  });
  const indefinite = (f: FunctionBuilder, flags: number): void => {
    setResult(f, x, INDEFINITE, 0xffff);
    f.setGlobal(x.xf, flags);
  };
  const pushWith = (name: string, prepare: (f: FunctionBuilder, register: Local) => void): FunctionRef =>
    m.fn(name, [], [I32], (f) => {
      const register = physical(f, 7);
      prepare(f, register);
      record(f, () => f.return(1));
      write(f, register);
      setField(f, S.fpuTop, register);
      f.return(0);
    });
  const pushAnyway = pushWith('x87_pushAnyway', () => undefined);
  const push = pushWith('x87_push', (f, register) => {
    f.if(isEmpty(f, register).eqz(), () => indefinite(f, IE | SF | C1));
  });
  const pop = m.fn('x87_pop', [], [], (f) => {
    const top = f.let(field(f, S.fpuTop));
    setField(f, S.fpuEmpty, field(f, S.fpuEmpty).or(i32(1).shl(top)));
    setField(f, S.fpuTop, top.add(1).and(7));
  });
  const summarize = m.fn('x87_summarize', [], [], (f) => {
    const status = f.let(field(f, S.fpuStatus).and(~SUMMARY));
    const pending = status.and(field(f, S.fpuControl).not()).and(0x3f);
    setField(f, S.fpuStatus, status.or(select(pending.ne(0), i32(SUMMARY), i32(0))));
  });
  return {
    unmasked,
    settle,
    finish,
    push,
    pushAnyway,
    pop,
    summarize,
    underflow: m.fn('x87_underflow', [], [], (f) => indefinite(f, IE | SF)),
    invalid: m.fn('x87_invalid', [], [], (f) => indefinite(f, IE)),
  };
}

/**
 * The last opcode register, read back from the code at the instruction pointer:
 * it is only due after an unmasked exception (SDM vol. 1, 8.1.9.1), so ordinary
 * instructions need not carry it.
 */
function addOpcode(x: Globals): FunctionRef {
  return x.m.fn('x87_opcode', [], [], (f) => {
    const linear = f.local(I64, f.load('i64.load', 0, S.fpuIp));
    f.if(field(f, S.codeMode).ne(2), () => {
      f.set(linear, linear.add(f.load('i64.load', 0, segment(CS) + SEG.base)).and(0xffff_ffffn));
    });
    const left = f.local(I32, 15);
    const at = f.local(I32);
    const byte = f.local(I32);
    f.loop((next) => {
      f.set(at, f.call(x.env.readable, linear, 1));
      f.if(at.eqz(), () => f.return());
      f.set(byte, f.load('i32.load8_u', at));
      f.set(linear, linear.add(1));
      f.if(byte.and(0xf8).eq(0xd8), () => {
        f.set(at, f.call(x.env.readable, linear, 1));
        f.if(at.eqz(), () => f.return());
        setField(f, S.fpuOpcode, byte.and(7).shl(8).or(f.load('i32.load8_u', at)));
        f.return();
      });
      f.set(left, left.sub(1));
      f.brIf(next, left);
    });
  });
}

function addNans(x: Globals): Pick<X87Core, 'nan2' | 'nan1'> {
  const { m } = x;
  const QUIET = 0x4000_0000_0000_0000n;
  const invalid = (f: FunctionBuilder): void => {
    setResult(f, x, INDEFINITE, 0xffff);
    f.setGlobal(x.xf, IE);
    f.return(1);
  };
  const nan1 = m.fn('x87_nan1', [I64, I32], [I32], (f) => {
    const [am, ae] = f.params as [Local, Local];
    f.if(isUnsupported(am, ae), () => invalid(f));
    f.if(isNan(am, ae), () => {
      setResult(f, x, am.or(QUIET), ae);
      f.setGlobal(x.xf, isSignaling(am, ae));
      f.return(1);
    });
    f.return(0);
  });
  // SDM vol. 1, table 4-7: a QNaN before an SNaN, else the larger significand.
  const nan2 = m.fn('x87_nan2', [I64, I32, I64, I32], [I32], (f) => {
    const [am, ae, bm, be] = f.params as [Local, Local, Local, Local];
    f.if(isUnsupported(am, ae).or(isUnsupported(bm, be)), () => invalid(f));
    const an = f.let(isNan(am, ae));
    const bn = f.let(isNan(bm, be));
    f.if(an.or(bn).eqz(), () => f.return(0));
    const as = f.let(isSignaling(am, ae));
    const bs = f.let(isSignaling(bm, be));
    f.setGlobal(x.xf, as.or(bs));
    const takeA = f.local(I32, an);
    f.if(an.and(bn), () => {
      f.if(
        as.ne(bs),
        () => f.set(takeA, bs),
        () => {
          const larger = am.gtU(bm).or(am.eq(bm).and(ae.ltU(be)));
          f.set(takeA, larger);
        },
      );
    });
    setResult(f, x, select(takeA, am, bm).or(QUIET), select(takeA, ae, be));
    f.return(1);
  });
  return { nan1, nan2 };
}
