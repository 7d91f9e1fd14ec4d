import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { describeInterpreter, type GeneratedInterpreter, isGeneratedLate } from './generate.ts';
import { keptInterpreter } from './kept.ts';

describe('the interpreter that is kept', () => {
  const folder = mkdtempSync(join(tmpdir(), 'kept-'));
  after(() => rmSync(folder, { recursive: true }));
  const generated = keptInterpreter(folder);
  const [name = ''] = readdirSync(folder);

  const same = (a: GeneratedInterpreter, b: GeneratedInterpreter): void => {
    assert.deepEqual(a.bytes, b.bytes);
    assert.deepEqual(describeInterpreter(a), describeInterpreter(b));
    assert.deepEqual(a.handlers.length, b.handlers.length);
    assert.deepEqual(
      a.handlers.map((handler) => handler?.info),
      b.handlers.map((handler) => handler?.info),
    );
    const [late] = a.table.encodings.filter(isGeneratedLate);
    assert.ok(late);
    const other = b.table.encodings[a.table.encodings.indexOf(late)];
    assert.ok(other);
    assert.deepEqual(a.extend(late), b.extend(other));
  };

  it('is one file, and what comes out of it is what was generated', () => {
    assert.match(name, /^interpreter-[0-9a-f]{32}\.bin$/);
    const kept = keptInterpreter(folder);
    assert.notEqual(kept, generated);
    same(kept, keptInterpreter(undefined));
  });

  it('is generated anew where the file is not whole', () => {
    const path = join(folder, name);
    const whole = readFileSync(path);
    for (const bytes of [whole.subarray(0, 2), whole.subarray(0, -1)]) {
      writeFileSync(path, bytes);
      same(keptInterpreter(folder), keptInterpreter(undefined));
      assert.deepEqual(readFileSync(path), whole);
    }
  });

  it('is generated where there is no folder to keep it in', () => {
    same(keptInterpreter(join(folder, name, 'nowhere')), keptInterpreter(undefined));
  });
});
