import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MachineDoor } from './machine-door.ts';

test('within a slice time waits at the next timer, and tells of it; behind it time is what it is', () => {
  let host = 1000;
  const door = new MachineDoor({ monotonic: () => host, calendar: () => 0, random: () => {} });
  const { clock } = door;
  const fired: number[] = [];
  const timer = clock.timer('a', () => fired.push(clock.now()));
  let stops = 0;
  door.resume();
  timer.arm(500);
  door.beginSlice(() => {
    stops += 1;
  });
  host += 400;
  assert.deepEqual([clock.now(), stops], [400, 0]);
  host += 10_000;
  assert.deepEqual([clock.now(), clock.now(), stops], [500, 500, 2]);
  door.endSlice();
  door.pump();
  assert.deepEqual([fired, clock.now()], [[10_400], 10_400]);
  // A timer of the past holds time where the slice found it.
  timer.arm(20);
  door.beginSlice(() => {});
  host += 100;
  assert.equal(clock.now(), 10_400);
  door.endSlice();
  assert.equal(clock.now(), 10_500);
});
