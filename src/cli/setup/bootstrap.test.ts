import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import {
  dependenciesAreCurrent,
  ensureNode,
  homeDirectory,
  NODE_VERSION,
  processExists,
  withLock,
} from './bootstrap.js';

describe('bootstrap', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'teremok-bootstrap-'));
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  const lockfiles = async (wanted: object, installed: object) => {
    await mkdir(join(folder, 'node_modules'), { recursive: true });
    await writeFile(join(folder, 'package-lock.json'), JSON.stringify({ packages: { '': {}, ...wanted } }));
    await writeFile(join(folder, 'node_modules/.package-lock.json'), JSON.stringify({ packages: installed }));
    return dependenciesAreCurrent(folder);
  };

  it('installs on a fresh clone, and when a version changed, and not otherwise', async () => {
    const a = { 'node_modules/a': { version: '1.0.0', integrity: 'x' } };
    assert.equal(dependenciesAreCurrent(folder), false);
    assert.equal(await lockfiles(a, a), true);
    assert.equal(await lockfiles(a, {}), false);
    assert.equal(await lockfiles(a, { 'node_modules/a': { version: '1.0.1', integrity: 'y' } }), false);
  });

  it('does not miss an optional package of another platform', async () => {
    const other = { 'node_modules/a-darwin': { version: '1.0.0', optional: true } };
    assert.equal(await lockfiles(other, {}), true);
  });

  it('takes the running Node when it is recent enough, else one from the cache', async () => {
    assert.equal(ensureNode({ version: '24.0.0', cache: folder }), process.execPath);
    const binary = join(folder, `node-${NODE_VERSION}-${process.platform}-${process.arch}/bin/node`);
    await mkdir(join(binary, '..'), { recursive: true });
    await writeFile(binary, '#!/bin/sh\n');
    await chmod(binary, 0o755);
    assert.equal(ensureNode({ version: '20.20.2', cache: folder }), binary);
  });

  it('takes over a lock whose process is gone, and gives it up afterwards', async () => {
    const lock = join(folder, 'lock');
    await writeFile(lock, '4194304999');
    assert.equal(
      withLock(lock, () => 7),
      7,
    );
    await assert.rejects(readFile(lock), { code: 'ENOENT' });
  });

  it('gives a lock up when the step fails', async () => {
    const lock = join(folder, 'lock');
    assert.throws(
      () =>
        withLock(lock, () => {
          throw new Error('step');
        }),
      /step/,
    );
    await assert.rejects(readFile(lock), { code: 'ENOENT' });
  });

  it('knows which processes exist', () => {
    assert.equal(processExists(process.pid), true);
    assert.equal(processExists(2 ** 31), false);
    assert.equal(processExists(-1), false);
    assert.equal(processExists(Number.NaN), false);
  });

  it('keeps data in the checkout unless told otherwise', () => {
    assert.match(homeDirectory({}), /\/\.teremok$/);
    assert.equal(homeDirectory({ TEREMOK_HOME: '/srv/x' }), '/srv/x');
  });
});
