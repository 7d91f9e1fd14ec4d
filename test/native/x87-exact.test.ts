import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createHostState, type HostState } from './host-cpu.ts';
import { describeFx, Random } from './x87-cases.ts';
import { createX87Testbed } from './x87-testbed.ts';

/**
 * The transcendental functions against values computed to 400 bits, on any
 * host. Numbers here are integers in units of 2^-400.
 */
const BITS = 400n;
const ONE = 1n << BITS;
const mul = (a: bigint, b: bigint): bigint => (a * b) >> BITS;
const div = (a: bigint, b: bigint): bigint => (a << BITS) / b;

function squareRoot(a: bigint): bigint {
  const n = a << BITS;
  let x = 1n << BigInt((n.toString(2).length + 1) >> 1);
  for (;;) {
    const next = (x + n / x) >> 1n;
    if (next >= x) return x;
    x = next;
  }
}

/** term(0) + term(1) + …, each made from the one before. */
function series(
  first: bigint,
  next: (term: bigint, k: bigint) => bigint,
  weigh = (term: bigint, _k: bigint): bigint => term,
): bigint {
  let sum = 0n;
  let term = first;
  for (let k = 0n; term !== 0n && term !== -1n; k++) {
    sum += weigh(term, k);
    term = next(term, k);
  }
  return sum;
}

const artanh = (z: bigint): bigint =>
  series(
    z,
    (t) => mul(mul(t, z), z),
    (t, k) => t / (2n * k + 1n),
  );
const LN2 = 2n * artanh(ONE / 3n);
const expm1 = (t: bigint): bigint => series(t, (term, k) => mul(term, t) / (k + 2n));
const sine = (r: bigint): bigint => series(r, (t, k) => -mul(mul(t, r), r) / ((2n * k + 2n) * (2n * k + 3n)));
const cosine = (r: bigint): bigint =>
  series(ONE, (t, k) => -mul(mul(t, r), r) / ((2n * k + 1n) * (2n * k + 2n)));

/** ln(x), x > 0. */
function logarithm(x: bigint): bigint {
  const power = BigInt(x.toString(2).length) - BITS;
  const m = power >= 0n ? x >> power : x << -power;
  return 2n * artanh(div(m - ONE, m + ONE)) + power * LN2;
}

/** arctan(z), z >= 0, its argument halved until the series is short. */
function arctangent(z: bigint): bigint {
  let w = z;
  for (let n = 0; n < 6; n++) w = div(w, ONE + squareRoot(ONE + mul(w, w)));
  return (
    64n *
    series(
      w,
      (t) => -mul(mul(t, w), w),
      (t, k) => t / (2n * k + 1n),
    )
  );
}
const PI = 4n * arctangent(ONE);
/** Half of pi as the processors have it, 66 bits. */
const HALF_PI_66 = 0x3243f6a8885a308d3n << (BITS - 65n);

const TOP_BIT = 1n << 63n;
type Extended = readonly [m: bigint, e: number];

/** A finite normal number in units of 2^-400, which must be large enough for it. */
function exactly([m, e]: Extended): bigint {
  const shift = BITS + BigInt((e & 0x7fff) - 16383 - 63);
  const magnitude = shift >= 0n ? m << shift : m >> -shift;
  return e & 0x8000 ? -magnitude : magnitude;
}

/** |x - exact| in units of x's last place. */
function error(x: Extended, exact: bigint): number {
  const ulp = BITS + BigInt((x[1] & 0x7fff) - 16383 - 63);
  const d = exactly(x) - exact;
  return Number(((d < 0n ? -d : d) << 20n) >> ulp) / 2 ** 20;
}

/** Sine, cosine and tangent by the 66-bit half of pi. */
function wave(x: bigint): { sine: bigint; cosine: bigint } {
  const magnitude = x < 0n ? -x : x;
  const turns = (magnitude + HALF_PI_66 / 2n) / HALF_PI_66;
  const r = magnitude - turns * HALF_PI_66;
  const [s, c] = [sine(r), cosine(r)];
  const [a, b] = [
    [s, c],
    [c, -s],
    [-s, -c],
    [-c, s],
  ][Number(turns & 3n)] as [bigint, bigint];
  return { sine: x < 0n ? -a : a, cosine: b };
}

function angleOf(y: bigint, x: bigint): bigint {
  const [ay, ax] = [y < 0n ? -y : y, x < 0n ? -x : x];
  const first = arctangent(div(ay, ax));
  const angle = x < 0n ? PI - first : first;
  return y < 0n ? -angle : angle;
}

const CODE = 0x6ff0_0000,
  DATA = 0x7000_0000;
const bed = createX87Testbed(CODE, DATA, 65536);

/** Runs an instruction on ST(0) and ST(1); gives the new ST(0) and ST(1). */
function run(
  code: readonly number[],
  st0: Extended,
  st1: Extended,
  control: number,
): [Extended, Extended, HostState] {
  const state = createHostState();
  const after = createHostState();
  const view = new DataView(state.fx.buffer);
  view.setUint16(0, control, true);
  state.fx[4] = 3;
  for (const [i, [m, e]] of [st0, st1].entries()) {
    view.setBigUint64(32 + 16 * i, m, true);
    view.setUint16(40 + 16 * i, e, true);
  }
  assert.equal(bed.run(Uint8Array.from(code), state, after), undefined);
  const out = new DataView(after.fx.buffer);
  const get = (i: number): Extended => [
    out.getBigUint64(32 + 16 * i, true),
    out.getUint16(40 + 16 * i, true),
  ];
  return [get(0), get(1), after];
}

interface Case {
  readonly name: string;
  readonly code: readonly number[];
  /** Ranges of the operands' exponents without bias, and whether they are positive. */
  readonly st0: readonly [number, number, boolean?];
  readonly st1?: readonly [number, number];
  readonly exact: (st0: bigint, st1: bigint) => readonly [bigint, bigint?];
}

const FUNCTIONS: readonly Case[] = [
  { name: 'f2xm1', code: [0xd9, 0xf0], st0: [-70, -1], exact: (x) => [expm1(mul(x, LN2))] },
  {
    name: 'fyl2x',
    code: [0xd9, 0xf1],
    st0: [-3, 60, true],
    st1: [-20, 20],
    exact: (x, y) => [mul(y, div(logarithm(x), LN2))],
  },
  {
    name: 'fyl2xp1',
    code: [0xd9, 0xf9],
    st0: [-70, -3],
    st1: [-20, 20],
    exact: (x, y) => [mul(y, div(2n * artanh(div(x, 2n * ONE + x)), LN2))],
  },
  { name: 'fpatan', code: [0xd9, 0xf3], st0: [-50, 50], st1: [-50, 50], exact: (x, y) => [angleOf(y, x)] },
  { name: 'fsin', code: [0xd9, 0xfe], st0: [-90, 62], exact: (x) => [wave(x).sine] },
  { name: 'fcos', code: [0xd9, 0xff], st0: [-90, 62], exact: (x) => [wave(x).cosine] },
  { name: 'fsincos', code: [0xd9, 0xfb], st0: [-4, 8], exact: (x) => [wave(x).cosine, wave(x).sine] },
  {
    name: 'fptan',
    code: [0xd9, 0xf2],
    st0: [-90, 62],
    exact: (x) => [ONE, div(wave(x).sine, wave(x).cosine)],
  },
];

describe('x87 transcendentals against exact values', () => {
  for (const { name, code, st0, st1, exact } of FUNCTIONS) {
    it(`${name} is rounded as RC says`, (t) => {
      const r = new Random(7n);
      const operand = ([from, to, positive]: readonly [number, number, boolean?]): Extended => [
        TOP_BIT | r.u64(),
        (positive === true ? 0 : r.below(2) << 15) | (16383 + from + r.below(to - from + 1)),
      ];
      let largest = 0;
      for (let k = 0; k < 600; k++) {
        const [x, y] = [operand(st0), operand(st1 ?? [0, 1])];
        const rc = k % 3 === 0 ? 1 + r.below(3) : 0;
        const [a, b, after] = run(code, x, y, 0x37f | (rc << 10));
        const values = exact(exactly(x), exactly(y));
        for (const [i, value] of values.entries()) {
          if (value === undefined) continue;
          const got = i === 0 ? a : b;
          const ulps = error(got, value);
          if (rc === 0) largest = Math.max(largest, ulps);
          const message = `${name} off by ${ulps} ulp, RC ${rc}: ${x} ${y}\n  ${describeFx(after.fx)}`;
          assert.ok(ulps <= (rc === 0 ? 0.5001 : 1.0001), message);
          const above = exactly(got) >= value;
          if (rc === 1) assert.ok(exactly(got) <= value, message);
          if (rc === 2) assert.ok(above, message);
          if (rc === 3) assert.ok(exactly(got) === value || above === got[1] > 0x7fff, message);
        }
      }
      t.diagnostic(`${name}: largest error ${largest.toFixed(5)} ulp`);
    });
  }
});
