import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, lasting, mebibytes } from './format.ts';

test('bytes have a unit that fits', () => {
  assert.deepEqual([0, 999, 1023, 1024, 1536, 104_857_600, 1024 ** 3 - 1, 1024 ** 5].map(bytes), [
    '0 B',
    '999 B',
    '1023 B',
    '1 KiB',
    '1.5 KiB',
    '100 MiB',
    '1 GiB',
    '1024 TiB',
  ]);
  assert.equal(mebibytes(256), '256 MiB');
});

test('durations are short', () => {
  assert.deepEqual([-5, 59_999, 60_000, 3_600_000, 172_800_000].map(lasting), [
    '0 s',
    '59 s',
    '1 min',
    '1 h 0 min',
    '2 d 0 h',
  ]);
});
