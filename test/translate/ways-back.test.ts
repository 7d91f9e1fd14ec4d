// Recursion and indirect branches within one region: they come to the same end as interpreted, and stay inside.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { gpr } from '../../src/hypervisor/cpu/layout.ts';
import type { Assembler, Label } from './assembler.ts';
import { Engines } from './engines.ts';
import { goldenProgram } from './golden-programs.ts';
import { DATA_BYTES } from './places.ts';

const engines = [7, 40].map((slice) => new Engines([{ threshold: 1, slice, count: true }], false));

/** Runs a 64-bit loop around `body` on all engines, R15 its count; gives how often a round regions are left by an indirect branch at last. */
function leaves(rounds: number, body: (a: Assembler, functions: () => Label) => void): number {
  const program = goldenProgram({
    name: 'ways-back',
    mode: 64,
    emit: (a) => {
      const end = a.label();
      const again = a.label();
      const functions: Label[] = [];
      a.emit(0x41, 0xbf); // mov r15d, rounds
      a.emit32(rounds);
      a.bind(again);
      body(a, () => {
        const label = a.label();
        functions.push(label);
        return label;
      });
      a.emit(0x41, 0xff, 0xcf); // dec r15d
      a.near(again, 0x0f, 0x85);
      a.near(end, 0xe9);
      emitFunctions(a, functions);
      a.bind(end);
    },
  });
  let last = 0;
  for (const some of engines) {
    const verdict = some.run(program);
    assert.equal(verdict.kind, 'equal', JSON.stringify(verdict));
    const [translator] = some.translators;
    assert.ok(translator);
    const { machine } = translator;
    machine.load(program, new Uint8Array(DATA_BYTES), false);
    machine.begin(program);
    const left = (): number => Number(machine.guest.state.getBigUint64(gpr(15), true));
    // What is hot is made anew, larger, on the way.
    do machine.advance(500);
    while (left() > rounds / 3 || left() === 0);
    const from = left();
    const before = some.counter('regionIndirect');
    machine.advance(1_000_000);
    assert.ok(machine.halted);
    last = (some.counter('regionIndirect') - before) / from;
  }
  return last;

  function emitFunctions(a: Assembler, labels: readonly Label[]): void {
    for (const label of labels) (label as Label & { emit?: (a: Assembler) => void }).emit?.(a);
  }
}

/** A function behind the loop: `emit` is given what calls it. */
function define(label: Label, emit: (a: Assembler) => void): void {
  Object.assign(label, {
    emit: (a: Assembler) => {
      a.bind(label);
      emit(a);
    },
  });
}

describe('the ways back', () => {
  it('of a recursive function with two RETs', () => {
    const out = leaves(380, (a, label) => {
      const fib = label();
      a.emit(0xbf, 5, 0, 0, 0); // mov edi, 5
      a.near(fib, 0xe8);
      a.emit(0x01, 0xc3); // add ebx, eax
      define(fib, (f) => {
        const more = f.label();
        f.emit(0x83, 0xff, 0x02); // cmp edi, 2
        f.near(more, 0x0f, 0x83); // jae
        f.emit(0x89, 0xf8, 0xc3); // mov eax, edi; ret
        f.bind(more);
        f.emit(0x57, 0xff, 0xcf); // push rdi; dec edi
        f.near(fib, 0xe8);
        f.emit(0x5f, 0x50, 0x83, 0xef, 0x02); // pop rdi; push rax; sub edi, 2
        f.near(fib, 0xe8);
        f.emit(0x5a, 0x01, 0xd0, 0xc3); // pop rdx; add eax, edx; ret
      });
    });
    // 15 calls a round.
    assert.ok(out < 3, `${out} ways out`);
  });

  it('of functions that call each other', () => {
    const out = leaves(300, (a, label) => {
      const even = label();
      const odd = label();
      a.emit(0xbf, 12, 0, 0, 0);
      a.near(even, 0xe8);
      a.emit(0x01, 0xc3);
      for (const [own, other, value] of [
        [even, odd, 1],
        [odd, even, 0],
      ] as const)
        define(own, (f) => {
          const more = f.label();
          f.emit(0xb8, value, 0, 0, 0, 0x85, 0xff); // mov eax, value; test edi, edi
          f.near(more, 0x0f, 0x85);
          f.emit(0xc3);
          f.bind(more);
          f.emit(0xff, 0xcf); // dec edi
          f.near(other, 0xe8);
          f.emit(0x8d, 0x44, 0x00, value + 1, 0xc3); // lea eax, [rax+rax+…]; ret
        });
    });
    // 13 calls a round.
    assert.ok(out < 6, `${out} ways out`);
  });

  it('of a function that returns where it was not called from', () => {
    leaves(300, (a, label) => {
      const down = label();
      a.emit(0xbf, 12, 0, 0, 0);
      a.near(down, 0xe8);
      define(down, (f) => {
        const more = f.label();
        f.emit(0xff, 0xcf); // dec edi
        f.near(more, 0x0f, 0x85);
        // Back over five of its own frames at once.
        f.emit(0x48, 0x83, 0xc4, 40, 0xc3); // add rsp, 40; ret
        f.bind(more);
        f.near(down, 0xe8);
        f.emit(0xff, 0xc3, 0xc3); // inc ebx; ret
      });
    });
  });

  it('of a table of jumps', () => {
    const targets = 7;
    const out = leaves(2000, (a) => {
      const table = a.label();
      const over = a.label();
      const join = a.label();
      const cases = Array.from({ length: targets }, () => a.label());
      a.emit(0x31, 0xd2, 0x44, 0x89, 0xf8, 0xb9, targets, 0, 0, 0, 0xf7, 0xf1); // edx = r15d % targets
      a.emit(0x48, 0x8d, 0x05); // lea rax, [rip + table]
      a.relative(table, 0, 0);
      a.emit(0x48, 0x63, 0x14, 0x90, 0x48, 0x01, 0xc2, 0xff, 0xe2); // movsxd rdx, [rax+rdx*4]; add rdx, rax; jmp rdx
      for (const [n, label] of cases.entries()) {
        a.bind(label);
        a.emit(0x83, 0xc3, n); // add ebx, n
        a.near(join, 0xe9);
      }
      a.near(over, 0xe9);
      a.bind(table);
      const at = a.bytes.length;
      for (const label of cases) a.emit32((label.at ?? 0) - at);
      a.bind(over);
      a.bind(join);
    });
    assert.ok(out < 0.5, `${out} ways out`);
  });

  it('of calls through a register, of functions of which one calls the other', () => {
    const out = leaves(2000, (a, label) => {
      const [first, second] = [label(), label()] as const;
      for (const callee of [first, second, first]) {
        a.emit(0x4c, 0x8d, 0x05); // lea r8, [rip + callee]
        a.relative(callee, 0, 0);
        a.emit(0x41, 0xff, 0xd0); // call r8
      }
      define(first, (f) => {
        f.emit(0xff, 0xc3, 0xc3);
      });
      define(second, (f) => {
        f.near(first, 0xe8);
        f.emit(0x83, 0xc3, 3, 0xc3);
      });
    });
    assert.ok(out < 2, `${out} ways out`);
  });
});
