import { test } from 'node:test';
import { fuzzPs2 } from '../../../../test/fuzz/ps2.ts';

test('random port accesses and host input break no promise', () => {
  for (let seed = 1; seed <= 150; seed++) fuzzPs2(seed);
});
