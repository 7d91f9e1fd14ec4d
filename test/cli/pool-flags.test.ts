import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { poolFlags } from '../../src/lib/pool-flags.js';

const COMMAND = join(import.meta.dirname, '..', '..', 'src', 'cli', 'bin', 'teremok.js');

let directory: string;
let probe: string;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'teremok-pool-'));
  probe = join(directory, 'probe.cjs');
  await writeFile(probe, "process.on('exit', () => console.log(JSON.stringify(process.execArgv)));\n");
});
after(async () => rm(directory, { recursive: true, force: true }));

/** The options of Node's that the process ends with. */
async function optionsOf(options: readonly string[], args: readonly string[]): Promise<string[]> {
  const all = [...options, '--require', probe, COMMAND, ...args, '--help'];
  const { stdout } = await promisify(execFile)(process.execPath, all);
  const found: unknown = JSON.parse(stdout.trim().split('\n').at(-1) ?? '');
  assert.ok(Array.isArray(found));
  return found.map(String).filter((option) => option.startsWith('--v8-pool-size'));
}

test('a machine has no more of V8’s threads than there are other processors; a number that is given stays', async () => {
  assert.deepEqual(await optionsOf([], ['run']), poolFlags());
  assert.deepEqual(await optionsOf(['--v8-pool-size=3'], ['run']), ['--v8-pool-size=3']);
  assert.deepEqual(await optionsOf([], ['vm', 'list']), []);
});
