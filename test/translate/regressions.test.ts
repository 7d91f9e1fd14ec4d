// What random programs, and the scan of the table, found wrong in the translator: each case alone.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CODE16 } from '../../src/hypervisor/cpu/decode/decoder.ts';
import { S } from '../../src/hypervisor/cpu/layout.ts';
import { TRANSLATION, Translator } from '../../src/hypervisor/cpu/translate/translator.ts';
import type { Assembler } from './assembler.ts';
import { Engines, machineDifferences, makeTranslator } from './engines.ts';
import { goldenProgram } from './golden-programs.ts';
import { ProgramMachine } from './machine.ts';
import { CODE, DATA, DATA_BYTES } from './places.ts';

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

describe('a region that is made anew', () => {
  it('is of its own mode, whatever mode the slice ended in', () => {
    // BIOS calls of a 32-bit boot loader: the region looked at two pages, and the slice ended in 16-bit code.
    const program = goldenProgram({
      name: 'two pages',
      mode: 32,
      emit: (a) => {
        a.emit(0xbb); // mov ebx
        a.emit32(DATA + 0xff8);
        const again = a.bytes.length;
        a.emit(0x8b, 0x03, 0x03, 0x53, 0x10, 0x05); // mov eax, [ebx]; add edx, [ebx+16]; add eax
        a.emit32(0x1234_5678);
        a.emit(0x01, 0xc2, 0xff, 0xc9, 0x75, (again - (a.bytes.length + 6)) & 0xff); // add edx, eax; dec ecx; jnz
      },
    });
    const expected = new ProgramMachine();
    let translator: Translator | undefined;
    const options = { ...TRANSLATION, threshold: 1, immediate: true, full: true };
    const machine = new ProgramMachine((host) => (translator = new Translator(host, options)));
    for (const each of [expected, machine]) {
      each.load(program, new Uint8Array(DATA_BYTES).fill(3), false);
      each.begin(program);
    }
    assert.ok(translator);
    const { state } = machine.guest;
    for (let n = 0; n < 50 && state.getUint32(S.crossedRecord, true) === 0; n++) machine.advance(6);
    assert.notEqual(state.getUint32(S.crossedRecord, true), 0);
    const mode = state.getInt32(S.codeMode, true);
    const narrowed = translator.counters()['regionsNarrowed'];
    state.setInt32(S.crossings, TRANSLATION.sliceInstructions, true);
    state.setInt32(S.codeMode, CODE16, true);
    translator.sliceEnded(6);
    state.setInt32(S.codeMode, mode, true);
    assert.equal(translator.counters()['regionsNarrowed'], Number(narrowed) + 1);
    for (const each of [expected, machine]) for (let n = 0; n < 4000 && !each.halted; n++) each.advance(20);
    assert.deepEqual(machineDifferences(expected, machine), []);
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

/** A loop over doubles, ECX its count: MXCSR as it is after an inexact result, then `code`, then MXCSR added to EBX. */
function numbersLoop(
  values: readonly number[],
  code: (a: Assembler, value: (n: number) => void) => void,
): void {
  const program = goldenProgram({
    name: 'numbers',
    mode: 64,
    emit: (a) => {
      const end = a.label();
      const constants = a.label();
      const again = a.here();
      a.emit(0xb8, 0xa0, 0x1f, 0, 0, 0x50, 0x0f, 0xae, 0x14, 0x24, 0x58); // mov eax,1fa0h; push rax; ldmxcsr [rsp]; pop rax
      code(a, (n) => a.relative(constants, n * 8, 0));
      a.emit(0x50, 0x0f, 0xae, 0x1c, 0x24, 0x5a, 0x01, 0xd3); // push rax; stmxcsr [rsp]; pop rdx; add ebx, edx
      a.emit(0xff, 0xc9); // dec ecx
      a.near(again, 0x0f, 0x85);
      a.near(end, 0xe9);
      a.bind(constants);
      const bits = new DataView(new ArrayBuffer(8));
      for (const value of values) {
        bits.setFloat64(0, value, true);
        a.emit64(bits.getBigUint64(0, true));
      }
      a.bind(end);
    },
  });
  const verdict = engines.run(program);
  assert.equal(verdict.kind, 'equal', JSON.stringify(verdict));
}

/** movsd xmmN, [rip + …] */
const load = (a: Assembler, n: number, place: () => void): void => {
  a.emit(0xf2, 0x0f, 0x10, 0x05 | (n << 3));
  place();
};

describe('what is known of numbers', () => {
  const values = [2 ** -1022, 0.25, 3, Number.NaN, Number.MAX_VALUE, 0];

  it('ends with a denormal result, whose use is told in DE', () => {
    numbersLoop(values, (a, value) => {
      load(a, 1, () => value(0));
      load(a, 2, () => value(1));
      load(a, 3, () => value(2));
      a.emit(0xf2, 0x0f, 0x58, 0xda); // addsd xmm3, xmm2
      a.emit(0xf2, 0x0f, 0x59, 0xca); // mulsd xmm1, xmm2: denormal
      a.emit(0x66, 0x0f, 0x28, 0xe1); // movapd xmm4, xmm1
      a.emit(0xf2, 0x0f, 0x58, 0xdc); // addsd xmm3, xmm4
    });
  });

  it('ends with MXCSR written in between', () => {
    numbersLoop(values, (a, value) => {
      load(a, 1, () => value(0));
      load(a, 2, () => value(1));
      a.emit(0xf2, 0x0f, 0x59, 0xca); // mulsd xmm1, xmm2: denormal
      a.emit(0x50, 0x0f, 0xae, 0x14, 0x24, 0x58); // push rax; ldmxcsr [rsp]; pop rax
      a.emit(0xf2, 0x0f, 0x58, 0xd1); // addsd xmm2, xmm1
    });
  });

  it('ends with a NaN, which is unordered, and with an overflow', () => {
    numbersLoop(values, (a, value) => {
      for (const [n, constant] of [
        [1, 4],
        [2, 2],
        [3, 3],
      ] as const)
        load(a, n, () => value(constant));
      a.emit(0xf2, 0x0f, 0x58, 0xd2); // addsd xmm2, xmm2
      a.emit(0xf2, 0x0f, 0x59, 0xca); // mulsd xmm1, xmm2: infinite
      a.emit(0xf2, 0x0f, 0x58, 0xda); // addsd xmm3, xmm2: NaN
      a.emit(0x66, 0x0f, 0x2f, 0xd3); // comisd xmm2, xmm3
      a.emit(0x0f, 0x9a, 0xc2, 0x01, 0xd3); // setp dl; add ebx, edx
      a.emit(0xf2, 0x0f, 0x5d, 0xd3); // minsd xmm2, xmm3
    });
  });

  it('is not taken for what a merge of two ways brings', () => {
    numbersLoop(values, (a, value) => {
      const over = a.label();
      load(a, 1, () => value(0));
      load(a, 2, () => value(1));
      a.emit(0xf6, 0xc1, 0x01); // test cl, 1
      a.near(over, 0x0f, 0x84); // jz
      a.emit(0xf2, 0x0f, 0x59, 0xca); // mulsd xmm1, xmm2
      a.bind(over);
      a.emit(0xf2, 0x0f, 0x58, 0xd1); // addsd xmm2, xmm1
      a.emit(0x66, 0x0f, 0x58, 0xca, 0x66, 0x0f, 0x51, 0xd1); // addpd xmm1, xmm2; sqrtpd xmm2, xmm1
    });
  });
});
