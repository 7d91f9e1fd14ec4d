import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { f32Bytes, f64Bytes, nameBytes, sleb, sleb64, uleb } from './encode.ts';

/** Reads a LEB128 number back (Core Specification, §5.2.2). */
function read(bytes: readonly number[], signed: boolean): bigint {
  let value = 0n;
  let shift = 0n;
  bytes.forEach((byte, i) => {
    assert.equal((byte & 0x80) !== 0, i < bytes.length - 1, 'only the last byte ends the number');
    value |= BigInt(byte & 0x7f) << shift;
    shift += 7n;
  });
  return signed && ((bytes.at(-1) ?? 0) & 0x40) !== 0 ? value - (1n << shift) : value;
}

const powers = Array.from({ length: 64 }, (_, i) => 1n << BigInt(i));
const near = powers.flatMap((p) => [p - 1n, p, p + 1n]);

describe('LEB128', () => {
  it('encodes the examples of the specification', () => {
    assert.deepEqual(uleb(624485), [0xe5, 0x8e, 0x26]);
    assert.deepEqual(sleb(-123456), [0xc0, 0xbb, 0x78]);
    assert.deepEqual(uleb(0), [0]);
    assert.deepEqual(sleb(-1), [0x7f]);
    assert.deepEqual(sleb(63), [0x3f]);
    assert.deepEqual(sleb(64), [0xc0, 0x00]);
    assert.deepEqual(sleb(-64), [0x40]);
    assert.deepEqual(sleb(-65), [0xbf, 0x7f]);
  });

  it('unsigned, around every power of two up to 32 bits', () => {
    for (const value of near.filter((v) => v < 1n << 32n)) {
      const bytes = uleb(Number(value));
      assert.equal(read(bytes, false), value);
      assert.ok(bytes.length <= 5);
      assert.ok(bytes.length === 1 || bytes.at(-1) !== 0, 'no byte too many');
    }
  });

  it('signed, around every power of two of 32 and of 64 bits', () => {
    for (const value of near.flatMap((v) => [v, -v])) {
      if (value === BigInt.asIntN(32, value)) assert.equal(read(sleb(Number(value)), true), value);
      const wide = BigInt.asIntN(64, value);
      const bytes = sleb64(wide);
      assert.equal(read(bytes, true), wide);
      assert.ok(bytes.length <= 10);
    }
  });

  it('takes an unsigned 32-bit number as the same bits', () => {
    assert.deepEqual(sleb(0xffff_ffff), [0x7f]);
    assert.deepEqual(sleb(0x8000_0000), sleb(-0x8000_0000));
    assert.deepEqual(uleb(-1), [0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert.deepEqual(sleb64((1n << 64n) - 1n), [0x7f]);
  });
});

describe('floats and names', () => {
  it('are little-endian IEEE bits and counted UTF-8', () => {
    assert.deepEqual(f32Bytes(1), [0, 0, 0x80, 0x3f]);
    assert.deepEqual(f64Bytes(-0), [0, 0, 0, 0, 0, 0, 0, 0x80]);
    assert.deepEqual(nameBytes('é'), [2, 0xc3, 0xa9]);
  });
});
