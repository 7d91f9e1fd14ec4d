import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { type GeneratedInterpreter, generateInterpreter } from '../interpret/generate.ts';
import { RAM } from '../layout.ts';
import { AddressFlow } from './address-flow.ts';
import { Addresses, type Place } from './addresses.ts';
import type { Block, Region } from './blocks.ts';
import { type GuestInstruction, RegionCode } from './code.ts';
import { findRegion } from './region.ts';

describe('addresses that hang together', () => {
  let interpreter: GeneratedInterpreter;
  before(() => {
    interpreter = generateInterpreter();
  });

  function codeOf(code: readonly number[]): RegionCode {
    const memory = new Uint8Array(RAM + 4096);
    memory.set(code, RAM);
    const page = { physical: 0, slots: 0 };
    return new RegionCode(
      interpreter.table,
      memory,
      2,
      (n) => (n === 0 ? page : undefined),
      (decoder) => decoder.handler(2),
    );
  }

  /** The instructions that bytes of 64-bit code begin with. */
  function decode(...code: number[]): GuestInstruction[] {
    const region = codeOf(code);
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
    const addresses = new Addresses();
    const first = addresses.stack(0);
    const instructions = decode(...code);
    for (const [n, i] of instructions.slice(0, -1).entries()) addresses.step(i, n + 1);
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
    assert.equal(operandFrom(0x48, 0x89, 0xe5, 0x50, 0xc9, ...LOAD_RSP), 0x18); // mov rbp, rsp; push rax; leave
  });

  it('are lost where a register becomes something else', () => {
    assert.equal(operandFrom(0x5c, ...LOAD_RSP), undefined); // pop rsp
    assert.equal(operandFrom(0x48, 0x83, 0xe4, 0xf0, ...LOAD_RSP), undefined); // and rsp, -10h
    assert.equal(operandFrom(0x48, 0x01, 0xc4, ...LOAD_RSP), undefined); // add rsp, rax
    assert.equal(operandFrom(0x89, 0xe5, ...LOAD_RBP), undefined); // mov ebp, esp
    assert.equal(operandFrom(0x40, 0x88, 0xe5, ...LOAD_RBP), undefined); // mov bpl, spl
    assert.equal(operandFrom(0xc9, ...LOAD_RSP), undefined); // leave
    assert.equal(operandFrom(0x64, ...LOAD_RSP), undefined); // in FS
  });

  describe('in a region', () => {
    /** A region of 64-bit code, and what flows through it. */
    function flowOf(...code: number[]): { region: Region; flow: AddressFlow } {
      const limits = {
        instructions: 100,
        callDepth: 1,
        recursion: false,
        seen: () => true,
        observed: () => [],
      };
      const region = findRegion(codeOf(code), 0, limits);
      assert.ok(region);
      return { region, flow: new AddressFlow(region) };
    }
    const blockAt = (region: Region, at: number): Block => {
      const block = region.blocks.find((other) => other.at === at);
      assert.ok(block, `a block at ${at}`);
      return block;
    };
    /** Where RSP is at a block, as seen from where the region begins; undefined when that is not known. */
    const stackAt = ({ region, flow }: ReturnType<typeof flowOf>, at: number): number | undefined => {
      const start = flow.at(region.entry).stack(0);
      const there = flow.at(blockAt(region, at)).stack(0);
      return there.root === start.root ? there.offset - start.offset : undefined;
    };

    it('are told beforehand as they turn out, with what is stored and what is read', () => {
      const { region, flow } = flowOf(0x55, 0x53, 0x48, 0x89, 0x44, 0x24, 0x08, ...LOAD_RSP, 0xc3);
      const { root, offset } = flow.at(region.entry).stack(0);
      const ahead = [...flow.ahead(root, region.entry, 0)];
      const seen = ahead.map((a) => [a.index, a.offset - offset, a.bytes, a.write]);
      assert.deepEqual(seen, [
        [0, -8, 8, true],
        [1, -16, 8, true],
        [2, -8, 8, true],
        [3, 0, 8, false],
        [4, -16, 8, false],
      ]);
      assert.deepEqual(
        [...flow.ahead(root, region.entry, 3)].map((a) => a.index),
        [3, 4],
      );
    });

    it('are the same where ways come together that agree', () => {
      // push rax; test eax, eax; jz +2; push rbx; pop rbx; merge at 7: pop rax; ret
      const balanced = flowOf(0x50, 0x85, 0xc0, 0x74, 0x02, 0x53, 0x5b, 0x58, 0xc3);
      assert.equal(stackAt(balanced, 7), -8);
      // The same with a push too many on one way.
      const unbalanced = flowOf(0x50, 0x85, 0xc0, 0x74, 0x02, 0x53, 0x90, 0x58, 0xc3);
      assert.equal(stackAt(unbalanced, 7), undefined);
    });

    it('are looked for only in blocks that come behind on every way', () => {
      const { region, flow } = flowOf(0x50, 0x85, 0xc0, 0x74, 0x02, 0x53, 0x5b, 0x58, 0xc3);
      const { root } = flow.at(region.entry).stack(0);
      const from = (at: number): number[] =>
        [...flow.ahead(root, blockAt(region, at), 0)].map((a) => a.block.at);
      assert.deepEqual(from(0), [0, 5, 5, 7, 7]);
      assert.deepEqual(from(5), [5, 5]);
    });

    it('are not those of the round before in a loop', () => {
      // mov rax, [rsi]; add rsi, 8; push rax; pop rax; dec ecx; jnz
      const loop = flowOf(0x48, 0x8b, 0x06, 0x48, 0x83, 0xc6, 0x08, 0x50, 0x58, 0xff, 0xc9, 0x75, 0xf3, 0xc3);
      assert.equal(stackAt(loop, 0), 0);
      assert.equal(stackAt(loop, 13), 0);
      const { region, flow } = loop;
      const [rsi, behind] = [0, 13].map((at) => flow.at(blockAt(region, at)).register(6));
      assert.ok(rsi && behind);
      assert.deepEqual(behind, { root: rsi.root, offset: rsi.offset + 8 });
      // Where the loop begins, it is neither what it was in front of it nor that and 8.
      const looped = flowOf(0x90, 0x48, 0x8b, 0x06, 0x48, 0x83, 0xc6, 0x08, 0xff, 0xc9, 0x75, 0xf5, 0xc3);
      const start = looped.flow.at(looped.region.entry).register(6);
      assert.notEqual(looped.flow.at(blockAt(looped.region, 1)).register(6).root, start.root);
    });
  });
});
