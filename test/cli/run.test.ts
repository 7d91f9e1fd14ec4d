import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ECHO_BANNER, ECHO_KEYS, writeEchoGuest } from '../guests/echo-guest.ts';
import { runCli, startCli } from './cli-process.ts';

let directory: string;
let kernel: string;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'teremok-run-'));
  kernel = join(directory, 'echo.elf');
  await writeEchoGuest(kernel);
});
after(async () => rm(directory, { recursive: true, force: true }));

const run = (args: readonly string[], input: string) =>
  runCli(['run', '--kernel', kernel, '--memory', '16', '--timeout', '60', ...args], { input });

test('piped input reaches the guest, its output stdout, and a power-off exits 0', async () => {
  const { status, stdout, stderr } = await run([], `hello${ECHO_KEYS.powerOff}`);
  assert.equal(stderr, '');
  assert.equal(stdout, `${ECHO_BANNER}hello`);
  assert.equal(status, 0);
});

test('--debug-exit exits with the value, doubled, plus one', async () => {
  const { status } = await run(['--debug-exit'], ECHO_KEYS.debugExit);
  assert.equal(status, 3);
});

test('a triple fault exits 3 and says so', async () => {
  const { status, stderr } = await run(['--no-reboot'], ECHO_KEYS.tripleFault);
  assert.equal(status, 3);
  assert.match(stderr, /^teremok: the guest triple-faulted/);
});

test('a reset with --no-reboot exits 3; without, the guest boots again', async () => {
  assert.equal((await run(['--no-reboot'], ECHO_KEYS.reset)).status, 3);
  const child = startCli(['run', '--kernel', kernel, '--memory', '16', '--timeout', '60']);
  let output = '';
  const seen = async (text: string): Promise<void> => {
    while (!output.includes(text)) await once(child.stdout, 'data');
  };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  await seen(ECHO_BANNER);
  child.stdin.write(ECHO_KEYS.reset);
  await seen(`${ECHO_BANNER}${ECHO_BANNER}`);
  child.stdin.end(ECHO_KEYS.powerOff);
  const [status] = (await once(child, 'close')) as [number];
  assert.equal(status, 0);
});

test('--icount: time comes from the instructions', async () => {
  const { status, stdout, stderr } = await run(['--icount', '10'], `hello${ECHO_KEYS.powerOff}`);
  assert.equal(stderr, '');
  assert.equal(stdout, `${ECHO_BANNER}hello`);
  assert.equal(status, 0);
  const spins = await run(['--icount', '1', '--timeout', '2'], ECHO_KEYS.spin);
  assert.equal(spins.status, 124);
});

test('--timeout ends a guest that spins, with 124', async () => {
  const { status } = await run(['--timeout', '2'], ECHO_KEYS.spin);
  assert.equal(status, 124);
});

test('--serial FILE takes the output, --serial none drops it', async () => {
  const path = join(directory, 'serial.txt');
  assert.equal((await run(['--serial', path, '--timeout', '2'], '')).status, 124);
  assert.equal(await readFile(path, 'utf8'), ECHO_BANNER);
  const { status, stdout } = await run(['--serial', 'none', '--timeout', '2'], '');
  assert.equal(status, 124);
  assert.equal(stdout, '');
});

test('--stats writes what the run took, also after a timeout', async () => {
  const path = join(directory, 'stats.json');
  await run(['--stats', path, '--timeout', '2'], ECHO_KEYS.spin);
  const stats = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  for (const name of ['wallSeconds', 'cpuSeconds', 'instructions', 'mips']) {
    assert.ok(Number(stats[name]) > 0, `${name} is ${String(stats[name])}`);
  }
  assert.equal(typeof stats.tiers, 'object');
  assert.equal(typeof stats.exits, 'object');
});

test('a guest that sleeps costs no processor time', async () => {
  const path = join(directory, 'idle.json');
  await run(['--stats', path, '--timeout', '3'], '');
  const stats = JSON.parse(await readFile(path, 'utf8')) as { instructions: number };
  assert.ok(stats.instructions < 1_000_000, `${stats.instructions} instructions in an idle guest`);
});

test('SIGTERM ends the machine in order, with 143', async () => {
  const child = startCli(['run', '--kernel', kernel, '--memory', '16', '--timeout', '60']);
  await once(child.stdout, 'data');
  child.kill('SIGTERM');
  const [status] = (await once(child, 'close')) as [number];
  assert.equal(status, 143);
});
