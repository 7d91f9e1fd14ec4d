import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { IF, IOPL, NT, OF, RF, TF, VIF, VM } from '../flags.ts';
import { CS, DS, ES, FS, GS, S, SS, TR } from '../layout.ts';
import { TripleFault } from './context.ts';
import { deliver } from './delivery.ts';
import { CR4, readSegment } from './registers.ts';
import {
  GDT,
  gate,
  IDT,
  KERNEL_STACK,
  longBed,
  protectedBed,
  SEL,
  setGate,
  Testbed,
  TSS,
  TSS2,
  USER_STACK,
  v86Bed,
} from './testbed.ts';

const HANDLER = 0x7000;
const stack = (bed: Testbed, count: number, bytes: 2 | 4 | 8, base = 0): number[] =>
  Array.from({ length: count }, (_, i) => bed.peek(base + bed.rsp + i * bytes, bytes));

describe('real mode', () => {
  it('INT and IRET', () => {
    const bed = new Testbed();
    bed.rip = 0x200;
    bed.rsp = 0x8000;
    bed.flags = IF | TF | 0x41;
    bed.poke(0x10 * 4, 0x1234, 2);
    bed.poke(0x10 * 4 + 2, 0x5000, 2);
    bed.run('int', { opsize: 16, operands: [{ imm: 0x10, size: 8 }] });
    assert.deepEqual([bed.selector(CS), bed.rip], [0x5000, 0x1234]);
    assert.equal(readSegment(bed, CS).base, 0x50000n);
    assert.deepEqual(stack(bed, 3, 2), [0x202, 0xf000, IF | TF | 0x43]);
    assert.equal(bed.flags & (IF | TF), 0);
    bed.run('iret', { opsize: 16 });
    assert.deepEqual(
      [bed.selector(CS), bed.rip, bed.rsp, bed.flags],
      [0xf000, 0x202, 0x8000, IF | TF | 0x43],
    );
  });

  it('a vector beyond the table ends in shutdown when the double fault has none either', () => {
    const bed = new Testbed();
    bed.view.setUint32(S.idtrLimit, 3, true);
    assert.throws(() => deliver(bed, { vector: 3, kind: 'external' }), TripleFault);
  });
});

describe('protected mode', () => {
  it('from level 3: the stack of the TSS, error code, IF and TF', () => {
    const bed = protectedBed(3);
    bed.flags = IF | TF | NT;
    setGate(bed, 14, SEL.code0, HANDLER);
    deliver(bed, { vector: 14, kind: 'fault', errorCode: 6, cr2: 0x1234n });
    assert.deepEqual(stack(bed, 6, 4), [6, 0x500, SEL.code3, IF | TF | NT | RF | 2, USER_STACK, SEL.data3]);
    assert.equal(bed.rsp, KERNEL_STACK - 24);
    assert.deepEqual(
      [bed.selector(CS), bed.selector(SS), bed.cpl, bed.rip],
      [SEL.code0, SEL.data0, 0, HANDLER],
    );
    assert.equal(bed.flags, 2);
    assert.equal(bed.get64(S.cr2), 0x1234n);
    bed.rsp += 4;
    bed.run('iret', { opsize: 32 });
    assert.deepEqual(
      [bed.selector(CS), bed.selector(SS), bed.cpl, bed.rip, bed.rsp],
      [SEL.code3, SEL.data3, 3, 0x500, USER_STACK],
    );
    assert.equal(bed.flags, IF | TF | NT | RF | 2);
    assert.equal(bed.selector(DS), SEL.data3, 'a data segment of level 3 stays');
  });

  it('IRET to an outer level drops inner data segments', () => {
    const bed = protectedBed(0);
    bed.setReg(0, SEL.data0);
    bed.run('mov_to_sreg', { operands: [{ sreg: FS }, { reg: 0, size: 16 }] });
    bed.rip = 0x500;
    for (const [i, value] of [0x600, SEL.code3, 0x202, 0x8888, SEL.data3].entries())
      bed.poke(bed.rsp + i * 4, value, 4);
    bed.run('iret', { opsize: 32 });
    assert.deepEqual([bed.cpl, bed.rsp, bed.selector(FS)], [3, 0x8888, 0]);
  });

  it('same level through a trap gate keeps IF; a conforming handler keeps CPL', () => {
    const bed = protectedBed(0);
    bed.flags = IF;
    setGate(bed, 0x21, SEL.code0, HANDLER, 0x8f);
    deliver(bed, { vector: 0x21, kind: 'external' });
    assert.deepEqual(stack(bed, 3, 4), [0x500, SEL.code0, IF | 2]);
    assert.equal(bed.flags, IF | 2);
    const user = protectedBed(3);
    setGate(user, 0x21, SEL.conforming, HANDLER);
    deliver(user, { vector: 0x21, kind: 'external' });
    assert.deepEqual([user.cpl, user.selector(CS), user.rsp], [3, SEL.conforming | 3, USER_STACK - 12]);
  });

  it('a 16-bit gate pushes words', () => {
    const bed = protectedBed(3);
    setGate(bed, 0x30, SEL.code0, HANDLER, 0x86);
    deliver(bed, { vector: 0x30, kind: 'external' });
    assert.deepEqual(stack(bed, 5, 2), [0x500, SEL.code3, 2, USER_STACK, SEL.data3]);
  });

  it("INT n checks the gate's DPL, with an error code of its own", () => {
    const bed = protectedBed(3);
    setGate(bed, 0x80, SEL.code0, HANDLER);
    setGate(bed, 13, SEL.code0, HANDLER + 16);
    bed.run('int', { operands: [{ imm: 0x80, size: 8 }] });
    assert.equal(bed.rip, HANDLER + 16, '#GP is delivered');
    assert.deepEqual(stack(bed, 2, 4), [(0x80 << 3) | 2, 0x500], 'of the INT itself, not external');
    const allowed = protectedBed(3);
    setGate(allowed, 0x80, SEL.code0, HANDLER, 0xee);
    allowed.run('int', { operands: [{ imm: 0x80, size: 8 }] });
    assert.deepEqual([allowed.rip, allowed.peek(allowed.rsp, 4)], [HANDLER, 0x502]);
  });

  it('an external interrupt without a gate is #NP with EXT; contributory faults make #DF; then shutdown', () => {
    const bed = protectedBed(3);
    setGate(bed, 0x40, SEL.code0, HANDLER, 0x0e);
    setGate(bed, 11, SEL.code0, HANDLER + 32);
    deliver(bed, { vector: 0x40, kind: 'external' });
    assert.deepEqual([bed.rip, bed.peek(bed.rsp, 4)], [HANDLER + 32, (0x40 << 3) | 3]);
    const double = protectedBed(3);
    setGate(double, 13, SEL.code0, HANDLER, 0x0e);
    setGate(double, 8, SEL.code0, HANDLER + 64);
    deliver(double, { vector: 13, kind: 'fault', errorCode: 0x10 });
    assert.deepEqual([double.rip, double.peek(double.rsp, 4)], [HANDLER + 64, 0]);
    assert.throws(() => deliver(protectedBed(3), { vector: 13, kind: 'fault', errorCode: 0 }), TripleFault);
  });

  it('a page fault on the way of a page fault is a double fault', () => {
    const bed = protectedBed(3);
    setGate(bed, 14, SEL.code0, HANDLER);
    setGate(bed, 8, 0, HANDLER);
    bed.unmapped.add((KERNEL_STACK - 4) >> 12);
    assert.throws(() => deliver(bed, { vector: 14, kind: 'fault', errorCode: 0, cr2: 1n }), TripleFault);
    assert.equal(bed.get64(S.cr2), BigInt(KERNEL_STACK - 24), "CR2 is the last fault's");
  });

  it('a bad stack in the TSS is #TS of that selector', () => {
    const bed = protectedBed(3);
    bed.poke(TSS + 8, SEL.data3, 2);
    setGate(bed, 0x40, SEL.code0, HANDLER);
    setGate(bed, 10, SEL.conforming, HANDLER);
    deliver(bed, { vector: 0x40, kind: 'external' });
    assert.equal(bed.peek(bed.rsp, 4), (SEL.data3 & ~3) | 1);
  });

  it('#DB sets DR6 and clears GD; INTO, INT3, INT1', () => {
    const bed = protectedBed(3);
    bed.set64(S.dr + 56, 0x2400);
    setGate(bed, 1, SEL.code0, HANDLER);
    deliver(bed, { vector: 1, kind: 'trap', dr6: 0x4000 });
    assert.equal(bed.get64(S.dr + 48), 0xffff_4ff0n);
    assert.equal(bed.get64(S.dr + 56), 0x400n);
    const user = protectedBed(3);
    user.run('into');
    assert.equal(user.rip, 0x502, 'without OF nothing happens');
    user.flags = OF;
    setGate(user, 4, SEL.code0, HANDLER, 0xee);
    user.run('into');
    assert.equal(user.rip, HANDLER);
    const debug = protectedBed(3);
    setGate(debug, 1, SEL.code0, HANDLER);
    debug.run('int1', { length: 1 });
    assert.deepEqual([debug.rip, debug.peek(debug.rsp, 4)], [HANDLER, 0x501], 'DPL does not matter');
  });
});

describe('virtual-8086 mode', () => {
  it('out by an interrupt and back by IRET', () => {
    const bed = v86Bed(3);
    setGate(bed, 0x20, SEL.code0, HANDLER);
    const flags = bed.flags;
    deliver(bed, { vector: 0x20, kind: 'external' });
    assert.deepEqual(stack(bed, 9, 4), [0x100, 0x5000, flags, 0x1000, 0x6000, 0x100, 0x200, 0x300, 0x400]);
    assert.deepEqual([bed.cpl, bed.flags & VM, bed.selector(ES), bed.selector(GS)], [0, 0, 0, 0]);
    bed.run('iret', { opsize: 32 });
    assert.deepEqual([bed.cpl, bed.flags, bed.rip, bed.rsp], [3, flags, 0x100, 0x1000]);
    assert.deepEqual(
      [ES, CS, SS, DS, FS, GS].map((i) => bed.selector(i)),
      [0x100, 0x5000, 0x6000, 0x200, 0x300, 0x400],
    );
    assert.equal(readSegment(bed, SS).base, 0x60000n);
  });

  it("INT n with IOPL below 3 is the monitor's; VME redirects it", () => {
    const bed = v86Bed(0);
    const int = { opsize: 16 as const, operands: [{ imm: 0x21, size: 8 as const }] };
    assert.deepEqual(bed.fault('int', int), { vector: 13, errorCode: 0 });
    bed.set64(S.cr4, CR4.VME);
    bed.poke(TSS + 0x66, 0x88, 2);
    for (let i = 0; i < 32; i += 4) bed.poke(TSS + 0x68 + i, 0, 4);
    bed.poke(0x21 * 4, 0x10, 2);
    bed.poke(0x21 * 4 + 2, 0x5555, 2);
    bed.flags |= VIF;
    bed.run('int', int);
    assert.deepEqual([bed.selector(CS), bed.rip, bed.rsp], [0x5555, 0x10, 0xffa]);
    assert.equal(bed.peek(0x60000 + 0xffe, 2), IF | IOPL | 2, 'IF is VIF, IOPL is 3');
    assert.equal(bed.flags & (VIF | VM), VM);
    bed.run('iret', { opsize: 16 });
    assert.deepEqual([bed.selector(CS), bed.rip, bed.flags & VIF], [0x5000, 0x102, VIF]);
    bed.poke(TSS + 0x68 + 4, 1 << 1, 1);
    assert.deepEqual(bed.fault('int', int), { vector: 13, errorCode: 0 }, 'the bitmap keeps it');
  });

  it('CLI, STI, PUSHF, POPF', () => {
    const bed = v86Bed(0);
    for (const name of ['cli', 'sti', 'pushf', 'popf', 'iret']) {
      assert.deepEqual(bed.fault(name, { opsize: 16 }), { vector: 13, errorCode: 0 }, name);
    }
    bed.set64(S.cr4, CR4.VME);
    bed.run('sti', { length: 1 });
    assert.ok((bed.flags & VIF) !== 0);
    bed.run('pushf', { opsize: 16 });
    assert.equal(bed.peek(0x60000 + 0xffe, 2) & (IF | IOPL), IF | IOPL);
    bed.run('cli');
    assert.equal(bed.flags & VIF, 0);
    bed.run('popf', { opsize: 16 });
    assert.equal(bed.flags & (VIF | IOPL), VIF);
  });
});

describe('long mode', () => {
  it('from level 3 and back', () => {
    const bed = longBed(3);
    bed.flags = IF;
    bed.rsp = USER_STACK + 5;
    setGate(bed, 14, SEL.code64, HANDLER, 0x8e, true);
    deliver(bed, { vector: 14, kind: 'fault', errorCode: 4, cr2: 0x10n });
    assert.equal(bed.rsp, KERNEL_STACK - 48);
    assert.deepEqual(stack(bed, 6, 8), [4, 0x500, SEL.code64user, IF | RF | 2, USER_STACK + 5, SEL.data3]);
    assert.deepEqual([bed.selector(SS), bed.cpl], [0, 0]);
    bed.rsp += 8;
    bed.run('iret', { opsize: 64 });
    assert.deepEqual(
      [bed.cpl, bed.rip, bed.rsp, bed.selector(SS), bed.flags],
      [3, 0x500, USER_STACK + 5, SEL.data3, IF | RF | 2],
    );
  });

  it('same level: aligned stack, SS and RSP pushed; IST', () => {
    const bed = longBed(0);
    bed.rsp = 0x8804;
    setGate(bed, 0x30, SEL.code64, HANDLER, 0x8e, true);
    deliver(bed, { vector: 0x30, kind: 'external' });
    assert.equal(bed.rsp, 0x8800 - 40);
    assert.deepEqual(stack(bed, 5, 8), [0x500, SEL.code64, 2, 0x8804, SEL.data0]);
    bed.run('iret', { opsize: 64 });
    assert.equal(bed.rsp, 0x8804);
    setGate(bed, 2, SEL.code64, HANDLER, 0x8e, true, 1);
    deliver(bed, { vector: 2, kind: 'external' });
    assert.equal(bed.rsp, 0xb000 - 40);
  });

  it('refuses a handler that is not 64-bit code, a gate of another type, a non-canonical target', () => {
    const bed = longBed(0);
    setGate(bed, 13, SEL.code64, HANDLER, 0x8e, true);
    setGate(bed, 0x30, SEL.code0, HANDLER, 0x8e, true);
    deliver(bed, { vector: 0x30, kind: 'external' });
    assert.equal(bed.peek(bed.rsp, 8), SEL.code0 | 1);
    setGate(bed, 0x31, SEL.code64, HANDLER, 0x86, true);
    deliver(bed, { vector: 0x31, kind: 'external' });
    assert.equal(bed.peek(bed.rsp, 8), (0x31 << 3) | 3);
    setGate(bed, 0x32, SEL.code64, HANDLER, 0x8e, true);
    bed.poke(IDT + 0x32 * 16 + 8, 0x8000, 4);
    deliver(bed, { vector: 0x32, kind: 'external' });
    assert.equal(bed.peek(bed.rsp, 8), 1);
  });

  it('from compatibility mode', () => {
    const kernel = longBed(0);
    kernel.rsp = 0x9000 - 40;
    for (const [i, value] of [0x600, SEL.code3, 0x202, 0x8888, SEL.data3].entries())
      kernel.poke(kernel.rsp + i * 8, value, 8);
    kernel.run('iret', { opsize: 64 });
    assert.deepEqual([kernel.cpl, kernel.view.getUint32(S.codeMode, true), kernel.rsp], [3, 1, 0x8888]);
    setGate(kernel, 0x80, SEL.code64, HANDLER, 0xee, true);
    kernel.run('int', { operands: [{ imm: 0x80, size: 8 }] });
    assert.deepEqual(stack(kernel, 5, 8), [0x602, SEL.code3, 0x202, 0x8888, SEL.data3]);
    assert.equal(kernel.view.getUint32(S.codeMode, true), 2);
  });

  it('IRET with NT is #GP, without a canonical RIP too', () => {
    const bed = longBed(0);
    bed.flags = NT;
    assert.deepEqual(bed.fault('iret', { opsize: 64 }), { vector: 13, errorCode: 0 });
    bed.flags = 0;
    for (const [i, value] of [1n << 60n, BigInt(SEL.code64), 2n, 0x8888n, BigInt(SEL.data0)].entries())
      bed.poke(bed.rsp + i * 8, value, 8);
    assert.deepEqual(bed.fault('iret', { opsize: 64 }), { vector: 13, errorCode: 0 });
  });
});

describe('tasks', () => {
  function secondTask(bed: Testbed): void {
    bed.poke(TSS2 + 0x20, 0x1111, 4);
    bed.poke(TSS2 + 0x24, 0x202, 4);
    bed.poke(TSS2 + 0x28, 0xaaaa, 4);
    bed.poke(TSS2 + 0x38, 0x8800, 4);
    for (const [at, selector] of [
      [0x48, SEL.data0],
      [0x4c, SEL.code0],
      [0x50, SEL.data0],
      [0x54, SEL.data0],
      [0x58, 0],
      [0x5c, 0],
      [0x60, SEL.ldt],
    ] as const) {
      bed.poke(TSS2 + at, selector, 4);
    }
  }

  it('CALL to a TSS and IRET back', () => {
    const bed = protectedBed(0);
    secondTask(bed);
    bed.setReg(3, 0x3333);
    bed.run('call_far', { length: 7, operands: [{ imm: 0 }, { imm: SEL.tss2, size: 16 }] });
    assert.deepEqual(
      [bed.rip, bed.rsp, Number(bed.reg(0)), bed.selector(TR)],
      [0x1111, 0x8800, 0xaaaa, SEL.tss2],
    );
    assert.ok((bed.flags & NT) !== 0);
    assert.equal(bed.peek(TSS2, 2), SEL.tss);
    assert.deepEqual([bed.peek(TSS + 0x20, 4), bed.peek(TSS + 0x34, 4)], [0x507, 0x3333]);
    assert.equal(bed.peek(GDT + SEL.tss2 + 5, 1), 0x8b);
    assert.equal(bed.peek(GDT + SEL.tss + 5, 1), 0x8b, 'the caller stays busy');
    assert.equal(Number(bed.get64(S.cr0)) & 8, 8, 'TS');
    bed.rip = 0x1200;
    bed.run('iret', { length: 1 });
    assert.deepEqual([bed.rip, bed.selector(TR), Number(bed.reg(3))], [0x507, SEL.tss, 0x3333]);
    assert.equal(bed.peek(GDT + SEL.tss2 + 5, 1), 0x89);
    assert.equal(bed.peek(TSS2 + 0x20, 4), 0x1201);
  });

  it('a task gate takes an exception with its error code on the new stack', () => {
    const bed = protectedBed(3);
    secondTask(bed);
    bed.poke(IDT + 8 * 8, gate(SEL.tss2, 0, 0x85), 8);
    deliver(bed, { vector: 8, kind: 'fault', errorCode: 0 });
    assert.deepEqual([bed.rip, bed.cpl, bed.rsp, bed.selector(TR)], [0x1111, 0, 0x87fc, SEL.tss2]);
    assert.equal(bed.peek(TSS + 0x20, 4), 0x500);
  });

  it('JMP to a busy TSS is #GP, a bad segment in the new task #TS there', () => {
    const bed = protectedBed(0);
    secondTask(bed);
    assert.deepEqual(bed.fault('jmp_far', { operands: [{ imm: 0 }, { imm: SEL.tss, size: 16 }] }), {
      vector: 13,
      errorCode: SEL.tss,
    });
    bed.poke(TSS2 + 0x50, SEL.code0, 4);
    assert.throws(() => bed.run('jmp_far', { operands: [{ imm: 0 }, { imm: SEL.tss2, size: 16 }] }), {
      vector: 10,
      errorCode: SEL.code0,
    });
    assert.equal(bed.rip, 0x1111);
    assert.equal(bed.peek(GDT + SEL.tss + 5, 1), 0x89);
  });
});
