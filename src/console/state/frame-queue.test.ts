import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FrameQueue } from './frame-queue.ts';

function rig() {
  const frames: (() => void)[] = [];
  const applied: (readonly number[])[] = [];
  const queue = new FrameQueue<number>(
    (items) => applied.push(items),
    (run) => frames.push(run),
  );
  return { queue, applied, frames, frame: () => frames.splice(0).forEach((run) => run()) };
}

test('what comes between two frames is applied at once, in order', () => {
  const { queue, applied, frames, frame } = rig();
  for (const n of [1, 2, 3]) queue.push(n);
  assert.equal(frames.length, 1);
  assert.deepEqual(applied, []);
  frame();
  queue.push(4);
  frame();
  frame();
  assert.deepEqual(applied, [[1, 2, 3], [4]]);
});

test('what comes while a list is loaded waits for it', () => {
  const { queue, applied, frame } = rig();
  queue.push(1);
  queue.hold();
  frame();
  queue.push(2);
  frame();
  assert.deepEqual(applied, []);
  queue.release();
  frame();
  assert.deepEqual(applied, [[1, 2]]);
});
