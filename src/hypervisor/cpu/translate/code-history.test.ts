import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { CODE32, CODE64 } from '../decode/decoder.ts';
import { CodeHistory, placeOfCode, type Worth } from './code-history.ts';

const folder = mkdtempSync(join(tmpdir(), 'history-'));
after(() => rmSync(folder, { recursive: true }));

let files = 0;
const newPath = (): string => join(folder, `${++files}.bin`);
const found = (...places: readonly [number, number, boolean?][]): Map<number, Worth> =>
  new Map(places.map(([place, instructions, full = false]) => [place, { instructions, full }]));

describe('the place of code', () => {
  const code = new Uint8Array(128).map((_, n) => n + 1);

  it('is its offset in the page and its first bytes, in a mode', () => {
    const place = placeOfCode(CODE64, 0x10, code, 16);
    assert.equal(placeOfCode(CODE64, 0x7010, code, 16), place, 'another page');
    assert.notEqual(placeOfCode(CODE64, 0x11, code, 16), place, 'another offset');
    assert.notEqual(placeOfCode(CODE64, 0x10, code, 17), place, 'other code');
    assert.notEqual(placeOfCode(CODE32, 0x10, code, 16), place, 'another mode');
  });

  it('needs no byte behind its granule', () => {
    const granule = code.slice(0, 64);
    for (const at of [60, 61, 62, 63])
      assert.equal(placeOfCode(CODE64, at, granule, at), placeOfCode(CODE64, at, code, at), `at ${at}`);
  });

  it('fits the file, whatever it is', () => {
    const path = newPath();
    const last = placeOfCode(CODE64, 0xfbf, new Uint8Array(64).fill(0xff), 0);
    new CodeHistory(path).keep(found([last, 1e6], [0, 1e6]));
    assert.equal(new CodeHistory(path).lesson(last), 'translate');
    assert.equal(new CodeHistory(path).lesson(0), 'translate');
  });
});

describe('a history of code', () => {
  it('that is not there, or is not one, is empty, and can be kept', () => {
    const path = newPath();
    const wrong = ['', 'TCH', 'something else', 'TCH1 and half'];
    for (const text of [undefined, ...wrong]) {
      if (text !== undefined) writeFileSync(path, text);
      const history = new CodeHistory(path);
      assert.equal(history.lesson(0x2020_2020), undefined);
      history.keep(found([7, 100_000]));
      assert.equal(new CodeHistory(path).lesson(7), 'translate', text ?? 'no file');
      rmSync(path);
    }
  });

  it('tells what was worth translating, what was in full size, and what was not', () => {
    const path = newPath();
    const places = found(
      [1, 0],
      [2, 20_000],
      [3, 40_000],
      [4, 60_000],
      [5, 6e6],
      [6, 6e6, true],
      [7, 1e5, true],
    );
    new CodeHistory(path).keep(places);
    const history = new CodeHistory(path);
    const lessons = [1, 2, 3, 4, 5, 6, 7, 8].map((place) => history.lesson(place));
    const [soon, late] = ['translate', 'wait'];
    assert.deepEqual(lessons, [late, late, undefined, soon, soon, 'translate in full', soon, undefined]);
  });

  it('is not written when nothing was found', () => {
    const path = newPath();
    new CodeHistory(path).keep(new Map());
    assert.throws(() => statSync(path), { code: 'ENOENT' });
  });

  it('forgets by halves: one short run does not undo what many showed', () => {
    const path = newPath();
    new CodeHistory(path).keep(found([1, 400_000]));
    const lessons: (string | undefined)[] = [];
    for (let runs = 0; runs < 5; runs++) {
      new CodeHistory(path).keep(found([1, 0]));
      lessons.push(new CodeHistory(path).lesson(1));
    }
    assert.deepEqual(lessons, ['translate', 'translate', undefined, undefined, 'wait']);
  });

  it('is the same when a machine keeps it twice', () => {
    const path = newPath();
    new CodeHistory(path).keep(found([1, 130_000]));
    const machine = new CodeHistory(path);
    for (let times = 0; times < 3; times++) machine.keep(found([1, 0]));
    assert.equal(new CodeHistory(path).lesson(1), 'translate');
  });

  it('has what two machines found that ran at a time', () => {
    const path = newPath();
    const [a, b] = [new CodeHistory(path), new CodeHistory(path)];
    a.keep(found([1, 100_000]));
    b.keep(found([2, 100_000]));
    const both = new CodeHistory(path);
    assert.deepEqual([both.lesson(1), both.lesson(2)], ['translate', 'translate']);
  });

  it('has always the same size, and loses what was not met for longest', () => {
    const path = newPath();
    const many = (first: number, n: number): Map<number, Worth> =>
      found(...Array.from({ length: n }, (_, k): [number, number] => [(first + k) * 0x11_0000, 100_000]));
    const known = (places: Map<number, Worth>): number => {
      const history = new CodeHistory(path);
      return [...places.keys()].filter((place) => history.lesson(place) === 'translate').length;
    };
    const [old, often, fresh] = [many(0, 8000), many(10_000, 2000), many(20_000, 10_000)];
    new CodeHistory(path).keep(new Map([...old, ...often]));
    const { size } = statSync(path);
    assert.ok(known(old) > 7800, `${known(old)} of 8,000 when there is room for 16,384`);
    new CodeHistory(path).keep(often);
    new CodeHistory(path).keep(fresh);
    assert.ok(known(fresh) > 9800, `${known(fresh)} of the newest`);
    assert.ok(known(often) > 1600, `${known(often)} of those met twice`);
    assert.ok(known(old) < 5000, `${known(old)} of those not met again`);
    assert.equal(statSync(path).size, size);
  });

  it('in a folder that cannot be one leaves nothing behind and raises nothing', () => {
    const file = newPath();
    writeFileSync(file, 'a file');
    const history = new CodeHistory(join(file, 'history.bin'));
    history.keep(found([1, 100_000]));
    assert.equal(history.lesson(1), undefined);
    assert.equal(readFileSync(file, 'utf8'), 'a file');
    assert.ok(readdirSync(folder).every((name) => name.endsWith('.bin')));
  });
});
