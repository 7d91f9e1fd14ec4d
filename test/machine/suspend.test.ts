/** Suspend to RAM (S3) as the machine's owner sees it: what wakes a guest, and what it costs while it sleeps. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createMachine, type Machine } from '../../src/hypervisor/index.ts';
import { runCli } from '../cli/cli-process.ts';
import { TestKernel } from '../kernels/kit.ts';
import { PM1, type SleepOptions, suspendToRam } from '../kernels/sleep.ts';
import { parseTap } from '../kernels/tap.ts';

const POWER_BUTTON = 0x100;
const WAKE_STATUS = 0x8000;

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'teremok-suspend-'));
});
after(async () => rm(directory, { recursive: true, force: true }));

let kernels = 0;

/** A kernel that suspends in its only case, and expects the power button behind it; its path. */
async function sleepingKernel(options: SleepOptions): Promise<string> {
  const kernel = new TestKernel(32);
  const { asm } = kernel;
  const woken = { value: POWER_BUTTON | WAKE_STATUS, mask: POWER_BUTTON | WAKE_STATUS };
  kernel.test('woken by the power button', { w4: woken, w6: 0 }, () => {
    suspendToRam(kernel, options);
    asm.mov('edx', PM1.status);
    asm.db(0x66, 0xed); // in ax, dx
    asm.mov(kernel.at('w4'), 'eax');
  });
  kernels += 1;
  const path = join(directory, `kernel-${kernels}`);
  await writeFile(path, kernel.finish());
  return path;
}

/** A machine with that kernel, asleep. */
async function sleeper(options: SleepOptions): Promise<{ machine: Machine; output: () => string }> {
  const path = await sleepingKernel(options);
  let output = '';
  const machine = await createMachine(
    { memoryMiB: 16, boot: { kernel: path }, debugExit: true },
    {
      serial: {
        write: (bytes) => {
          output += Buffer.from(bytes).toString('latin1');
        },
      },
    },
  );
  machine.start();
  await until(() => machine.suspended);
  return { machine, output: () => output };
}

async function turn(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve));
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}

const limit = { timeout: 30_000 };

for (const { name, options } of [
  { name: 'in real mode', options: { enable: 0 } },
  { name: 'by the 64-bit vector, in flat 32-bit mode', options: { enable: 0, wide: true } },
] as const) {
  test(`asleep it runs nothing; the power button wakes it ${name}`, limit, async () => {
    const { machine, output } = await sleeper(options);
    const { instructions, exits } = machine.stats();
    for (let i = 0; i < 100; i++) await turn();
    assert.equal(machine.stats().instructions, instructions);
    assert.deepEqual(machine.stats().exits, exits);
    machine.powerButton();
    const exit = await machine.exited;
    await machine.dispose();
    assert.deepEqual(
      parseTap(output()).map(({ verdict, differences }) => [verdict, ...differences]),
      [['ok']],
    );
    assert.deepEqual(exit, { kind: 'debug-exit', status: 1 });
  });
}

test('input from outside does not wake it, and is not lost on it', limit, async () => {
  const { machine } = await sleeper({ enable: 0 });
  assert.equal(machine.serialInput.offer(Uint8Array.of(65)), 1);
  for (let i = 0; i < 20; i++) await turn();
  assert.equal(machine.suspended, true);
  machine.powerButton();
  await machine.exited;
  await machine.dispose();
});

test('a machine that sleeps can be paused, woken meanwhile, and resumed', limit, async () => {
  const { machine } = await sleeper({ enable: 0 });
  await machine.pause();
  machine.powerButton();
  for (let i = 0; i < 20; i++) await turn();
  assert.equal(machine.suspended, true);
  machine.resume();
  assert.equal((await machine.exited).kind, 'debug-exit');
  await machine.dispose();
});

test('a machine that sleeps can be reset and switched off', limit, async () => {
  const first = await sleeper({ enable: 0 });
  first.machine.reset();
  assert.deepEqual(await first.machine.exited, { kind: 'reset' });
  await first.machine.dispose();
  const second = await sleeper({ enable: 0 });
  await second.machine.dispose();
  assert.equal(second.machine.state, 'ended');
});

test('woken without a waking vector, it starts anew', limit, async () => {
  const { machine } = await sleeper({ enable: 0, lost: true });
  machine.powerButton();
  assert.deepEqual(await machine.exited, { kind: 'reset' });
  await machine.dispose();
});

test('teremok run: a guest that nothing wakes costs nothing, and ends when asked', limit, async () => {
  const kernel = await sleepingKernel({ enable: 0 });
  const stats = join(directory, 'stats.json');
  const { status, stderr } = await runCli([
    ...['run', '--kernel', kernel, '--memory', '16', '--timeout', '3', '--stats', stats],
  ]);
  assert.equal(stderr, '');
  assert.equal(status, 124);
  const figures: unknown = JSON.parse(await readFile(stats, 'utf8'));
  assert.ok(typeof figures === 'object' && figures !== null && 'instructions' in figures);
  assert.ok(Number(figures.instructions) < 10_000, JSON.stringify(figures));
});
