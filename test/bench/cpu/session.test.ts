import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Program } from './programs.ts';
import { type Launch, runPrograms } from './session.ts';

const PROGRAMS = ['one', 'two', 'three'].map((name): Program => ({ name, group: 'integer', scale: 1 }));
const LIMITS = { bootMs: 20_000, programMs: 20_000 };

/** A process of Node's that prints lines as a guest would. */
const printing =
  (script: (names: readonly string[]) => string) =>
  (programs: readonly Program[]): Launch => ({
    command: process.execPath,
    args: ['-e', script(programs.map(({ name }) => name))],
  });
const print = (text: string): string => `process.stdout.write(${JSON.stringify(text)});`;
const whole = (name: string): string => print(`begin ${name}\r\nend ${name} 0${name.length} 0.5\r\n`);

describe('a session of the bench', () => {
  it('takes each program from its first line to its last', async () => {
    const script = (names: readonly string[]): string =>
      `${print('booting\n')}${names.map(whole).join('')}${print('bench done\n')}setInterval(() => {}, 1000)`;
    const results = await runPrograms(PROGRAMS, printing(script), LIMITS);
    assert.deepEqual(
      results.map(({ name, checksum, guestSeconds, error }) => [name, checksum, guestSeconds, error]),
      PROGRAMS.map(({ name }) => [name, `0${name.length}`, 0.5, undefined]),
    );
    assert.ok(results.every(({ seconds = -1 }) => seconds >= 0));
  });

  it('goes on with the rest in a new machine when one dies', async () => {
    const script = (names: readonly string[]): string =>
      names[0] === 'one' ? whole('one') + print('begin two\noops\n') : names.map(whole).join('');
    const results = await runPrograms(PROGRAMS, printing(script), LIMITS);
    assert.deepEqual(
      results.map(({ name, error }) => [name, error?.split(';')[0]]),
      [
        ['one', undefined],
        ['two', 'it ended with status 0'],
        ['three', undefined],
      ],
    );
    assert.match(results[1]?.error ?? '', /oops/);
  });

  it('blames a program behind which the guest went on', async () => {
    const script = (): string => whole('one') + print('begin two\nkilled\n') + whole('three');
    const results = await runPrograms(PROGRAMS, printing(script), LIMITS);
    assert.deepEqual(
      results.map(({ name, error }) => [name, error?.split(';')[0]]),
      [
        ['one', undefined],
        ['two', 'it did not run to its end'],
        ['three', undefined],
      ],
    );
  });

  it('ends what takes too long', async () => {
    const script = (names: readonly string[]): string =>
      names[0] === 'one' ? `${print('begin one\n')}setInterval(() => {}, 1000)` : names.map(whole).join('');
    const results = await runPrograms(PROGRAMS, printing(script), { ...LIMITS, programMs: 50 });
    assert.match(results[0]?.error ?? '', /^it took too long: 0.05 s/);
    assert.equal(results[2]?.error, undefined);
  });

  it('does not try again what does not boot', async () => {
    let launched = 0;
    const results = await runPrograms(
      PROGRAMS,
      (programs) => {
        launched++;
        return printing(() => print('no kernel\n'))(programs);
      },
      LIMITS,
    );
    assert.equal(launched, 1);
    assert.equal(results.length, PROGRAMS.length);
    assert.ok(results.every(({ error }) => error?.includes('no kernel')));
  });
});
