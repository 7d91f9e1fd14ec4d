import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { tickScale } from './ticks.ts';

const frequencies = fc.constantFrom(32_768, 1_193_182, 3_579_545, 25_000_000, 999_999_937, 1e9);
const instants = fc.integer({ min: 0, max: 2 ** 52 });

test('ticks are exact over the whole range of machine time', () => {
  fc.assert(
    fc.property(frequencies, instants, (hz, ns) => {
      assert.equal(BigInt(tickScale(hz).toTicks(ns)), (BigInt(ns) * BigInt(hz)) / 1_000_000_000n);
    }),
  );
});

test('toNs gives the first nanosecond of a tick', () => {
  fc.assert(
    fc.property(frequencies, instants, (hz, ns) => {
      const scale = tickScale(hz);
      const tick = scale.toTicks(ns);
      const start = scale.toNs(tick);
      assert.equal(scale.toTicks(start), tick);
      assert.ok(start <= ns);
      if (start > 0) assert.equal(scale.toTicks(start - 1), tick - 1);
    }),
  );
});
