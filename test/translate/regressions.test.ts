// What random programs, and the scan of the table, found wrong in the translator: each case alone.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { S } from '../../src/hypervisor/cpu/layout.ts';
import { Engines, makeTranslator } from './engines.ts';
import { goldenProgram } from './golden-programs.ts';
import { ProgramMachine } from './machine.ts';
import { CODE, DATA_BYTES } from './places.ts';

const engines = new Engines([{ threshold: 1, slice: 40, count: true }], false);

/** Runs a 64-bit loop, ECX its count of 2000; gives the share of it that ran in regions. */
function share(code: readonly number[], offset?: number): number {
  const [translator] = engines.translators;
  assert.ok(translator);
  const back = -(code.length + 4) & 0xff;
  const program = goldenProgram({
    name: 'loop',
    mode: 64,
    emit: (a) => a.emit(...code, 0xff, 0xc9, 0x75, back), // dec ecx; jnz
    ...(offset === undefined ? {} : { offset }),
  });
  const verdict = engines.run(program);
  assert.equal(verdict.kind, 'equal', verdict.kind === 'different' ? verdict.what : '');
  const { retired, inRegions } = engines.measure(program, translator);
  return inRegions / retired;
}

describe('the translator', () => {
  it('calls the handler of an AVX row that no run has decoded yet', () => {
    // cmp ecx, 1; jne over; vpaddd xmm4, xmm5, xmm6: the region has it, and comes there in the last round.
    assert.ok(share([0x83, 0xf9, 0x01, 0x75, 0x04, 0xc5, 0xd1, 0xfe, 0xe6]) > 0.9);
  });

  it('makes regions with RCPSS and RSQRTSS', () => {
    assert.ok(share([0xf3, 0x0f, 0x53, 0xc1, 0xf3, 0x0f, 0x52, 0xca]) > 0.9);
  });

  it('makes regions with CMPPD', () => {
    assert.ok(share([0x66, 0x0f, 0x28, 0xc1, 0x66, 0x0f, 0xc2, 0xc2, 0x01]) > 0.9);
  });

  it('finds a loop whose slices end at an instruction on two pages each time', () => {
    // Thirteen ADDs and a DEC, and a JNZ over the boundary: slices of 40 instructions end there, three times round.
    const adds = Array.from({ length: 11 }, () => [0x48, 0x01, 0xc8]).flat();
    assert.ok(share(adds, 0x1000 - adds.length - 3) > 0.5);
  });
});

/** Maps the second page of the code to the third, on one machine, as a guest's INVLPG would make it known. */
function remapSecondPage({ guest }: ProgramMachine): void {
  const linear = CODE + 0x1000;
  let table = Number(guest.state.getBigUint64(S.cr3, true));
  for (const shift of [39, 30, 21])
    table = Number(
      guest.view.getBigUint64(table + (Math.floor(linear / 2 ** shift) & 511) * 8, true) & ~0xfffn,
    );
  const entry = table + ((linear >>> 12) & 511) * 8;
  guest.view.setBigUint64(entry, guest.view.getBigUint64(entry, true) + 0x1000n, true);
  guest.engine.context.flushTlb({ linear: BigInt(linear) });
}

describe('a region on two pages', () => {
  // add rax, rcx at the end of a page; behind it, with or without a branch to there, sub rdx, rax; dec ecx; jnz.
  for (const [name, first] of [
    ['which go into one another', [0x48, 0x01, 0xc8]],
    ['with a jump between', [0x48, 0x01, 0xc8, 0xeb, 0x00]],
  ] as const)
    it(`${name}, of which the second comes to lie elsewhere`, () => {
      const program = goldenProgram({
        name: 'pages',
        mode: 64,
        offset: 0x1000 - first.length,
        emit: (a) => a.emit(...first, 0x48, 0x29, 0xc2, 0xff, 0xc9, 0x75, -(first.length + 7) & 0xff),
      });
      const results = [
        new ProgramMachine(),
        makeTranslator({ threshold: 1, slice: 40, count: true }).machine,
      ].map((machine) => {
        machine.load(program, new Uint8Array(DATA_BYTES), false);
        machine.begin(program);
        machine.advance(800);
        const { retired } = machine;
        // There: add rdx, rax.
        machine.code.copyWithin(0x2000, 0x1000, 0x2000);
        machine.code[0x2001] = 0x01;
        remapSecondPage(machine);
        machine.advance(20_000);
        return [retired, machine.halted, Buffer.from(machine.snapshot()).toString('hex')];
      });
      assert.deepEqual(results[1], results[0]);
    });
});
