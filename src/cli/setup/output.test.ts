import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { LONGEST_LOG_BYTES } from './managed-process.ts';
import { forTerminal, LineLog, withoutRepeats } from './output.ts';

describe('the output of the services', () => {
  it('reaches the terminal when it is meant for people', () => {
    assert.equal(
      forTerminal('api', 'teremok ready on http://127.0.0.1:8080'),
      'teremok ready on http://127.0.0.1:8080',
    );
    assert.equal(forTerminal('api', '{ not json'), '{ not json');
    assert.equal(forTerminal('api', '{"some":"object"}'), '{"some":"object"}');
  });

  it('stays in the log file when it is a record of ordinary work', () => {
    assert.equal(forTerminal('api', '{"level":30,"msg":"request completed"}'), undefined);
  });

  it('is one readable line when it is a warning', () => {
    const line = '{"level":50,"msg":"could not connect","err":{"message":"ECONNREFUSED"}}';
    assert.equal(forTerminal('worker', line), 'teremok worker: could not connect: ECONNREFUSED');
  });

  it('is shown once when it is the same over and over', () => {
    const shown: string[] = [];
    let time = 0;
    const show = withoutRepeats(
      (line) => shown.push(line),
      () => time,
    );
    for (const line of ['a', 'a', 'a', 'b', 'a']) show(line);
    time = 20_000;
    show('a');
    assert.deepEqual(shown, ['a', '(the same 2 times more)', 'b', 'a', 'a']);
  });

  it('does not fill the disk', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'teremok-log-'));
    const path = join(folder, 'x.log');
    const log = new LineLog(path);
    const line = 'x'.repeat(1024 * 1024);
    for (let written = 0; written < LONGEST_LOG_BYTES; written += line.length) log.write(line);
    log.write('after');
    assert.equal(await readFile(path, 'utf8'), 'after\n');
    assert.ok((await stat(`${path}.1`)).size >= LONGEST_LOG_BYTES);
    await rm(folder, { recursive: true });
  });
});
