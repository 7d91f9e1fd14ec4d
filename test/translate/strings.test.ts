// REP MOVS and REP STOS of all sizes and short counts, where the areas overlap or end with a page, and all string
// instructions without a prefix in loops: memory, registers and flags are as on the host's processor.
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

/** A loop of string instructions without a prefix, in either direction, whose flags are used. */
function singles(seed: number): Program {
  const rng = new Random(seed);
  const mode = seed % 2 === 0 ? 64 : 32;
  const emit = (a: Assembler): void => {
    const backward = rng.chance(0.3);
    if (backward) a.emit(0xfd);
    const again = a.bytes.length;
    for (const register of [RSI, RDI]) {
      a.emit(0xb8 + register);
      a.emit32(DATA + D.numbers + 0x1000 - rng.below(64) + rng.below(64));
    }
    for (let n = 0; n < 8; n++) {
      const sizes = mode === 64 ? [[], [0x66], [0x48]] : [[], [0x66]];
      a.emit(...rng.pick(sizes), rng.pick([0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf]));
      a.emit(0x83, 0xd2, 0x01); // adc edx, 1
    }
    a.emit(0xff, 0xc9, 0x0f, 0x85); // dec ecx; jnz
    a.emit32(again - (a.bytes.length + 4));
    if (backward) a.emit(0xfc);
  };
  return { ...goldenProgram({ name: `single strings ${seed}`, mode, emit }), seed, native: true };
}

describe('string instructions', () => {
  // One a process, for the host's sake.
  const engines = new Engines([{ threshold: 1, slice: 7, count: true }]);

  it('do one element as the host does, within regions', () => {
    for (let seed = 0; seed < PROGRAMS / 3; seed++) {
      const verdict = engines.run(singles(seed));
      assert.ok(verdict.kind !== 'different', verdict.kind === 'different' ? verdict.what : '');
      assert.equal(verdict.kind, 'equal');
    }
    assert.equal(engines.counter('regionHandlers'), 0);
    assert.ok(engines.counter('regionInstructions') > 100_000);
  });

  it('move and fill as the host does', (t) => {
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
