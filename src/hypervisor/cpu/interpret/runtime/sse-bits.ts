import { SSE } from '../../isa/sse-scratch.ts';
import {
  F32,
  F64,
  type FunctionBuilder,
  type FunctionRef,
  I32,
  I64,
  type Local,
  V128,
} from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import {
  extractLane,
  i32,
  i64,
  replaceLane,
  select,
  shuffle,
  simd,
  type Value,
  vconst,
} from '../../wasm/value.ts';

/** What is bulky among the instructions without floating-point exceptions. */

const IOTA = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const bytes = (value: number): Value => vconst(new Array<number>(16).fill(value));
const zero = (): Value => bytes(0);

/**
 * (x, y, immediate, lengths or -1 for implicit ones) → IntRes2 in bits 0-15, then CF, ZF, SF, OF
 * (SDM vol. 2, 4.1). Bit n of the intermediate masks stands for element n of y.
 */
function defineCompareStrings(m: ModuleBuilder): FunctionRef {
  return m.fn('sseCompareStrings', [V128, V128, I32, I32, I32], [I32], (f) => {
    const [x, y, imm, xLength, yLength] = f.params as [Local, Local, Local, Local, Local];
    const result = f.local(I32);
    const count = f.let(select(imm.and(1), i32(8), i32(16)));
    f.if(
      imm.and(1),
      () => aggregate(f, 'i16x8', x, y, imm, xLength, yLength, result),
      () => aggregate(f, 'i8x16', x, y, imm, xLength, yLength, result),
    );
    const valid = i32(1).shl(yLength).sub(1);
    const all = i32(1).shl(count).sub(1);
    const flipped = select(imm.and(0x20), valid, all);
    f.set(result, result.xor(select(imm.and(0x10), flipped, i32(0))));
    const flags = result
      .ne(0)
      .or(yLength.ltS(count).shl(1))
      .or(xLength.ltS(count).shl(2))
      .or(result.and(1).shl(3));
    f.return(result.or(flags.shl(16)));
  });
}

function aggregate(
  f: FunctionBuilder,
  shape: 'i8x16' | 'i16x8',
  x: Local,
  y: Local,
  imm: Local,
  xLength: Local,
  yLength: Local,
  result: Local,
): void {
  const count = shape === 'i8x16' ? 16 : 8;
  const size = 16 / count;
  const all = (1 << count) - 1;
  const mask = (v: Value): Value => simd(`${shape}.bitmask`, [v], I32);
  for (const [length, v] of [
    [xLength, x],
    [yLength, y],
  ] as const) {
    f.if(length.ltS(0), () => {
      f.set(
        length,
        mask(simd(`${shape}.eq`, [v, zero()]))
          .or(1 << count)
          .ctz(),
      );
    });
  }
  const xValid = f.let(i32(1).shl(xLength).sub(1));
  const yValid = f.let(i32(1).shl(yLength).sub(1));
  const kind = f.let(imm.shrU(2).and(3));
  f.if(kind.eq(2), () => {
    const both = xValid.and(yValid);
    f.set(
      result,
      mask(simd(`${shape}.eq`, [x, y]))
        .and(both)
        .or(xValid.or(yValid).xor(all)),
    );
  });
  f.if(kind.ne(2), () => {
    f.store('v128.store', SSE.image, x);
    const element = (offset: number): Value => {
      const name = size === 1 ? 'i32.load8_u' : 'i32.load16_u';
      return simd(`${shape}.splat`, [f.load(name, i.mul(size), SSE.image + offset)]);
    };
    const i = f.local(I32, 0);
    f.set(result, select(kind.eq(3), i32(all), i32(0)));
    const step = f.let(select(kind.eq(1), i32(2), i32(1)));
    f.block((done) => {
      f.loop((again) => {
        f.brIf(done, i.add(step).gtU(xLength));
        f.if(
          kind.eq(1),
          () => {
            const within = (sign: 's' | 'u'): Value =>
              simd('v128.and', [
                simd(`${shape}.ge_${sign}`, [y, element(0)]),
                simd(`${shape}.le_${sign}`, [y, element(size)]),
              ]);
            f.set(result, result.or(mask(select(imm.and(2), within('s'), within('u')))));
          },
          () => {
            const equal = f.let(mask(simd(`${shape}.eq`, [y, element(0)])));
            f.if(
              kind.eqz(),
              () => f.set(result, result.or(equal)),
              // Equal ordered: element i of x against element j + i of y; past the end nothing is compared.
              () =>
                f.set(
                  result,
                  result.and(
                    equal
                      .and(yValid)
                      .or(-1 << count)
                      .shrS(i),
                  ),
                ),
            );
          },
        );
        f.set(i, i.add(step));
        f.br(again);
      });
    });
    f.set(result, select(kind.eq(3), result.and(all), result.and(yValid)));
  });
}

/** CRC-32C, reflected (RFC 3720 appendix B.4): (remainder, data, bytes 1-8). The table is made at the first use. */
function defineCrc(m: ModuleBuilder): FunctionRef {
  return m.fn('sseCrc32c', [I32, I64, I32], [I32], (f) => {
    const [crc, data, count] = f.params as [Local, Local, Local];
    f.if(f.load('i32.load', SSE.crcTable + 4).eqz(), () => {
      const entry = f.local(I32, 255);
      f.loop((next) => {
        const value = f.let(entry);
        const remainder = f.local(I32, value);
        for (let bit = 0; bit < 8; bit += 1) {
          f.set(remainder, remainder.shrU(1).xor(i32(0).sub(remainder.and(1)).and(0x82f6_3b78)));
        }
        f.store('i32.store', entry.shl(2), remainder, SSE.crcTable);
        f.set(entry, entry.sub(1));
        f.brIf(next, entry.geS(0));
      });
    });
    f.loop((again) => {
      const index = crc.xor(data.wrap()).and(255).shl(2);
      f.set(crc, crc.shrU(8).xor(f.load('i32.load', index, SSE.crcTable)));
      f.set(data, data.shrU(8));
      f.set(count, count.sub(1));
      f.brIf(again, count);
    });
    f.return(crc);
  });
}

/** Product of two polynomials over GF(2): (x, y, immediate that picks the quadwords). */
function defineCarryless(m: ModuleBuilder): FunctionRef {
  return m.fn('sseCarrylessMultiply', [V128, V128, I32], [V128], (f) => {
    const [x, y, imm] = f.params as [Local, Local, Local];
    const quad = (v: Value, high: Value): Value =>
      select(high, extractLane('i64x2.extract_lane', v, 1), extractLane('i64x2.extract_lane', v, 0));
    const a = f.let(quad(x, imm.and(1)));
    const b = f.let(quad(y, imm.and(16)));
    const low = f.local(I64, 0);
    const high = f.local(I64, 0);
    f.block((done) => {
      f.loop((again) => {
        f.brIf(done, b.eqz());
        const n = f.let(b.ctz());
        f.set(low, low.xor(a.shl(n)));
        f.set(high, high.xor(a.shrU(1).shrU(i64(63).sub(n))));
        f.set(b, b.and(b.sub(1)));
        f.br(again);
      });
    });
    f.return(replaceLane('i64x2.replace_lane', simd('i64x2.splat', [low]), 1, high));
  });
}

/** PHMINPOSUW: the least word, and its number in word 1. */
function defineMinPosition(m: ModuleBuilder): FunctionRef {
  return m.fn('sseMinPosition', [V128], [V128], (f) => {
    const x = f.params[0] as Local;
    const word = (i: number): Value => extractLane('i16x8.extract_lane_u', x, i);
    // The number below the word makes the first of equal words the least.
    const least = f.let(word(0).shl(3));
    for (let i = 1; i < 8; i += 1) {
      const candidate = f.let(word(i).shl(3).or(i));
      f.set(least, select(candidate.ltU(least), candidate, least));
    }
    const value = least.shrU(3).or(least.and(7).shl(16));
    f.return(replaceLane('i32x4.replace_lane', zero(), 0, value));
  });
}

/** MPSADBW: eight sums of four absolute differences. */
function defineMultipleSums(m: ModuleBuilder): FunctionRef {
  return m.fn('sseMultipleSums', [V128, V128, I32], [V128], (f) => {
    const [x, y, imm] = f.params as [Local, Local, Local];
    const sum = f.let(zero());
    const from = f.let(imm.and(4));
    const block = f.let(imm.and(3).shl(2));
    const widened = (v: Value, indices: Value): Value =>
      simd('i16x8.extend_low_i8x16_u', [simd('i8x16.swizzle', [v, indices])]);
    for (let k = 0; k < 4; k += 1) {
      const window = simd('i8x16.add', [vconst(IOTA), simd('i8x16.splat', [from.add(k)])]);
      const single = simd('i8x16.splat', [block.add(k)]);
      const difference = simd('i16x8.sub', [widened(x, window), widened(y, single)]);
      f.set(sum, simd('i16x8.add', [sum, simd('i16x8.abs', [difference])]));
    }
    f.return(sum);
  });
}

/** 1 / x and 1 / √x for single precision; denormals count as zero, tiny results become zero (SDM vol. 2, RCPPS). */
function defineReciprocals(m: ModuleBuilder): Record<string, FunctionRef> {
  const define = (name: string, compute: (f: FunctionBuilder, x: Local) => void): FunctionRef =>
    m.fn(name, [I32], [I32], (f) => {
      const x = f.params[0] as Local;
      f.if(x.and(0x7fff_ffff).gtU(0x7f80_0000), () => f.return(x.or(0x0040_0000)));
      f.if(x.and(0x7f80_0000).eqz(), () => f.return(x.and(0x8000_0000).or(0x7f80_0000)));
      compute(f, x);
    });
  const one = define('sseRcp', (f, x) => {
    const r = f.let(new1().div(x.reinterpret()).reinterpret());
    f.return(select(r.and(0x7f80_0000).eqz(), r.and(0x8000_0000), r));
  });
  const root = define('sseRsqrt', (f, x) => {
    f.if(x.ltS(0), () => f.return(i32(0xffc0_0000 | 0)));
    const wide = x.reinterpret().convert('f64.promote_f32', F64).sqrt();
    f.return(
      i64(0x3ff0_0000_0000_0000n).reinterpret().div(wide).convert('f32.demote_f64', F32).reinterpret(),
    );
  });
  const packed = (name: string, scalar: FunctionRef): FunctionRef =>
    m.fn(name, [V128], [V128], (f) => {
      const x = f.params[0] as Local;
      const r = f.let(x);
      for (let i = 0; i < 4; i += 1) {
        f.set(
          r,
          replaceLane('i32x4.replace_lane', r, i, f.call(scalar, extractLane('i32x4.extract_lane', x, i))),
        );
      }
      f.return(r);
    });
  return {
    sseRcp: one,
    sseRsqrt: root,
    sseRcpPacked: packed('sseRcpPacked', one),
    sseRsqrtPacked: packed('sseRsqrtPacked', root),
  };
}

const new1 = (): Value => i32(0x3f80_0000).reinterpret();

// AES (FIPS 197), on whole states.

function aesTables(): { forward: number[]; inverse: number[] } {
  const multiply = (a: number, b: number): number => {
    let product = 0;
    for (let i = 0; i < 8; i += 1) if ((b >> i) & 1) product ^= a << i;
    for (let i = 14; i >= 8; i -= 1) if ((product >> i) & 1) product ^= 0x11b << (i - 8);
    return product;
  };
  const forward = new Array<number>(256).fill(0);
  const inverse = new Array<number>(256).fill(0);
  for (let value = 0; value < 256; value += 1) {
    // x^254 is the inverse in GF(2^8), and takes 0 to 0.
    let reciprocal = 1;
    for (let i = 0; i < 254; i += 1) reciprocal = multiply(reciprocal, value);
    const doubled = reciprocal | (reciprocal << 8);
    let s = 0x63 ^ reciprocal;
    for (let i = 4; i < 8; i += 1) s ^= (doubled >> i) & 255;
    forward[value] = s;
    inverse[s] = value;
  }
  return { forward, inverse };
}

const ROWS_SHIFTED = IOTA.map((i) => (i + 4 * (i % 4)) % 16);
const ROWS_UNSHIFTED = IOTA.map((i) => (i + 12 * (i % 4)) % 16);
const rotated = (v: Value, by: number): Value =>
  shuffle(
    v,
    v,
    IOTA.map((i) => (i & 12) | ((i + by) & 3)),
  );

function defineAes(m: ModuleBuilder): Record<string, FunctionRef> {
  const { forward, inverse } = aesTables();
  const substitute = (name: string, table: readonly number[]): FunctionRef =>
    m.fn(name, [V128], [V128], (f) => {
      const x = f.params[0] as Local;
      const r = f.let(zero());
      // A row of the table answers for its 16 bytes and gives zero for all others.
      for (let row = 0; row < 16; row += 1) {
        const indices = simd('i8x16.sub', [x, bytes(row * 16)]);
        f.set(
          r,
          simd('v128.or', [
            r,
            simd('i8x16.swizzle', [vconst(table.slice(row * 16, row * 16 + 16)), indices]),
          ]),
        );
      }
      f.return(r);
    });
  const double = m.fn('sseAesDouble', [V128], [V128], (f) => {
    const x = f.params[0] as Local;
    const carry = simd('v128.and', [simd('i8x16.lt_s', [x, zero()]), bytes(0x1b)]);
    f.return(simd('v128.xor', [simd('i8x16.add', [x, x]), carry]));
  });
  const xor = (...values: Value[]): Value => values.reduce((a, b) => simd('v128.xor', [a, b]));
  const mix = m.fn('sseAesMix', [V128], [V128], (f) => {
    const x = f.params[0] as Local;
    f.return(xor(f.call(double, xor(x, rotated(x, 1))), rotated(x, 1), rotated(x, 2), rotated(x, 3)));
  });
  const inverseMix = m.fn('sseAesInverseMix', [V128], [V128], (f) => {
    const x = f.params[0] as Local;
    f.return(f.call(mix, xor(x, f.call(double, f.call(double, xor(x, rotated(x, 2)))))));
  });
  const sub = substitute('sseAesSubstitute', forward);
  const unsub = substitute('sseAesUnsubstitute', inverse);
  const round = (name: string, box: FunctionRef, rows: readonly number[], mixer?: FunctionRef): FunctionRef =>
    m.fn(name, [V128, V128], [V128], (f) => {
      const [state, key] = f.params as [Local, Local];
      const moved = f.call(box, shuffle(state, state, rows));
      f.return(xor(mixer ? f.call(mixer, moved) : moved, key));
    });
  const keygen = m.fn('sseAesKeygen', [V128, I32], [V128], (f) => {
    const [x, imm] = f.params as [Local, Local];
    const s = f.let(f.call(sub, x));
    const words = shuffle(s, s, [4, 5, 6, 7, 5, 6, 7, 4, 12, 13, 14, 15, 13, 14, 15, 12]);
    const odd = simd('i64x2.shl', [simd('i64x2.splat', [imm.extendU()]), i32(32)]);
    f.return(xor(words, odd));
  });
  return {
    sseAesEncrypt: round('sseAesEncrypt', sub, ROWS_SHIFTED, mix),
    sseAesEncryptLast: round('sseAesEncryptLast', sub, ROWS_SHIFTED),
    sseAesDecrypt: round('sseAesDecrypt', unsub, ROWS_UNSHIFTED, inverseMix),
    sseAesDecryptLast: round('sseAesDecryptLast', unsub, ROWS_UNSHIFTED),
    sseAesInverseMix: inverseMix,
    sseAesKeygen: keygen,
  };
}

/** Defines the functions that need no floating-point state. */
export function addBitFunctions(m: ModuleBuilder): Record<string, FunctionRef> {
  return {
    sseCompareStrings: defineCompareStrings(m),
    sseCrc32c: defineCrc(m),
    sseCarrylessMultiply: defineCarryless(m),
    sseMinPosition: defineMinPosition(m),
    sseMultipleSums: defineMultipleSums(m),
    ...defineReciprocals(m),
    ...defineAes(m),
  };
}
