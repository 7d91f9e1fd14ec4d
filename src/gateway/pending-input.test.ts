import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BACKLOG_BYTES } from '../contracts/channel.ts';
import { PendingInput } from './pending-input.ts';

test('what was not taken is sent again, and what was taken is not', () => {
  const input = new PendingInput();
  input.push(Buffer.from('hello '));
  assert.equal(input.takeUnsent().toString(), 'hello ');
  input.acknowledge(2);
  input.push(Buffer.from('world'));
  assert.equal(input.takeUnsent().toString(), 'world');
  assert.equal(input.takeUnsent().toString(), '');
  assert.equal(input.position.sent, 11);
  input.resume(8);
  assert.equal(input.takeUnsent().toString(), 'rld');
  // A new launch begins at what was sent: only what was typed ahead goes to it.
  const { sent } = input.position;
  input.push(Buffer.from('!'));
  input.resume(sent);
  assert.equal(input.takeUnsent().toString(), '!');
});

test('is full at the backlog’s limit, until enough is taken', () => {
  const input = new PendingInput();
  input.push(Buffer.alloc(BACKLOG_BYTES - 1));
  assert.equal(input.isFull, false);
  input.push(Buffer.alloc(1));
  assert.equal(input.isFull, true);
  input.takeUnsent();
  input.acknowledge(1);
  assert.equal(input.isFull, false);
});

test('however connections are cut, a VM gets every byte once and in order', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('type' as const), size: fc.nat(40) }),
    fc.record({ kind: fc.constantFrom('take' as const, 'cut' as const), size: fc.nat(60) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const input = new PendingInput();
      const typed: number[] = [];
      const taken: number[] = [];
      let wire: number[] = [];
      for (const { kind, size } of steps) {
        if (kind === 'type') {
          const bytes = Array.from({ length: size }, (_, i) => (typed.length + i) & 0xff);
          typed.push(...bytes);
          input.push(Buffer.from(bytes));
          wire.push(...input.takeUnsent());
          continue;
        }
        taken.push(...wire.splice(0, size));
        if (kind === 'take') {
          input.acknowledge(taken.length);
        } else {
          input.resume(taken.length);
          wire = [...input.takeUnsent()];
        }
      }
      assert.deepEqual([...taken, ...wire], typed);
    }),
  );
});
