import assert from 'node:assert/strict';
import { test } from 'node:test';
import { edid } from './edid.ts';

test('a block with its header, its sum, its name and its preferred mode', () => {
  const bytes = edid();
  assert.equal(bytes.length, 128);
  assert.deepEqual([...bytes.subarray(0, 8)], [0, 255, 255, 255, 255, 255, 255, 0]);
  assert.equal(bytes.reduce((sum, byte) => sum + byte, 0) & 0xff, 0);
  // "TRM": 14h, 12h, 0Dh in five bits each.
  assert.equal((bytes[8] << 8) | bytes[9], (0x14 << 10) | (0x12 << 5) | 0x0d);
  assert.equal(Buffer.from(bytes.subarray(77, 85)).toString('latin1'), 'Teremok\n');
  const timing = bytes.subarray(54, 72);
  assert.equal((timing[0] | (timing[1] << 8)) * 10_000, 71_000_000);
  assert.equal(timing[2] | ((timing[4] & 0xf0) << 4), 1280);
  assert.equal(timing[5] | ((timing[7] & 0xf0) << 4), 800);
  assert.equal(timing[3] | ((timing[4] & 0x0f) << 8), 160);
});
