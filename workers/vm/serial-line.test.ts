import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expectOnStream } from '../../src/hypervisor/display/expect.ts';
import { Backlog } from './backlog.ts';
import { SerialLine } from './serial-line.ts';

test('a pattern is found in what was said, and its end is a byte of the line', async () => {
  const backlog = new Backlog();
  const line = new SerialLine(backlog);
  const say = (text: string): void => {
    const bytes = Buffer.from(text);
    backlog.append(bytes);
    line.push(bytes);
  };
  say('\x1b[1mgrüße\x1b[0m login: more');
  const source = line.from(0);
  const { match } = await expectOnStream(source, { regex: 'login: ' }, { timeoutMs: 1000 });
  assert.equal(source.positionAfter(match.end), Buffer.byteLength('\x1b[1mgrüße\x1b[0m login: '));

  // From there on nothing of it is seen again, and what comes is.
  const next = line.from(source.positionAfter(match.end));
  assert.equal(Buffer.from(next.backlog()).toString(), 'more');
  const waiting = expectOnStream(next, { text: 'login: ' }, { timeoutMs: 5000 });
  say(' and login: ');
  const again = await waiting;
  assert.equal(next.positionAfter(again.match.end), line.position);
});

test('where more was said than is kept, the end of all of it is given', () => {
  const backlog = new Backlog();
  const line = new SerialLine(backlog);
  const source = line.from(0);
  backlog.append(Buffer.alloc(200_000, 'x'));
  assert.equal(source.positionAfter(10), 200_000);
  assert.equal(line.from(1e15).backlog().length, 0);
});
