// Loops of x87 instructions on plain numbers, over which a region keeps what it knows of the register stack: they end
// as on the interpreter and on the host's processor, whatever instruction is the last.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { OpcodeTable } from '../../src/hypervisor/cpu/decode/encoding.ts';
import { allInstructions } from '../../src/hypervisor/cpu/isa/index.ts';
import { Random } from '../native/random.ts';
import type { Assembler } from './assembler.ts';
import { Engines } from './engines.ts';
import { goldenProgram } from './golden-programs.ts';
import { InstructionPicker } from './instructions.ts';
import { D, DATA } from './places.ts';
import type { Program } from './program.ts';

const LOOPS = 300;
const ROUNDS = 40n;

function loop(seed: number, table: OpcodeTable): Program {
  const mode = seed % 2 === 0 ? 64 : 32;
  const picker = new InstructionPicker(new Random(seed), mode, table, true, true);
  const emit = (a: Assembler): void => {
    a.emit(...picker.x87Numbers());
    a.emit(0xff, 0xc9, 0x0f, 0x85); // dec ecx; jnz
    a.emit32(-(a.bytes.length + 4));
  };
  const program = goldenProgram({ name: `x87 ${seed}`, mode, emit });
  program.gpr[1] = ROUNDS;
  program.gpr[3] = BigInt(DATA + D.numbers + 0x1000);
  return { ...program, seed, native: true };
}

describe('x87 instructions in a row', () => {
  it('do what the interpreter and the host do', (t) => {
    const engines = new Engines([
      { threshold: 1, slice: 40, count: true },
      { threshold: 1, slice: 7, count: false },
    ]);
    const table = new OpcodeTable(allInstructions);
    const [translator] = engines.translators;
    assert.ok(translator);
    let ran = 0;
    let native = 0;
    let share = 0;
    for (let seed = 0; seed < LOOPS; seed++) {
      const program = loop(seed, table);
      const verdict = engines.run(program);
      assert.ok(verdict.kind !== 'different', verdict.kind === 'different' ? verdict.what : '');
      if (verdict.kind !== 'equal' || verdict.ended !== 'end') continue;
      ran += 1;
      if (verdict.native) native += 1;
      const { retired, inRegions } = engines.measure(program, translator);
      share += inRegions / retired;
    }
    t.diagnostic(`${ran} loops, ${native} on the host; ${((share / ran) * 100).toFixed(1)} % in regions`);
    assert.ok(ran > LOOPS * 0.95, `${ran} of ${LOOPS} came to their end`);
    assert.ok(engines.hostMissing !== undefined || native > LOOPS * 0.9, `${native} of them on the host`);
    assert.ok(share / ran > 0.8, `${share / ran} of the instructions in regions`);
  });
});
