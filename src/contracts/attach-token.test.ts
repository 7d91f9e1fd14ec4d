import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ATTACH_TOKEN_SECONDS, AttachTokenVerifier, makeAttachToken } from './attach-token.ts';

const grant = { vmId: 'vm_1', purpose: 'serial' } as const;
const NOW = 1_700_000_000_000;

test('a token opens once, what it was made for', () => {
  const verifier = new AttachTokenVerifier('secret');
  const token = makeAttachToken(grant, 'secret', NOW);
  assert.deepEqual(verifier.verify(token, NOW + 1000), grant);
  assert.equal(verifier.verify(token, NOW + 1000), undefined);
});

test('a token is good until its time is over, and under its own secret', () => {
  const token = makeAttachToken(grant, 'secret', NOW);
  const late = NOW + (ATTACH_TOKEN_SECONDS + 1) * 1000;
  assert.equal(new AttachTokenVerifier('secret').verify(token, late), undefined);
  assert.equal(new AttachTokenVerifier('another').verify(token, NOW), undefined);
});

// The last letter of a signature has bits that mean nothing (RFC 4648 §3.5), so it is left alone.
test('a token changed anywhere is none', () => {
  const token = makeAttachToken(grant, 'secret', NOW);
  for (let at = 0; at < token.length - 1; at += 7) {
    const other = token[at] === 'A' ? 'B' : 'A';
    const changed = token.slice(0, at) + other + token.slice(at + 1);
    assert.equal(new AttachTokenVerifier('secret').verify(changed, NOW), undefined, `at ${at}`);
  }
  for (const none of ['', '.', 'a.b', `${token}.x`, token.split('.')[0] ?? '']) {
    assert.equal(new AttachTokenVerifier('secret').verify(none, NOW), undefined);
  }
});
