import type { FunctionBuilder, FunctionRef, Label, Local } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i32, i64, select, type Value } from '../../wasm/value.ts';
import { quotientDigit, wideProduct } from './wide.ts';
import { BIAS, C3, exponentOf, INTEGER_BIT, isZero, PE, signOf } from './x87-core.ts';

/**
 * What the common case of x87 arithmetic does with numbers: normal ones, rounded to nearest and to 64 bits, results in
 * range. Each function refuses what is not so by a branch to `slow`, where another does it; it changes nothing but
 * locals.
 */

/** The function that divides (see addDigits), which is there once it is asked for. */
export type Digits = () => FunctionRef;
export const refuse = (f: FunctionBuilder, slow: Label, condition: Value): void =>
  f.unlikely(condition, () => f.br(slow));

/** A number; where it is known to be a normal one, its biased exponent without the sign. */
export interface Operand {
  readonly m: Local;
  readonly e: Local;
  exponent?: Local | undefined;
}
/** Refuses what is not a normal number; the biased exponent. */
function normal(f: FunctionBuilder, slow: Label, operand: Operand): Local {
  const { m, e } = operand;
  if (operand.exponent) return operand.exponent;
  const exponent = f.let(exponentOf(e));
  refuse(f, slow, m.geS(0).or(exponent.sub(1).geU(0x7ffe)));
  operand.exponent = exponent;
  return exponent;
}

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

function product(f: FunctionBuilder, slow: Label, a: Operand, b: Operand): Rounded {
  const ax = normal(f, slow, a);
  const bx = normal(f, slow, b);
  const whole = wideProduct(f, a.m, b.m);
  const upper = f.let(whole.high);
  const lower = f.let(whole.low);
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

/**
 * (dividend, next 32 bits, divisor) → the quotient's 64 bits; the dividend is less than the divisor, which has its highest
 * bit set.
 */
export function addDigits(m: ModuleBuilder): FunctionRef {
  return m.fn('x87_digits', [I64, I64, I64], [I64], (f) => {
    const [dividend, next, divisor] = f.params as [Local, Local, Local];
    const first = quotientDigit(f, dividend, next, divisor);
    const second = quotientDigit(f, first.rest, i64(0), divisor);
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
export function double(f: FunctionBuilder, slow: Label, bits: Local): Operand {
  const exponent = f.let(bits.shrU(52).wrap().and(0x7ff));
  refuse(f, slow, exponent.sub(1).geU(0x7fe));
  const biased = f.let(exponent.add(BIAS - 1023));
  const sign = bits.shrU(63).wrap().shl(15);
  return { m: f.let(bits.shl(11).or(INTEGER_BIT)), e: f.let(sign.or(biased)), exponent: biased };
}
/** A normal single. */
export function single(f: FunctionBuilder, slow: Label, bits: Local): Operand {
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
export function integer(f: FunctionBuilder, slow: Label, value: Local): Operand {
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

// Stores

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
