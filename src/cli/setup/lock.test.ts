import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { locked } from './lock.ts';

describe('locked', () => {
  let folder: string;
  let path: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'teremok-lock-'));
    path = join(folder, 'lock');
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  it('runs steps of one process one after another, also after one that failed', async () => {
    const order: string[] = [];
    const step = (name: string) => async () => {
      order.push(`${name} begins`);
      await readFile(path);
      order.push(`${name} ends`);
      if (name === 'b') throw new Error('b failed');
    };
    const results = await Promise.allSettled(['a', 'b', 'c'].map((name) => locked(path, step(name))));
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    );
    assert.deepEqual(order, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
  });

  it('waits for another process, and takes over when that is gone', async () => {
    const other = spawn(process.execPath, ['-e', 'process.stdin.resume()'], {
      stdio: ['pipe', 'ignore', 'inherit'],
    });
    await writeFile(path, String(other.pid));
    let entered = false;
    const entry = locked(path, async () => {
      entered = true;
    });
    await assert.doesNotReject(readFile(path));
    assert.equal(entered, false);
    other.stdin.end();
    await once(other, 'exit');
    await entry;
    assert.equal(entered, true);
  });
});
