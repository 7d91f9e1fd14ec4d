// A machine learns from those before it what is worth translating.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { CODE64 } from '../../src/hypervisor/cpu/decode/decoder.ts';
import { CodeHistory, placeOfCode } from '../../src/hypervisor/cpu/translate/code-history.ts';
import { TRANSLATION, Translator } from '../../src/hypervisor/cpu/translate/translator.ts';
import { firstData } from './engines.ts';
import { goldenProgram } from './golden-programs.ts';
import { ProgramMachine } from './machine.ts';
import { CODE } from './places.ts';

const SLICE = 40;
const MOST_INSTRUCTIONS = 200_000;

const LOOP = goldenProgram({
  name: 'loop',
  mode: 64,
  emit: (a) => {
    a.emit(0xb9, 0x30, 0x75, 0, 0); // mov ecx, 30000
    const head = a.bytes.length;
    a.emit(0x48, 0x01, 0xc8, 0x48, 0x31, 0xc2, 0xff, 0xc9); // add rax, rcx; xor rdx, rax; dec ecx
    a.emit(0x75, (head - (a.bytes.length + 2)) & 0xff); // jnz to its head
  },
});

describe('a machine behind others', () => {
  const folder = mkdtempSync(join(tmpdir(), 'history-'));
  after(() => rmSync(folder, { recursive: true }));
  const head = LOOP.start + 5;
  const place = placeOfCode(CODE64, head - CODE, LOOP.code, head - LOOP.at);

  /** Runs the loop in a machine of its own; gives its translator's counters. */
  const run = async (path: string | undefined): Promise<Readonly<Record<string, number>>> => {
    const history = path === undefined ? undefined : new CodeHistory(path);
    const options = { ...TRANSLATION, sliceInstructions: SLICE, immediate: true, history };
    const machine = new ProgramMachine((host) => new Translator(host, options));
    machine.load(LOOP, firstData(), false);
    assert.ok(machine.run(LOOP, MOST_INSTRUCTIONS).halted);
    const { engine } = machine.guest;
    await engine.dispose();
    return engine.counters();
  };

  it('translates at the first sample what one of them found worthwhile', async () => {
    const path = join(folder, 'worthwhile.bin');
    const first = await run(path);
    const second = await run(path);
    assert.equal(first['samplesInterpreted'], TRANSLATION.threshold);
    assert.equal(second['samplesInterpreted'], 1);
    assert.equal(new CodeHistory(path).lesson(place), 'translate');
  });

  it('translates in full size at once what came to that', async () => {
    const path = join(folder, 'full.bin');
    assert.equal((await run(undefined))['regionsEnlarged'], 1);
    new CodeHistory(path).keep(new Map([[place, { instructions: 1e7, full: true }]]));
    const counters = await run(path);
    assert.equal(counters['regions'], 1);
    assert.equal(counters['regionsEnlarged'], 0);
  });

  it('waits longer with what was translated for nothing', async () => {
    const path = join(folder, 'wasted.bin');
    new CodeHistory(path).keep(new Map([[place, { instructions: 0, full: false }]]));
    const counters = await run(path);
    assert.equal(counters['samplesInterpreted'], TRANSLATION.threshold * 4);
    assert.equal(counters['regions'], 2);
    assert.equal(new CodeHistory(path).lesson(place), 'translate', 'it was worth it this time');
  });
});
