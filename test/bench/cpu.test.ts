/** A little of the bench of the processor, so that it stays fit to be run. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { projectRoot } from '../../src/cli/setup/bootstrap.js';
import { findCompiler } from './cpu/build.ts';
import type { Row } from './cpu/rows.ts';

const BENCH = join(projectRoot, 'test/bench/cpu.ts');

function bench(...args: string[]) {
  return spawnSync(process.execPath, [BENCH, ...args], { encoding: 'utf8', timeout: 60_000 });
}

describe('npm run bench -- cpu', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'teremok-bench-'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  const skip = findCompiler() === undefined ? 'there is no C compiler here' : false;
  it('runs programs of both widths and compares them with the host', { skip }, async () => {
    const json = join(folder, 'figures.json');
    const names = ['alu', 'divide', 'nbody', 'x87_newton', 'jit', 'format'];
    const few = ['--only', names.join(','), '--scale', '0.001', '--host', 'bare'];
    const { status, stdout, stderr } = bench(...few, '--skip-qemu', '--skip-v86', '--json', json);
    assert.equal(status, 0, stdout + stderr);
    assert.match(stdout, /^64-bit +teremok s +host s$/m);
    assert.match(stdout, /^x87_newton +\d+\.\d\d +\d+\.\d\d$/m);
    const { rows } = JSON.parse(await readFile(json, 'utf8')) as { rows: Row[] };
    for (const bits of [32, 64]) {
      const found = rows.filter((row) => row.bits === bits);
      assert.deepEqual(found.map(({ name }) => name).toSorted(), names.toSorted());
      for (const { name, checksum, cells } of found) {
        assert.match(checksum ?? '', /^[0-9a-f]{16}$/, name);
        assert.equal(cells.teremok?.error, undefined, name);
        assert.equal(cells.teremok?.all.length, 1, name);
      }
    }
  });

  it('says what is wrong with its options', () => {
    for (const [args, message] of [
      [['--only', 'knitting'], /there is no program "knitting"; there are: alu,/],
      [['--bits', '16'], /--bits takes 64 or 32 or both, not "16"/],
      [['--runs', '0'], /--runs takes a number from 1 to 100, not "0"/],
      [['--what'], /--what/],
    ] as const) {
      const { status, stderr } = bench(...args);
      assert.equal(status, 2, stderr);
      assert.match(stderr, message);
    }
  });
});
