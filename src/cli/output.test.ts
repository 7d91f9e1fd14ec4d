import assert from 'node:assert/strict';
import { test } from 'node:test';
import { age, bytes, fields, printable, table } from './output.ts';

test('a table’s columns are as wide as their longest cell', () => {
  assert.equal(
    table(
      ['A', 'BB'],
      [
        ['long', 'x'],
        ['y', ''],
      ],
    ),
    'A     BB\nlong  x\ny\n',
  );
});

test('what the service sends cannot command the terminal', () => {
  assert.equal(printable('a\x1b[2Jb\r\n\x9b'), 'a\\x1b[2Jb\\x0d\\x0a\\x9b');
  assert.equal(fields([['name', 'x\x07']]), 'name  x\\x07\n');
});

test('ages and sizes in words that fit a table', () => {
  const now = Date.parse('2026-01-02T00:00:00Z');
  assert.equal(age('2026-01-01T23:59:55Z', now), '5s');
  assert.equal(age('2026-01-01T23:00:00Z', now), '60m');
  assert.equal(age('2026-01-01T00:00:00Z', now), '24h');
  assert.equal(age('2025-12-01T00:00:00Z', now), '32d');
  assert.equal(age(null, now), '-');
  assert.equal(bytes(1023), '1023 B');
  assert.equal(bytes(1024), '1.0 KiB');
  assert.equal(bytes(3 * 1024 ** 3), '3.0 GiB');
});
