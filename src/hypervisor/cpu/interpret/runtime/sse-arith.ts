import { LANE_OP, MXCSR, PREDICATES, SSE } from '../../isa/sse-scratch.ts';
import { S } from '../../layout.ts';
import { type FunctionBuilder, type FunctionRef, I32, I64, type Local, V128 } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { extractLane, i32, i64, select, type Value } from '../../wasm/value.ts';
import {
  DOUBLE,
  type Format,
  isDenormal,
  isNaNBits,
  isSignalling,
  magnitude,
  mxcsr,
  SINGLE,
  type SoftFloat,
  signal,
  signOf,
} from './sse-soft.ts';

/** The exceptions of an instruction begin with those of its lower half, when that was of 256 bits. */
export function begin(f: FunctionBuilder): void {
  f.store('i32.store', SSE.exceptions, f.load('i32.load', SSE.held));
  f.store('i32.store', SSE.held, 0);
}

/** Sets MXCSR's flags from what was raised; raises #XM (or #UD) when one is unmasked and says so. Of a lower half it tells nothing yet. */
export function defineFinish(m: ModuleBuilder): FunctionRef {
  return m.fn('sseFinish', [], [I32], (f) => {
    const raised = f.let(f.load('i32.load', SSE.exceptions));
    f.if(f.load('i32.load', SSE.hold), () => {
      f.store('i32.store', SSE.held, f.load('i32.load', SSE.held).or(raised));
      f.return(0);
    });
    const mx = f.let(mxcsr(f));
    const unmasked = f.let(mx.and(MXCSR.masks).shrU(MXCSR.maskShift).xor(0x3f));
    // What is found before computing keeps the rest from being computed (SDM vol. 1, 11.5.2).
    f.if(raised.and(unmasked).and(MXCSR.ie | MXCSR.de | MXCSR.ze), () => f.set(raised, raised.and(7)));
    f.store('i32.store', S.mxcsr, mx.or(raised));
    f.if(raised.and(unmasked), () => {
      const supported = f.load('i32.load', S.cr4).and(1 << 10);
      f.store('i32.store', S.faultVector, select(supported, i32(19), i32(6)));
      f.store('i32.store', S.faultHasCode, 0);
      f.store('i32.store', S.faultCode, 0);
      f.return(1);
    });
    f.return(0);
  });
}

/** A denormal becomes a zero of its sign where DAZ says so. */
export function flushDenormal(f: FunctionBuilder, t: Format, x: Local): void {
  f.if(mxcsr(f).and(MXCSR.daz), () => f.if(isDenormal(t, x), () => f.set(x, x.and(t.sign))));
}

function floatOf(t: Format, x: Value): Value {
  return t.bits === 32 ? x.wrap().reinterpret() : x.reinterpret();
}

/** min and max: the second operand whenever the two cannot be ordered, and for two zeroes (SDM vol. 2, MINPS). */
function emitMinMax(f: FunctionBuilder, t: Format, op: Local, x: Local, y: Local, nan: Value): void {
  f.if(op.eq(LANE_OP.min).or(op.eq(LANE_OP.max)), () => {
    f.if(nan, () => {
      signal(f, MXCSR.ie);
      f.return(y);
    });
    f.if(isDenormal(t, x).or(isDenormal(t, y)), () => signal(f, MXCSR.de));
    const less = floatOf(t, x).lt(floatOf(t, y));
    const greater = floatOf(t, x).gt(floatOf(t, y));
    f.return(select(select(op.eq(LANE_OP.min), less, greater), x, y));
  });
}

/** Predicates of CMPPS give all ones or zero; (U)COMISS gives ZF in bit 0, PF in bit 1, CF in bit 2. */
function emitCompare(f: FunctionBuilder, t: Format, op: Local, x: Local, y: Local, nan: Value): void {
  f.if(op.geU(LANE_OP.comis), () => {
    const predicate = f.let(op.sub(LANE_OP.compare));
    const ordinary = f.let(op.geU(LANE_OP.compare));
    f.if(
      nan,
      () => {
        // LT, LE and their opposites (from 16 on: the others), and COMIS, refuse quiet NaNs too.
        const unequal = predicate.and(3).eq(1).or(predicate.and(3).eq(2));
        const strict = select(ordinary, unequal.xor(predicate.shrU(4)), op.eq(LANE_OP.comis));
        f.if(strict.or(isSignalling(t, x)).or(isSignalling(t, y)), () => signal(f, MXCSR.ie));
      },
      () => f.if(isDenormal(t, x).or(isDenormal(t, y)), () => signal(f, MXCSR.de)),
    );
    const equal = f.let(floatOf(t, x).eq(floatOf(t, y)));
    const less = f.let(floatOf(t, x).lt(floatOf(t, y)));
    f.if(ordinary.eqz(), () => {
      f.return(equal.or(nan).or(nan.shl(1)).or(less.or(nan).shl(2)).extendU());
    });
    const relation = select(nan, i32(3), select(less, i32(0), select(equal, i32(1), i32(2))));
    const truth = i64(PREDICATES).shrU(predicate.and(15).shl(2).add(relation).extendU()).and(1);
    f.return(
      i64(0)
        .sub(truth)
        .shrU(64 - t.bits),
    );
  });
}

/** (operation, x, y) → result bits of one lane, by LANE_OP; everything as MXCSR says. */
export function defineLane(m: ModuleBuilder, soft: SoftFloat): FunctionRef {
  const t = soft.format;
  return m.fn(`sseLane${t.bits}`, [I32, I64, I64], [I64], (f) => {
    const [op, x, y] = f.params as [Local, Local, Local];
    flushDenormal(f, t, x);
    flushDenormal(f, t, y);
    const nan = f.let(isNaNBits(t, x).or(isNaNBits(t, y)));
    emitMinMax(f, t, op, x, y, nan);
    emitCompare(f, t, op, x, y, nan);
    f.if(nan, () => {
      f.if(isSignalling(t, x).or(isSignalling(t, y)), () => signal(f, MXCSR.ie));
      f.return(select(isNaNBits(t, x), x, y).or(t.quiet));
    });
    const negativeRoot = op.eq(LANE_OP.sqrt).and(signOf(t, x));
    const byZero = op.eq(LANE_OP.div).and(magnitude(t, y).eqz());
    f.if(isDenormal(t, x).or(isDenormal(t, y)).and(negativeRoot.or(byZero).eqz()), () => signal(f, MXCSR.de));
    f.if(op.eq(LANE_OP.sqrt), () => f.return(f.call(soft.sqrt, x)));
    f.if(op.eq(LANE_OP.mul), () => f.return(f.call(soft.mul, x, y)));
    f.if(op.eq(LANE_OP.div), () => f.return(f.call(soft.div, x, y)));
    f.if(op.eq(LANE_OP.sub), () => f.set(y, y.xor(t.sign)));
    f.return(f.call(soft.add, x, y));
  });
}

export function lanesOf(t: Format, v: Value): Value[] {
  return t.bits === 32
    ? [0, 1, 2, 3].map((lane) => extractLane('i32x4.extract_lane', v, lane).extendU())
    : [0, 1].map((lane) => extractLane('i64x2.extract_lane', v, lane));
}

export function storeLane(f: FunctionBuilder, t: Format, lane: number, value: Value): void {
  f.store(t.bits === 32 ? 'i64.store32' : 'i64.store', SSE.result, value, (lane * t.bits) / 8);
}

/**
 * (operation of even lanes | operation of odd lanes << 8, x, y) → 0 with the
 * result in SSE.result, or 1 with #XM raised; and the same for one lane.
 */
function definePacked(m: ModuleBuilder, t: Format, lane: FunctionRef, finish: FunctionRef): FunctionRef {
  return m.fn(`ssePacked${t.bits}`, [I32, V128, V128], [I32], (f) => {
    const [ops, x, y] = f.params as [Local, Local, Local];
    begin(f);
    const even = f.let(ops.and(255));
    const odd = f.let(ops.shrU(8));
    const ys = lanesOf(t, y);
    lanesOf(t, x).forEach((xLane, i) => {
      const result = f.call(lane, i % 2 === 0 ? even : odd, xLane, ys[i] ?? xLane);
      storeLane(f, t, i, result);
    });
    f.return(f.call(finish));
  });
}

function defineScalar(m: ModuleBuilder, t: Format, lane: FunctionRef, finish: FunctionRef): FunctionRef {
  const type = t.bits === 32 ? I32 : I64;
  return m.fn(`sseScalar${t.bits}`, [I32, type, type], [I32], (f) => {
    const [op, x, y] = f.params as [Local, Local, Local];
    begin(f);
    storeLane(f, t, 0, f.call(lane, op, x.extendU(), y.extendU()));
    f.return(f.call(finish));
  });
}

/**
 * DPPS and DPPD (x, y of each 128 bits, immediate): products of the lanes in the immediate's high half, summed in
 * pairs, broadcast to the lanes in its low half. Each step, of all halves, raises its exceptions before the next
 * (SDM vol. 2, DPPS). The results of two halves lie one behind the other.
 */
function defineDot(
  m: ModuleBuilder,
  t: Format,
  lane: FunctionRef,
  finish: FunctionRef,
  halves: 1 | 2,
): FunctionRef {
  const count = 128 / t.bits;
  const vectors = new Array<typeof V128>(2 * halves).fill(V128);
  return m.fn(halves === 1 ? `sseDot${t.bits}` : `avxDot${t.bits}`, [...vectors, I32], [I32], (f) => {
    const imm = f.params[2 * halves] as Local;
    const settle = (): void => {
      f.if(f.call(finish), () => f.return(1));
      f.store('i32.store', SSE.exceptions, 0);
    };
    begin(f);
    let terms = Array.from({ length: halves }, (_, half) => {
      const [x, y] = f.params.slice(2 * half) as [Local, Local];
      const ys = lanesOf(t, y);
      return lanesOf(t, x).map((xLane, i) => {
        const term = f.local(I64, 0);
        const use = imm.shrU(4 + i).and(1);
        f.if(use, () => f.set(term, f.call(lane, i32(LANE_OP.mul), xLane, ys[i] ?? xLane)));
        return term;
      });
    });
    settle();
    for (let left = count; left > 1; left /= 2) {
      terms = terms.map((pairs) =>
        pairs
          .filter((_, i) => i % 2 === 0)
          .map((term, i) => f.let(f.call(lane, i32(LANE_OP.add), term, pairs[i * 2 + 1] ?? term))),
      );
      settle();
    }
    terms.forEach(([sum], half) => {
      for (let i = 0; i < count; i += 1) {
        storeLane(f, t, half * count + i, select(imm.shrU(i).and(1), sum ?? i64(0), i64(0)));
      }
    });
    f.return(0);
  });
}

export interface ExactPath {
  readonly functions: Record<string, FunctionRef>;
  readonly finish: FunctionRef;
  readonly lane32: FunctionRef;
  readonly lane64: FunctionRef;
}

/** Defines `ssePacked32/64`, `sseScalar32/64`, `sseDot32/64`, `avxDot32`, and `sseDeliver`, which tells what a lower half held back. */
export function addExactArithmetic(m: ModuleBuilder, soft32: SoftFloat, soft64: SoftFloat): ExactPath {
  const finish = defineFinish(m);
  const lane32 = defineLane(m, soft32);
  const lane64 = defineLane(m, soft64);
  const functions: Record<string, FunctionRef> = {};
  for (const [t, lane] of [
    [SINGLE, lane32],
    [DOUBLE, lane64],
  ] as const) {
    functions[`ssePacked${t.bits}`] = definePacked(m, t, lane, finish);
    functions[`sseScalar${t.bits}`] = defineScalar(m, t, lane, finish);
    functions[`sseDot${t.bits}`] = defineDot(m, t, lane, finish, 1);
  }
  functions['avxDot32'] = defineDot(m, SINGLE, lane32, finish, 2);
  functions['sseDeliver'] = m.fn('sseDeliver', [], [I32], (f) => {
    begin(f);
    f.return(f.call(finish));
  });
  return { functions, finish, lane32, lane64 };
}
