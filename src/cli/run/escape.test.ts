import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EscapeReader } from './escape.ts';

const typed = (reader: EscapeReader, text: string) => {
  const { bytes, quit, help } = reader.read(Buffer.from(text, 'latin1'));
  return { text: Buffer.from(bytes).toString('latin1'), quit, help };
};

test('hands on what is typed, and Ctrl-C with it', () => {
  assert.deepEqual(typed(new EscapeReader(), 'ls\r\x03'), { text: 'ls\r\x03', quit: false, help: false });
});

test('Ctrl-A X quits, also when the two keys come apart', () => {
  assert.deepEqual(typed(new EscapeReader(), 'ab\x01xcd'), { text: 'ab', quit: true, help: false });
  const reader = new EscapeReader();
  assert.deepEqual(typed(reader, '\x01'), { text: '', quit: false, help: false });
  assert.deepEqual(typed(reader, 'X'), { text: '', quit: true, help: false });
});

test('Ctrl-A A and Ctrl-A Ctrl-A send Ctrl-A; Ctrl-A H asks for help', () => {
  assert.deepEqual(typed(new EscapeReader(), '\x01a-\x01\x01-\x01h'), {
    text: '\x01-\x01-',
    quit: false,
    help: true,
  });
});
