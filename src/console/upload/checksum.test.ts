import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { checksumOf } from './checksum.ts';

test('the checksum of a part is its SHA-256 in base64, as tus has it', async () => {
  const part = Uint8Array.from({ length: 1000 }, (_, n) => n * 7);
  const digest = createHash('sha256').update(part).digest('base64');
  assert.equal(await checksumOf(part.buffer), `sha256 ${digest}`);
});
