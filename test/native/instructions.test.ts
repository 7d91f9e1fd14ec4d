// Every instruction that a program can run, on the host's own processor and on the interpreter.
// TEREMOK_TEST_SEED and TEREMOK_TEST_COUNT (runs of each form) ask for other and for more cases;
// TEREMOK_TEST_ONLY takes one instruction by its name.
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { CODE32, CODE64, Decoder } from '../../src/hypervisor/cpu/decode/decoder.ts';
import { type Encoding, OpcodeTable, operandBits } from '../../src/hypervisor/cpu/decode/encoding.ts';
import { allInstructions } from '../../src/hypervisor/cpu/isa/index.ts';
import { type Case, makeCase, memoryForms, operandSizes } from './cases.ts';
import { Coverage, differsByVendor, reasonNotRun } from './coverage.ts';
import { type Differential, makeDifferential } from './differential.ts';
import { Random } from './random.ts';
import { undefinedFlagsMask, undefinedResult } from './undefined-flags.ts';

const seed = Number(process.env['TEREMOK_TEST_SEED'] ?? 1);
const count = Number(process.env['TEREMOK_TEST_COUNT'] ?? 16);
const only = process.env['TEREMOK_TEST_ONLY'];

const table = new OpcodeTable(allInstructions);
const decoder = new Decoder(table);
const coverage = new Coverage();

const made = makeDifferential();
const skip = typeof made === 'string' ? made : false;

function runForm(
  differential: Differential,
  rng: Random,
  e: Encoding,
  mode: 32 | 64,
  opsize: 16 | 32 | 64,
  memory: boolean,
  based: boolean,
  failures: string[],
): void {
  const { name, undefinedFlags } = e.instruction;
  if (differsByVendor(e, memory)) return;
  const first = e.operands[0];
  const size = first ? operandBits(first, opsize) : opsize;
  for (let i = 0; i < count; i++) {
    const c: Case | undefined = makeCase(rng, e, mode, opsize, memory, based);
    if (!c) continue;
    // Another row may have a better claim to these bytes.
    if (
      decoder.decode(c.code, 0, c.code.length, mode === 64 ? CODE64 : CODE32) === 'ok' &&
      decoder.encoding !== e
    )
      continue;
    if (undefinedResult(name, c.count, size)) continue;
    const outcome = differential.run(c, {
      undefinedFlags: undefinedFlagsMask(name, undefinedFlags, c.count, size),
      vectors: e.instruction.unit !== undefined,
    });
    if (outcome.kind === 'skipped') continue;
    coverage.note(e, mode, opsize, memory);
    if (outcome.kind === 'different') {
      failures.push(`${name} (${e.text}), operand size ${opsize}, seed ${seed}:\n${outcome.what}`);
      return;
    }
  }
}

describe('instructions against the host processor', { skip }, () => {
  const differential = made as Differential;
  const names = [
    ...new Set(table.encodings.filter((e) => reasonNotRun(e) === undefined).map((e) => e.instruction.name)),
  ];
  const everyForm = (t: TestContext, mode: 32 | 64, based: boolean): void => {
    const rng = new Random(seed * 4 + mode + (based ? 1 : 0));
    differential.fillScratch(rng);
    const failures: string[] = [];
    for (const e of table.encodings) {
      if (!names.includes(e.instruction.name) || (only !== undefined && e.instruction.name !== only))
        continue;
      if (reasonNotRun(e) !== undefined || e.mode === (mode === 64 ? 'i64' : 'o64')) continue;
      for (const opsize of operandSizes(e, mode)) {
        for (const memory of memoryForms(e))
          runForm(differential, rng, e, mode, opsize, memory, based, failures);
      }
    }
    t.diagnostic(`seed ${seed}, ${count} runs of a form`);
    assert.equal(
      failures.length,
      0,
      `${failures.length} forms differ:\n\n${failures.slice(0, 20).join('\n\n')}`,
    );
  };

  it('every form in 64-bit mode', (t) => everyForm(t, 64, false));
  it('every form in 32-bit mode', (t) => everyForm(t, 32, false));
  it('every form in 32-bit mode with a data segment of its own and 16-bit addresses', (t) => {
    try {
      differential.setBased(true);
    } catch (error) {
      t.skip(error instanceof Error ? error.message : String(error));
      return;
    }
    try {
      everyForm(t, 32, true);
    } finally {
      differential.setBased(false);
    }
  });

  it('leaves out none that could be run', { skip: only !== undefined }, (t) => {
    t.diagnostic(coverage.report(table));
    assert.deepEqual(coverage.missing(table), []);
  });
});
