import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostTraffic, type Reading } from './host-traffic.ts';

const reading = (launchId: string, readBytes: number, wallSeconds = 0): Reading => ({
  launchId,
  stats: {
    wallSeconds,
    drives: [
      { id: 'dsk_1', readBytes, readOperations: 1, writtenBytes: 0, writeOperations: 0 },
      { id: 'cdrom', readBytes: 1, readOperations: 1, writtenBytes: 0, writeOperations: 0 },
    ],
  },
});

const take = (traffic: HostTraffic, ...readings: readonly Reading[]): void =>
  traffic.take(readings, new Set(readings.map(({ launchId }) => launchId)));

test('what VMs move is added up, and does not fall when they go', () => {
  const traffic = new HostTraffic();
  take(traffic, reading('a', 99), reading('b', 9));
  assert.equal(traffic.total.readBytes, 110);
  assert.equal(traffic.total.readOperations, 4);
  take(traffic, reading('a', 199));
  take(traffic);
  assert.equal(traffic.total.readBytes, 210);
  assert.equal(traffic.total.readOperations, 4);
  take(traffic, reading('a-again', 4));
  assert.equal(traffic.total.readBytes, 215);
});

test('of a VM that was taken over only what it does from then on counts', () => {
  const traffic = new HostTraffic();
  take(traffic, reading('old', 1_000_000, 3600));
  assert.equal(traffic.total.readBytes, 0);
  take(traffic, reading('old', 1_000_050, 3605));
  assert.equal(traffic.total.readBytes, 50);
});

test('a counter that falls is no loss', () => {
  const traffic = new HostTraffic();
  take(traffic, reading('a', 99));
  take(traffic, reading('a', 0));
  assert.equal(traffic.total.readBytes, 100);
});

test('a VM that did not answer once is not counted anew', () => {
  const traffic = new HostTraffic();
  take(traffic, reading('a', 99));
  traffic.take([], new Set(['a']));
  take(traffic, reading('a', 109));
  assert.equal(traffic.total.readBytes, 110);
});
