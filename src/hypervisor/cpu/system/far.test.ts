import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { IF, RF } from '../flags.ts';
import { CS, S, SS } from '../layout.ts';
import { MSR, writeMsr } from './msr.ts';
import { readSegment } from './registers.ts';
import {
  GDT,
  gate,
  KERNEL_STACK,
  longBed,
  protectedBed,
  SEL,
  Testbed,
  TSS,
  USER_STACK,
  v86Bed,
} from './testbed.ts';

const far = (selector: number, offset: number) => ({
  length: 7,
  operands: [{ imm: offset }, { imm: selector, size: 16 as const }],
});
const gp = (errorCode: number) => ({ vector: 13, errorCode });

describe('far transfers', () => {
  it('real mode: JMP, CALL and RETF', () => {
    const bed = new Testbed();
    bed.rip = 0x100;
    bed.rsp = 0x8000;
    bed.run('call_far', {
      opsize: 16,
      length: 5,
      operands: [
        { imm: 0x20, size: 16 },
        { imm: 0x3000, size: 16 },
      ],
    });
    assert.deepEqual(
      [bed.selector(CS), bed.rip, bed.peek(0x7ffc, 2), bed.peek(0x7ffe, 2)],
      [0x3000, 0x20, 0x105, 0xf000],
    );
    bed.run('retf_imm', { opsize: 16, operands: [{ imm: 6, size: 16 }] });
    assert.deepEqual([bed.selector(CS), bed.rip, bed.rsp], [0xf000, 0x105, 0x8006]);
    assert.deepEqual(bed.fault('jmp_far', { opsize: 32, ...far(0x3000, 0x10000) }), gp(0));
  });

  it('protected mode: into code of the same level, and what is refused', () => {
    const bed = protectedBed(0);
    bed.run('jmp_far', far(SEL.code16, 0x40));
    assert.deepEqual(
      [bed.selector(CS), bed.rip, bed.view.getUint32(S.codeMode, true)],
      [SEL.code16, 0x40, 0],
    );
    const user = protectedBed(3);
    assert.deepEqual(user.fault('jmp_far', far(SEL.code0, 0)), gp(SEL.code0));
    assert.deepEqual(user.fault('jmp_far', far(SEL.data3, 0)), gp(SEL.data3 & ~3));
    assert.deepEqual(user.fault('jmp_far', far(0, 0)), gp(0));
    user.run('jmp_far', far(SEL.conforming, 0x10));
    assert.deepEqual([user.selector(CS), user.cpl], [SEL.conforming | 3, 3]);
    assert.deepEqual(protectedBed(0).fault('call_far', far(SEL.code16, 0x10000)), gp(0));
  });

  it('a call gate inwards copies parameters; RETF goes back out', () => {
    const bed = protectedBed(3);
    bed.poke(GDT + SEL.gate, gate(SEL.code0, 0x7777, 0xec, 2), 8);
    bed.poke(USER_STACK, 0x11, 4);
    bed.poke(USER_STACK + 4, 0x22, 4);
    bed.run('call_far', far(SEL.gate | 3, 0));
    const frame = Array.from({ length: 6 }, (_, i) => bed.peek(bed.rsp + i * 4, 4));
    assert.deepEqual(frame, [0x507, SEL.code3, 0x11, 0x22, USER_STACK, SEL.data3]);
    assert.deepEqual(
      [bed.cpl, bed.rip, bed.rsp, bed.selector(SS)],
      [0, 0x7777, KERNEL_STACK - 24, SEL.data0],
    );
    bed.run('retf_imm', { operands: [{ imm: 8, size: 16 }] });
    assert.deepEqual([bed.cpl, bed.rip, bed.rsp, bed.selector(SS)], [3, 0x507, USER_STACK + 8, SEL.data3]);
  });

  it("a gate's privilege and presence", () => {
    const bed = protectedBed(3);
    bed.poke(GDT + SEL.gate, gate(SEL.code0, 0x7777, 0x8c), 8);
    assert.deepEqual(bed.fault('call_far', far(SEL.gate, 0)), gp(SEL.gate));
    bed.poke(GDT + SEL.gate, gate(SEL.code0, 0x7777, 0x6c), 8);
    assert.deepEqual(bed.fault('call_far', far(SEL.gate, 0)), { vector: 11, errorCode: SEL.gate });
    bed.poke(GDT + SEL.gate, gate(SEL.code0, 0x7777, 0xec), 8);
    assert.deepEqual(bed.fault('jmp_far', far(SEL.gate, 0)), gp(SEL.code0), 'JMP does not change level');
    bed.poke(TSS + 8, SEL.code0, 2);
    assert.deepEqual(bed.fault('call_far', far(SEL.gate, 0)), { vector: 10, errorCode: SEL.code0 });
  });

  it('64-bit mode: indirect jumps, a 64-bit call gate, RETF', () => {
    const bed = longBed(0);
    bed.poke(0x600, 0xffff_8000_0000_1234n, 8);
    bed.poke(0x608, SEL.code64, 2);
    bed.run('jmp_far_indirect', { opsize: 64, operands: [{ mem: 0x600 }] });
    assert.equal(bed.get64(S.rip), 0xffff_8000_0000_1234n);
    bed.poke(0x600, (SEL.code3 << 16) | 0x10, 4);
    const user = longBed(3);
    user.poke(GDT + SEL.gate2, gate(SEL.code64, 0x7000, 0xec), 8);
    user.poke(GDT + SEL.gate2 + 8, 0xffff_8000, 8);
    user.poke(0x600, 0, 4);
    user.poke(0x604, SEL.gate2 | 3, 2);
    user.rsp = USER_STACK;
    user.run('call_far_indirect', { opsize: 32, operands: [{ mem: 0x600 }] });
    assert.equal(user.get64(S.rip), 0xffff_8000_0000_7000n);
    assert.deepEqual([user.cpl, user.selector(SS), user.rsp], [0, 0, KERNEL_STACK - 32]);
    user.run('retf', { opsize: 64 });
    assert.deepEqual([user.cpl, user.rip, user.rsp, user.selector(SS)], [3, 0x502, USER_STACK, SEL.data3]);
    assert.deepEqual(longBed(0).fault('jmp_far_indirect', { opsize: 32, operands: [{ mem: 0x700 }] }), gp(0));
  });

  it('to compatibility mode and back', () => {
    const bed = longBed(0);
    bed.poke(0x600, 0x1234, 4);
    bed.poke(0x604, SEL.code0, 2);
    bed.run('jmp_far_indirect', { opsize: 32, operands: [{ mem: 0x600 }] });
    assert.deepEqual([bed.view.getUint32(S.codeMode, true), bed.rip], [1, 0x1234]);
    bed.run('jmp_far', far(SEL.code64, 0x5678));
    assert.deepEqual([bed.view.getUint32(S.codeMode, true), bed.rip], [2, 0x5678]);
    const both = longBed(0);
    both.poke(GDT + SEL.code64 + 6, 0xef, 1);
    both.poke(0x604, SEL.code64, 2);
    assert.deepEqual(
      both.fault('jmp_far_indirect', { opsize: 32, operands: [{ mem: 0x600 }] }),
      gp(SEL.code64),
    );
  });

  it('virtual-8086 mode uses paragraphs', () => {
    const bed = v86Bed(3);
    bed.run('jmp_far', {
      opsize: 16,
      operands: [
        { imm: 0x10, size: 16 },
        { imm: 0x7000, size: 16 },
      ],
    });
    assert.deepEqual(readSegment(bed, CS), {
      selector: 0x7000,
      base: 0x70000n,
      limit: 0xffff,
      attributes: 0xf3,
    });
  });
});

describe('system calls', () => {
  it('SYSCALL and SYSRET', () => {
    const bed = longBed(3);
    writeMsr(bed, MSR.STAR, 0x0023_0010_0000_0000n);
    writeMsr(bed, MSR.LSTAR, 0xffff_ffff_8100_0000n);
    writeMsr(bed, MSR.SFMASK, 0x4_7700n);
    bed.flags = IF | 1;
    bed.run('syscall');
    assert.equal(bed.get64(S.rip), 0xffff_ffff_8100_0000n);
    assert.deepEqual([bed.cpl, bed.selector(CS), bed.selector(SS), bed.flags], [0, 0x10, 0x18, 3]);
    assert.deepEqual([bed.reg(1), bed.reg(11)], [0x502n, BigInt(IF | 3)]);
    bed.setReg(11, RF | IF | 3);
    bed.run('sysret', { opsize: 64 });
    assert.deepEqual(
      [bed.cpl, bed.selector(CS), bed.selector(SS), bed.rip, bed.flags],
      [3, 0x33, 0x2b, 0x502, IF | 3],
    );
    bed.run('syscall');
    bed.run('sysret', { opsize: 32 });
    assert.deepEqual([bed.selector(CS), bed.view.getUint32(S.codeMode, true)], [0x23, 1]);
    const kernel = longBed(0);
    kernel.setReg(1, 1n << 47n);
    assert.deepEqual(kernel.fault('sysret', { opsize: 64 }), gp(0));
    assert.deepEqual(protectedBed(3).fault('syscall'), { vector: 6, errorCode: undefined });
    assert.deepEqual(longBed(3).fault('sysret', { opsize: 64 }), gp(0));
  });

  it('SYSCALL from compatibility mode needs an entry in CSTAR', () => {
    const bed = longBed(3);
    writeMsr(bed, MSR.STAR, 0x0023_0010_0000_0000n);
    writeMsr(bed, MSR.LSTAR, 0x4000n);
    bed.run('syscall');
    bed.setReg(1, 0x502n);
    bed.run('sysret', { opsize: 32 });
    assert.deepEqual(bed.fault('syscall'), { vector: 6, errorCode: undefined });
    writeMsr(bed, MSR.CSTAR, 0x5000n);
    bed.run('syscall');
    assert.deepEqual([bed.cpl, bed.selector(CS), bed.get64(S.rip)], [0, 0x10, 0x5000n]);
    assert.equal(bed.view.getUint32(S.codeMode, true), 2);
  });

  it('SYSENTER and SYSEXIT', () => {
    const bed = protectedBed(3);
    assert.deepEqual(bed.fault('sysenter'), gp(0));
    writeMsr(bed, MSR.SYSENTER_CS, 0x100n);
    writeMsr(bed, MSR.SYSENTER_ESP, 0x8000n);
    writeMsr(bed, MSR.SYSENTER_EIP, 0x4000n);
    bed.flags = IF;
    bed.run('sysenter');
    assert.deepEqual(
      [bed.cpl, bed.selector(CS), bed.selector(SS), bed.rip, bed.rsp, bed.flags],
      [0, 0x100, 0x108, 0x4000, 0x8000, 2],
    );
    bed.setReg(1, 0xa000);
    bed.setReg(2, 0x600);
    bed.run('sysexit', { opsize: 32 });
    assert.deepEqual(
      [bed.cpl, bed.selector(CS), bed.selector(SS), bed.rip, bed.rsp],
      [3, 0x113, 0x11b, 0x600, 0xa000],
    );
    assert.deepEqual(bed.fault('sysexit', { opsize: 32 }), gp(0));
  });
});
