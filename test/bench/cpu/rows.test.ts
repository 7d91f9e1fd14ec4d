import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Program } from './programs.ts';
import { type MachineName, makeRow, meanRatio } from './rows.ts';
import type { Result } from './session.ts';

const SIEVE: Program = { name: 'sieve', group: 'memory', scale: 1 };

const ran = (seconds: number, checksum = 'aa'): Result => ({ name: 'sieve', seconds, checksum });
const row = (native: Result | undefined, runs: Partial<Record<MachineName, Result[]>>) =>
  makeRow(SIEVE, 64, native, new Map(Object.entries(runs) as [MachineName, Result[]][]));

describe('a row of the bench', () => {
  it('has medians, and their ratio', () => {
    const made = row(ran(0.1), { teremok: [ran(3), ran(8), ran(4)], qemu: [ran(2), ran(2), ran(9)] });
    assert.equal(made.cells.teremok?.seconds, 4);
    assert.equal(made.cells.qemu?.seconds, 2);
    assert.deepEqual(meanRatio([made], 'qemu'), { mean: 2, count: 1, worst: 'sieve', worstRatio: 2 });
    assert.equal(meanRatio([made], 'v86'), undefined);
  });

  it('means ratios geometrically', () => {
    const half = row(ran(1), { teremok: [ran(1)], qemu: [ran(2)] });
    const eight = row(ran(1), { teremok: [ran(8)], qemu: [ran(1)] });
    assert.equal(meanRatio([half, eight], 'qemu')?.mean, 2);
  });

  it('is an error where anything else was computed than on the host', () => {
    const made = row(ran(0.1), { teremok: [ran(1), ran(1, 'bb')], qemu: [ran(1)] });
    assert.match(made.cells.teremok?.error ?? '', /computed bb, not aa/);
    assert.equal(made.cells.teremok?.seconds, undefined);
    assert.equal(meanRatio([made], 'qemu'), undefined);
  });

  it('is an error where machines disagree and the host cannot say', () => {
    const made = row(undefined, { teremok: [ran(1, 'bb')], qemu: [ran(1)] });
    assert.match(made.cells.qemu?.error ?? '', /computed aa, not bb/);
  });

  it('tells of a guest whose clock is wrong', () => {
    const made = row(ran(0.1), { teremok: [{ ...ran(2), guestSeconds: 1.5 }] });
    assert.equal(made.cells.teremok?.skew, 0.25);
  });
});
