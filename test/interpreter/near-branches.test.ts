// Near branches with 16-bit operands in 32-bit code: EIP is cut to 16 bits (SDM vol. 2, Jcc, CALL, RET). Code lies
// above 64 KiB, so that the cut shows; programs of a host cannot have memory below, so nothing native is asked.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readRflags, writeRflags } from '../../src/hypervisor/cpu/flags.ts';
import { Rig } from './rig.ts';

const CODE = 0x2_1000,
  STACK = 0x9000,
  DATA = 0x6000;
const RAX = 0,
  RCX = 1,
  RBX = 3,
  RSP = 4;
const CF = 1,
  PF = 4,
  ZF = 0x40,
  SF = 0x80,
  OF = 0x800;

function machine(): Rig {
  const rig = new Rig();
  rig.configure({ paging: 'none', code: 32 });
  rig.setGpr(RSP, STACK);
  return rig;
}

/** EIP after one instruction; a jump to itself behind it, should it not be taken. */
function after(rig: Rig, ...bytes: number[]): number {
  rig.code(CODE, ...bytes, 0xeb, 0xfe);
  rig.jump(CODE);
  rig.engine.run(1);
  return Number(rig.rip);
}

/** Jcc's conditions in the order of the opcodes (SDM vol. 1, appendix B). */
const CONDITIONS: readonly ((f: number) => boolean)[] = [
  (f) => (f & OF) !== 0,
  (f) => (f & CF) !== 0,
  (f) => (f & ZF) !== 0,
  (f) => (f & (CF | ZF)) !== 0,
  (f) => (f & SF) !== 0,
  (f) => (f & PF) !== 0,
  (f) => ((f & SF) !== 0) !== ((f & OF) !== 0),
  (f) => (f & ZF) !== 0 || ((f & SF) !== 0) !== ((f & OF) !== 0),
];

describe('near branches with 16-bit operands in 32-bit code', () => {
  const rig = machine();

  it('Jcc, short and near', () => {
    for (const flags of [0, CF, PF, ZF, SF, OF, SF | OF, CF | ZF, ZF | SF]) {
      for (let cc = 0; cc < 16; cc++) {
        const taken = CONDITIONS[cc >> 1]?.(flags) !== ((cc & 1) === 1);
        const set = (): void => writeRflags(rig.state, (readRflags(rig.state) & ~0x8d5) | flags);
        set();
        assert.equal(
          after(rig, 0x66, 0x70 + cc, 0x10),
          taken ? 0x1013 : CODE + 3,
          `condition ${cc}, flags ${flags}`,
        );
        set();
        assert.equal(
          after(rig, 0x66, 0x0f, 0x80 + cc, 0x00, 0x20),
          taken ? 0x3005 : CODE + 5,
          `near condition ${cc}, flags ${flags}`,
        );
      }
    }
  });

  it('JMP, short, near and through register and memory', () => {
    assert.equal(after(rig, 0x66, 0xeb, 0xfe), 0x1001);
    assert.equal(after(rig, 0x66, 0xe9, 0x00, 0x80), 0x9004);
    rig.setGpr(RAX, 0xabcd_1234);
    assert.equal(after(rig, 0x66, 0xff, 0xe0), 0x1234);
    rig.view.setUint32(DATA, 0xffff_4321, true);
    rig.setGpr(RBX, DATA);
    assert.equal(after(rig, 0x66, 0xff, 0x23), 0x4321);
  });

  it('CALL pushes 16 bits, RET takes them', () => {
    const pushed = (): number => rig.view.getUint16(STACK - 2, true);
    for (const [bytes, target] of [
      [[0x66, 0xe8, 0x00, 0x10], 0x2004],
      [[0x66, 0xff, 0xd0], 0x1234],
      [[0x66, 0xff, 0x13], 0x4321],
    ] as const) {
      rig.setGpr(RSP, STACK);
      rig.setGpr(RAX, 0xabcd_1234);
      assert.equal(after(rig, ...bytes), target);
      assert.equal(rig.gpr(RSP), BigInt(STACK - 2));
      assert.equal(pushed(), (CODE + bytes.length) & 0xffff);
    }
    rig.view.setUint32(STACK, 0x7777_5678, true);
    rig.setGpr(RSP, STACK);
    assert.equal(after(rig, 0x66, 0xc3), 0x5678);
    assert.equal(rig.gpr(RSP), BigInt(STACK + 2));
    rig.setGpr(RSP, STACK);
    assert.equal(after(rig, 0x66, 0xc2, 6, 0), 0x5678);
    assert.equal(rig.gpr(RSP), BigInt(STACK + 8));
  });

  it('LOOP, LOOPE, LOOPNE and JECXZ', () => {
    for (const [opcode, count, flags, taken] of [
      [0xe2, 2, 0, true],
      [0xe2, 1, 0, false],
      [0xe1, 2, ZF, true],
      [0xe1, 2, 0, false],
      [0xe0, 2, 0, true],
      [0xe0, 2, ZF, false],
      [0xe3, 0, 0, true],
      [0xe3, 1, 0, false],
    ] as const) {
      rig.setGpr(RCX, count);
      writeRflags(rig.state, (readRflags(rig.state) & ~0x8d5) | flags);
      assert.equal(
        after(rig, 0x66, opcode, 0x20),
        taken ? 0x1023 : CODE + 3,
        `${opcode.toString(16)} ${count} ${flags}`,
      );
      assert.equal(rig.gpr(RCX), BigInt(opcode === 0xe3 ? count : count - 1));
    }
  });
});
