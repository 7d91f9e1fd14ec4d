import type { FunctionBuilder, FunctionRef, Local } from '../../wasm/function.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i32, i64, select, type Value } from '../../wasm/value.ts';
import {
  DE,
  flag,
  INTEGER_BIT,
  isDenormal,
  isMaximal,
  isZero,
  normalize,
  PE,
  signOf,
  type X87Core,
} from './x87-core.ts';
import { ARCTANGENTS, high, low, QUARTER_PI, SERIES, type X87Fixed } from './x87-fixed.ts';
import { binary, zeroOf } from './x87-shapes.ts';

/** ST(1) = arctan(ST(1) / ST(0)) in the quadrant of the point (ST(0), ST(1)). */
export function addArctangent(x: X87Core, p: X87Fixed): Record<string, FunctionRef> {
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
        const three = (3n * QUARTER_PI) >> 2n;
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
      f.if(
        vs,
        () => turn(i32(4)),
        () => zeroOf(f, x, ys),
      );
      f.return();
    });
    f.if(isZero(vm, ve), () => turn(i32(2)));
    const yx = normalize(f, ym, ye);
    const vx = normalize(f, vm, ve);
    const swapped = f.let(yx.gtS(vx).or(yx.eq(vx).and(ym.gtU(vm))));
    f.if(yx.eq(vx).and(ym.eq(vm)), () => turn(select(vs, i32(3), i32(1))));
    f.if(
      swapped,
      () => f.run(core, vm, ym, vx.sub(yx), ys, vs, i32(1)),
      () => {
        f.run(core, ym, vm, yx.sub(vx), ys, vs, i32(0));
      },
    );
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
    f.if(
      d.eqz(),
      () => {
        f.set(rh, qh.shl(1).or(ql.shrU(63)));
        f.set(rl, ql.shl(1));
      },
      () => {
        f.set(rh, f.call(p.shift, qh, ql, i32(-1).sub(d)));
        f.set(rl, p.lo);
      },
    );
    const index = f.let(rh.shrU(60).add(1).shrU(1).wrap());
    // The angle, at 2^-126.
    const h = f.local(I64);
    const l = f.local(I64);
    f.if(
      index.eqz(),
      () => {
        const square = f.let(f.call(p.mul, rh, rl, rh, rl));
        p.series(f, SERIES.odd, square, p.lo, i32(1));
        const product = f.let(f.call(p.mul, qh, ql, p.ah, p.al));
        const rest = f.let(p.lo);
        f.if(swapped.or(vs).eqz(), () => {
          // A small angle looks like its tangent and is a hair less.
          const below = f.let(p.ah.eq(INTEGER_BIT).and(p.al.eqz()).extendU());
          const borrow = below.and(rest.eqz().extendU());
          f.run(p.give, ys, d.add(2), product.sub(borrow), rest.sub(below).or(1));
          f.return();
        });
        f.set(h, f.call(p.shift, product, rest, d.neg()));
        f.set(l, p.lo);
      },
      () => nearBreakpoint(f, p, index, rh, rl, h, l),
    );
    const half = QUARTER_PI >> 1n;
    const combine = (base: bigint, subtract: Value): void =>
      f.if(
        subtract,
        () => {
          const borrow = f.let(low(base).ltU(l).extendU());
          f.set(h, high(base).sub(h).sub(borrow));
          f.set(l, low(base).sub(l));
        },
        () => {
          f.set(l, l.add(low(base)));
          f.set(h, h.add(high(base)).add(l.ltU(low(base)).extendU()));
        },
      );
    f.if(
      swapped,
      () => combine(half, vs.eqz()),
      () => {
        f.if(vs, () => combine(half << 1n, i32(1)));
      },
    );
    f.run(p.give, ys, i32(2), h, l.or(1));
  });
}

/** arctan(r) = arctan(k/8) + arctan((r - k/8) / (1 + r k/8)), into h:l at 2^-126. */
function nearBreakpoint(
  f: FunctionBuilder,
  p: X87Fixed,
  index: Local,
  rh: Local,
  rl: Local,
  h: Local,
  l: Local,
): void {
  const point = f.let(index.extendU().shl(61));
  // 8/8 does not fit in front of the point; r is below it.
  const under = f.let(index.eq(8).or(rh.ltU(point)));
  const nh = f.local(I64);
  const nl = f.local(I64);
  f.if(
    under,
    () => {
      f.set(nl, rl.neg());
      f.set(nh, point.sub(rh).sub(rl.ne(0).extendU()));
    },
    () => {
      f.set(nl, rl);
      f.set(nh, rh.sub(point));
    },
  );
  const scaled = f.let(f.call(p.mul, rh, rl, index.extendU().shl(60), i64(0)));
  const dl = f.let(p.lo);
  const wh = f.let(f.call(p.div, nh, nl, scaled.add(INTEGER_BIT), dl));
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
  f.if(
    under,
    () => {
      f.set(h, h.sub(th).sub(l.ltU(tl).extendU()));
      f.set(l, l.sub(tl));
    },
    () => {
      f.set(l, l.add(tl));
      f.set(h, h.add(th).add(l.ltU(tl).extendU()));
    },
  );
  f.set(l, l.shrU(2).or(h.shl(62)));
  f.set(h, h.shrU(2));
}
