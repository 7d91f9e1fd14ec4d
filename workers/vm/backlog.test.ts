import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BACKLOG_BYTES } from '../../src/contracts/channel.ts';
import { Backlog } from './backlog.ts';

test('keeps the last bytes across the ring’s seam, numbered since launch', () => {
  const backlog = new Backlog();
  const all = Buffer.alloc(3 * BACKLOG_BYTES + 17);
  for (let i = 0; i < all.length; i++) all[i] = (i * 31) & 0xff;
  for (let at = 0, step = 1; at < all.length; at += step, step = (step * 7) % 9001) {
    step = Math.min(step, all.length - at);
    backlog.append(all.subarray(at, at + step));
    const expectedFrom = Math.max(0, at + step - BACKLOG_BYTES);
    const kept = backlog.since(0);
    assert.equal(kept.position, expectedFrom);
    assert.ok(kept.bytes.equals(all.subarray(expectedFrom, at + step)));
  }
});

test('gives only what came after a position, and nothing for one that is ahead', () => {
  const backlog = new Backlog();
  backlog.append(Buffer.from('abcdef'));
  assert.deepEqual(backlog.since(4), { position: 4, bytes: Buffer.from('ef') });
  assert.deepEqual(backlog.since(99), { position: 6, bytes: Buffer.alloc(0) });
});

test('takes more at once than it can keep', () => {
  const backlog = new Backlog();
  backlog.append(Buffer.concat([Buffer.alloc(100, 1), Buffer.alloc(BACKLOG_BYTES, 2)]));
  assert.equal(backlog.end, BACKLOG_BYTES + 100);
  const kept = backlog.since(0);
  assert.equal(kept.position, 100);
  assert.ok(kept.bytes.every((byte) => byte === 2));
});
