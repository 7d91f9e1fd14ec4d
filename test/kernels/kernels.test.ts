/**
 * Kernels of our own that walk what user mode cannot reach, in a machine of
 * ours. Every case is held against the manual (the expectation stands in the
 * case) and against QEMU: `expected/` keeps what QEMU's TCG (7.2, `-cpu
 * max,vendor=GenuineIntel`) said of each. Renewed by `node
 * test/kernels/record.ts`, compared live by `node test/kernels/record.ts
 * --compare`; both need QEMU, the tests do not.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { KERNELS } from './kernels.ts';
import { QEMU_DIFFERS } from './qemu-differences.ts';
import { runKernel } from './run-kernel.ts';
import { parseTap } from './tap.ts';

for (const [name, build] of Object.entries(KERNELS)) {
  describe(`test kernel ${name}`, async () => {
    const expected = parseTap(await readFile(join(import.meta.dirname, 'expected', `${name}.txt`), 'utf8'));
    const differences = QEMU_DIFFERS[name] ?? [];

    test('every case does what the manual says', { timeout: 60_000 }, async () => {
      const { exit, output } = await runKernel(build());
      const results = parseTap(output);
      const failed = results.filter(({ verdict }) => verdict !== 'ok' && verdict !== 'skipped');
      assert.deepEqual(
        failed.map((r) => [r.number, r.name, ...r.differences]),
        [],
      );
      assert.deepEqual(exit, { kind: 'debug-exit', status: 1 });
      // What is kept belongs to this kernel.
      assert.deepEqual(
        results.map((r) => r.name),
        expected.map((r) => r.name),
      );
      // A case that QEMU ran is no longer about a feature that nobody has.
      const lost = results.filter((r, i) => r.verdict === 'skipped' && expected[i]?.verdict !== 'skipped');
      assert.deepEqual(
        lost.map((r) => r.name),
        [],
      );
    });

    test('where QEMU differs, the manual is named', () => {
      const unexplained = expected.filter(
        (r) => r.verdict === 'not ok' && !differences.some(({ cases }) => cases.test(r.name)),
      );
      assert.deepEqual(
        unexplained.map((r) => r.name),
        [],
      );
      const stale = differences.filter(
        ({ cases }) => !expected.some((r) => r.verdict === 'not ok' && cases.test(r.name)),
      );
      assert.deepEqual(
        stale.map(({ cases }) => String(cases)),
        [],
      );
    });
  });
}
