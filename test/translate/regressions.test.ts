// What random programs, and the scan of the table, found wrong in the translator: each case alone.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Engines } from './engines.ts';
import { goldenProgram } from './golden-programs.ts';

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
