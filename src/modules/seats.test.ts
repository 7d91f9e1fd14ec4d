import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createSeats } from './seats.ts';

test('an owner has so many seats, gets them back once, and takes nobody else’s', () => {
  const seats = createSeats(2);
  const leave = seats.take('a');
  seats.take('a');
  assert.throws(() => seats.take('a'), { code: 'too_many_waiting' });
  seats.take('b');
  leave();
  leave();
  seats.take('a');
  assert.throws(() => seats.take('a'), { code: 'too_many_waiting' });
});
