import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { type GeneratedInterpreter, generateInterpreter } from '../interpret/generate.ts';
import { RAM } from '../layout.ts';
import { Addresses, lookAhead, type Place } from './addresses.ts';
import { type GuestInstruction, RegionCode } from './code.ts';

describe('addresses that hang together', () => {
  let interpreter: GeneratedInterpreter;
  before(() => {
    interpreter = generateInterpreter();
  });

  /** The instructions that bytes of 64-bit code begin with. */
  function decode(...code: number[]): GuestInstruction[] {
    const memory = new Uint8Array(RAM + 4096);
    memory.set(code, RAM);
    const page = { physical: 0, slots: 0 };
    const region = new RegionCode(
      interpreter.table,
      memory,
      2,
      (n) => (n === 0 ? page : undefined),
      (decoder) => decoder.handler(2),
    );
    const instructions: GuestInstruction[] = [];
    for (let at = 0; at < code.length; at += instructions.at(-1)?.length ?? 1) {
      const i = region.instruction(at);
      assert.ok(i, `an instruction at ${at}`);
      instructions.push(i);
    }
    return instructions;
  }

  /** Where the last instruction's operand lies, as seen from RSP before the first. */
  function operandFrom(...code: number[]): number | undefined {
    const addresses = new Addresses(true);
    const first = addresses.stack(0);
    const instructions = decode(...code);
    for (const i of instructions.slice(0, -1)) addresses.step(i);
    const last = instructions.at(-1);
    const place: Place | undefined = last && addresses.operand(last);
    return place?.root === first.root ? place.offset - first.offset : undefined;
  }

  const LOAD_RSP = [0x48, 0x8b, 0x44, 0x24, 0x10]; // mov rax, [rsp+10h]
  const LOAD_RBP = [0x48, 0x8b, 0x45, 0xf8]; // mov rax, [rbp-8]

  it('move with the stack pointer', () => {
    assert.equal(operandFrom(0x50, 0x53, ...LOAD_RSP), 0); // push rax, push rbx
    assert.equal(operandFrom(0x58, ...LOAD_RSP), 0x18); // pop rax
    assert.equal(operandFrom(0x48, 0x83, 0xec, 0x28, ...LOAD_RSP), -0x18); // sub rsp, 28h
    assert.equal(operandFrom(0x48, 0x8d, 0x64, 0x24, 0x40, ...LOAD_RSP), 0x50); // lea rsp, [rsp+40h]
    assert.equal(operandFrom(0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20, ...LOAD_RBP), -16); // a frame
  });

  it('are lost where a register becomes something else', () => {
    assert.equal(operandFrom(0x5c, ...LOAD_RSP), undefined); // pop rsp
    assert.equal(operandFrom(0x48, 0x83, 0xe4, 0xf0, ...LOAD_RSP), undefined); // and rsp, -10h
    assert.equal(operandFrom(0x48, 0x01, 0xc4, ...LOAD_RSP), undefined); // add rsp, rax
    assert.equal(operandFrom(0x89, 0xe5, ...LOAD_RBP), undefined); // mov ebp, esp
    assert.equal(operandFrom(0x40, 0x88, 0xe5, ...LOAD_RBP), undefined); // mov bpl, spl
    assert.equal(operandFrom(0x48, 0x89, 0xe5, 0xc9, ...LOAD_RSP), undefined); // mov rbp, rsp; leave
    assert.equal(operandFrom(0x64, ...LOAD_RSP), undefined); // in FS
  });

  it('are told beforehand as they turn out, with what is stored and what is read', () => {
    const code = decode(0x55, 0x53, 0x48, 0x89, 0x44, 0x24, 0x08, ...LOAD_RSP, 0xc3);
    const addresses = new Addresses(true);
    const ahead = lookAhead(addresses, code);
    const { root, offset } = addresses.stack(0);
    const seen = ahead.flat().map((a) => [a.root === root, a.offset - offset, a.bytes, a.write]);
    assert.deepEqual(seen, [
      [true, -8, 8, true],
      [true, -16, 8, true],
      [true, -8, 8, true],
      [true, 0, 8, false],
      [true, -16, 8, false],
    ]);
  });
});
