import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeApiKey, parseApiKey, secretMatches } from './api-keys.ts';

test('a key is found by its id and known by its secret', () => {
  const fresh = makeApiKey();
  const parsed = parseApiKey(fresh.token);
  assert.equal(parsed?.id, fresh.id);
  assert.ok(secretMatches(parsed?.secret ?? '', fresh.secretHash));
  assert.ok(!secretMatches(parseApiKey(makeApiKey().token)?.secret ?? '', fresh.secretHash));
  assert.ok(!secretMatches('', fresh.secretHash));
  assert.ok(!secretMatches(parsed?.secret ?? '', new Uint8Array(3)));
});

test('what does not have the form of a key is none', () => {
  const { token } = makeApiKey();
  for (const text of [
    '',
    'tk__',
    token.slice(1),
    `${token}0`,
    `${token}\n`,
    token.toUpperCase(),
    token.replace('tk', 'tx'),
  ]) {
    assert.equal(parseApiKey(text), null, text);
  }
});
