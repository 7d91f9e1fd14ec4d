import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { toHistory } from './vm-history.ts';

const NOW = 1_700_000_000_000;
/** A record so many seconds ago. */
const record = (secondsAgo: number, cpu: number, read = 0, written = 0, reads = 0, writes = 0) =>
  JSON.stringify([NOW - secondsAgo * 1000, cpu, 1_000_000, read, written, reads, writes]);

describe('toHistory', () => {
  it('tells rates, oldest first', () => {
    const points = toHistory([record(0, 15, 4096), record(10, 10, 2048), record(20, 9, 2048)], NOW);
    assert.deepEqual(
      points.map(({ at, cpu, disk }) => [Date.parse(at), cpu.cores, disk.readBytesPerSecond]),
      [
        [NOW - 10_000, 0.1, 0],
        [NOW, 0.5, 204.8],
      ],
    );
  });

  it('tells requests of drives apart from their bytes, and no network', () => {
    const [point] = toHistory([record(0, 1, 100, 200, 30, 40), record(10, 0)], NOW);
    assert.deepEqual(point?.disk, {
      readBytesPerSecond: 10,
      writtenBytesPerSecond: 20,
      readsPerSecond: 3,
      writesPerSecond: 4,
    });
    assert.equal(point.network, null);
  });

  it('begins anew with a process whose counters are lower', () => {
    const [point] = toHistory([record(0, 3), record(10, 500)], NOW);
    assert.equal(point?.cpu.cores, 0.3);
  });

  it('leaves gaps, what is older than an hour, and what is no record', () => {
    assert.deepEqual(toHistory([record(0, 100), record(600, 1)], NOW), []);
    assert.deepEqual(toHistory([record(3700, 2), record(3710, 1)], NOW), []);
    assert.deepEqual(toHistory(['{}', '[1]'], NOW), []);
  });
});
