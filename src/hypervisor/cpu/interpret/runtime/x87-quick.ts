import { S } from '../../layout.ts';
import type { FunctionBuilder, FunctionRef, Label, Local } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { I32, I64, type ValType } from '../../wasm/opcodes.ts';
import { i32, i64, select, type Value } from '../../wasm/value.ts';
import {
  BIAS,
  C0,
  C1,
  C2,
  C3,
  exponentOf,
  field,
  INTEGER_BIT,
  isEmpty,
  isZero,
  loadE,
  loadM,
  PE,
  physical,
  setField,
  signOf,
  storeRegister,
} from './x87-core.ts';

/**
 * The common case of x87 functions, in one piece and without a call: registers
 * that are not empty, normal numbers, results in range, everything masked and,
 * where something is rounded, to nearest and to 64 bits. What is not so goes
 * to the function that does it all, with nothing done yet.
 *
 * They are in the interpreter's module, and in each module of regions that
 * calls them, where V8 can inline them.
 */

/** The function that divides (see addDigits), which is there once it is asked for. */
export type Digits = () => FunctionRef;
type Emit = (f: FunctionBuilder, slow: Label, digits: Digits) => void;

interface Quick {
  readonly params: readonly ValType[];
  readonly results: readonly ValType[];
  readonly emit: Emit;
}

/** A value that no store of a double or a single in the quick way has. */
export const NOT_QUICK = -1n;

const QUICK = new Map<string, Quick>();

/** Whether a runtime function has a common case of its own. */
export const isQuick = (name: string): boolean => QUICK.has(name);

/**
 * Defines a function that does the common case itself.
 * @param general does all cases: parameters and results are the quick one's
 * @param digits of `addDigits`
 */
export function addQuick(
  m: ModuleBuilder,
  name: string,
  general: FunctionRef | undefined,
  digits: Digits,
): FunctionRef {
  const quick = QUICK.get(name);
  if (!quick) throw new RangeError(`${name} has no quick form`);
  return m.fn(name, quick.params, quick.results, (f) => {
    f.block((slow) => quick.emit(f, slow, digits));
    if (!general) f.return(...quick.results.map((type) => (type === I64 ? i64(NOT_QUICK) : i32(0))));
    else if (general.results.length > 0) f.return(f.call(general, ...f.params));
    else f.run(general, ...f.params);
  });
}

/** The quick forms over what does all cases, by name. */
export function addAllQuick(
  m: ModuleBuilder,
  general: Readonly<Record<string, FunctionRef>>,
): Record<string, FunctionRef> {
  const divides = addDigits(m);
  const digits = (): FunctionRef => divides;
  return Object.fromEntries(
    [...QUICK.keys()].map((name) => [name, addQuick(m, name, general[name], digits)]),
  );
}

function define(
  name: string,
  params: readonly ValType[],
  emit: Emit,
  results: readonly ValType[] = [],
): void {
  QUICK.set(name, { params, results, emit });
}

// What the common case is

/** RC, PC and the masks: to nearest, to 64 bits, everything masked. */
export const CONTROL = 0xf3f,
  COMMON = 0x33f;
/** The same without PC, which stores do not ask. */
const CONTROL_STORE = 0xc3f,
  COMMON_STORE = 0x3f;

export const refuse = (f: FunctionBuilder, slow: Label, condition: Value): void =>
  f.unlikely(condition, () => f.br(slow));
const rounds = (f: FunctionBuilder, slow: Label): void =>
  refuse(f, slow, field(f, S.fpuControl).and(CONTROL).ne(COMMON));

/** A number; where it is known to be a normal one, its biased exponent without the sign. */
export interface Operand {
  readonly m: Local;
  readonly e: Local;
  exponent?: Local | undefined;
}
const register = (f: FunctionBuilder, at: Value): Operand => ({ m: loadM(f, at), e: loadE(f, at) });
/** Refuses what is not a normal number; the biased exponent. */
function normal(f: FunctionBuilder, slow: Label, operand: Operand): Local {
  const { m, e } = operand;
  if (operand.exponent) return operand.exponent;
  const exponent = f.let(exponentOf(e));
  refuse(f, slow, m.geS(0).or(exponent.sub(1).geU(0x7ffe)));
  operand.exponent = exponent;
  return exponent;
}

const top = (f: FunctionBuilder): Local => f.let(field(f, S.fpuTop));
function pop(f: FunctionBuilder, at: Value): void {
  setField(f, S.fpuEmpty, field(f, S.fpuEmpty).or(i32(1).shl(at)));
  setField(f, S.fpuTop, at.add(1).and(7));
}
/** C1 and exceptions. */
const report = (f: FunctionBuilder, flags: Value | 0): void => {
  const status = field(f, S.fpuStatus).and(~C1);
  setField(f, S.fpuStatus, flags === 0 ? status : status.or(flags));
};

/** What comes of an operation before it is rounded: the exponent is biased, without its sign. */
interface Exact {
  readonly sign: Value;
  readonly exponent: Local;
  readonly high: Local;
  readonly low: Local;
}
/** A normal number, and C1 and PE as they are due. */
export interface Rounded extends Operand {
  readonly exponent: Local;
  readonly flags: Local;
}

/** Rounds to nearest and to 64 bits what is in range. */
function round(f: FunctionBuilder, slow: Label, { sign, exponent, high, low }: Exact): Rounded {
  // Above a half, or a half and odd.
  const up = f.let(low.gtU(i64(INTEGER_BIT).sub(high.and(1))));
  // A carry out of the significand is left to the other function, as is what is out of range.
  const m = f.let(high.add(up.extendU()));
  refuse(f, slow, exponent.sub(1).geU(0x7ffd).or(m.geS(0)));
  return {
    m,
    e: f.let(sign.shl(15).or(exponent)),
    exponent,
    flags: f.let(select(low.eqz(), i32(0), up.shl(9).or(PE))),
  };
}

// Arithmetic

/** a + b, or a - b. */
function sum(f: FunctionBuilder, slow: Label, a: Operand, b: Operand, minus: boolean): Rounded {
  const ax = normal(f, slow, a);
  const bx = normal(f, slow, b);
  const as = f.let(signOf(a.e));
  const bs = f.let(minus ? signOf(b.e).xor(1) : signOf(b.e));
  const swapped = f.let(ax.ltS(bx));
  const exponent = f.local(I32, select(swapped, bx, ax));
  const larger = f.let(select(swapped, b.m, a.m));
  const smaller = f.let(select(swapped, a.m, b.m));
  const sign = f.local(I32, as);
  const distance = f.let(exponent.sub(select(swapped, ax, bx)));
  refuse(f, slow, distance.gtU(63));
  const n = f.let(distance.extendU());
  const shifted = f.let(smaller.shrU(n));
  const low = f.local(I64, smaller.shl(1).shl(i64(63).sub(n)));
  const high = f.local(I64);
  f.if(
    as.eq(bs),
    () => {
      f.set(high, larger.add(shifted));
      f.if(high.ltU(larger), () => {
        f.set(low, low.shrU(1).or(low.and(1)).or(high.shl(63)));
        f.set(high, high.shrU(1).or(INTEGER_BIT));
        f.set(exponent, exponent.add(1));
      });
    },
    () => {
      f.set(sign, select(swapped, bs, as));
      f.set(high, larger.sub(shifted).sub(low.ne(0).extendU()));
      f.set(low, low.neg());
      // With the same exponent it is not known which is the larger one.
      f.if(distance.eqz().and(larger.ltU(shifted)), () => {
        f.set(high, high.neg());
        f.set(sign, bs);
      });
      refuse(f, slow, high.eqz());
      const up = f.let(high.clz());
      f.set(high, high.shl(up).or(low.shrU(1).shrU(i64(63).sub(up))));
      f.set(low, low.shl(up));
      f.set(exponent, exponent.sub(up.wrap()));
    },
  );
  return round(f, slow, { sign, exponent, high, low });
}

const HALF = 0xffff_ffffn;

function product(f: FunctionBuilder, slow: Label, a: Operand, b: Operand): Rounded {
  const ax = normal(f, slow, a);
  const bx = normal(f, slow, b);
  const a0 = f.let(a.m.and(HALF));
  const a1 = f.let(a.m.shrU(32));
  const b0 = f.let(b.m.and(HALF));
  const b1 = f.let(b.m.shrU(32));
  const lowest = f.let(a0.mul(b0));
  const middle = f.let(a1.mul(b0).add(lowest.shrU(32)));
  const other = f.let(a0.mul(b1).add(middle.and(HALF)));
  const upper = f.let(a1.mul(b1).add(middle.shrU(32)).add(other.shrU(32)));
  const lower = f.let(other.shl(32).or(lowest.and(HALF)));
  // The product of two numbers in [1, 2) is in [1, 4).
  const shift = f.let(upper.shrU(63).xor(1));
  const high = f.let(upper.shl(shift).or(lower.shrU(63).and(shift)));
  const low = f.let(lower.shl(shift));
  const exponent = f.let(
    ax
      .add(bx)
      .sub(BIAS - 1)
      .sub(shift.wrap()),
  );
  return round(f, slow, { sign: signOf(a.e.xor(b.e)), exponent, high, low });
}

/** One digit of base 2^32 of a quotient and the rest (Knuth vol. 2, 4.3.1, algorithm D); `d` has its highest bit set. */
function digit(f: FunctionBuilder, n: Local, next: Value, d: Local): { q: Local; rest: Local } {
  const d1 = f.let(d.shrU(32));
  const d0 = f.let(d.and(HALF));
  const q = f.local(I64, n.divU(d1));
  const r = f.local(I64, n.sub(q.mul(d1)));
  f.block((done) => {
    f.loop((again) => {
      const fits = q
        .shrU(32)
        .eqz()
        .and(q.mul(d0).leU(r.shl(32).or(next)));
      f.brIf(done, fits);
      f.set(q, q.sub(1));
      f.set(r, r.add(d1));
      f.brIf(again, r.shrU(32).eqz());
    });
  });
  return { q, rest: f.let(n.shl(32).or(next).sub(q.mul(d))) };
}

/**
 * (dividend, next 32 bits, divisor) → the quotient's 64 bits; the dividend is less than the divisor, which has its highest
 * bit set.
 */
export function addDigits(m: ModuleBuilder): FunctionRef {
  return m.fn('x87_digits', [I64, I64, I64], [I64], (f) => {
    const [dividend, next, divisor] = f.params as [Local, Local, Local];
    const first = digit(f, dividend, next, divisor);
    const second = digit(f, first.rest, i64(0), divisor);
    f.return(first.q.shl(32).or(second.q));
  });
}

/** a / b. */
function quotient(f: FunctionBuilder, slow: Label, a: Operand, b: Operand, digits: Digits): Rounded {
  const ax = normal(f, slow, a);
  const bx = normal(f, slow, b);
  const halved = f.let(a.m.geU(b.m).extendU());
  const next = f.let(a.m.and(halved).shl(31));
  const exponent = f.let(
    ax
      .sub(bx)
      .add(BIAS - 1)
      .add(halved.wrap()),
  );
  const high = f.let(f.call(digits(), a.m.shrU(halved), next, b.m));
  const rest = f.let(next.shl(32).sub(high.mul(b.m)));
  // Where the rest stands against half the divisor is all that rounding asks of it.
  const other = f.let(b.m.sub(rest));
  const half = select(
    rest.gtU(other),
    i64(-0x4000_0000_0000_0000n),
    select(rest.eq(other), i64(INTEGER_BIT), i64(1)),
  );
  const low = f.let(select(rest.eqz(), i64(0), half));
  return round(f, slow, { sign: signOf(a.e.xor(b.e)), exponent, high, low });
}

type Apply = (f: FunctionBuilder, slow: Label, a: Operand, b: Operand, digits: Digits) => Rounded;
/** ST(d) op= ST(s), by the runtime functions' names. */
export const ARITHMETIC: Readonly<Record<string, Apply>> = {
  add: (f, slow, a, b) => sum(f, slow, a, b, false),
  sub: (f, slow, a, b) => sum(f, slow, a, b, true),
  subr: (f, slow, a, b) => sum(f, slow, b, a, true),
  mul: product,
  div: quotient,
  divr: (f, slow, a, b, digits) => quotient(f, slow, b, a, digits),
};

// Memory operands

/** A normal double. */
function double(f: FunctionBuilder, slow: Label, bits: Local): Operand {
  const exponent = f.let(bits.shrU(52).wrap().and(0x7ff));
  refuse(f, slow, exponent.sub(1).geU(0x7fe));
  const biased = f.let(exponent.add(BIAS - 1023));
  const sign = bits.shrU(63).wrap().shl(15);
  return { m: f.let(bits.shl(11).or(INTEGER_BIT)), e: f.let(sign.or(biased)), exponent: biased };
}
/** A normal single. */
function single(f: FunctionBuilder, slow: Label, bits: Local): Operand {
  const exponent = f.let(bits.shrU(23).and(0xff));
  refuse(f, slow, exponent.sub(1).geU(0xfe));
  const biased = f.let(exponent.add(BIAS - 127));
  const sign = bits.shrU(31).shl(15);
  return {
    m: f.let(bits.extendU().shl(40).or(INTEGER_BIT)),
    e: f.let(sign.or(biased)),
    exponent: biased,
  };
}
/** Any integer but zero. */
function integer(f: FunctionBuilder, slow: Label, value: Local): Operand {
  refuse(f, slow, value.eqz());
  const magnitude = f.let(select(value.ltS(0), value.neg(), value));
  const n = f.let(magnitude.clz());
  const exponent = f.let(i32(BIAS + 63).sub(n.wrap()));
  const sign = value.shrU(63).wrap().shl(15);
  return { m: f.let(magnitude.shl(n)), e: f.let(sign.or(exponent)), exponent };
}
export const FORMS = [
  ['m32', I32, single],
  ['m64', I64, double],
  ['int', I64, integer],
] as const;

const write = (f: FunctionBuilder, at: Value, { m, e, flags }: Rounded): void => {
  storeRegister(f, at, m, e);
  report(f, flags);
};
for (const [name, apply] of Object.entries(ARITHMETIC)) {
  define(`x87_${name}`, [I32, I32, I32], (f, slow, digits) => {
    const [d, s, pops] = f.params as [Local, Local, Local];
    rounds(f, slow);
    const st0 = top(f);
    const to = f.let(st0.add(d).and(7));
    const from = f.let(st0.add(s).and(7));
    refuse(f, slow, isEmpty(f, to).or(isEmpty(f, from)));
    write(f, to, apply(f, slow, register(f, to), register(f, from), digits));
    f.if(pops, () => pop(f, st0));
    f.return();
  });
  for (const [form, type, widen] of FORMS)
    define(`x87_${name}_${form}`, [type], (f, slow, digits) => {
      rounds(f, slow);
      const st0 = top(f);
      refuse(f, slow, isEmpty(f, st0));
      const operand = widen(f, slow, f.params[0] as Local);
      write(f, st0, apply(f, slow, register(f, st0), operand, digits));
      f.return();
    });
}

// Loads

/** Pushes where the register is free. */
function push(f: FunctionBuilder, slow: Label, { m, e }: { m: Value; e: Value }): void {
  const at = physical(f, 7);
  const empty = f.let(field(f, S.fpuEmpty));
  const bit = f.let(i32(1).shl(at));
  refuse(f, slow, empty.and(bit).eqz());
  storeRegister(f, at, m, e);
  setField(f, S.fpuEmpty, empty.xor(bit));
  setField(f, S.fpuTop, at);
  report(f, 0);
  f.return();
}
define('x87_fld_m32', [I32], (f, slow) => push(f, slow, single(f, slow, f.params[0] as Local)));
define('x87_fld_m64', [I64], (f, slow) => push(f, slow, double(f, slow, f.params[0] as Local)));
define('x87_fild', [I64], (f, slow) => push(f, slow, integer(f, slow, f.params[0] as Local)));
define('x87_fld_m80', [I64, I32], (f, slow) => {
  const [m, e] = f.params as [Local, Local];
  push(f, slow, { m, e });
});
define('x87_fld', [I32], (f, slow) => {
  const from = physical(f, f.params[0] as Local);
  refuse(f, slow, isEmpty(f, from));
  push(f, slow, register(f, from));
});
// To nearest a constant is as it is given.
define('x87_fld_constant', [I64, I32, I32], (f, slow) => {
  const [m, e] = f.params as [Local, Local, Local];
  refuse(f, slow, field(f, S.fpuControl).and(0xc00).ne(0));
  push(f, slow, { m, e });
});

// Moves between registers

define('x87_fst', [I32, I32], (f, slow) => {
  const [i, pops] = f.params as [Local, Local];
  const st0 = top(f);
  const empty = f.let(field(f, S.fpuEmpty));
  refuse(f, slow, empty.shrU(st0).and(1));
  const to = f.let(st0.add(i).and(7));
  const { m, e } = register(f, st0);
  storeRegister(f, to, m, e);
  setField(f, S.fpuEmpty, empty.and(i32(1).shl(to).not()));
  report(f, 0);
  f.if(pops, () => pop(f, st0));
  f.return();
});
define('x87_fxch', [I32], (f, slow) => {
  const st0 = top(f);
  const other = physical(f, f.params[0] as Local);
  refuse(f, slow, isEmpty(f, st0).or(isEmpty(f, other)));
  const a = register(f, st0);
  const b = register(f, other);
  storeRegister(f, st0, b.m, b.e);
  storeRegister(f, other, a.m, a.e);
  report(f, 0);
  f.return();
});
for (const [name, change] of [
  ['x87_fabs', (e: Value): Value => e.and(0x7fff)],
  ['x87_fchs', (e: Value): Value => e.xor(0x8000)],
] as const)
  define(name, [], (f, slow) => {
    const st0 = top(f);
    refuse(f, slow, isEmpty(f, st0));
    f.store('i32.store16', st0.shl(4), change(loadE(f, st0)), S.fpr + 8);
    report(f, 0);
    f.return();
  });

// Stores to memory: what is stored, and behind it flags and pop

interface Format {
  readonly bits: 32 | 64;
  /** Of the fraction. */
  readonly fraction: number;
  readonly bias: number;
}
/** By the names of the memory forms. */
export const FORMATS: Readonly<Record<'m32' | 'm64', Format>> = {
  m32: { bits: 32, fraction: 23, bias: 127 },
  m64: { bits: 64, fraction: 52, bias: 1023 },
};

/** What does not fit into the format, and whether it is rounded up. */
function rest({ fraction }: Format, m: Value): { rest: Value; up: Value } {
  const below = 63 - fraction;
  const fallsOut = m.shl(64 - below);
  const odd = m.shrU(below).and(1);
  return { rest: fallsOut, up: fallsOut.gtU(i64(INTEGER_BIT).sub(odd)) };
}
/** The bits of zero or a normal number that is a normal one in the format too, rounded to nearest; `give` ends it. */
export function narrowed(
  f: FunctionBuilder,
  slow: Label,
  format: Format,
  operand: Operand,
  give: (bits: Value) => void,
): void {
  const { bits, fraction, bias } = format;
  const { m, e } = operand;
  const sign = f.let(
    signOf(e)
      .extendU()
      .shl(bits - 1),
  );
  if (!operand.exponent) f.if(isZero(m, e), () => give(sign));
  const exponent = f.let((operand.exponent ?? exponentOf(e)).sub(BIAS - bias));
  const odd = exponent.sub(1).geU(2 * bias);
  refuse(f, slow, operand.exponent ? odd : m.geS(0).or(odd));
  const narrow = f.let(
    exponent
      .extendU()
      .shl(fraction)
      .add(m.and(~INTEGER_BIT).shrU(63 - fraction))
      .add(rest(format, m).up.extendU()),
  );
  // Rounded up to infinity.
  refuse(f, slow, narrow.geU(BigInt(2 * bias + 1) << BigInt(fraction)));
  give(narrow.or(sign));
}
/** C1 and PE behind such a store. */
export function storedFlags(format: Format, m: Value): Value {
  const { rest: fallsOut, up } = rest(format, m);
  return select(fallsOut.eqz(), i32(0), up.shl(9).or(PE));
}

for (const [form, format] of Object.entries(FORMATS)) {
  // () → the bits of ST(0) as a double or single, or NOT_QUICK.
  define(
    `x87_quick_${form}`,
    [],
    (f, slow) => {
      refuse(f, slow, field(f, S.fpuControl).and(CONTROL_STORE).ne(COMMON_STORE));
      const st0 = top(f);
      refuse(f, slow, isEmpty(f, st0));
      narrowed(f, slow, format, register(f, st0), (bits) => f.return(bits));
    },
    [I64],
  );
  // (pops): behind a store that was quick.
  define(`x87_quickStored_${form}`, [I32], (f) => {
    const st0 = top(f);
    report(f, storedFlags(format, loadM(f, st0)));
    f.if(f.params[0] as Local, () => pop(f, st0));
    f.return();
  });
}

// () → 1 when ST(0) is not empty: then its parts can be stored.
define('x87_holds', [], (f) => f.return(isEmpty(f, top(f)).eqz()), [I32]);
define('x87_significand', [], (f) => f.return(loadM(f, top(f))), [I64]);
define('x87_exponent', [], (f) => f.return(loadE(f, top(f))), [I32]);
// (pops): behind that.
define('x87_quickStored_m80', [I32], (f) => {
  report(f, 0);
  f.if(f.params[0] as Local, () => pop(f, top(f)));
  f.return();
});

// Comparisons

/** C3 C2 C0 in place of two numbers that are normal or zero. */
export function compared(f: FunctionBuilder, slow: Label, a: Operand, b: Operand): Local {
  const ax = f.let(exponentOf(a.e));
  const bx = f.let(exponentOf(b.e));
  const odd = ({ m }: Operand, exponent: Local): Value =>
    select(m.eqz(), exponent, m.geS(0).or(exponent.sub(1).geU(0x7ffe)));
  refuse(f, slow, odd(a, ax).or(odd(b, bx)));
  const as = f.let(signOf(a.e));
  const bs = signOf(b.e);
  const same = f.let(ax.eq(bx));
  const equal = same.and(a.m.eq(b.m)).and(as.eq(bs).or(a.m.eqz()));
  const smaller = ax.ltU(bx).or(same.and(a.m.ltU(b.m)));
  const less = select(as.eq(bs), smaller.xor(as), as);
  return f.let(select(equal, i32(C3), less.shl(8)));
}
function conditions(f: FunctionBuilder, c: Value): void {
  setField(
    f,
    S.fpuStatus,
    field(f, S.fpuStatus)
      .and(~(C0 | C1 | C2 | C3))
      .or(c),
  );
}
const pops = (f: FunctionBuilder, st0: Local, count: Local): void => {
  f.if(count.gtU(0), () => pop(f, st0));
  f.if(count.gtU(1), () => pop(f, f.let(st0.add(1).and(7))));
};
define('x87_fcom', [I32, I32, I32], (f, slow) => {
  const [i, , count] = f.params as [Local, Local, Local];
  const st0 = top(f);
  const other = physical(f, i);
  refuse(f, slow, isEmpty(f, st0).or(isEmpty(f, other)));
  conditions(f, compared(f, slow, register(f, st0), register(f, other)));
  pops(f, st0, count);
  f.return();
});
define(
  'x87_fcomi',
  [I32, I32, I32],
  (f, slow) => {
    const [i, , count] = f.params as [Local, Local, Local];
    const st0 = top(f);
    const other = physical(f, i);
    refuse(f, slow, isEmpty(f, st0).or(isEmpty(f, other)));
    const c = compared(f, slow, register(f, st0), register(f, other));
    report(f, 0);
    pops(f, st0, count);
    f.return(c);
  },
  [I32],
);
for (const [form, type, widen] of FORMS)
  define(`x87_fcom_${form}`, [type, I32], (f, slow) => {
    const [value, count] = f.params as [Local, Local];
    const st0 = top(f);
    refuse(f, slow, isEmpty(f, st0));
    const operand = widen(f, slow, value);
    conditions(f, compared(f, slow, register(f, st0), operand));
    pops(f, st0, count);
    f.return();
  });
