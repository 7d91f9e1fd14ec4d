// The translator does not quietly fall back: what is hot runs in regions, nearly all of it, and no row of the table
// keeps a region from being made.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { generateInterpreter } from '../../src/hypervisor/cpu/interpret/generate.ts';
import { RAM } from '../../src/hypervisor/cpu/layout.ts';
import { memoryForms, operandSizes } from '../native/cases.ts';
import { encode } from '../native/encoder.ts';
import { Engines, firstData, machineDifferences } from './engines.ts';
import { makeProgram } from './generator.ts';
import { goldenProgram } from './golden-programs.ts';
import { emitCode } from './region-code.ts';

const PROGRAMS = 40;
const ROUNDS = 1000;
/** Milliseconds that a program waits for its regions at most each time: the thread has to start first. */
const MOST_WAITS = 10_000;
const PROGRAMS_BESIDE = 40;

describe('hot loops', () => {
  it('run in regions', (t) => {
    const engines = new Engines([{ threshold: 1, slice: 40, count: true }], false);
    const [translator] = engines.translators;
    assert.ok(translator);
    let sum = 0;
    let ran = 0;
    for (let seed = 0; seed < PROGRAMS; seed++) {
      const program = makeProgram(seed, { hotRounds: ROUNDS });
      const verdict = engines.run(program);
      assert.ok(verdict.kind !== 'different', verdict.kind === 'different' ? verdict.what : '');
      if (verdict.kind !== 'equal' || verdict.ended !== 'end') continue;
      const { retired, inRegions } = engines.measure(program, translator);
      assert.ok(inRegions <= retired, `seed ${seed}: ${inRegions} of ${retired}`);
      assert.ok(
        inRegions > retired * 0.95,
        `seed ${seed}: ${inRegions} of ${retired} instructions in regions`,
      );
      sum += inRegions / retired;
      ran += 1;
    }
    t.diagnostic(`${ran} loops, ${((sum / ran) * 100).toFixed(2)} % of their instructions in regions`);
    assert.ok(ran > PROGRAMS * 0.9, `${ran} of ${PROGRAMS} came to their end`);
    assert.ok(sum / ran > 0.98, `${sum / ran} of the instructions in regions`);
  });

  it('that write beside their code are made in full size soon: a region of the first size leaves at each write', () => {
    const engines = new Engines([{ threshold: 1, slice: 40, count: true }], false);
    const program = goldenProgram({
      name: 'write beside code',
      mode: 64,
      emit: (a) => {
        a.emit(0x88, 0x05, 0x00, 0x01, 0x00, 0x00); // mov [rip+100h], al
        a.emit(0xff, 0xc9); // dec ecx
        a.emit(0x75, (0 - (a.bytes.length + 2)) & 0xff); // jnz to the beginning
      },
    });
    const verdict = engines.run(program);
    assert.equal(verdict.kind, 'equal');
    assert.ok(engines.counter('regionsEnlarged') > 0);
    const left = engines.counter('regionInterpreted');
    // Of 2,000 rounds: in the first slice, and while a region that begins elsewhere in the loop has not been sampled yet.
    assert.ok(left < 200, `${left} writes left their region`);
  });

  it('become regions beside the run, which may end, change its code or begin anew meanwhile', async (t) => {
    const engines = new Engines([{ threshold: 1, slice: 20, count: true, beside: true }], false);
    const [translator] = engines.translators;
    assert.ok(translator);
    const { machine } = translator;
    const data = firstData();
    for (let seed = 0; seed < PROGRAMS_BESIDE; seed++) {
      const program = makeProgram(5000 + seed, seed % 4 === 0 ? { hotRounds: 200 } : {});
      const expected = engines.interpreter;
      expected.load(program, data, true);
      expected.run(program);
      if (!expected.halted) continue;
      machine.load(program, data, true);
      machine.begin(program);
      for (let turns = 0; turns < 2000 && !machine.halted; turns++) {
        machine.advance(120);
        // Regions are made on another thread, and put in place between slices; at times they are waited for.
        await setImmediate();
        const waits = turns % 8 === 0 ? MOST_WAITS : 0;
        for (let n = 0; n < waits && engines.counter('beingTranslated') > 0 && !machine.halted; n++) {
          await setTimeout(1);
          machine.advance(1);
        }
      }
      assert.deepEqual(machineDifferences(expected, machine), [], `seed ${5000 + seed}`);
    }
    const regions = engines.counter('regions');
    t.diagnostic(`${regions} regions, ${engines.counter('regionInstructions')} instructions in them`);
    assert.ok(regions > PROGRAMS_BESIDE, `${regions} regions`);
    assert.ok(engines.counter('regionInstructions') > 0);
  });

  it('have new regions when there was room for two alone', () => {
    const engines = new Engines([{ threshold: 1, slice: 7, count: true, regions: 2 }], false);
    for (let seed = 0; seed < PROGRAMS_BESIDE; seed++) {
      const verdict = engines.run(makeProgram(7000 + seed));
      assert.ok(
        verdict.kind !== 'different',
        verdict.kind === 'different' ? `seed ${7000 + seed}: ${verdict.what}` : '',
      );
    }
    assert.ok(engines.counter('regions') > PROGRAMS_BESIDE * 4, `${engines.counter('regions')} regions`);
  });

  it('are regions whatever row of the table is in them', () => {
    const interpreter = generateInterpreter();
    const bytes = new Uint8Array(RAM + 4096);
    const failed = new Set<string>();
    for (const mode of [64, 32] as const)
      for (const e of interpreter.table.encodings) {
        if (e.mode === (mode === 64 ? 'i64' : 'o64')) continue;
        for (const opsize of operandSizes(e, mode))
          for (const memory of memoryForms(e)) {
            const choice = {
              mode,
              opsize,
              addressOverride: false,
              prefixes: [],
              rex: false,
              reg: 0,
              rm: 2,
              third: 1,
              fourth: 1,
              memory: memory
                ? ({
                    base: 3,
                    index: e.vsib ? 6 : undefined,
                    scale: 0,
                    displacement: 16,
                    displacementBytes: 1,
                    ripRelative: false,
                  } as const)
                : undefined,
              immediates: e.immediates.map(() => 3n),
            };
            const { bytes: code } = encode(e, choice, 0);
            const loop = [...code, 0xeb, -(code.length + 2) & 0xff];
            try {
              const made = emitCode(interpreter, bytes, mode, loop);
              if (made && !WebAssembly.validate(made))
                failed.add(`${e.instruction.name} (${e.text}): not valid`);
            } catch (error) {
              failed.add(
                `${e.instruction.name} (${e.text}): ${error instanceof Error ? error.message : String(error)}`,
              );
            }
          }
      }
    assert.deepEqual([...failed], []);
  });
});
