// Segment checks of data accesses outside of 64-bit mode, and 16-bit stacks (SDM vol. 3, chapter 5).
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DS, S, SEG, SS, segment } from '../../src/hypervisor/cpu/layout.ts';
import { Rig } from './rig.ts';

const RAX = 0,
  RBX = 3,
  RSP = 4,
  RBP = 5;

function protectedMode(): Rig {
  const rig = new Rig();
  rig.configure({ paging: '32-bit', code: 32 });
  rig.state.setBigUint64(S.cr0, 0x11n, true);
  rig.engine.stateChanged();
  return rig;
}

function setSegment(rig: Rig, index: number, base: number, limit: number, attributes: number): void {
  const at = segment(index);
  rig.state.setBigUint64(at + SEG.base, BigInt(base), true);
  rig.state.setUint32(at + SEG.limit, limit, true);
  rig.state.setUint32(at + SEG.attributes, attributes, true);
  rig.state.setUint32(at + SEG.checked, 1, true);
}

/** Runs code; 'ok', or the fault. */
function outcome(rig: Rig, ...code: number[]): string {
  if (rig.execute(0x1000, ...code) === 'halted') return 'ok';
  assert.equal(rig.rip, 0x1000n);
  return `#${rig.fault.vector}(${rig.fault.errorCode})`;
}

const READ4 = [0x8b, 0x03],
  WRITE4 = [0x89, 0x03],
  READ1 = [0x8a, 0x03];
/** Attribute bits as in a descriptor: present data, writable, expand-down, code. */
const RW = 0x4093,
  RO = 0x4091,
  DOWN = 0x4097,
  DOWN16 = 0x0097,
  CODE_READ = 0x409b,
  CODE_ONLY = 0x4099,
  NONE = 0x4013;

describe('data segments', () => {
  it('end at their limit, the last byte included', () => {
    const rig = protectedMode();
    setSegment(rig, DS, 0x10_0000, 0xfff, RW);
    rig.view.setUint32(0x10_0ffc, 0x1234_5678, true);
    for (const [offset, code, expected] of [
      [0xffc, READ4, 'ok'],
      [0xffd, READ4, '#13(0)'],
      [0xffc, WRITE4, 'ok'],
      [0xffe, WRITE4, '#13(0)'],
      [0xfff, READ1, 'ok'],
      [0x1000, READ1, '#13(0)'],
      [0xffff_fffe, READ4, '#13(0)'],
    ] as const) {
      rig.setGpr(RBX, offset);
      assert.equal(outcome(rig, ...code), expected, `${offset.toString(16)}`);
    }
  });

  it('that expand down begin behind their limit', () => {
    const rig = protectedMode();
    for (const [attributes, offset, expected] of [
      [DOWN, 0xfff, '#13(0)'],
      [DOWN, 0x1000, 'ok'],
      [DOWN, 0x1_0000, 'ok'],
      [DOWN16, 0x1000, 'ok'],
      [DOWN16, 0xfffc, 'ok'],
      [DOWN16, 0xfffd, '#13(0)'],
    ] as const) {
      setSegment(rig, DS, 0x10_0000, 0xfff, attributes);
      rig.setGpr(RBX, offset);
      assert.equal(outcome(rig, ...READ4), expected, `${attributes.toString(16)} ${offset.toString(16)}`);
    }
  });

  it('refuse what their type forbids', () => {
    const rig = protectedMode();
    rig.setGpr(RBX, 0x100);
    for (const [attributes, code, expected] of [
      [RO, READ4, 'ok'],
      [RO, WRITE4, '#13(0)'],
      [CODE_READ, READ4, 'ok'],
      [CODE_READ, WRITE4, '#13(0)'],
      [CODE_ONLY, READ4, '#13(0)'],
      [NONE, READ4, '#13(0)'],
      [NONE, WRITE4, '#13(0)'],
    ] as const) {
      setSegment(rig, DS, 0x10_0000, 0xffff, attributes);
      assert.equal(outcome(rig, ...code), expected, `${attributes.toString(16)}`);
    }
  });

  it('change and comparison ask for what they do', () => {
    const rig = protectedMode();
    rig.setGpr(RBX, 0x100);
    setSegment(rig, DS, 0x10_0000, 0xffff, RO);
    assert.equal(outcome(rig, 0x01, 0x03), '#13(0)'); // add [ebx], eax
    assert.equal(outcome(rig, 0x39, 0x03), 'ok'); // cmp [ebx], eax
    assert.equal(outcome(rig, 0x0f, 0xab, 0x03), '#13(0)'); // bts [ebx], eax
    assert.equal(outcome(rig, 0x0f, 0xa3, 0x03), 'ok'); // bt [ebx], eax
  });
});

describe('the stack segment', () => {
  it('raises #SS, also for operands whose address is made with EBP', () => {
    const rig = protectedMode();
    setSegment(rig, SS, 0x10_0000, 0xfff, RW);
    rig.setGpr(RSP, 0x1001);
    assert.equal(outcome(rig, 0x58), '#12(0)'); // pop eax
    assert.equal(rig.gpr(RSP), 0x1001n);
    rig.setGpr(RSP, 0x1005);
    assert.equal(outcome(rig, 0x50), '#12(0)'); // push eax
    rig.setGpr(RSP, 0x1004);
    assert.equal(outcome(rig, 0x50), '#12(0)');
    rig.setGpr(RSP, 0x1000);
    assert.equal(outcome(rig, 0x50), 'ok');
    rig.setGpr(RBP, 0xffe);
    assert.equal(outcome(rig, 0x8b, 0x45, 0x00), '#12(0)'); // mov eax, [ebp]
    assert.equal(outcome(rig, 0x3e, 0x8b, 0x45, 0x00), 'ok'); // mov eax, ds:[ebp]
  });

  it('of 16 bits moves SP alone, and wraps', () => {
    const rig = protectedMode();
    setSegment(rig, SS, 0x10_0000, 0xffff, 0x0093);
    rig.setGpr(RSP, 0xabcd_0000);
    rig.setGpr(RAX, 0x1122_3344);
    assert.equal(outcome(rig, 0x50), 'ok'); // push eax
    assert.equal(rig.gpr(RSP), 0xabcd_fffcn);
    assert.equal(rig.view.getUint32(0x10_fffc, true), 0x1122_3344);
    rig.setGpr(RAX, 0);
    assert.equal(outcome(rig, 0x58), 'ok'); // pop eax
    assert.equal(rig.gpr(RSP), 0xabcd_0000n);
    assert.equal(rig.gpr(RAX), 0x1122_3344n);
    // pusha, popa
    rig.setGpr(RSP, 0xabcd_0010);
    assert.equal(outcome(rig, 0x60), 'ok');
    assert.equal(rig.gpr(RSP), 0xabcd_fff0n);
    assert.equal(rig.view.getUint32(0x10_000c, true), 0x1122_3344);
    assert.equal(outcome(rig, 0x61), 'ok');
    assert.equal(rig.gpr(RSP), 0xabcd_0010n);
  });

  it('of 16 bits: ENTER and LEAVE', () => {
    const rig = protectedMode();
    setSegment(rig, SS, 0x10_0000, 0xffff, 0x0093);
    rig.setGpr(RSP, 0xabcd_8000);
    rig.setGpr(RBP, 0x1234_9000);
    rig.view.setUint32(0x10_8ffc, 0x5555_6666, true);
    assert.equal(outcome(rig, 0xc8, 0x20, 0, 2), 'ok'); // enter 32, 2
    assert.equal(rig.view.getUint32(0x10_7ffc, true), 0x1234_9000);
    assert.equal(rig.view.getUint32(0x10_7ff8, true), 0x5555_6666);
    // The frame pointer is the stack pointer as it is, at the operand size.
    assert.equal(rig.gpr(RBP) & 0xffffn, 0x7ffcn);
    assert.equal(rig.view.getUint32(0x10_7ff4, true) & 0xffff, 0x7ffc);
    assert.equal(rig.gpr(RSP), 0xabcd_7fd4n);
    assert.equal(outcome(rig, 0xc9), 'ok');
    assert.equal(rig.gpr(RSP), 0xabcd_8000n);
    assert.equal(rig.gpr(RBP), 0x1234_9000n);
  });
});
