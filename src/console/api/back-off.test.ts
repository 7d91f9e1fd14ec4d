import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BackOff } from './back-off.ts';

test('waits double up to ten seconds and begin anew', () => {
  const backOff = new BackOff(() => 1);
  assert.deepEqual(
    Array.from({ length: 7 }, () => backOff.next()),
    [400, 800, 1600, 3200, 6400, 10_000, 10_000],
  );
  for (let n = 0; n < 2000; n++) backOff.next();
  assert.equal(backOff.next(), 10_000);
  backOff.reset();
  assert.equal(backOff.next(), 400);
});

test('chance takes off at most half', () => {
  assert.equal(new BackOff(() => 0).next(), 200);
});
