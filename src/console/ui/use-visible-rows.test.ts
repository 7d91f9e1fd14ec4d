import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rowsWithin } from './use-visible-rows.ts';

test('what lies in the window is always among the rows, with at least eight beyond either edge', () => {
  for (const top of [300, 0, -1, -51, -52, -53, -415, -416, -12_345, -51_000]) {
    const { from, to } = rowsWithin(top, 800, 52, 1000);
    const [first, last] = [Math.floor(-top / 52), Math.floor((800 - top) / 52)];
    assert.ok(from <= Math.max(0, first - 8), `${top}: from ${from}`);
    assert.ok(to >= Math.min(1000, last + 9), `${top}: to ${to}`);
    assert.ok(to - from <= 800 / 52 + 2 * (8 + 3), `${top}: ${to - from} rows`);
  }
});

test('a short list is shown whole, and none without rows', () => {
  assert.deepEqual(rowsWithin(200, 800, 52, 5), { from: 0, to: 5 });
  assert.deepEqual(rowsWithin(200, 800, 52, 0), { from: 0, to: 0 });
  // Scrolled far down when a search leaves few.
  assert.deepEqual(rowsWithin(-40_000, 800, 52, 3), { from: 3, to: 3 });
});
