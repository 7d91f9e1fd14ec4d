// Random programs of several blocks, loops, calls, faults and code that writes code: on the interpreter, on
// translators whose regions begin at different places, and on the host's own processor. One batch of a fixed seed and
// one of a random one, as many programs as there is time for. TEREMOK_TEST_SEED asks for another seed,
// TEREMOK_TEST_PROGRAM for one program alone, on every translator.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Failure, ProgramProver, programSeed } from './prover.ts';

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

  for (const seed of [1, random]) {
    it(`of seed ${seed}`, { skip: alone !== undefined }, (t) => {
      const failures: Failure[] = [];
      const end = performance.now() + MILLISECONDS;
      let n = 0;
      for (; failures.length < MOST_FAILURES && (n < LEAST_PROGRAMS || performance.now() < end); n++) {
        const failure = prover.run(programSeed(seed, n));
        if (failure) failures.push(failure);
      }
      t.diagnostic(`seed ${seed}: ${n} programs; so far ${JSON.stringify(engines.tally)}`);
      if (engines.hostMissing) t.diagnostic(`without the host's processor: ${engines.hostMissing}`);
      assert.equal(failures.length, 0, text(failures));
    });
  }

  it('ran them in regions', { skip: alone !== undefined }, () => {
    const { tally } = engines;
    assert.ok(
      tally.skipped < tally.programs / 20,
      `${tally.skipped} of ${tally.programs} programs did not end`,
    );
    assert.ok(
      engines.counter('regions') > tally.programs,
      `${engines.counter('regions')} regions for ${tally.programs} programs`,
    );
    assert.ok(engines.counter('regionsDropped') > 0, 'code that writes code drops regions');
    assert.ok(tally.meetings > tally.programs, `${tally.meetings} meetings in lock-step`);
    assert.ok(
      tally.inRegions > tally.retired / 2,
      `${tally.inRegions} of ${tally.retired} instructions retired in regions`,
    );
    assert.ok(tally.inRegions <= tally.retired, 'regions retire no more than all');
  });
});
