import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CF, DF } from '../flags.ts';
import { S } from '../layout.ts';
import type { StringPorts } from './context.ts';
import { initState, resetState } from './reset.ts';
import { restoreArchitecturalState, saveArchitecturalState } from './snapshot.ts';
import { longBed, protectedBed, SEL, Testbed, TSS, v86Bed } from './testbed.ts';

const GP = { vector: 13, errorCode: 0 };

describe('port I/O', () => {
  it('IN and OUT of all sizes', () => {
    const bed = longBed(0);
    bed.setReg(0, -1n & 0xffff_ffff_ffff_ffffn);
    bed.run('in', {
      operands: [
        { reg: 0, size: 8 },
        { imm: 0x61, size: 8 },
      ],
    });
    assert.equal(bed.reg(0), 0xffff_ffff_ffff_ff61n);
    bed.setReg(2, 0xcfc);
    bed.run('in', { opsize: 32, operands: [{ reg: 0 }, { reg: 2, size: 16 }] });
    assert.equal(bed.reg(0), 0xdead_beefn);
    bed.run('out', { opsize: 16, operands: [{ reg: 2, size: 16 }, { reg: 0 }] });
    assert.deepEqual(bed.ports, [{ port: 0xcfc, size: 2, value: 0xbeef }]);
  });

  it('the I/O permission bitmap', () => {
    const bed = protectedBed(3);
    const out = {
      operands: [
        { imm: 0x80, size: 8 as const },
        { reg: 0, size: 8 as const },
      ],
    };
    bed.poke(TSS + 0x68 + 0x10, 0, 2);
    bed.run('out', out);
    assert.equal(bed.ports.length, 1);
    bed.poke(TSS + 0x68 + 0x10, 2, 1);
    bed.run('out', out);
    assert.deepEqual(
      bed.fault('out', { opsize: 16, operands: [out.operands[0]!, { reg: 0 }] }),
      GP,
      'the second port of the word',
    );
    bed.poke(TSS + 0x66, 0x2060, 2);
    assert.deepEqual(bed.fault('out', out), GP, 'beyond the limit');
    bed.flags = 0x3000;
    bed.run('out', out);
    const v86 = v86Bed(3);
    v86.poke(TSS + 0x68 + 0x10, 1, 1);
    assert.deepEqual(v86.fault('out', out), GP, 'IOPL does not count in virtual-8086 mode');
  });

  it('REP INS and OUTS move registers, and stop on a fault where it is', () => {
    const bed = protectedBed(0);
    bed.setReg(1, 3);
    bed.setReg(2, 0x1f0);
    bed.setReg(7, 0x6000);
    bed.run('ins', { opsize: 16, rep: 2 });
    assert.deepEqual([bed.reg(1), bed.reg(7), bed.peek(0x6004, 2), bed.rip], [0n, 0x6006n, 0xbeef, 0x502]);
    bed.unmapped.add(5);
    bed.setReg(1, 4);
    bed.setReg(7, 0x6002);
    bed.flags = DF;
    bed.rip = 0x500;
    assert.throws(() => bed.run('ins', { opsize: 16, rep: 2 }), { vector: 14 });
    assert.deepEqual([bed.reg(1), bed.reg(7), bed.rip], [2n, 0x5ffen, 0x500]);
    bed.flags = 0;
    bed.setReg(1, 5000);
    bed.setReg(6, 0x10000);
    bed.run('outsb', { rep: 2, addressSize: 32 });
    assert.ok(bed.reg(1) > 0n && bed.rip === 0x500, 'bounded: RIP stays on the instruction');
    bed.setReg(1, 0);
    bed.run('outsb', { rep: 2 });
    assert.equal(bed.rip, 0x502);
  });
});

describe('the rest', () => {
  it('HLT, RDRAND', () => {
    const bed = longBed(0);
    bed.run('hlt', { length: 1 });
    assert.equal(bed.view.getUint32(S.halted, true), 1);
    assert.deepEqual(longBed(3).fault('hlt'), GP);
    bed.run('rdrand', { opsize: 64, operands: [{ reg: 9 }] });
    assert.equal(bed.reg(9), 0x0123_4567_89ab_cdefn);
    assert.equal(bed.flags, CF | 2);
  });

  it('STI holds interrupts off for one instruction, when IF was clear', () => {
    const bed = protectedBed(0);
    bed.run('sti');
    assert.equal(bed.view.getUint32(S.shadow, true), 1);
    bed.view.setUint32(S.shadow, 0, true);
    bed.run('sti');
    assert.equal(bed.view.getUint32(S.shadow, true), 0);
    assert.deepEqual(protectedBed(3).fault('cli'), GP);
  });

  it('reset and INIT', () => {
    const bed = longBed(3);
    bed.view.setUint32(S.mxcsr, 0x1fa0, true);
    initState(bed.view);
    assert.deepEqual(
      [bed.rip, bed.selector(1), bed.cpl, bed.get64(S.cr0), bed.get64(S.efer)],
      [0xfff0, 0xf000, 0, 0x10n, 0n],
    );
    assert.equal(bed.view.getUint32(S.mxcsr, true), 0x1fa0, 'INIT keeps MXCSR');
    resetState(bed.view);
    assert.deepEqual(
      [bed.get64(S.cr0), bed.view.getUint32(S.mxcsr, true), bed.get64(S.xcr0)],
      [0x6000_0010n, 0x1f80, 1n],
    );
  });

  it('a snapshot brings every field back', () => {
    const bed = longBed(3);
    for (let n = 0; n < 16; n++) bed.setReg(n, 0x1111_1111_1111n * BigInt(n));
    bed.flags = 0x4ed5;
    bed.view.setUint32(S.xmm + 64 * 15 + 12, 0x1234_5678, true);
    bed.view.setUint32(S.fpr + 16 * 7, 0x8765_4321, true);
    bed.set64(S.lstar, 0xffff_ffff_8100_0000n);
    const saved = saveArchitecturalState(bed.view);
    const other = new Testbed();
    restoreArchitecturalState(other.view, saved);
    assert.deepEqual(saveArchitecturalState(other.view), saved);
    assert.equal(other.selector(2), SEL.data3);
    assert.throws(() => restoreArchitecturalState(other.view, { ...saved, quads: {} }), RangeError);
  });
});

describe('ports that move many values at once', () => {
  /** A port whose values count up, in blocks of 96 bytes, and that keeps what is written. */
  class CountingPort implements StringPorts {
    next = 0;
    readonly written: number[] = [];
    readonly spans: number[] = [];

    takes(port: number): boolean {
      return port === 0x1f0;
    }

    read(_port: number, size: number, target: Uint8Array): number {
      const bytes = this.#inBlock(this.next, target.length, size);
      for (let i = 0; i < bytes; i++) target[i] = this.next++;
      this.spans.push(bytes);
      return bytes;
    }

    write(_port: number, size: number, source: Uint8Array): number {
      const bytes = this.#inBlock(this.written.length, source.length, size);
      this.written.push(...source.subarray(0, bytes));
      this.spans.push(bytes);
      return bytes;
    }

    #inBlock(at: number, most: number, size: number): number {
      const bytes = Math.min(most, 96 - (at % 96));
      return bytes - (bytes % size);
    }
  }

  function bedWith(bed: Testbed): { bed: Testbed; port: CountingPort } {
    const port = new CountingPort();
    Object.assign(bed.platform, { strings: port });
    bed.setReg(2, 0x1f0);
    return { bed, port };
  }

  it('REP INSW over blocks and pages, in order', () => {
    const { bed, port } = bedWith(protectedBed(0));
    bed.setReg(1, 300);
    bed.setReg(7, 0x5f83);
    bed.run('ins', { opsize: 16, rep: 2 });
    assert.deepEqual([bed.reg(1), bed.reg(7), bed.rip], [0n, 0x5f83n + 600n, 0x502]);
    const single = 62;
    assert.deepEqual(port.spans.slice(0, 2), [96, 28], 'up to the end of the page');
    // The word that lies on two pages came alone.
    assert.equal(bed.peek(0x5f83 + 2 * single, 2), 0xbeef);
    let value = 0;
    for (let i = 0; i < 600; i++) {
      if (i >> 1 === single) continue;
      assert.equal(bed.peek(0x5f83 + i, 1), value++ & 0xff, String(i));
    }
  });

  it('REP OUTSB and OUTSD', () => {
    const { bed, port } = bedWith(longBed(0));
    for (let i = 0; i < 500; i++) bed.poke(0x6003 + i, i & 0xff, 1);
    bed.setReg(1, 500);
    bed.setReg(6, 0x6003);
    bed.run('outsb', { rep: 2 });
    assert.deepEqual(
      port.written,
      Array.from({ length: 500 }, (_, i) => i & 0xff),
    );
    assert.deepEqual([bed.reg(1), bed.reg(6)], [0n, 0x6003n + 500n]);
    bed.rip = 0x500;
    port.written.length = 0;
    bed.setReg(1, 5);
    bed.setReg(6, 0x6003);
    bed.run('outs', { opsize: 32, rep: 2 });
    assert.deepEqual(
      port.written,
      Array.from({ length: 20 }, (_, i) => i),
    );
  });

  it('downwards, without REP and while stepping, values go one by one', () => {
    const { bed, port } = bedWith(protectedBed(0));
    bed.flags = DF;
    bed.setReg(1, 4);
    bed.setReg(7, 0x6008);
    bed.run('ins', { opsize: 16, rep: 2 });
    bed.flags = 0;
    bed.rip = 0x500;
    bed.run('ins', { opsize: 16 });
    bed.rip = 0x500;
    bed.setReg(1, 4);
    bed.view.setUint32(S.stepping, 1, true);
    bed.run('ins', { opsize: 16, rep: 2 });
    assert.equal(bed.reg(1), 3n);
    assert.deepEqual(port.spans, []);
  });

  it('a page that is not there: what lies before it is done, and no value is lost', () => {
    const { bed, port } = bedWith(protectedBed(0));
    bed.unmapped.add(6);
    bed.setReg(1, 100);
    bed.setReg(7, 0x5fc0);
    assert.throws(() => bed.run('ins', { opsize: 16, rep: 2 }), { vector: 14 });
    assert.deepEqual([bed.reg(1), bed.reg(7), bed.rip, port.next], [68n, 0x6000n, 0x500, 64]);
    bed.unmapped.clear();
    bed.run('ins', { opsize: 16, rep: 2 });
    assert.equal(bed.peek(0x6000, 1), 64);
    assert.equal(bed.reg(1), 0n);
  });

  it('an address of 16 bits begins anew at the end of its segment', () => {
    const { bed, port } = bedWith(v86Bed(3));
    bed.setReg(1, 20);
    bed.setReg(7, 0xfff0);
    bed.run('ins', { opsize: 16, addressSize: 16, rep: 2 });
    assert.deepEqual([bed.reg(1), bed.reg(7), port.spans], [0n, 0x18n, [16, 24]]);
  });
});
