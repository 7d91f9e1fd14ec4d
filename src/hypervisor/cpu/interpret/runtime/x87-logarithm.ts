import type { FunctionRef, Local } from '../../wasm/function.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i32, i64, select } from '../../wasm/value.ts';
import {
  BIAS,
  DE,
  exponentOf,
  flag,
  INTEGER_BIT,
  isDenormal,
  isMaximal,
  isZero,
  normalize,
  PE,
  signOf,
  UE,
  type X87Core,
  ZE,
} from './x87-core.ts';
import { HALF_LOG_2_E, high, low, SERIES, type X87Fixed } from './x87-fixed.ts';
import { binary, infinityOf, zeroOf } from './x87-shapes.ts';

/** FYL2X and FYL2XP1: log2(x) = 2 / ln 2 * artanh((x - 1) / (x + 1)), the power of two taken out first. */
export function addLogarithms(x: X87Core, p: X87Fixed, add: FunctionRef): Record<string, FunctionRef> {
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
    f.run(
      p.give,
      ys.xor(sign),
      k
        .sub(n.wrap())
        .add(exponent)
        .sub(BIAS - 1),
      product,
      p.lo,
    );
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
    const one = f.let(vm.eq(INTEGER_BIT).and(ve.eq(BIAS)));
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
    const numerator = f.let(select(less, vm.neg(), vm.sub(INTEGER_BIT)));
    const h = f.local(I64, 0);
    const l = f.local(I64, 0);
    const k = f.local(I32, 0);
    const sign = f.local(I32, less);
    f.if(numerator.ne(0), () => {
      const c = f.let(numerator.clz());
      const n = f.let(numerator.shl(c));
      const dh = f.let(vm.shrU(1).add(select(less, i64(INTEGER_BIT), i64(0x4000_0000_0000_0000n))));
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
      f.if(
        negative.eq(sign).or(numerator.eqz()),
        () => f.set(h, whole.add(h)),
        () => {
          f.set(h, whole.sub(h).sub(l.ne(0).extendU()));
          f.set(l, l.neg());
        },
      );
      f.set(sign, negative);
      f.set(k, 16);
    });
    f.run(scaled, ym, ye, sign, k, h, l);
    // Exact results count as inexact too, as processors have it; a denormal one is then an underflow.
    flag(f, x, select(exponentOf(x.re).eqz(), i32(PE | UE), i32(PE)));
  });
}

function addLog2PlusOne(
  x: X87Core,
  p: X87Fixed,
  series: FunctionRef,
  scaled: FunctionRef,
  add: FunctionRef,
  log2: FunctionRef,
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
      f.run(add, vm, ve, i64(INTEGER_BIT), i32(BIAS), i32(0));
      f.run(log2, ym, ye, x.rm, x.re);
      f.return();
    });
    const exponent = normalize(f, vm, ve);
    const fh = f.let(f.call(p.shift, vm, i64(0), i32(BIAS).sub(exponent)));
    const fl = f.let(p.lo);
    // d is (2 + v) / 4, or (2 - |v|) / 2; f is |v| / 2.
    const dh = f.local(I64);
    const dl = f.local(I64);
    f.if(
      sign,
      () => {
        f.set(dl, fl.neg());
        f.set(dh, fh.not().add(fl.eqz().extendU()));
        f.if(dh.eqz(), () => {
          f.set(dh, -1);
          f.set(dl, -1);
        });
      },
      () => {
        f.set(dl, fl.shrU(1).or(fh.shl(63)));
        f.set(dh, fh.shrU(1).or(INTEGER_BIT));
      },
    );
    const k = f.let(exponent.sub(BIAS).add(sign));
    const q = f.let(f.call(p.div, vm.shrU(1), vm.shl(63), dh, dl));
    const ql = f.let(p.lo);
    const result = f.let(f.call(series, q, ql, k));
    f.run(scaled, ym, ye, sign, k.add(3), result, p.lo.or(1));
    flag(f, x, PE);
  });
}
