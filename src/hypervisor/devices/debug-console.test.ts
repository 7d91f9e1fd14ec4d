import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DebugConsole } from './debug-console.ts';

function build() {
  const lines: string[] = [];
  const device = new DebugConsole((line) => lines.push(line));
  const write = (text: string): void => {
    for (const byte of new TextEncoder().encode(text)) device.write(0, 1, byte);
  };
  return { device, lines, write };
}

test('lines come whole; what is no text is left out', () => {
  const { device, lines, write } = build();
  assert.equal(device.read(0, 1), 0xe9);
  write('one\r\n\n\x1b[0mtwo');
  assert.deepEqual(lines, ['one']);
  write('\n');
  assert.deepEqual(lines, ['one', '[0mtwo']);
});

test('a line without end does not grow without bound', () => {
  const { lines, write } = build();
  write('x'.repeat(1000));
  assert.deepEqual(
    lines.map((line) => line.length),
    [200, 200, 200, 200, 200],
  );
});
