import { test } from 'node:test';
import { fuzzVga } from './vga.ts';

test('video adapter: accesses of any kind to registers and memory', { timeout: 60_000 }, () =>
  fuzzVga(1, 40),
);
