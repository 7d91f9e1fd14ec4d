import { test } from 'node:test';
import { fuzzIde } from './ide.ts';

test('IDE: packets and register accesses of any kind', { timeout: 60_000 }, () => fuzzIde(1, 40));
