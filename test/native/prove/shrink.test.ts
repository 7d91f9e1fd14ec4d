import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Program } from '../differential.ts';
import { countInstructions, shrinkProgram } from './shrink.ts';

const program = (code: number[]): Program => ({
  mode: 64,
  at: 0x1000,
  code: Uint8Array.from(code),
  gpr: new BigUint64Array(16),
  rflags: 2,
  fx: new Uint8Array(512),
  upper: new Uint8Array(256),
  patches: [],
});
/** xor eax, eax; add ecx, edx; cmp ecx, 5; jne +2; mov ebx, eax; inc edx */
const CODE = [0x31, 0xc0, 0x01, 0xd1, 0x83, 0xf9, 5, 0x75, 2, 0x89, 0xc3, 0xff, 0xc2];
const has = (p: Program, ...bytes: number[]): boolean => Buffer.from(p.code).includes(Buffer.from(bytes));

describe('shrinking a program', () => {
  it('leaves the instructions that the failure needs, where they were', () => {
    const shrunk = shrinkProgram(program(CODE), (p) => has(p, 0x01, 0xd1) && has(p, 0x75, 2));
    assert.deepEqual([...shrunk.code], [0x90, 0x90, 0x01, 0xd1, 0x90, 0x90, 0x90, 0x75, 2]);
    assert.equal(countInstructions(shrunk), 2);
  });

  it('goes round again for what only another loss makes needless', () => {
    // The first may go once the last has gone.
    const shrunk = shrinkProgram(
      program(CODE),
      (p) => has(p, 0x89, 0xc3) && (has(p, 0x31, 0xc0) || !has(p, 0xff, 0xc2)),
    );
    assert.equal(countInstructions(shrunk), 1);
    assert.ok(has(shrunk, 0x89, 0xc3));
  });

  it('gives back a program that needs all of its instructions', () => {
    const whole = program(CODE);
    const shrunk = shrinkProgram(whole, (p) => Buffer.compare(p.code, whole.code) === 0);
    assert.equal(shrunk, whole);
  });
});
