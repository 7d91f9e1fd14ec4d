import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AC } from '../flags.ts';
import { S } from '../layout.ts';
import { enabledBreakpoints } from './control.ts';
import { CPU_PROFILES, CpuidTable } from './cpuid.ts';
import { MSR, readMsr, writeMsr } from './msr.ts';
import { CR0, CR4, EFER } from './registers.ts';
import { longBed, protectedBed, Testbed } from './testbed.ts';

const toCr = (number: number, size: 32 | 64 = 32) => ({ operands: [{ system: number }, { reg: 0, size }] });
const GP = { vector: 13, errorCode: 0 };
const UD = { vector: 6, errorCode: undefined };

function writeCr(bed: Testbed, number: number, value: bigint | number): void {
  bed.setReg(0, value);
  bed.run('mov_to_cr', toCr(number, 64));
}
function crFault(bed: Testbed, number: number, value: bigint | number): object {
  bed.setReg(0, value);
  return bed.fault('mov_to_cr', toCr(number, 64));
}

describe('control registers', () => {
  it('real mode to protected mode and back', () => {
    const bed = new Testbed();
    writeCr(bed, 0, CR0.PE | CR0.ET);
    assert.equal(bed.get64(S.cr0), 0x11n);
    bed.run('mov_from_cr', { operands: [{ reg: 3 }, { system: 0 }] });
    assert.equal(bed.reg(3), 0x11n);
    writeCr(bed, 0, 0);
    assert.equal(bed.get64(S.cr0), 0x10n, 'ET is fixed');
  });

  it('refuses what cannot be', () => {
    const bed = protectedBed();
    assert.deepEqual(crFault(bed, 0, CR0.PG), GP);
    assert.deepEqual(crFault(bed, 0, CR0.PE | CR0.NW), GP);
    assert.deepEqual(crFault(bed, 4, 1 << 12), GP, 'LA57 is not there');
    assert.deepEqual(crFault(bed, 4, CR4.PCIDE), GP);
    assert.deepEqual(crFault(bed, 1, 0), UD);
    assert.deepEqual(crFault(bed, 8, 16), GP);
    assert.deepEqual(crFault(protectedBed(3), 0, 1), GP);
    const long = longBed();
    assert.deepEqual(crFault(long, 0, CR0.PE), GP, 'paging off in 64-bit mode');
    assert.deepEqual(crFault(long, 0, (1n << 32n) | 0x8000_0011n), GP);
    assert.deepEqual(crFault(long, 4, 0), GP, 'PAE off in IA-32e mode');
    assert.deepEqual(crFault(long, 3, 1n << 40n), GP);
  });

  it('enters IA-32e mode by PAE, LME and PG', () => {
    const bed = protectedBed();
    bed.setReg(1, MSR.EFER);
    bed.setReg(2, 0);
    bed.setReg(0, EFER.LME);
    bed.run('wrmsr');
    assert.deepEqual(crFault(bed, 0, 0x8000_0011), GP, 'without PAE');
    writeCr(bed, 4, CR4.PAE);
    writeCr(bed, 0, 0x8000_0011);
    assert.equal(bed.get64(S.efer), BigInt(EFER.LME | EFER.LMA));
    assert.deepEqual(bed.flushes.at(-1), 'all');
    bed.setReg(0, 0);
    assert.deepEqual(bed.fault('wrmsr'), GP, 'LME while paging');
    writeCr(bed, 0, 0x11);
    assert.equal(bed.get64(S.efer), BigInt(EFER.LME));
  });

  it('loads the PDPTEs and checks them', () => {
    const bed = protectedBed();
    writeCr(bed, 4, CR4.PAE);
    writeCr(bed, 3, 0x7000);
    bed.poke(0x7000, 0x8001, 8);
    bed.poke(0x7018, 0x9001, 8);
    writeCr(bed, 0, 0x8000_0011);
    assert.equal(bed.get64(S.pdpte), 0x8001n);
    assert.equal(bed.get64(S.pdpte + 24), 0x9001n);
    bed.poke(0x7010, 0x8003, 8);
    assert.deepEqual(crFault(bed, 3, 0x7000), GP, 'bit 1 of a present entry');
  });

  it('PCID: bit 63 is a request, not an address; PCIDE and CR3 0', () => {
    const bed = longBed();
    writeCr(bed, 4, CR4.PAE | CR4.PCIDE);
    writeCr(bed, 3, (1n << 63n) | 0x5003n);
    assert.equal(bed.get64(S.cr3), 0x5003n);
    assert.equal(bed.flushes.at(-1), 'non-global');
    writeCr(bed, 4, CR4.PAE);
    assert.deepEqual(crFault(bed, 4, CR4.PAE | CR4.PCIDE), GP);
  });

  it('CR8 is the task priority', () => {
    const bed = longBed();
    writeCr(bed, 8, 9);
    assert.equal(bed.tpr, 9);
    bed.run('mov_from_cr', { operands: [{ reg: 2 }, { system: 8 }] });
    assert.equal(bed.reg(2), 9n);
  });

  it('CLTS, LMSW, SMSW', () => {
    const bed = protectedBed();
    bed.setReg(0, 0xe);
    bed.run('lmsw', { operands: [{ reg: 0, size: 16 }] });
    assert.equal(bed.get64(S.cr0), 0x1fn, 'PE stays');
    bed.run('clts');
    assert.equal(bed.get64(S.cr0), 0x17n);
    bed.run('smsw', { opsize: 32, operands: [{ reg: 5 }] });
    assert.equal(bed.reg(5), 0x17n);
    bed.set64(S.cr4, CR4.UMIP);
    assert.equal(bed.peek(0x600, 4), 0);
    bed.run('smsw', { opsize: 32, operands: [{ mem: 0x600 }] });
    assert.equal(bed.peek(0x600, 4), 0x17);
    const user = protectedBed(3);
    user.set64(S.cr4, CR4.UMIP);
    assert.deepEqual(user.fault('smsw', { operands: [{ reg: 0 }] }), GP);
  });

  it('INVLPG, INVPCID, XSETBV, STAC', () => {
    const bed = longBed();
    bed.run('invlpg', { operands: [{ mem: 0x123456 }] });
    assert.deepEqual(bed.flushes.at(-1), { linear: 0x123456n });
    bed.poke(0x600, 0, 8);
    bed.poke(0x608, 0x7000, 8);
    bed.setReg(0, 0);
    const invpcid = { opsize: 64 as const, operands: [{ reg: 0 }, { mem: 0x600 }] };
    bed.run('invpcid', invpcid);
    assert.deepEqual(bed.flushes.at(-1), { linear: 0x7000n });
    bed.setReg(0, 2);
    bed.run('invpcid', invpcid);
    assert.equal(bed.flushes.at(-1), 'all');
    bed.setReg(0, 4);
    assert.deepEqual(bed.fault('invpcid', invpcid), GP);
    assert.deepEqual(bed.fault('xsetbv'), UD);
    bed.set64(S.cr4, CR4.PAE | CR4.OSXSAVE);
    bed.setReg(0, 3);
    bed.setReg(1, 0);
    bed.setReg(2, 0);
    bed.run('xsetbv');
    assert.equal(bed.get64(S.xcr0), 3n);
    bed.setReg(0, 2);
    assert.deepEqual(bed.fault('xsetbv'), GP, 'x87 state cannot be off');
    bed.run('stac');
    assert.ok((bed.flags & AC) !== 0);
    bed.run('clac');
    assert.ok((bed.flags & AC) === 0);
  });

  it('XSETBV enables AVX where it is, and not without SSE', () => {
    const bed = protectedBed(0);
    bed.set64(S.cr4, CR4.PAE | CR4.OSXSAVE);
    bed.setReg(1, 0);
    bed.setReg(2, 0);
    bed.setReg(0, 7);
    assert.deepEqual(bed.fault('xsetbv'), GP, 'the portable profile');
    const features = CPU_PROFILES['x86-64-v3'];
    Object.assign(bed.platform, { cpuid: new CpuidTable({ tscHz: 1e9, apicHz: 1e9, features }) });
    bed.setReg(0, 5);
    assert.deepEqual(bed.fault('xsetbv'), GP, 'AVX without SSE');
    bed.setReg(0, 7);
    bed.run('xsetbv');
    assert.equal(bed.get64(S.xcr0), 7n);
  });
});

describe('debug registers', () => {
  const toDr = (number: number) => ({ operands: [{ system: number }, { reg: 0, size: 64 as const }] });

  it('fixed bits, aliases, general detect', () => {
    const bed = protectedBed();
    bed.setReg(0, 0);
    bed.run('mov_to_dr', toDr(4));
    assert.equal(bed.get64(S.dr + 48), 0xffff_0ff0n);
    bed.set64(S.cr4, CR4.DE);
    assert.deepEqual(bed.fault('mov_to_dr', toDr(4)), UD);
    bed.setReg(0, 0x2000);
    bed.run('mov_to_dr', toDr(7));
    assert.equal(bed.get64(S.dr + 56), 0x2400n);
    assert.deepEqual(bed.fault('mov_from_dr', { operands: [{ reg: 0 }, { system: 0 }] }), {
      vector: 1,
      errorCode: undefined,
    });
    const long = longBed();
    long.setReg(0, 1n << 32n);
    assert.deepEqual(long.fault('mov_to_dr', toDr(7)), GP);
  });

  it('tells what kinds of breakpoints are on', () => {
    const bed = protectedBed();
    assert.deepEqual(enabledBreakpoints(bed.view), { code: false, data: false, io: false });
    bed.set64(S.dr + 56, 0x1 | 0x8 | (1 << 20));
    assert.deepEqual(enabledBreakpoints(bed.view), { code: true, data: true, io: false });
  });
});

describe('MSRs', () => {
  const write = (bed: Testbed, index: number, value: bigint): void => {
    bed.setReg(1, index);
    bed.setReg(0, value & 0xffff_ffffn);
    bed.setReg(2, value >> 32n);
    bed.run('wrmsr');
  };
  const read = (bed: Testbed, index: number): bigint => {
    bed.setReg(1, index);
    bed.run('rdmsr');
    return (bed.reg(2) << 32n) | bed.reg(0);
  };
  const refused = (bed: Testbed, index: number, value: bigint): void => {
    bed.setReg(1, index);
    bed.setReg(0, value & 0xffff_ffffn);
    bed.setReg(2, value >> 32n);
    assert.deepEqual(bed.fault('wrmsr'), GP, `${index.toString(16)} = ${value.toString(16)}`);
  };

  it('keeps what is written and refuses what is reserved', () => {
    const bed = longBed();
    for (const [index, value] of [
      [MSR.LSTAR, 0xffff_ffff_8100_0000n],
      [MSR.STAR, 0x0023_0010_0000_0000n],
      [MSR.SFMASK, 0x4_7700n],
      [MSR.KERNEL_GS_BASE, 0xffff_8880_0000_0000n],
      [MSR.FS_BASE, 0x7fff_0000_1000n],
      [MSR.TSC_AUX, 5n],
      [MSR.PAT, 0x0407_0506_0007_0106n],
      [MSR.SYSENTER_EIP, 0xffff_ffff_8100_1000n],
      [MSR.MTRR_PHYSBASE0, 0x8000_0006n],
      [MSR.MTRR_DEF_TYPE, 0xc06n],
      [MSR.TSC, 77n],
    ] as const) {
      write(bed, index, value);
      assert.equal(read(bed, index), value, index.toString(16));
    }
    refused(bed, MSR.LSTAR, 0x8000_0000_0000n);
    refused(bed, MSR.PAT, 2n);
    refused(bed, MSR.EFER, 1n << 1n);
    refused(bed, MSR.TSC_AUX, 1n << 32n);
    refused(bed, MSR.MTRR_DEF_TYPE, 2n);
    refused(bed, MSR.MTRRCAP, 0n);
    refused(bed, 0x12345, 0n);
  });

  it("leaves the machine's own to the platform", () => {
    const bed = longBed();
    bed.platformMsrs.set(0x1b, 0xfee0_0900n);
    assert.equal(read(bed, 0x1b), 0xfee0_0900n);
    bed.setReg(1, 0x808);
    assert.deepEqual(bed.fault('rdmsr'), GP);
    assert.deepEqual(longBed(3).fault('rdmsr'), GP);
  });

  it('RDTSC under TSD', () => {
    const bed = longBed(3);
    bed.run('rdtscp');
    assert.equal(bed.reg(0), 1000n);
    bed.set64(S.cr4, CR4.TSD | CR4.PAE);
    assert.deepEqual(bed.fault('rdtsc'), GP);
  });
});

describe('the time-stamp counter and MISC_ENABLE', () => {
  it('TSC_ADJUST and TSC move together', () => {
    const bed = protectedBed(0);
    const before = readMsr(bed, MSR.TSC);
    assert.equal(readMsr(bed, MSR.TSC_ADJUST), 0n);
    writeMsr(bed, MSR.TSC_ADJUST, 5000n);
    assert.equal(readMsr(bed, MSR.TSC), before + 5000n);
    writeMsr(bed, MSR.TSC_ADJUST, 2000n);
    assert.equal(readMsr(bed, MSR.TSC), before + 2000n);
    writeMsr(bed, MSR.TSC, before - 1n);
    assert.equal(readMsr(bed, MSR.TSC_ADJUST), 0xffff_ffff_ffff_ffffn);
  });

  it('MISC_ENABLE keeps its named bits', () => {
    const bed = protectedBed(0);
    writeMsr(bed, MSR.MISC_ENABLE, 0xffff_ffff_ffff_ffffn);
    assert.equal(readMsr(bed, MSR.MISC_ENABLE), 0x4_00c5_1889n);
  });
});

describe('CPUID', () => {
  const table = new CpuidTable({ tscHz: 1e9, apicHz: 1e9, brand: 'A processor' });
  const query = (leaf: number, subleaf = 0) => table.query(leaf, subleaf, { osxsave: true });

  it('vendor, signature, brand', () => {
    const bed = protectedBed(3);
    bed.setReg(0, 0);
    bed.run('cpuid');
    const text = (value: bigint): string =>
      Buffer.from(new Uint32Array([Number(value)]).buffer).toString('latin1');
    assert.equal(text(bed.reg(3)) + text(bed.reg(2)) + text(bed.reg(1)), 'GenuineIntel');
    const { eax } = query(1);
    assert.equal((eax >> 8) & 15, 6);
    assert.equal(((eax >> 4) & 15) | ((eax >> 12) & 0xf0), 0x1c);
  });

  it('shows x86-64-v2 and no more of the vector sets', () => {
    const { ecx, edx } = query(1);
    for (const bit of [0, 9, 13, 19, 20, 23, 27]) assert.ok(((ecx >>> bit) & 1) === 1, `ecx ${bit}`);
    assert.equal((ecx >>> 28) & 1, 0, 'AVX');
    assert.equal((edx >>> 0) & 1, 1);
    assert.equal((query(0x8000_0001).edx >>> 29) & 1, 1);
    assert.equal((table.query(1, 0, { osxsave: false }).ecx >>> 27) & 1, 0);
  });

  it('shows AVX and its kin to those who ask for x86-64-v3', () => {
    const v3 = new CpuidTable({ tscHz: 1e9, apicHz: 1e9, features: CPU_PROFILES['x86-64-v3'] });
    const at = (leaf: number, subleaf: number, xcr0: bigint) =>
      v3.query(leaf, subleaf, { osxsave: true, xcr0 });
    for (const bit of [12, 22, 27, 28, 29]) assert.equal((at(1, 0, 7n).ecx >>> bit) & 1, 1, `ecx ${bit}`);
    for (const bit of [3, 5, 8]) assert.equal((at(7, 0, 7n).ebx >>> bit) & 1, 1, `ebx ${bit}`);
    assert.deepEqual(at(0xd, 0, 3n), { eax: 7, ebx: 576, ecx: 832, edx: 0 });
    assert.deepEqual(at(0xd, 0, 7n), { eax: 7, ebx: 832, ecx: 832, edx: 0 });
    assert.equal(at(0xd, 1, 7n).ebx, 832);
    assert.deepEqual(at(0xd, 2, 7n), { eax: 256, ebx: 576, ecx: 0, edx: 0 });
    assert.deepEqual(query(0xd), { eax: 3, ebx: 576, ecx: 576, edx: 0 });
    assert.deepEqual(query(0xd, 2), { eax: 0, ebx: 0, ecx: 0, edx: 0 });
  });

  it('shows no APIC while it is disabled', () => {
    const apic = (on: boolean) => (table.query(1, 0, { osxsave: false, apic: on }).edx >>> 9) & 1;
    assert.deepEqual([apic(true), apic(false)], [1, 0]);
  });

  it('clock leaves agree', () => {
    assert.deepEqual(query(0x15), { eax: 1, ebx: 1, ecx: 1e9, edx: 0 });
    assert.equal(query(0x4000_0010).eax, 1_000_000);
    assert.equal(query(0x4000_0000).ebx, 0x4b4d564b);
    assert.deepEqual(query(0xd, 1).eax, 3);
    assert.deepEqual(query(0x9999), query(0x16), 'beyond the last leaf');
  });

  it('refuses a feature without a name', () => {
    assert.throws(() => new CpuidTable({ tscHz: 1e9, apicHz: 1e9, features: ['AVX1024'] }), RangeError);
  });
});
