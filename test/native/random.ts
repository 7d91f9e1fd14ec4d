/** A seeded generator (xorshift64*, Vigna 2016), so that a failure can be had again. */
export class Random {
  #state: bigint;

  constructor(seed: number) {
    this.#state = BigInt.asUintN(64, BigInt(seed) * 0x9e37_79b9_7f4a_7c15n + 0x1234_5678_9abc_def1n) || 1n;
  }

  u64(): bigint {
    let x = this.#state;
    x ^= x >> 12n;
    x = BigInt.asUintN(64, x ^ (x << 25n));
    x ^= x >> 27n;
    this.#state = x;
    return BigInt.asUintN(64, x * 0x2545_f491_4f6c_dd1dn);
  }

  /** 0 … limit - 1, limit at most 2^32. */
  below(limit: number): number {
    return Number(((this.u64() >> 32n) * BigInt(limit)) >> 32n);
  }

  chance(probability: number): boolean {
    return this.below(1_000_000) < probability * 1_000_000;
  }

  pick<T>(list: readonly T[]): T {
    const item = list[this.below(list.length)];
    if (item === undefined) throw new RangeError('nothing to pick from');
    return item;
  }

  /** A 64-bit value, often one where instructions change their minds. */
  value(): bigint {
    const kind = this.below(10);
    if (kind < 4) return this.u64();
    if (kind < 8) return BigInt.asUintN(64, this.pick(EDGES) + BigInt(this.below(3) - 1));
    if (kind === 8) return BigInt(this.below(70));
    // Different at each width.
    return BigInt.asUintN(64, (this.pick(EDGES) << 32n) | (this.pick(EDGES) & 0xffff_ffffn));
  }
}

/** A 64-bit value for a vector register: integers, two singles or a double, often at an edge of their format. */
export function vectorValue(rng: Random): bigint {
  const kind = rng.below(10);
  if (kind < 5) return rng.value();
  if (kind < 8) return (single(rng) << 32n) | single(rng);
  return double(rng);
}

const bits = (rng: Random, n: number): bigint => rng.u64() & ((1n << BigInt(n)) - 1n);

/** A number near 1, mostly, so that sums and products meet; else zero, a denormal, the largest, an infinity, a NaN. */
function floating(rng: Random, fraction: number, exponentBits: number): bigint {
  const bias = (1 << (exponentBits - 1)) - 1;
  const most = (1 << exponentBits) - 1;
  const kind = rng.below(16);
  // Few significant bits make ties and exact results.
  const mantissa = rng.chance(0.5) ? bits(rng, fraction) : bits(rng, 3) << BigInt(rng.below(fraction - 2));
  let exponent: number;
  if (kind < 8) exponent = bias + rng.below(9) - 4;
  else if (kind < 10) exponent = 0;
  else if (kind < 11) exponent = 1 + rng.below(2);
  else if (kind < 12) exponent = most - 1;
  else if (kind < 13) exponent = most;
  else exponent = rng.below(most + 1);
  const edge = rng.chance(0.15) ? (rng.chance(0.5) ? 0n : (1n << BigInt(fraction)) - 1n) : mantissa;
  return (
    (BigInt(rng.below(2)) << BigInt(fraction + exponentBits)) | (BigInt(exponent) << BigInt(fraction)) | edge
  );
}

const single = (rng: Random): bigint => floating(rng, 23, 8);
const double = (rng: Random): bigint => floating(rng, 52, 11);

const EDGES: readonly bigint[] = [
  0n,
  1n,
  -1n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x7fff_ffff_ffff_ffffn,
  -0x8000_0000_0000_0000n,
  0x8080_8080_8080_8080n,
  0x0123_4567_89ab_cdefn,
  -128n,
  -0x8000n,
  -0x8000_0000n,
];
