import { test } from 'node:test';
import { fuzzQcow2 } from './qcow2.ts';

test('damaged qcow2 images give errors or bytes', async () => {
  for (let seed = 0; seed < 400; seed++) await fuzzQcow2(seed);
});
