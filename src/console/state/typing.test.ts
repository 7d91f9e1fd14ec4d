import assert from 'node:assert/strict';
import { test } from 'node:test';
import { firstPiece, keepLayout, lastLayout } from './typing.ts';

test('a text is typed in pieces of whole characters', () => {
  const text = `${'a'.repeat(99)}🏠🏠${'ж'.repeat(300)}`;
  const pieces: string[] = [];
  for (let left = text; left !== ''; left = left.slice(pieces.at(-1)?.length)) pieces.push(firstPiece(left));
  assert.equal(pieces.join(''), text);
  assert.ok(pieces.every((piece) => piece.isWellFormed() && [...piece].length <= 100));
  assert.equal(pieces[0], `${'a'.repeat(99)}🏠`);
  assert.equal(firstPiece('short'), 'short');
});

test('the layout is remembered, and what is none of them is not believed', () => {
  const kept = new Map<string, string>();
  const storage = {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
  };
  assert.equal(lastLayout(storage), 'us');
  keepLayout(storage, 'de');
  assert.equal(lastLayout(storage), 'de');
  keepLayout(storage, 'klingon');
  assert.equal(lastLayout(storage), 'us');
  const refusing = {
    getItem: () => assert.fail('not allowed'),
    setItem: () => assert.fail('not allowed'),
  };
  keepLayout(refusing, 'de');
  assert.equal(lastLayout(refusing), 'us');
});
