import { S } from '../../layout.ts';
import type { FunctionBuilder, FunctionRef, Local } from '../../wasm/function.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i32, i64, select, type Value } from '../../wasm/value.ts';
import {
  BIAS,
  C1,
  C2,
  DE,
  exponentOf,
  field,
  flag,
  INTEGER_BIT,
  isDenormal,
  isEmpty,
  isMaximal,
  isZero,
  loadE,
  loadM,
  normalize,
  PE,
  physical,
  setField,
  setResult,
  signOf,
  storeRegister,
  type X87Core,
} from './x87-core.ts';
import { high, low, SERIES, type X87Fixed } from './x87-fixed.ts';

/** FSIN FCOS FSINCOS FPTAN: reduced to a quarter of a turn, then by their series. */

/** Pi/2 * 2^65 as the processors have it: 66 significant bits (SDM vol. 1, 8.3.8). */
const PI_66 = 0x3243f6a8885a308d3n;
const PI_NORMAL = PI_66 << 62n;

export function addTrigonometry(x: X87Core, p: X87Fixed): Record<string, FunctionRef> {
  const { m } = x;
  // Of the reduced argument r: significand at 2^-128, its power of two, sign; the quadrant; sine and cosine of |r|.
  const r = {
    h: m.global(I64, 0),
    l: m.global(I64, 0),
    k: m.global(I32, 0),
    sign: m.global(I32, 0),
    quadrant: m.global(I32, 0),
  };
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
    const quotient = f.let(
      f.call(p.digit, nh.shrU(2), nh.shl(62).or(nl.shrU(2)), nl.shl(62), high(PI_NORMAL), low(PI_NORMAL)),
    );
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
  const s = {
    h: m.global(I64, 0),
    l: m.global(I64, 0),
    c: m.global(I64, 0),
    d: m.global(I64, 0),
    /** The argument is so small that its sine looks like itself; both are then a hair too large. */
    exact: m.global(I32, 0),
  };
  // Sine: s.h:s.l * 2^(r.k + 1), sign r.sign; cosine: s.c:s.d * 2.
  const both = m.fn('x87_sineAndCosine', [], [], (f) => {
    const square = f.let(f.call(p.mul, r.h, r.l, r.h, r.l));
    const zh = f.let(f.call(p.shift, square, p.lo, r.k.mul(-2)));
    const zl = f.let(p.lo);
    p.series(f, SERIES.sine, zh, zl, i32(1));
    f.setGlobal(s.exact, p.ah.eq(INTEGER_BIT).and(p.al.eqz()));
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
    f.if(
      quadrant.and(1),
      () => {
        const below = f.let(s.c.eq(INTEGER_BIT).and(s.d.eqz()).extendU());
        f.run(p.give, negative, i32(1), s.c.sub(below), s.d.sub(below).or(1));
      },
      () => {
        const below = f.let(s.exact.extendU());
        f.run(
          p.give,
          negative.xor(r.sign),
          r.k.add(1),
          s.h.sub(below.and(s.l.eqz().extendU())),
          s.l.sub(below).or(1),
        );
      },
    );
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
  const large = exponentOf(ve)
    .geU(BIAS + 63)
    .and(isMaximal(ve).eqz())
    .and(vm.ltS(0));
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
  for (const [name, ahead] of [
    ['x87_fsin', 0],
    ['x87_fcos', 1],
  ] as const) {
    functions[name] = m.fn(name, [], [], (f) => {
      const top = physical(f, 0);
      const vm = loadM(f, top);
      const ve = loadE(f, top);
      f.setGlobal(x.xf, 0);
      f.if(
        isEmpty(f, top),
        () => f.run(x.underflow),
        () => {
          refuseLarge(f, x, vm, ve);
          f.if(f.call(special, vm, ve).eqz(), () => {
            f.if(
              isZero(vm, ve),
              () => {
                if (ahead === 0) setResult(f, x, vm, ve);
                else setResult(f, x, INTEGER_BIT, BIAS);
              },
              () => {
                f.run(w.reduce, vm, ve);
                f.run(w.both);
                f.run(w.wave, i32(ahead));
              },
            );
          });
        },
      );
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
        setResult(f, x, INTEGER_BIT, BIAS);
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
  x: X87Core,
  p: X87Fixed,
  r: Globals<'h' | 'l' | 'k' | 'sign' | 'quadrant'>,
  s: Globals<'h' | 'l' | 'c' | 'd'>,
  w: Waves,
): FunctionRef {
  // (sh, sl, sk, ch, cl, ck, sign): s/c * 2^(sk - ck).
  const ratio = x.m.fn('x87_ratio', [I64, I64, I32, I64, I64, I32, I32], [], (f) => {
    const [sh, sl, sk, ch, cl, ck, sign] = f.params as [Local, Local, Local, Local, Local, Local, Local];
    for (const [h, l, k] of [
      [sh, sl, sk],
      [ch, cl, ck],
    ] as const) {
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
      f.if(
        isZero(vm, ve),
        () => setResult(f, x, vm, ve),
        () => {
          f.run(w.reduce, vm, ve);
          f.run(w.both);
          f.if(
            r.quadrant.and(1),
            () => f.run(ratio, s.c, s.d, i32(1), s.h, s.l, r.k.add(1), r.sign.xor(1)),
            () => {
              f.run(ratio, s.h, s.l, r.k.add(1), s.c, s.d, i32(1), r.sign);
            },
          );
        },
      );
      f.set(tm, x.rm);
      f.set(te, x.re);
      setResult(f, x, INTEGER_BIT, BIAS);
    });
    pushSecond(f, x, top, next, tm, te);
  });
}
