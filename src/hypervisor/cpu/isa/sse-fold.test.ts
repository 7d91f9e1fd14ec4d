import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Local } from '../wasm/function.ts';
import { I32, V128 } from '../wasm/opcodes.ts';
import { i32, i64, select, simd } from '../wasm/value.ts';
import { iota, lanes, splat8, swizzle } from './sse-common.ts';
import { maskFromBits, shuffleDwords } from './sse-element.ts';
import { evaluate, folded } from './sse-fold.ts';

const SHUFFLE = 13;

describe('folding of constants', () => {
  it('computes scalars modulo their width', () => {
    assert.equal(evaluate(i32(-1).and(255)), 255n);
    assert.equal(evaluate(i32(0x7fffffff).add(1)), 0x8000_0000n);
    assert.equal(evaluate(i64(3).shl(62).shrU(61)), 6n);
    assert.equal(evaluate(select(i32(20).ltU(16), i32(20), i32(16))), 16n);
    assert.equal(evaluate(i32(-2).extendU()), 0xffff_fffen);
  });

  it('computes vectors lane by lane', () => {
    assert.deepEqual(
      evaluate(simd('i8x16.add', [iota(), splat8(i32(250))])),
      Uint8Array.from({ length: 16 }, (_, i) => (i + 250) & 255),
    );
    assert.deepEqual(folded(maskFromBits(i32(0b1010), 32)).code, lanes(32, [0, -1, 0, -1]).code);
  });

  it('leaves alone what is not constant', () => {
    const local = new Local(I32, 3);
    assert.equal(evaluate(local.add(1)), undefined);
    assert.equal(folded(local), local);
    assert.equal(evaluate(simd('i8x16.add', [iota(), new Local(V128, 0)])), undefined);
  });

  it('makes a shuffle of a swizzle by known bytes', () => {
    const x = new Local(V128, 5);
    assert.deepEqual(swizzle(x, lanes(8, [15, 200, 0, 1])).code.slice(-18), [
      0xfd,
      SHUFFLE,
      15,
      16,
      0,
      1,
      15,
      16,
      0,
      1,
      15,
      16,
      0,
      1,
      15,
      16,
      0,
      1,
    ]);
    assert.deepEqual(shuffleDwords(x, i32(0x1b)).code.slice(-18), [
      0xfd,
      SHUFFLE,
      12,
      13,
      14,
      15,
      8,
      9,
      10,
      11,
      4,
      5,
      6,
      7,
      0,
      1,
      2,
      3,
    ]);
  });
});
