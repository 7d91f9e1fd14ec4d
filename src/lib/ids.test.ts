import assert from 'node:assert/strict';
import { test } from 'node:test';
import { idPattern, newId, uuidv7 } from './ids.ts';

test('ids sort in the order in which they were made, also within a millisecond', () => {
  const ids = Array.from({ length: 20_000 }, () => newId('vm'));
  assert.deepEqual([...ids].sort(), ids);
  assert.equal(new Set(ids).size, ids.length);
});

test('a UUID has the version, the variant and the time of RFC 9562', () => {
  const before = Date.now();
  const uuid = uuidv7();
  assert.match(uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const ms = Number.parseInt(uuid.replaceAll('-', '').slice(0, 12), 16);
  assert.ok(ms >= before && ms <= Date.now() + 1000);
});

test('the pattern takes ids of its own kind only', () => {
  const pattern = new RegExp(idPattern('vm'), 'u');
  assert.match(newId('vm'), pattern);
  for (const other of [newId('op'), 'vm_', `${newId('vm')} `, `x${newId('vm')}`, newId('vm').toUpperCase()]) {
    assert.doesNotMatch(other, pattern);
  }
});
