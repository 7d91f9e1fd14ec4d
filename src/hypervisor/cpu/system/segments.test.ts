import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ZF } from '../flags.ts';
import { CS, DS, ES, FS, GS, LDTR, S, SEG, SS, segment, TR } from '../layout.ts';
import { readSegment, writeSegment } from './registers.ts';
import { descriptor, GDT, LDT, longBed, protectedBed, SEL, Testbed, v86Bed } from './testbed.ts';

const load = (index: number, reg = 0) => ({ operands: [{ sreg: index }, { reg, size: 16 as const }] });
const attributes = (bed: Testbed, index: number): number =>
  bed.view.getUint32(segment(index) + SEG.attributes, true);
const checked = (bed: Testbed, index: number): number =>
  bed.view.getUint32(segment(index) + SEG.checked, true);

describe('segment loads', () => {
  it('real mode: base from the paragraph, limit kept', () => {
    const bed = new Testbed();
    bed.setReg(0, 0x1234);
    bed.run('mov_to_sreg', load(DS));
    assert.deepEqual(readSegment(bed, DS), {
      selector: 0x1234,
      base: 0x12340n,
      limit: 0xffff,
      attributes: 0x93,
    });
    assert.equal(bed.rip, 0xfff2);
    writeSegment(bed, ES, { selector: 0, base: 0n, limit: 0xffff_ffff, attributes: 0xc093 });
    bed.run('mov_to_sreg', load(ES));
    assert.equal(readSegment(bed, ES).limit, 0xffff_ffff);
  });

  it('protected mode: descriptor cached, accessed bit set, checked cleared for flat data', () => {
    const bed = protectedBed();
    bed.setReg(0, SEL.data3);
    bed.run('mov_to_sreg', load(FS));
    assert.deepEqual(readSegment(bed, FS), {
      selector: SEL.data3,
      base: 0n,
      limit: 0xffff_ffff,
      attributes: 0xc0f3,
    });
    assert.equal(bed.peek(GDT + (SEL.data3 & ~7) + 5, 1), 0xf3);
    assert.equal(checked(bed, FS), 0);
    bed.setReg(0, SEL.readOnly);
    bed.run('mov_to_sreg', load(FS));
    assert.equal(checked(bed, FS), 1);
  });

  it('a segment from the LDT', () => {
    const bed = protectedBed();
    bed.setReg(0, SEL.ldt);
    bed.run('lldt', { operands: [{ reg: 0, size: 16 }] });
    assert.equal(readSegment(bed, LDTR).base, BigInt(LDT));
    bed.poke(LDT + 8, descriptor(0x12345678, 0x1234, 0x92, 0x4), 8);
    bed.setReg(0, 0x0c);
    bed.run('mov_to_sreg', load(GS));
    assert.deepEqual(readSegment(bed, GS), {
      selector: 0x0c,
      base: 0x12345678n,
      limit: 0x1234,
      attributes: 0x4093,
    });
  });

  it('faults in order: limit, type, privilege, presence', () => {
    const bed = protectedBed(3);
    const expect = (index: number, selector: number, vector: number, errorCode: number | undefined): void => {
      bed.setReg(0, selector);
      assert.deepEqual(
        bed.fault('mov_to_sreg', load(index)),
        { vector, errorCode },
        `selector ${selector.toString(16)}`,
      );
    };
    expect(DS, 0x103, 13, 0x100);
    expect(DS, SEL.data0, 13, SEL.data0);
    expect(DS, SEL.tss, 13, SEL.tss);
    expect(SS, 0, 13, 0);
    expect(SS, SEL.data0, 13, SEL.data0);
    expect(SS, SEL.code3, 13, SEL.code3 & ~3);
    expect(CS, SEL.code3, 6, undefined);
    const kernel = protectedBed();
    kernel.setReg(0, SEL.absent);
    assert.deepEqual(kernel.fault('mov_to_sreg', load(DS)), { vector: 11, errorCode: SEL.absent });
    assert.deepEqual(kernel.fault('mov_to_sreg', load(SS)), { vector: 12, errorCode: SEL.absent });
  });

  it('MOV SS holds interrupts off; a null selector is unusable', () => {
    const bed = protectedBed();
    bed.setReg(0, SEL.data0);
    bed.run('mov_to_sreg', load(SS));
    assert.equal(bed.view.getUint32(S.shadow, true), 2);
    bed.setReg(0, 3);
    bed.run('mov_to_sreg', load(DS));
    assert.equal(attributes(bed, DS) & 0x80, 0);
    assert.equal(checked(bed, DS), 1);
    assert.deepEqual(bed.fault('lldt', { operands: [{ mem: 0x100, size: 16 }] }), {
      vector: 13,
      errorCode: 0,
    });
  });

  it('64-bit mode: a null SS at CPL 0, not at CPL 3', () => {
    const bed = longBed();
    bed.setReg(0, 0);
    bed.run('mov_to_sreg', load(SS));
    assert.equal(bed.selector(SS), 0);
    const user = longBed(3);
    user.setReg(0, 3);
    assert.deepEqual(user.fault('mov_to_sreg', load(SS)), { vector: 13, errorCode: 0 });
  });

  it('POP and the far pointer loads', () => {
    const bed = protectedBed();
    bed.poke(bed.rsp, SEL.data3, 4);
    const before = bed.rsp;
    bed.run('pop_es', { opsize: 32 });
    assert.equal(bed.selector(ES), SEL.data3);
    assert.equal(bed.rsp, before + 4);
    bed.poke(0x700, 0x12345678, 4);
    bed.poke(0x704, SEL.data0, 2);
    bed.run('lss', { opsize: 32, operands: [{ reg: 4 }, { mem: 0x700 }] });
    assert.equal(bed.rsp, 0x12345678);
    assert.equal(bed.selector(SS), SEL.data0);
  });

  it('a page fault leaves everything as it was', () => {
    const bed = protectedBed();
    bed.unmapped.add(GDT >> 12);
    bed.setReg(0, SEL.data3);
    assert.deepEqual(bed.fault('mov_to_sreg', load(DS)), { vector: 14, errorCode: 0 });
  });
});

describe('descriptor tables and selectors', () => {
  it('LGDT and SGDT, of 24, 32 and 64 bits of base', () => {
    const bed = protectedBed();
    bed.poke(0x600, 0x7f, 2);
    bed.poke(0x602, 0xff234567, 4);
    bed.run('lgdt', { opsize: 32, operands: [{ mem: 0x600 }] });
    assert.equal(bed.get64(S.gdtrBase), 0xff234567n);
    bed.run('lgdt', { opsize: 16, operands: [{ mem: 0x600 }] });
    assert.equal(bed.get64(S.gdtrBase), 0x234567n);
    bed.run('sgdt', { opsize: 32, operands: [{ mem: 0x620 }] });
    assert.deepEqual([bed.peek(0x620, 2), bed.peek(0x622, 4)], [0x7f, 0x234567]);
    const long = longBed();
    long.poke(0x602, 0x8000_0000_0000n, 8);
    assert.deepEqual(long.fault('lidt', { operands: [{ mem: 0x600 }] }), { vector: 13, errorCode: 0 });
    long.poke(0x602, 0xffff_8000_0000_0000n, 8);
    long.run('lidt', { operands: [{ mem: 0x600 }] });
    assert.equal(long.get64(S.idtrBase), 0xffff_8000_0000_0000n);
    assert.deepEqual(longBed(3).fault('lgdt', { operands: [{ mem: 0x600 }] }), { vector: 13, errorCode: 0 });
  });

  it('LTR makes the TSS busy, and refuses a busy one', () => {
    const bed = protectedBed();
    bed.setReg(0, SEL.tss2);
    bed.run('ltr', { operands: [{ reg: 0, size: 16 }] });
    assert.equal(bed.peek(GDT + SEL.tss2 + 5, 1), 0x8b);
    assert.equal(attributes(bed, TR) & 15, 11);
    assert.deepEqual(bed.fault('ltr', { operands: [{ reg: 0, size: 16 }] }), {
      vector: 13,
      errorCode: SEL.tss2,
    });
    const long = longBed();
    long.poke(GDT + 0x60 + 8, 0x1234, 8);
    long.setReg(0, SEL.tss2);
    long.run('ltr', { operands: [{ reg: 0, size: 16 }] });
    assert.equal(readSegment(long, TR).base, 0x1234_0000_3800n);
    assert.deepEqual(v86Bed(3).fault('ltr', { operands: [{ reg: 0, size: 16 }] }), {
      vector: 6,
      errorCode: undefined,
    });
  });

  it('LAR, LSL, VERR, VERW, ARPL', () => {
    const bed = protectedBed(3);
    const test = (name: string, selector: number): boolean => {
      bed.setReg(1, selector);
      bed.run(name, {
        operands: name.startsWith('ver') ? [{ reg: 1, size: 16 }] : [{ reg: 0 }, { reg: 1, size: 16 }],
      });
      return (bed.flags & ZF) !== 0;
    };
    assert.ok(test('lar', SEL.code3));
    assert.equal(bed.reg(0), 0xcffa00n);
    assert.ok(test('lsl', SEL.data3));
    assert.equal(bed.reg(0), 0xffff_ffffn);
    assert.ok(!test('lsl', SEL.data0));
    assert.ok(!test('lar', 0));
    assert.ok(test('lar', SEL.conforming), 'conforming code is visible at any level');
    assert.ok(
      test('verr', SEL.code3) && !test('verw', SEL.code3) && test('verw', SEL.data3) && !test('verr', 0x1000),
    );
    bed.setReg(0, 0x10);
    bed.setReg(1, 3);
    bed.run('arpl', {
      operands: [
        { reg: 0, size: 16 },
        { reg: 1, size: 16 },
      ],
    });
    assert.equal(bed.reg(0), 0x13n);
    assert.ok((bed.flags & ZF) !== 0);
  });
});
