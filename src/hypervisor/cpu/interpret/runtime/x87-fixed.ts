import type { FunctionBuilder, FunctionRef, Global, Local } from '../../wasm/function.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i64, type Value } from '../../wasm/value.ts';
import { BIAS, type X87Core } from './x87-core.ts';

/**
 * Numbers of 128 bits for the transcendental functions: a pair (high, low) is
 * high:low / 2^128 unless another scale is named. The error of a whole
 * computation stays below 2^-100, so a result rounded to 64 bits is within
 * 0.5001 units in the last place of what was computed.
 */
export interface X87Fixed {
  /** Low half of a pair that a function returned. */
  readonly lo: Global;
  /** Argument and accumulator of `horner`; the accumulator's scale is 2^-127. */
  readonly zh: Global;
  readonly zl: Global;
  readonly ah: Global;
  readonly al: Global;
  /** Remainder of `digit`. */
  readonly wh: Global;
  readonly wl: Global;
  /** (ah, al, bh, bl) → product. */
  readonly mul: FunctionRef;
  /** (n2, n1, n0, dh, dl) → n2:n1:n0 / dh:dl, 64 bits; n2:n1 < dh:dl, bit 63 of dh set. */
  readonly digit: FunctionRef;
  /** (nh, nl, dh, dl) → n / d, n < d, bit 63 of dh set. */
  readonly div: FunctionRef;
  /** (h, l, count) → h:l >> count. */
  readonly shift: FunctionRef;
  /** (sign, k, h, l): the result h:l / 2^128 * 2^k, rounded; ones below are taken into account. */
  readonly give: FunctionRef;
  /** Sets the accumulator to the series in z; `alternating` subtracts every other term. */
  series(f: FunctionBuilder, coefficients: readonly bigint[], zh: Value, zl: Value, alternating: Value): void;
}

/** Fractions of 2^200 while constants are computed. */
const WORK = 200n;
const UNIT = 1n << WORK;

/** arctan (or artanh) of n/d by its series. */
function arctangent(n: bigint, d: bigint, hyperbolic = false): bigint {
  let term = (n * UNIT) / d;
  let sum = 0n;
  for (let k = 0n; term !== 0n; k++) {
    const part = term / (2n * k + 1n);
    sum += k % 2n === 1n && !hyperbolic ? -part : part;
    term = (term * n * n) / (d * d);
  }
  return sum;
}

const toScale = (value: bigint, bits: bigint): bigint =>
  (value + (1n << (WORK - bits - 1n))) >> (WORK - bits);

const PI = 4n * (4n * arctangent(1n, 5n) - arctangent(1n, 239n));
const LN2 = 2n * arctangent(1n, 3n, true);

/** As pairs: pi / 4, ln 2, 1 / (2 ln 2) at 2^-128. */
export const QUARTER_PI = toScale(PI / 4n, 128n);
export const LOG_E_2 = toScale(LN2, 128n);
export const HALF_LOG_2_E = toScale((UNIT * UNIT) / LN2 / 2n, 128n);
/** arctan(k / 8) at 2^-128, k from 0 to 8. */
export const ARCTANGENTS = Array.from({ length: 9 }, (_, k) =>
  k === 8 ? QUARTER_PI : toScale(arctangent(BigInt(k), 8n), 128n),
);

const factorial = (n: number): bigint => (n < 2 ? 1n : BigInt(n) * factorial(n - 1));
const reciprocals = (count: number, of: (k: number) => bigint): bigint[] =>
  Array.from({ length: count }, (_, k) => toScale(UNIT / of(k), 127n));

/** Series coefficients at 2^-127. */
export const SERIES = {
  /** (e^t - 1) / t, |t| <= ln 2. */
  exponential: reciprocals(27, (k) => factorial(k + 1)),
  /** artanh(s) / s and, alternating, arctan(s) / s in s^2 <= 0.0295. */
  odd: reciprocals(21, (k) => BigInt(2 * k + 1)),
  /** sin(r) / r and cos(r) in r^2 <= 0.617. */
  sine: reciprocals(15, (k) => factorial(2 * k + 1)),
  cosine: reciprocals(16, (k) => factorial(2 * k)),
} as const;

export const high = (pair: bigint): Value => i64(BigInt.asIntN(64, pair >> 64n));
export const low = (pair: bigint): Value => i64(BigInt.asIntN(64, pair));

export function addX87Fixed(x: X87Core): X87Fixed {
  const { m, lo } = x;
  const [zh, zl, ah, al, wh, wl] = [0, 0, 0, 0, 0, 0].map(() => m.global(I64, 0)) as [
    Global,
    Global,
    Global,
    Global,
    Global,
    Global,
  ];
  const mul = m.fn('x87_fixedMul', [I64, I64, I64, I64], [I64], (f) => {
    const [a1, a0, b1, b0] = f.params as [Local, Local, Local, Local];
    const result = f.let(f.call(x.mulWide, a1, b1));
    const below = f.let(lo);
    for (const part of [f.let(f.call(x.mulWide, a1, b0)), f.let(f.call(x.mulWide, a0, b1))]) {
      f.set(below, below.add(part));
      f.set(result, result.add(below.ltU(part).extendU()));
    }
    f.setGlobal(lo, below);
    f.return(result);
  });
  const digit = addDigit(x, wh, wl);
  const div = m.fn('x87_fixedDiv', [I64, I64, I64, I64], [I64], (f) => {
    const [nh, nl, dh, dl] = f.params as [Local, Local, Local, Local];
    const first = f.let(f.call(digit, nh, nl, i64(0), dh, dl));
    f.setGlobal(lo, f.call(digit, wh, wl, i64(0), dh, dl));
    f.return(first);
  });
  const shift = m.fn('x87_fixedShift', [I64, I64, I32], [I64], (f) => {
    const [h, l, count] = f.params as [Local, Local, Local];
    f.if(count.geU(128), () => {
      f.setGlobal(lo, 0);
      f.return(0);
    });
    f.if(count.geU(64), () => {
      f.set(l, h);
      f.set(h, 0);
      f.set(count, count.sub(64));
    });
    f.if(count, () => {
      const by = f.let(count.extendU());
      f.set(l, l.shrU(by).or(h.shl(i64(64).sub(by))));
      f.set(h, h.shrU(by));
    });
    f.setGlobal(lo, l);
    f.return(h);
  });
  const give = m.fn('x87_fixedGive', [I32, I32, I64, I64], [], (f) => {
    const [sign, k, h, l] = f.params as [Local, Local, Local, Local];
    f.if(h.eqz(), () => {
      f.set(h, l);
      f.set(l, 0);
      f.set(k, k.sub(64));
    });
    const n = f.let(h.clz());
    f.if(n.ne(0), () => {
      f.set(h, h.shl(n).or(l.shrU(i64(64).sub(n))));
      f.set(l, l.shl(n));
    });
    f.run(x.roundExtended, sign, k.sub(n.wrap()).add(BIAS - 1), h, l);
  });
  const horner = addHorner(x, mul, { zh, zl, ah, al });
  const series = (
    f: FunctionBuilder,
    coefficients: readonly bigint[],
    h: Value,
    l: Value,
    alternating: Value,
  ): void => {
    f.setGlobal(zh, h);
    f.setGlobal(zl, l);
    f.setGlobal(ah, 0);
    f.setGlobal(al, 0);
    for (const c of [...coefficients].reverse()) f.run(horner, high(c), low(c), alternating);
  };
  return { lo, zh, zl, ah, al, wh, wl, mul, digit, div, shift, give, series };
}

/** One step of Knuth's algorithm D (vol. 2, 4.3.1) with digits of 64 bits. */
function addDigit(x: X87Core, wh: Global, wl: Global): FunctionRef {
  return x.m.fn('x87_fixedDigit', [I64, I64, I64, I64, I64], [I64], (f) => {
    const [n2, n1, n0, dh, dl] = f.params as [Local, Local, Local, Local, Local];
    const q = f.local(I64, -1);
    const rest = f.local(I64);
    const top = f.local(I64, 0);
    f.if(
      n2.eq(dh),
      () => {
        f.set(rest, n1.add(dh));
        f.set(top, rest.ltU(dh).extendU());
      },
      () => {
        f.set(q, f.call(x.divWide, n2, n1, dh));
        f.set(rest, x.lo);
      },
    );
    const ph = f.let(f.call(x.mulWide, q, dl));
    const pl = f.let(x.lo);
    f.set(
      top,
      top.sub(
        rest
          .ltU(ph)
          .or(rest.eq(ph).and(n0.ltU(pl)))
          .extendU(),
      ),
    );
    f.set(rest, rest.sub(ph).sub(n0.ltU(pl).extendU()));
    const tail = f.let(n0.sub(pl));
    f.loop((again) => {
      f.if(top.ltS(0), () => {
        f.set(q, q.sub(1));
        f.set(tail, tail.add(dl));
        const carry = f.let(tail.ltU(dl).extendU());
        const sum = f.let(rest.add(dh));
        f.set(top, top.add(sum.ltU(dh).extendU()));
        f.set(rest, sum.add(carry));
        f.set(top, top.add(rest.ltU(carry).extendU()));
        f.br(again);
      });
    });
    f.setGlobal(wh, rest);
    f.setGlobal(wl, tail);
    f.return(q);
  });
}

/** (ch, cl, subtract): a = c + z * a, or c - z * a. */
function addHorner(x: X87Core, mul: FunctionRef, g: Pick<X87Fixed, 'zh' | 'zl' | 'ah' | 'al'>): FunctionRef {
  return x.m.fn('x87_horner', [I64, I64, I32], [], (f) => {
    const [ch, cl, subtract] = f.params as [Local, Local, Local];
    const ph = f.let(f.call(mul, g.zh, g.zl, g.ah, g.al));
    const pl = f.let(x.lo);
    f.if(
      subtract,
      () => {
        f.setGlobal(g.ah, ch.sub(ph).sub(cl.ltU(pl).extendU()));
        f.setGlobal(g.al, cl.sub(pl));
      },
      () => {
        const sum = f.let(cl.add(pl));
        f.setGlobal(g.ah, ch.add(ph).add(sum.ltU(cl).extendU()));
        f.setGlobal(g.al, sum);
      },
    );
  });
}
