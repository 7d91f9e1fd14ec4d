/** Machines whose time comes from their instructions: every run is the same. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { createMachine, MachineConfigError } from '../../src/hypervisor/index.ts';
import { KERNELS } from '../kernels/kernels.ts';
import { runKernel } from '../kernels/run-kernel.ts';

describe('icount', () => {
  // They read clocks, wait for timers of every kind, sleep until an alarm, and print.
  for (const [name, build] of Object.entries(KERNELS)) {
    it(`the test kernel ${name}: two runs and two engines give one output and one count of instructions`, async () => {
      const image = build();
      const run = (engine: 'interpret' | 'translate') =>
        runKernel(image, { config: { engine, icount: 1 }, seconds: 60 });
      const first = await run('interpret');
      assert.deepEqual(first.exit, { kind: 'debug-exit', status: 1 }, first.output.slice(-2000));
      assert.deepEqual(await run('interpret'), first);
      assert.deepEqual(await run('translate'), first);
    });
  }

  it('pauses, at any instruction, leave no trace', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'teremok-icount-'));
    const kernel = join(directory, 'kernel');
    await writeFile(kernel, KERNELS['devices']?.() ?? '');
    const seen: unknown[] = [];
    for (const step of [Number.MAX_SAFE_INTEGER, 37_777]) {
      let output = '';
      const machine = await createMachine(
        { memoryMiB: 64, boot: { kernel }, debugExit: true, engine: 'translate', icount: 1 },
        {
          serial: {
            write: (bytes) => {
              output += Buffer.from(bytes).toString('latin1');
            },
          },
        },
      );
      for (let tick = step; machine.state !== 'ended'; tick += step) {
        await machine.runTo(tick);
        // Only a string instruction that gives way comes to a stop behind it.
        if (machine.state === 'paused') assert.ok(machine.ticks >= tick && machine.ticks < tick + 3000);
      }
      seen.push([output, machine.ticks, machine.stats().instructions, await machine.exited]);
      await machine.dispose();
    }
    assert.deepEqual(seen[1], seen[0]);
    await rm(directory, { recursive: true });
  });

  it('takes whole nanoseconds from 1 to 1000', async () => {
    for (const icount of [0, -1, 1001, 1.5, Number.NaN]) {
      await assert.rejects(
        createMachine({ memoryMiB: 16, boot: { kernel: '/nowhere' }, icount }),
        (error) => error instanceof MachineConfigError && /icount is 1 to 1000 ns/.test(error.message),
      );
    }
  });
});
