import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { VmMetrics } from '../../contracts/metrics.ts';
import { linePath, toPoints, withSample } from './metric-series.ts';

const sample = (second: number, cpu: number, readBytes = 0, writtenBytes = 0): VmMetrics => ({
  at: new Date(second * 1000).toISOString(),
  cpu: { seconds: cpu },
  memory: { guestMiB: 64, rssBytes: 1000 },
  disk: { readBytes, writtenBytes, readOperations: 0, writeOperations: 0, operations: 0, drives: [] },
  network: null,
});

test('rates are per second', () => {
  assert.deepEqual(toPoints([sample(0, 0), sample(2, 1, 300), sample(3, 9, 300, 70)]), [
    { at: 2000, cpuPercent: 50, memoryBytes: 1000, readRate: 150, writeRate: 0 },
    { at: 3000, cpuPercent: 800, memoryBytes: 1000, readRate: 0, writeRate: 70 },
  ]);
});

test('nothing is made up across a restart or a long silence', () => {
  assert.deepEqual(toPoints([sample(0, 50), sample(2, 1)]), []);
  assert.deepEqual(toPoints([sample(0, 1), sample(500, 2)]), []);
});

test('readings are kept in order and for a while', () => {
  let samples: readonly VmMetrics[] = [];
  for (const second of [1, 2, 2, 1, 3, 12]) samples = withSample(samples, sample(second, 0), 10_000);
  assert.deepEqual(
    samples.map(({ at }) => Date.parse(at) / 1000),
    [2, 3, 12],
  );
});

test('a line is broken where nothing is known', () => {
  const field = { from: 0, to: 1_000_000, top: 10, width: 100, height: 50 };
  const path = linePath(
    [
      { at: 0, value: 0 },
      { at: 100_000, value: 20 },
      { at: 500_000, value: 5 },
    ],
    field,
  );
  assert.equal(path, 'M0.0 50.0L10.0 0.0M50.0 25.0');
});
