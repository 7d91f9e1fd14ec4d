import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Upload } from '../../contracts/uploads.ts';
import { forget, recall, remember, uploadOf } from './resume.ts';

function memory(initial: string | null = null) {
  let text = initial;
  return {
    getItem: () => text,
    setItem: (_key: string, value: string) => {
      text = value;
    },
  };
}

const upload = (id: string, sizeBytes: number, more: Partial<Upload> = {}): Upload => ({
  id,
  name: 'x',
  kind: 'iso',
  format: null,
  sizeBytes,
  offset: 0,
  sha256: null,
  resumable: true,
  imageId: null,
  createdAt: '',
  expiresAt: '',
  ...more,
});

const file = { name: 'debian.iso', size: 700, lastModified: 5 };

test('a file chosen again goes on with its upload, and no other does', () => {
  const storage = memory();
  remember(storage, 'upl_1', file);
  remember(storage, 'upl_2', { ...file, name: 'other.iso' });
  const uploads = [upload('upl_2', 700), upload('upl_1', 700)];
  assert.equal(uploadOf(file, uploads, recall(storage))?.id, 'upl_1');
  for (const other of [
    { ...file, size: 701 },
    { ...file, lastModified: 6 },
    { ...file, name: 'a.iso' },
  ])
    assert.equal(uploadOf(other, uploads, recall(storage)), undefined);
  assert.equal(uploadOf(file, [upload('upl_1', 700, { imageId: 'img_1' })], recall(storage)), undefined);
  forget(storage, 'upl_1');
  assert.equal(uploadOf(file, uploads, recall(storage)), undefined);
});

test('a damaged memory is none', () => {
  for (const text of ['{', 'null', '7']) assert.deepEqual(recall(memory(text)), {});
});

test('the memory does not grow without bound', () => {
  const storage = memory();
  for (let n = 0; n < 200; n++) remember(storage, `upl_${n}`, file);
  assert.equal(Object.keys(recall(storage)).length, 50);
});
