import type { FunctionBuilder, FunctionRef, Local } from '../../wasm/function.ts';
import { S } from '../../layout.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i32, i64, select, type Value } from '../../wasm/value.ts';
import {
  BIAS, C1, C2, DE, exponentOf, field, flag, INTEGER_BIT, isDenormal, isEmpty, isMaximal, isZero, loadE, loadM,
  MAX_EXPONENT, normalize, PE, physical, setField, setResult, signOf, storeRegister, UE, type X87Core, ZE,
} from './x87-core.ts';
import { addX87Fixed, ARCTANGENTS, HALF_LOG_2_E, high, LOG_E_2, low, QUARTER_PI, SERIES, type X87Fixed } from './x87-fixed.ts';

/**
 * F2XM1 FYL2X FYL2XP1 FPATAN FSIN FCOS FSINCOS FPTAN (SDM vol. 1, 8.3.7-8.3.10).
 * Results are rounded by RC to 64 bits, whatever PC says.
 */
export function addX87Transcendental(x: X87Core, add: FunctionRef): Record<string, FunctionRef> {
  const p = addX87Fixed(x);
  return { ...addExponential(x, p), ...addLogarithms(x, p, add), ...addArctangent(x, p), ...addTrigonometry(x, p) };
}

const TOP_BIT = INTEGER_BIT;
const zeroOf = (f: FunctionBuilder, x: X87Core, sign: Value): void => setResult(f, x, 0, sign.shl(15));
const infinityOf = (f: FunctionBuilder, x: X87Core, sign: Value): void =>
  setResult(f, x, TOP_BIT, sign.shl(15).or(MAX_EXPONENT));

function addExponential(x: X87Core, p: X87Fixed): Record<string, FunctionRef> {
  const value = x.m.fn('x87_exponentialValue', [I64, I32], [], (f) => {
    const [vm, ve] = f.params as [Local, Local];
    f.if(f.call(x.nan1, vm, ve), () => f.return());
    const sign = f.let(signOf(ve));
    f.if(isZero(vm, ve), () => {
      setResult(f, x, vm, ve);
      f.return();
    });
    f.if(isMaximal(ve), () => {
      f.if(sign, () => setResult(f, x, TOP_BIT, 0x8000 | BIAS), () => setResult(f, x, vm, ve));
      f.return();
    });
    // 2^1 - 1 and 2^-1 - 1; beyond, where results are undefined, operands stay.
    f.if(exponentOf(ve).geU(BIAS), () => {
      flag(f, x, PE);
      setResult(f, x, vm, ve);
      f.if(ve.eq(0x8000 | BIAS).and(vm.eq(TOP_BIT)), () => setResult(f, x, TOP_BIT, 0x8000 | (BIAS - 1)));
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

/** ST(0) = value(ST(0)). */
function unary(x: X87Core, name: string, value: FunctionRef): FunctionRef {
  return x.m.fn(name, [], [], (f) => {
    const top = physical(f, 0);
    f.setGlobal(x.xf, 0);
    f.if(isEmpty(f, top), () => f.run(x.underflow), () => f.run(value, loadM(f, top), loadE(f, top)));
    f.run(x.finish, top);
  });
}

/** ST(1) = value(ST(1), ST(0)), then a pop. */
function binary(x: X87Core, name: string, value: FunctionRef): FunctionRef {
  return x.m.fn(name, [], [], (f) => {
    const top = physical(f, 0);
    const next = physical(f, 1);
    f.setGlobal(x.xf, 0);
    f.if(isEmpty(f, top).or(isEmpty(f, next)), () => f.run(x.underflow), () => {
      f.run(value, loadM(f, next), loadE(f, next), loadM(f, top), loadE(f, top));
    });
    f.if(f.call(x.finish, next), () => f.return());
    f.run(x.pop);
  });
}

function addLogarithms(x: X87Core, p: X87Fixed, add: FunctionRef): Record<string, FunctionRef> {
  const { m } = x;
  // (qh, ql, k), s = q * 2^k: artanh(s) * 2 / ln 2 = result * 2^(k + 3).
  const series = m.fn('x87_logSeries', [I64, I64, I32], [I64], (f) => {
    const [qh, ql, k] = f.params as [Local, Local, Local];
    const squareHigh = f.let(f.call(p.mul, qh, ql, qh, ql));
    const zh = f.let(f.call(p.shift, squareHigh, p.lo, k.mul(-2)));
    p.series(f, SERIES.odd, zh, p.lo, i32(0));
    const product = f.let(f.call(p.mul, qh, ql, p.ah, p.al));
    // 2 / ln 2 is four times the constant.
    f.return(f.call(p.mul, product, p.lo, high(HALF_LOG_2_E), low(HALF_LOG_2_E)));
  });
  // (yM, yE, sign, k, h, l): y times the logarithm h:l * 2^k; h:l is not zero.
  const scaled = m.fn('x87_logTimes', [I64, I32, I32, I32, I64, I64], [], (f) => {
    const [ym, ye, sign, k, h, l] = f.params as [Local, Local, Local, Local, Local, Local];
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
    const ys = signOf(ye);
    const exponent = normalize(f, ym, ye);
    const product = f.let(f.call(p.mul, h, l, ym, i64(0)));
    f.run(p.give, ys.xor(sign), k.sub(n.wrap()).add(exponent).sub(BIAS - 1), product, p.lo);
  });
  const value = addLog2(x, p, series, scaled);
  const plusOne = addLog2PlusOne(x, p, series, scaled, add, value);
  return { x87_fyl2x: binary(x, 'x87_fyl2x', value), x87_fyl2xp1: binary(x, 'x87_fyl2xp1', plusOne) };
}

function addLog2(x: X87Core, p: X87Fixed, series: FunctionRef, scaled: FunctionRef): FunctionRef {
  return x.m.fn('x87_log2Values', [I64, I32, I64, I32], [], (f) => {
    const [ym, ye, vm, ve] = f.params as [Local, Local, Local, Local];
    const refuse = (): void => {
      f.run(x.invalid);
      f.return();
    };
    f.if(f.call(x.nan2, ym, ye, vm, ve), () => f.return());
    const ys = f.let(signOf(ye));
    const yz = f.let(isZero(ym, ye));
    f.if(isZero(vm, ve), () => {
      f.if(yz, refuse);
      f.if(isMaximal(ye).eqz(), () => flag(f, x, ZE));
      infinityOf(f, x, ys.xor(1));
      f.return();
    });
    f.if(signOf(ve), refuse);
    const one = f.let(vm.eq(TOP_BIT).and(ve.eq(BIAS)));
    f.if(isMaximal(ve).and(yz).or(isMaximal(ye).and(one)), refuse);
    f.if(isDenormal(ym, ye).or(isDenormal(vm, ve)), () => flag(f, x, DE));
    const below = f.let(ve.ltU(BIAS));
    f.if(isMaximal(ve).or(isMaximal(ye)), () => {
      infinityOf(f, x, ys.xor(below));
      f.return();
    });
    f.if(yz.or(one), () => {
      zeroOf(f, x, ys.xor(below));
      f.return();
    });
    const power = normalize(f, vm, ve);
    f.set(power, power.sub(BIAS));
    // Above the square root of two the significand is taken as one below 1.
    const less = f.let(vm.gtU(BigInt.asIntN(64, 0xb504_f333_f9de_6484n)));
    f.set(power, power.add(less));
    const numerator = f.let(select(less, vm.neg(), vm.sub(TOP_BIT)));
    const h = f.local(I64, 0);
    const l = f.local(I64, 0);
    const k = f.local(I32, 0);
    const sign = f.local(I32, less);
    f.if(numerator.ne(0), () => {
      const c = f.let(numerator.clz());
      const n = f.let(numerator.shl(c));
      const dh = f.let(vm.shrU(1).add(select(less, i64(TOP_BIT), i64(0x4000_0000_0000_0000n))));
      const q = f.let(f.call(p.div, n.shrU(1), n.shl(63), dh, vm.shl(63)));
      const ql = f.let(p.lo);
      f.set(k, c.wrap().neg());
      f.set(h, f.call(series, q, ql, k));
      f.set(l, p.lo.or(1));
      f.set(k, k.add(3));
    });
    f.if(power, () => {
      // 16 integer bits in front.
      f.set(h, f.call(p.shift, h, l, i32(16).sub(k)));
      f.set(l, p.lo.or(l.and(1)));
      const negative = f.let(power.shrU(31));
      const whole = f.let(select(negative, power.neg(), power).extendU().shl(48));
      f.if(negative.eq(sign).or(numerator.eqz()), () => f.set(h, whole.add(h)), () => {
        f.set(h, whole.sub(h).sub(l.ne(0).extendU()));
        f.set(l, l.neg());
      });
      f.set(sign, negative);
      f.set(k, 16);
    });
    f.run(scaled, ym, ye, sign, k, h, l);
    // Exact results count as inexact too, as processors have it; a denormal one is then an underflow.
    flag(f, x, select(exponentOf(x.re).eqz(), i32(PE | UE), i32(PE)));
  });
}

function addLog2PlusOne(
  x: X87Core, p: X87Fixed, series: FunctionRef, scaled: FunctionRef, add: FunctionRef, log2: FunctionRef,
): FunctionRef {
  return x.m.fn('x87_log2PlusOneValues', [I64, I32, I64, I32], [], (f) => {
    const [ym, ye, vm, ve] = f.params as [Local, Local, Local, Local];
    f.if(f.call(x.nan2, ym, ye, vm, ve), () => f.return());
    const sign = f.let(signOf(ve));
    const ys = f.let(signOf(ye));
    const yz = f.let(isZero(ym, ye));
    const vz = f.let(isZero(vm, ve));
    f.if(isMaximal(ve).and(sign.or(yz)).or(isMaximal(ye).and(vz)), () => {
      f.run(x.invalid);
      f.return();
    });
    f.if(isDenormal(ym, ye).or(isDenormal(vm, ve)), () => flag(f, x, DE));
    f.if(isMaximal(ve).or(isMaximal(ye)), () => {
      infinityOf(f, x, ys.xor(sign));
      f.return();
    });
    f.if(yz.or(vz), () => {
      zeroOf(f, x, ys.xor(sign));
      f.return();
    });
    // Out of the range that the instruction is for.
    f.if(exponentOf(ve).geU(BIAS - 1), () => {
      f.run(add, vm, ve, i64(TOP_BIT), i32(BIAS), i32(0));
      f.run(log2, ym, ye, x.rm, x.re);
      f.return();
    });
    const exponent = normalize(f, vm, ve);
    const fh = f.let(f.call(p.shift, vm, i64(0), i32(BIAS).sub(exponent)));
    const fl = f.let(p.lo);
    // d is (2 + v) / 4, or (2 - |v|) / 2; f is |v| / 2.
    const dh = f.local(I64);
    const dl = f.local(I64);
    f.if(sign, () => {
      f.set(dl, fl.neg());
      f.set(dh, fh.not().add(fl.eqz().extendU()));
      f.if(dh.eqz(), () => {
        f.set(dh, -1);
        f.set(dl, -1);
      });
    }, () => {
      f.set(dl, fl.shrU(1).or(fh.shl(63)));
      f.set(dh, fh.shrU(1).or(TOP_BIT));
    });
    const k = f.let(exponent.sub(BIAS).add(sign));
    const q = f.let(f.call(p.div, vm.shrU(1), vm.shl(63), dh, dl));
    const ql = f.let(p.lo);
    const result = f.let(f.call(series, q, ql, k));
    f.run(scaled, ym, ye, sign, k.add(3), result, p.lo.or(1));
    flag(f, x, PE);
  });
}

/** ST(1) = arctan(ST(1) / ST(0)) in the quadrant of the point (ST(0), ST(1)). */
function addArctangent(x: X87Core, p: X87Fixed): Record<string, FunctionRef> {
  const core = addArctangentCore(x, p);
  const value = x.m.fn('x87_arctangentValues', [I64, I32, I64, I32], [], (f) => {
    const [ym, ye, vm, ve] = f.params as [Local, Local, Local, Local];
    f.if(f.call(x.nan2, ym, ye, vm, ve), () => f.return());
    const ys = f.let(signOf(ye));
    const vs = f.let(signOf(ve));
    /** Eighths of a full turn, in quarters of pi. */
    const turn = (eighths: Value): void => {
      const pi = f.let(high(QUARTER_PI));
      f.if(eighths.eq(3), () => {
        const three = 3n * QUARTER_PI >> 2n;
        f.run(p.give, ys, i32(2), high(three), low(three));
        f.return();
      });
      f.run(p.give, ys, eighths.shrU(1), pi, low(QUARTER_PI));
      f.return();
    };
    f.if(isDenormal(ym, ye).or(isDenormal(vm, ve)), () => flag(f, x, DE));
    const yi = f.let(isMaximal(ye));
    const vi = f.let(isMaximal(ve));
    f.if(yi, () => turn(select(vi, select(vs, i32(3), i32(1)), i32(2))));
    f.if(vi.or(isZero(ym, ye)), () => {
      f.if(vs, () => turn(i32(4)), () => zeroOf(f, x, ys));
      f.return();
    });
    f.if(isZero(vm, ve), () => turn(i32(2)));
    const yx = normalize(f, ym, ye);
    const vx = normalize(f, vm, ve);
    const swapped = f.let(yx.gtS(vx).or(yx.eq(vx).and(ym.gtU(vm))));
    f.if(yx.eq(vx).and(ym.eq(vm)), () => turn(select(vs, i32(3), i32(1))));
    f.if(swapped, () => f.run(core, vm, ym, vx.sub(yx), ys, vs, i32(1)), () => {
      f.run(core, ym, vm, yx.sub(vx), ys, vs, i32(0));
    });
    flag(f, x, PE);
  });
  return { x87_fpatan: binary(x, 'x87_fpatan', value) };
}

/** (aM, bM, d, ySign, xSign, swapped): arctan(a/b * 2^d), a/b * 2^d < 1, seen from its quadrant. */
function addArctangentCore(x: X87Core, p: X87Fixed): FunctionRef {
  return x.m.fn('x87_arctangentCore', [I64, I64, I32, I32, I32, I32], [], (f) => {
    const [am, bm, d, ys, vs, swapped] = f.params as [Local, Local, Local, Local, Local, Local];
    // The ratio is q * 2^(d + 1).
    const qh = f.let(f.call(p.div, am.shrU(1), am.shl(63), bm, i64(0)));
    const ql = f.let(p.lo);
    const rh = f.local(I64);
    const rl = f.local(I64);
    f.if(d.eqz(), () => {
      f.set(rh, qh.shl(1).or(ql.shrU(63)));
      f.set(rl, ql.shl(1));
    }, () => {
      f.set(rh, f.call(p.shift, qh, ql, i32(-1).sub(d)));
      f.set(rl, p.lo);
    });
    const index = f.let(rh.shrU(60).add(1).shrU(1).wrap());
    // The angle, at 2^-126.
    const h = f.local(I64);
    const l = f.local(I64);
    f.if(index.eqz(), () => {
      const square = f.let(f.call(p.mul, rh, rl, rh, rl));
      p.series(f, SERIES.odd, square, p.lo, i32(1));
      const product = f.let(f.call(p.mul, qh, ql, p.ah, p.al));
      const rest = f.let(p.lo);
      f.if(swapped.or(vs).eqz(), () => {
        f.run(p.give, ys, d.add(2), product, rest.or(1));
        f.return();
      });
      f.set(h, f.call(p.shift, product, rest, d.neg()));
      f.set(l, p.lo);
    }, () => nearBreakpoint(f, p, index, rh, rl, h, l));
    const half = QUARTER_PI >> 1n;
    const combine = (base: bigint, subtract: Value): void => f.if(subtract, () => {
      const borrow = f.let(low(base).ltU(l).extendU());
      f.set(h, high(base).sub(h).sub(borrow));
      f.set(l, low(base).sub(l));
    }, () => {
      f.set(l, l.add(low(base)));
      f.set(h, h.add(high(base)).add(l.ltU(low(base)).extendU()));
    });
    f.if(swapped, () => combine(half, vs.eqz()), () => {
      f.if(vs, () => combine(half << 1n, i32(1)));
    });
    f.run(p.give, ys, i32(2), h, l.or(1));
  });
}

/** arctan(r) = arctan(k/8) + arctan((r - k/8) / (1 + r k/8)), into h:l at 2^-126. */
function nearBreakpoint(
  f: FunctionBuilder, p: X87Fixed, index: Local, rh: Local, rl: Local, h: Local, l: Local,
): void {
  const point = f.let(index.extendU().shl(61));
  // 8/8 does not fit in front of the point; r is below it.
  const under = f.let(index.eq(8).or(rh.ltU(point)));
  const nh = f.local(I64);
  const nl = f.local(I64);
  f.if(under, () => {
    f.set(nl, rl.neg());
    f.set(nh, point.sub(rh).sub(rl.ne(0).extendU()));
  }, () => {
    f.set(nl, rl);
    f.set(nh, rh.sub(point));
  });
  const scaled = f.let(f.call(p.mul, rh, rl, index.extendU().shl(60), i64(0)));
  const dl = f.let(p.lo);
  const wh = f.let(f.call(p.div, nh, nl, scaled.add(TOP_BIT), dl));
  const wl = f.let(p.lo);
  const square = f.let(f.call(p.mul, wh, wl, wh, wl));
  const zh = f.let(f.call(p.shift, square, p.lo, i32(2)));
  p.series(f, SERIES.odd, zh, p.lo, i32(1));
  const th = f.let(f.call(p.mul, wh, wl, p.ah, p.al));
  const tl = f.let(p.lo);
  for (let k = 1; k <= 8; k++) {
    const angle = ARCTANGENTS[k] as bigint;
    f.if(index.eq(k), () => {
      f.set(h, high(angle));
      f.set(l, low(angle));
    });
  }
  f.if(under, () => {
    f.set(h, h.sub(th).sub(l.ltU(tl).extendU()));
    f.set(l, l.sub(tl));
  }, () => {
    f.set(l, l.add(tl));
    f.set(h, h.add(th).add(l.ltU(tl).extendU()));
  });
  f.set(l, l.shrU(2).or(h.shl(62)));
  f.set(h, h.shrU(2));
}

/** Pi/2 * 2^65 as the processors have it: 66 significant bits (SDM vol. 1, 8.3.8). */
const PI_66 = 0x3243f6a8885a308d3n;
const PI_NORMAL = PI_66 << 62n;

function addTrigonometry(x: X87Core, p: X87Fixed): Record<string, FunctionRef> {
  const { m } = x;
  // Of the reduced argument r: significand at 2^-128, its power of two, sign; the quadrant; sine and cosine of |r|.
  const r = { h: m.global(I64, 0), l: m.global(I64, 0), k: m.global(I32, 0), sign: m.global(I32, 0), quadrant: m.global(I32, 0) };
  const reduce = m.fn('x87_reduce', [I64, I32], [], (f) => {
    const [vm, ve] = f.params as [Local, Local];
    const exponent = normalize(f, vm, ve);
    f.setGlobal(r.sign, signOf(ve));
    f.setGlobal(r.quadrant, 0);
    f.setGlobal(r.h, vm);
    f.setGlobal(r.l, 0);
    f.setGlobal(r.k, exponent.sub(BIAS - 1));
    const quarter = BigInt.asIntN(64, PI_66 >> 2n);
    f.if(exponent.ltS(BIAS - 1).or(exponent.eq(BIAS - 1).and(vm.leU(quarter))), () => f.return());
    // In units of 2^-65 the argument is a whole number of up to 128 bits.
    const by = f.let(exponent.sub(BIAS - 2).extendU());
    const nl = f.local(I64, vm.shl(by));
    const nh = f.local(I64, vm.shrU(i64(64).sub(by)));
    f.if(by.eq(64), () => {
      f.set(nl, 0);
      f.set(nh, vm);
    });
    const quotient = f.let(f.call(
      p.digit, nh.shrU(2), nh.shl(62).or(nl.shrU(2)), nl.shl(62), high(PI_NORMAL), low(PI_NORMAL)));
    const h = f.local(I64, p.wh);
    const l = f.local(I64, p.wl);
    const half = PI_NORMAL >> 1n;
    f.if(h.gtU(high(half)).or(h.eq(high(half)).and(l.gtU(low(half)))), () => {
      const borrow = f.let(low(PI_NORMAL).ltU(l).extendU());
      f.set(h, high(PI_NORMAL).sub(h).sub(borrow));
      f.set(l, low(PI_NORMAL).sub(l));
      f.set(quotient, quotient.add(1));
      f.setGlobal(r.sign, r.sign.xor(1));
    });
    // A negative argument turns the other way round.
    const turns = f.let(quotient.wrap());
    f.setGlobal(r.quadrant, select(signOf(ve), turns.neg(), turns).and(3));
    const k = f.local(I32, 1);
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
    f.setGlobal(r.h, h);
    f.setGlobal(r.l, l);
    f.setGlobal(r.k, k.sub(n.wrap()));
  });
  const s = { h: m.global(I64, 0), l: m.global(I64, 0), c: m.global(I64, 0), d: m.global(I64, 0) };
  // Sine: s.h:s.l * 2^(r.k + 1), sign r.sign; cosine: s.c:s.d * 2.
  const both = m.fn('x87_sineAndCosine', [], [], (f) => {
    const square = f.let(f.call(p.mul, r.h, r.l, r.h, r.l));
    const zh = f.let(f.call(p.shift, square, p.lo, r.k.mul(-2)));
    const zl = f.let(p.lo);
    p.series(f, SERIES.sine, zh, zl, i32(1));
    f.setGlobal(s.h, f.call(p.mul, r.h, r.l, p.ah, p.al));
    f.setGlobal(s.l, p.lo);
    p.series(f, SERIES.cosine, zh, zl, i32(1));
    f.setGlobal(s.c, p.ah);
    f.setGlobal(s.d, p.al);
  });
  // (ahead): rounds the sine of the angle `ahead` quarter turns on.
  const wave = m.fn('x87_wave', [I32], [], (f) => {
    const quadrant = f.let(r.quadrant.add(f.params[0] as Local));
    const negative = f.let(quadrant.shrU(1).and(1));
    f.if(quadrant.and(1), () => f.run(p.give, negative, i32(1), s.c, s.d.or(1)), () => {
      f.run(p.give, negative.xor(r.sign), r.k.add(1), s.h, s.l.or(1));
    });
    flag(f, x, PE);
  });
  return {
    ...addWaves(x, { reduce, both, wave }),
    x87_fptan: addTangent(x, p, r, s, { reduce, both, wave }),
  };
}

interface Waves {
  readonly reduce: FunctionRef;
  readonly both: FunctionRef;
  readonly wave: FunctionRef;
}

const setPartial = (f: FunctionBuilder, partial: number): void =>
  setField(f, S.fpuStatus, field(f, S.fpuStatus).and(~C2).or(partial));

/** Arguments of 2^63 and more are left as they are, C2 set. */
function refuseLarge(f: FunctionBuilder, x: X87Core, vm: Value, ve: Value): void {
  const large = exponentOf(ve).geU(BIAS + 63).and(isMaximal(ve).eqz()).and(vm.ltS(0));
  f.if(large, () => {
    f.run(x.settle);
    setPartial(f, C2);
    f.return();
  });
}

function addWaves(x: X87Core, w: Waves): Record<string, FunctionRef> {
  const { m } = x;
  const functions: Record<string, FunctionRef> = {};
  // 1 when the result is there already.
  const special = m.fn('x87_waveSpecial', [I64, I32], [I32], (f) => {
    const [vm, ve] = f.params as [Local, Local];
    f.if(f.call(x.nan1, vm, ve), () => f.return(1));
    f.if(isMaximal(ve), () => {
      f.run(x.invalid);
      f.return(1);
    });
    f.if(isDenormal(vm, ve), () => flag(f, x, DE));
    f.return(0);
  });
  for (const [name, ahead] of [['x87_fsin', 0], ['x87_fcos', 1]] as const) {
    functions[name] = m.fn(name, [], [], (f) => {
      const top = physical(f, 0);
      const vm = loadM(f, top);
      const ve = loadE(f, top);
      f.setGlobal(x.xf, 0);
      f.if(isEmpty(f, top), () => f.run(x.underflow), () => {
        refuseLarge(f, x, vm, ve);
        f.if(f.call(special, vm, ve).eqz(), () => {
          f.if(isZero(vm, ve), () => {
            if (ahead === 0) setResult(f, x, vm, ve);
            else setResult(f, x, TOP_BIT, BIAS);
          }, () => {
            f.run(w.reduce, vm, ve);
            f.run(w.both);
            f.run(w.wave, i32(ahead));
          });
        });
      });
      setPartial(f, 0);
      f.run(x.finish, top);
    });
  }
  functions['x87_fsincos'] = m.fn('x87_fsincos', [], [], (f) => {
    const top = physical(f, 0);
    const next = physical(f, 7);
    const vm = loadM(f, top);
    const ve = loadE(f, top);
    const sm = f.local(I64);
    const se = f.local(I32);
    const keep = (): void => {
      f.set(sm, x.rm);
      f.set(se, x.re);
    };
    f.setGlobal(x.xf, 0);
    f.block((done) => {
      stackForTwo(f, x, top, next, () => {
        keep();
        f.br(done);
      });
      refuseLarge(f, x, vm, ve);
      f.if(f.call(special, vm, ve), () => {
        keep();
        f.br(done);
      });
      f.if(isZero(vm, ve), () => {
        f.set(sm, vm);
        f.set(se, ve);
        setResult(f, x, TOP_BIT, BIAS);
        f.br(done);
      });
      f.run(w.reduce, vm, ve);
      f.run(w.both);
      f.run(w.wave, i32(0));
      keep();
      // C1 speaks of the last result.
      f.setGlobal(x.xf, x.xf.and(~C1));
      f.run(w.wave, i32(1));
    });
    pushSecond(f, x, top, next, sm, se);
  });
  return functions;
}

/** An instruction that takes one value and leaves two: what happens when the stack has not both places. */
function stackForTwo(f: FunctionBuilder, x: X87Core, top: Value, next: Value, then: () => void): void {
  f.if(isEmpty(f, top).or(isEmpty(f, next).eqz()), () => {
    f.run(x.underflow);
    f.if(isEmpty(f, top).eqz(), () => flag(f, x, C1));
    then();
  });
}

/** The result to the new top, m:e to the old one. */
function pushSecond(f: FunctionBuilder, x: X87Core, top: Value, next: Value, vm: Value, ve: Value): void {
  setPartial(f, 0);
  f.if(f.call(x.finish, next), () => f.return());
  storeRegister(f, top, vm, ve);
  setField(f, S.fpuEmpty, field(f, S.fpuEmpty).and(i32(1).shl(top).not()));
  setField(f, S.fpuTop, next);
}

type Globals<K extends string> = Readonly<Record<K, Parameters<FunctionBuilder['setGlobal']>[0]>>;

function addTangent(
  x: X87Core, p: X87Fixed, r: Globals<'h' | 'l' | 'k' | 'sign' | 'quadrant'>, s: Globals<'h' | 'l' | 'c' | 'd'>, w: Waves,
): FunctionRef {
  // (sh, sl, sk, ch, cl, ck, sign): s/c * 2^(sk - ck).
  const ratio = x.m.fn('x87_ratio', [I64, I64, I32, I64, I64, I32, I32], [], (f) => {
    const [sh, sl, sk, ch, cl, ck, sign] = f.params as [Local, Local, Local, Local, Local, Local, Local];
    for (const [h, l, k] of [[sh, sl, sk], [ch, cl, ck]] as const) {
      const n = f.let(h.clz());
      f.if(n.ne(0), () => {
        f.set(h, h.shl(n).or(l.shrU(i64(64).sub(n))));
        f.set(l, l.shl(n));
        f.set(k, k.sub(n.wrap()));
      });
    }
    const q = f.let(f.call(p.div, sh.shrU(1), sl.shrU(1).or(sh.shl(63)), ch, cl));
    f.run(p.give, sign, sk.sub(ck).add(1), q, p.lo.or(1));
    flag(f, x, PE);
  });
  return x.m.fn('x87_fptan', [], [], (f) => {
    const top = physical(f, 0);
    const next = physical(f, 7);
    const vm = loadM(f, top);
    const ve = loadE(f, top);
    const tm = f.local(I64);
    const te = f.local(I32);
    f.setGlobal(x.xf, 0);
    f.block((done) => {
      const same = (): void => {
        f.set(tm, x.rm);
        f.set(te, x.re);
        f.br(done);
      };
      stackForTwo(f, x, top, next, same);
      refuseLarge(f, x, vm, ve);
      f.if(f.call(x.nan1, vm, ve), same);
      f.if(isMaximal(ve), () => {
        f.run(x.invalid);
        same();
      });
      f.if(isDenormal(vm, ve), () => flag(f, x, DE));
      f.if(isZero(vm, ve), () => setResult(f, x, vm, ve), () => {
        f.run(w.reduce, vm, ve);
        f.run(w.both);
        f.if(r.quadrant.and(1), () => f.run(ratio, s.c, s.d, i32(1), s.h, s.l, r.k.add(1), r.sign.xor(1)), () => {
          f.run(ratio, s.h, s.l, r.k.add(1), s.c, s.d, i32(1), r.sign);
        });
      });
      f.set(tm, x.rm);
      f.set(te, x.re);
      setResult(f, x, TOP_BIT, BIAS);
    });
    pushSecond(f, x, top, next, tm, te);
  });
}
