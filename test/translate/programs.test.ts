// Random programs of several blocks, loops, calls, faults and code that writes code: on the interpreter, on
// translators whose regions begin at different places, and on the host's own processor. One batch of a fixed seed and
// one of a random one, as many programs as there is time for. TEREMOK_TEST_SEED asks for another seed,
// TEREMOK_TEST_PROGRAM for one program alone, on every translator.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Tally } from './engines.ts';
import { type Failure, ProgramProver, programSeed } from './prover.ts';

const FIXED = 1;
const MILLISECONDS = 5000;
/** However slow the computer is. */
const LEAST_PROGRAMS = 40;
const MOST_FAILURES = 3;
const given = process.env['TEREMOK_TEST_SEED'];
const alone = process.env['TEREMOK_TEST_PROGRAM'];
const random = given === undefined ? Math.floor(Math.random() * 1_000_000) : Number(given);

const text = (failures: readonly Failure[]): string =>
  failures.map(({ seed, report }) => `again with: TEREMOK_TEST_PROGRAM=${seed}\n${report}`).join('\n\n');

describe('random programs over interpreter, translator and host', () => {
  const prover = new ProgramProver();
  const { engines } = prover;

  if (alone !== undefined) {
    it('the program that was asked for', () => {
      const failure = prover.run(Number(alone), {}, true);
      assert.equal(failure, undefined, failure?.report ?? '');
    });
  }

  /** Totals of the fixed seed's first programs, the same in every run: a random one's single long loop can outweigh the rest. */
  let fixed: (Tally & { regions: number; regionsDropped: number }) | undefined;

  for (const seed of [FIXED, random]) {
    it(`of seed ${seed}`, { skip: alone !== undefined }, (t) => {
      const failures: Failure[] = [];
      const end = performance.now() + MILLISECONDS;
      let n = 0;
      for (; failures.length < MOST_FAILURES && (n < LEAST_PROGRAMS || performance.now() < end); n++) {
        const failure = prover.run(programSeed(seed, n));
        if (failure) failures.push(failure);
        if (seed === FIXED && n + 1 === LEAST_PROGRAMS)
          fixed ??= {
            ...engines.tally,
            regions: engines.counter('regions'),
            regionsDropped: engines.counter('regionsDropped'),
          };
      }
      t.diagnostic(`seed ${seed}: ${n} programs; so far ${JSON.stringify(engines.tally)}`);
      if (engines.hostMissing) t.diagnostic(`without the host's processor: ${engines.hostMissing}`);
      assert.equal(failures.length, 0, text(failures));
    });
  }

  it('ran them in regions', { skip: alone !== undefined }, (t) => {
    assert.ok(fixed, 'the fixed batch came to its end');
    t.diagnostic(JSON.stringify(fixed));
    const { programs, skipped, meetings, retired, inRegions, regions, regionsDropped } = fixed;
    assert.ok(skipped < programs / 20, `${skipped} of ${programs} programs did not end`);
    assert.ok(regions > programs, `${regions} regions for ${programs} programs`);
    assert.ok(regionsDropped > 0, 'code that writes code drops regions');
    assert.ok(meetings > programs, `${meetings} meetings in lock-step`);
    assert.ok(inRegions > retired / 2, `${inRegions} of ${retired} instructions retired in regions`);
    assert.ok(inRegions <= retired, 'regions retire no more than all');
  });
});
