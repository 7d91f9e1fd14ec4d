// Random programs of 5 to 20 steps on the host's own processor and on the interpreter.
// TEREMOK_TEST_SEED and TEREMOK_TEST_SEQUENCES (programs of each mode) ask for others and for more.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { OpcodeTable } from '../../src/hypervisor/cpu/decode/encoding.ts';
import { allInstructions } from '../../src/hypervisor/cpu/isa/index.ts';
import { type Differential, makeDifferential } from './differential.ts';
import { Random } from './random.ts';
import { SequenceMaker } from './sequences.ts';

const seed = Number(process.env['TEREMOK_TEST_SEED'] ?? 1);
const count = Number(process.env['TEREMOK_TEST_SEQUENCES'] ?? 2500);

const made = makeDifferential();

describe('sequences against the host processor', { skip: typeof made === 'string' ? made : false }, () => {
  const differential = made as Differential;
  const table = new OpcodeTable(allInstructions);
  for (const mode of [64, 32] as const) {
    it(`in ${mode}-bit mode`, (t) => {
      const rng = new Random(seed * 4 + mode);
      const maker = new SequenceMaker(rng, mode, table);
      differential.fillScratch(rng);
      const failures: string[] = [];
      const kinds = { equal: 0, fault: 0, skipped: 0, different: 0 };
      for (let i = 0; i < count && failures.length < 5; i++) {
        const outcome = differential.run(maker.make(), { vectors: true });
        kinds[outcome.kind === 'equal' && outcome.fault ? 'fault' : outcome.kind] += 1;
        if (outcome.kind === 'different') failures.push(`program ${i} of seed ${seed}:\n${outcome.what}`);
      }
      t.diagnostic(`seed ${seed}: ${JSON.stringify(kinds)}`);
      assert.equal(failures.length, 0, failures.join('\n\n'));
      assert.ok(kinds.equal > count * 0.7, 'most programs come to their end');
    });
  }
});
