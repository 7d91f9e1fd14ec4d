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

/** The function that does it all: parameters and results are the quick one's. */
type General = FunctionRef;
type Emit = (f: FunctionBuilder, slow: Label) => void;

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
 * @param general does all cases
 */
export function addQuick(m: ModuleBuilder, name: string, general: General | undefined): FunctionRef {
  const quick = QUICK.get(name);
  if (!quick) throw new RangeError(`${name} has no quick form`);
  return m.fn(name, quick.params, quick.results, (f) => {
    f.block((slow) => quick.emit(f, slow));
    if (!general) f.return(...quick.results.map(() => i64(NOT_QUICK)));
    else if (general.results.length > 0) f.return(f.call(general, ...f.params));
    else f.run(general, ...f.params);
  });
}

/** The quick forms over what does all cases, by name. */
export function addAllQuick(
  m: ModuleBuilder,
  general: Readonly<Record<string, FunctionRef>>,
): Record<string, FunctionRef> {
  return Object.fromEntries([...QUICK.keys()].map((name) => [name, addQuick(m, name, general[name])]));
}

function define(name: string, params: readonly ValType[], emit: Emit, results: readonly ValType[] = []): void {
  QUICK.set(name, { params, results, emit });
}

// What the common case is

/** RC, PC and the masks: to nearest, to 64 bits, everything masked. */
const CONTROL = 0xf3f,
  COMMON = 0x33f;
/** The same without PC, which stores do not ask. */
const CONTROL_STORE = 0xc3f,
  COMMON_STORE = 0x3f;

const refuse = (f: FunctionBuilder, slow: Label, condition: Value): void =>
  f.unlikely(condition, () => f.br(slow));
const rounds = (f: FunctionBuilder, slow: Label): void =>
  refuse(f, slow, field(f, S.fpuControl).and(CONTROL).ne(COMMON));

interface Operand {
  readonly m: Local;
  readonly e: Local;
}
const register = (f: FunctionBuilder, at: Value): Operand => ({ m: loadM(f, at), e: loadE(f, at) });
/** Refuses what is not a normal number; the biased exponent. */
function normal(f: FunctionBuilder, slow: Label, { m, e }: Operand): Local {
  const exponent = f.let(exponentOf(e));
  refuse(f, slow, m.geS(0).or(exponent.sub(1).geU(0x7ffe)));
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

/** The exponent of a result is biased, without its sign. */
interface Result {
  readonly sign: Value;
  readonly exponent: Local;
  readonly high: Local;
  readonly low: Local;
}

/** Rounds to nearest and to 64 bits what is in range, into a register. */
function deliver(
  f: FunctionBuilder,
  slow: Label,
  to: Value,
  { sign, exponent, high, low }: Result,
): void {
  const up = f.let(
    low
      .shrU(63)
      .wrap()
      .and(low.shl(1).or(high.and(1)).ne(0)),
  );
  // A carry out of the significand is left to the other function, as is what is out of range.
  const m = f.let(high.add(up.extendU()));
  refuse(f, slow, exponent.sub(1).geU(0x7ffd).or(m.geS(0)));
  storeRegister(f, to, m, sign.shl(15).or(exponent));
  report(f, select(low.eqz(), i32(0), up.shl(9).or(PE)));
}

// Arithmetic

/** a + b, or a - b. */
function sum(f: FunctionBuilder, slow: Label, to: Value, a: Operand, b: Operand, minus: boolean): void {
  const ax = normal(f, slow, a);
  const bx = normal(f, slow, b);
  const as = f.let(signOf(a.e));
  const bs = f.let(minus ? signOf(b.e).xor(1) : signOf(b.e));
  const swapped = f.let(ax.ltS(bx).or(ax.eq(bx).and(a.m.ltU(b.m))));
  const exponent = f.local(I32, select(swapped, bx, ax));
  const larger = f.let(select(swapped, b.m, a.m));
  const smaller = f.let(select(swapped, a.m, b.m));
  const sign = f.let(select(swapped, bs, as));
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
      f.set(high, larger.sub(shifted).sub(low.ne(0).extendU()));
      f.set(low, low.neg());
      refuse(f, slow, high.eqz());
      const up = f.let(high.clz());
      f.set(high, high.shl(up).or(low.shrU(1).shrU(i64(63).sub(up))));
      f.set(low, low.shl(up));
      f.set(exponent, exponent.sub(up.wrap()));
    },
  );
  deliver(f, slow, to, { sign, exponent, high, low });
}

const HALF = 0xffff_ffffn;

function product(f: FunctionBuilder, slow: Label, to: Value, a: Operand, b: Operand): void {
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
  deliver(f, slow, to, { sign: signOf(a.e.xor(b.e)), exponent, high, low });
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

/** a / b. */
function quotient(f: FunctionBuilder, slow: Label, to: Value, a: Operand, b: Operand): void {
  const ax = normal(f, slow, a);
  const bx = normal(f, slow, b);
  const halved = f.let(a.m.geU(b.m).extendU());
  const dividend = f.let(a.m.shrU(halved));
  const below = a.m.and(halved).shl(31);
  const exponent = f.let(
    ax
      .sub(bx)
      .add(BIAS - 1)
      .add(halved.wrap()),
  );
  const first = digit(f, dividend, below, b.m);
  const second = digit(f, first.rest, i64(0), b.m);
  const high = f.let(first.q.shl(32).or(second.q));
  const { rest } = second;
  // Where the rest stands against half the divisor is all that rounding asks of it.
  const other = f.let(b.m.sub(rest));
  const half = select(
    rest.gtU(other),
    i64(-0x4000_0000_0000_0000n),
    select(rest.eq(other), i64(INTEGER_BIT), i64(1)),
  );
  const low = f.let(select(rest.eqz(), i64(0), half));
  deliver(f, slow, to, { sign: signOf(a.e.xor(b.e)), exponent, high, low });
}

type Apply = (f: FunctionBuilder, slow: Label, to: Value, a: Operand, b: Operand) => void;
const ARITHMETIC: Readonly<Record<string, Apply>> = {
  add: (f, slow, to, a, b) => sum(f, slow, to, a, b, false),
  sub: (f, slow, to, a, b) => sum(f, slow, to, a, b, true),
  subr: (f, slow, to, a, b) => sum(f, slow, to, b, a, true),
  mul: product,
  div: quotient,
  divr: (f, slow, to, a, b) => quotient(f, slow, to, b, a),
};

// Memory operands

/** A normal double. */
function double(f: FunctionBuilder, slow: Label, bits: Local): Operand {
  const exponent = f.let(bits.shrU(52).wrap().and(0x7ff));
  refuse(f, slow, exponent.sub(1).geU(0x7fe));
  return {
    m: f.let(bits.shl(11).or(INTEGER_BIT)),
    e: f.let(
      bits
        .shrU(63)
        .wrap()
        .shl(15)
        .or(exponent.add(BIAS - 1023)),
    ),
  };
}
/** A normal single. */
function single(f: FunctionBuilder, slow: Label, bits: Local): Operand {
  const exponent = f.let(bits.shrU(23).and(0xff));
  refuse(f, slow, exponent.sub(1).geU(0xfe));
  return {
    m: f.let(bits.extendU().shl(40).or(INTEGER_BIT)),
    e: f.let(
      bits
        .shrU(31)
        .shl(15)
        .or(exponent.add(BIAS - 127)),
    ),
  };
}
/** Any integer but zero. */
function integer(f: FunctionBuilder, slow: Label, value: Local): Operand {
  refuse(f, slow, value.eqz());
  const magnitude = f.let(select(value.ltS(0), value.neg(), value));
  const n = f.let(magnitude.clz());
  return {
    m: f.let(magnitude.shl(n)),
    e: f.let(
      value
        .shrU(63)
        .wrap()
        .shl(15)
        .or(i32(BIAS + 63).sub(n.wrap())),
    ),
  };
}
const FORMS = [
  ['m32', I32, single],
  ['m64', I64, double],
  ['int', I64, integer],
] as const;

for (const [name, apply] of Object.entries(ARITHMETIC)) {
  define(`x87_${name}`, [I32, I32, I32], (f, slow) => {
    const [d, s, pops] = f.params as [Local, Local, Local];
    rounds(f, slow);
    const st0 = top(f);
    const to = f.let(st0.add(d).and(7));
    const from = f.let(st0.add(s).and(7));
    refuse(f, slow, isEmpty(f, to).or(isEmpty(f, from)));
    apply(f, slow, to, register(f, to), register(f, from));
    f.if(pops, () => pop(f, st0));
    f.return();
  });
  for (const [form, type, widen] of FORMS)
    define(`x87_${name}_${form}`, [type], (f, slow) => {
      rounds(f, slow);
      const st0 = top(f);
      refuse(f, slow, isEmpty(f, st0));
      const operand = widen(f, slow, f.params[0] as Local);
      apply(f, slow, st0, register(f, st0), operand);
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

for (const { bits, fraction, bias } of [
  { bits: 32, fraction: 23, bias: 127 },
  { bits: 64, fraction: 52, bias: 1023 },
]) {
  const below = 63 - fraction;
  const rounding = (m: Value): { rest: Value; up: Value } => {
    const rest = m.shl(64 - below);
    const odd = m.shrU(below).and(1);
    return {
      rest,
      up: rest
        .shrU(63)
        .wrap()
        .and(rest.shl(1).or(odd).ne(0)),
    };
  };
  // () → the bits of ST(0) as a double or single, or NOT_QUICK.
  define(
    `x87_quick_m${bits}`,
    [],
    (f, slow) => {
      refuse(f, slow, field(f, S.fpuControl).and(CONTROL_STORE).ne(COMMON_STORE));
      const st0 = top(f);
      const value = register(f, st0);
      const { m, e } = value;
      refuse(f, slow, isEmpty(f, st0));
      const sign = f.let(signOf(e).extendU().shl(bits - 1));
      f.if(isZero(m, e), () => f.return(sign));
      const exponent = f.let(exponentOf(e).sub(BIAS - bias));
      refuse(f, slow, m.geS(0).or(exponent.sub(1).geU(2 * bias)));
      const up = rounding(m).up.extendU();
      const narrow = f.let(
        exponent
          .extendU()
          .shl(fraction)
          .add(m.and(~INTEGER_BIT).shrU(below))
          .add(up),
      );
      // Rounded up to infinity.
      refuse(f, slow, narrow.geU(BigInt(2 * bias + 1) << BigInt(fraction)));
      f.return(narrow.or(sign));
    },
    [I64],
  );
  // (pops): behind a store that was quick.
  define(`x87_quickStored_m${bits}`, [I32], (f) => {
    const st0 = top(f);
    const m = loadM(f, st0);
    const { rest, up } = rounding(m);
    report(f, select(rest.eqz(), i32(0), up.shl(9).or(PE)));
    f.if(f.params[0] as Local, () => pop(f, st0));
    f.return();
  });
}

// Comparisons

/** C3 C2 C0 in place of two numbers that are normal or zero. */
function compared(f: FunctionBuilder, slow: Label, a: Operand, b: Operand): Local {
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
