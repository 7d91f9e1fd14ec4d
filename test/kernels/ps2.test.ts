/**
 * What keyboard controller, keyboard and mouse answer to a script, in a
 * machine of ours, beside what QEMU 7.2 answered. `expected/ps2.txt` is renewed
 * by `node test/kernels/record.ts ps2`.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { ps2Kernel, ps2Transcript } from './ps2-script.ts';
import { runKernel } from './run-kernel.ts';

/** Where the answer is another one by right: line, our answer, why. */
const QEMU_DIFFERS: readonly (readonly [name: string, answer: string, why: string])[] = [
  ['as firmware leaves the controller', '65', 'SeaBIOS does not set the system flag, IBM does'],
  ['RAM keeps', '5a', 'QEMU has no RAM but the command byte; commands 21h-3Fh and 61h-7Fh'],
  ['keyboard: resend of the echo', 'ee', 'FEh sends the last byte again'],
  [
    'keyboard: lights, given up for another command',
    'fa ee',
    'a command in the place of the second byte takes effect, and the lights stay',
  ],
  ['keyboard: all typematic', 'fa', 'F7h to F9h, FBh and FDh are commands'],
  ['keyboard: all make and break', 'fa', 'likewise'],
  ['keyboard: all make', 'fa', 'likewise'],
  ['keyboard: one key typematic', 'fa fa', 'likewise'],
  ['keyboard: one key make', 'fa fa', 'likewise'],
  ['mouse: resend', 'mfa m30 m03 m28', 'FEh sends the last answer again'],
  ['mouse: no such command', 'mfe', 'what is no command is asked for again'],
  ['mouse: nor this', 'mfc', 'and then refused'],
];

test('controller, keyboard and mouse answer as QEMU does, or as their manuals say', async () => {
  const recorded = (await readFile(join(import.meta.dirname, 'expected', 'ps2.txt'), 'utf8'))
    .trim()
    .split('\n');
  const differences = new Map(QEMU_DIFFERS.map(([name, answer]) => [name, `${name}: ${answer}`]));
  const expected = recorded.map((line) => differences.get(line.replace(/:[^:]*$/, '')) ?? line);
  const { output, exit } = await runKernel(ps2Kernel());
  assert.deepEqual(exit, { kind: 'debug-exit', status: 1 });
  assert.deepEqual(ps2Transcript(output), expected);
  const stale = [...differences.values()].filter((line) => recorded.includes(line));
  assert.deepEqual(stale, []);
});
