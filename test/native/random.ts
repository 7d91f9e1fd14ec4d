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
