// REP MOVS and REP STOS of all sizes and short counts, where the areas overlap or end with a page: memory and registers
// are as on the host's processor.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Random } from '../native/random.ts';
import type { Assembler } from './assembler.ts';
import { Engines } from './engines.ts';
import { goldenProgram } from './golden-programs.ts';
import { D, DATA } from './places.ts';
import type { Program } from './program.ts';

const PROGRAMS = 150;
const RCX = 1,
  RSI = 6,
  RDI = 7;

function program(seed: number): Program {
  const rng = new Random(seed);
  const mode = seed % 2 === 0 ? 64 : 32;
  const move = (a: Assembler, register: number, value: number): void => {
    a.emit(0xb8 + register);
    a.emit32(value);
  };
  const emit = (a: Assembler): void => {
    for (let n = 0; n < 12; n++) {
      // Around the end of the numbers' first page, or anywhere in it.
      const from = D.numbers + (rng.chance(0.5) ? 0x1000 - rng.below(160) : 0x200 + rng.below(0x800));
      const apart = rng.chance(0.7) ? rng.below(48) - 24 : 0x200 + rng.below(0x100);
      move(a, RSI, DATA + from);
      move(a, RDI, DATA + from + apart);
      move(a, RCX, rng.below(rng.pick([6, 24, 40, 160])));
      const backward = rng.chance(0.1);
      if (backward) a.emit(0xfd);
      const sizes = mode === 64 ? [[], [0x66], [0x48]] : [[], [0x66]];
      a.emit(0xf3, ...rng.pick(sizes), rng.pick([0xa4, 0xa5, 0xa5, 0xaa, 0xab, 0xab]));
      if (backward) a.emit(0xfc);
    }
  };
  const made = goldenProgram({ name: `strings ${seed}`, mode, emit });
  made.gpr[0] = rng.chance(0.5) ? 0x1122_3344n : 0x5555_5555n;
  return { ...made, seed, native: true };
}

describe('string instructions', () => {
  it('move and fill as the host does', (t) => {
    const engines = new Engines([{ threshold: 1, slice: 7, count: false }]);
    let native = 0;
    for (let seed = 0; seed < PROGRAMS; seed++) {
      const verdict = engines.run(program(seed));
      assert.ok(verdict.kind !== 'different', verdict.kind === 'different' ? verdict.what : '');
      assert.equal(verdict.kind, 'equal');
      if (verdict.kind === 'equal' && verdict.native) native += 1;
    }
    t.diagnostic(`${native} of ${PROGRAMS} programs on the host too`);
    assert.ok(engines.hostMissing !== undefined || native === PROGRAMS);
  });
});
