import { readRflags, VM, writeRflags } from '../flags.ts';
import { CS, FLAT, gpr, RECORD, S, SEG, SS, segment, TR } from '../layout.ts';
import { type CpuContext, type CpuPlatform, GuestFault, VECTOR } from './context.ts';
import { CpuidTable } from './cpuid.ts';
import { systemRoutines } from './index.ts';
import { type OperandInfo, SystemInstruction } from './instruction.ts';
import { MsrStore } from './msr-store.ts';
import { CR0, EFER, readSegment, setCpl, writeSegment } from './registers.ts';
import { resetState } from './reset.ts';

const GUEST = 0x10000;
const GUEST_BYTES = 0x100000;
const RECORD_AT = 0x8000;

/** An operand of an instruction under test. */
export type TestOperand =
  | { readonly reg: number; readonly size?: 8 | 16 | 32 | 64 }
  | { readonly mem: number; readonly size?: 8 | 16 | 32 | 64 }
  | { readonly imm: number; readonly size?: 8 | 16 | 32 | 64 }
  | { readonly sreg: number }
  | { readonly system: number };

export interface TestInstruction {
  readonly opsize?: 16 | 32 | 64;
  readonly operands?: readonly TestOperand[];
  readonly length?: number;
  readonly rep?: number;
  readonly addressSize?: 16 | 32 | 64;
  readonly segment?: number;
}

/**
 * A processor over 1 MiB of memory whose linear addresses are physical ones
 * (modulo 1 MiB), and whose pages can be taken away: for the routines' tests.
 */
export class Testbed implements CpuContext {
  readonly view = new DataView(new ArrayBuffer(GUEST + GUEST_BYTES));
  readonly msrs = new MsrStore();
  readonly unmapped = new Set<number>();
  readonly flushes: unknown[] = [];
  modeChanges = 0;
  readonly ports: { port: number; size: number; value: number }[] = [];
  readonly platform: CpuPlatform;
  /** The machine's MSRs. */
  readonly platformMsrs = new Map<number, bigint>();
  tpr = 0;
  timeStamp = 1000n;

  constructor() {
    this.platform = {
      ioRead: (port, size) => (size === 1 ? port & 0xff : size === 2 ? 0xbeef : 0xdeadbeef),
      ioWrite: (port, size, value) => void this.ports.push({ port, size, value }),
      msrRead: (index) => this.platformMsrs.get(index),
      msrWrite: (index, value) =>
        this.platformMsrs.has(index) && this.platformMsrs.set(index, value) !== undefined,
      tsc: () => this.timeStamp,
      setTsc: (value) => {
        this.timeStamp = value;
      },
      random64: () => 0x0123_4567_89ab_cdefn,
      tprGet: () => this.tpr,
      tprSet: (value) => {
        this.tpr = value;
      },
      cpuid: new CpuidTable({ tscHz: 1e9, apicHz: 1e9 }),
    };
    resetState(this.view);
  }

  readLinear(linear: bigint, bytes: 1 | 2 | 4 | 8, user: boolean): bigint {
    this.#probe(linear, bytes, user ? 4 : 0);
    let value = 0n;
    for (let i = 0; i < bytes; i++)
      value |= BigInt(this.view.getUint8(this.#at(linear + BigInt(i)))) << BigInt(i * 8);
    return value;
  }

  writeLinear(linear: bigint, bytes: 1 | 2 | 4 | 8, value: bigint, user: boolean): void {
    this.#probe(linear, bytes, user ? 6 : 2);
    for (let i = 0; i < bytes; i++)
      this.view.setUint8(this.#at(linear + BigInt(i)), Number((value >> BigInt(i * 8)) & 0xffn));
  }

  probeWrite(linear: bigint, bytes: number, user: boolean): void {
    this.#probe(linear, bytes, user ? 6 : 2);
  }

  span(): undefined {}
  readPhysical64(gpa: bigint): bigint {
    return this.view.getBigUint64(this.#at(gpa), true);
  }

  flushTlb(kind: unknown): void {
    this.flushes.push(kind);
  }

  modeChanged(): void {
    this.modeChanges++;
    const attributes = this.view.getUint32(segment(CS) + SEG.attributes, true);
    const long = (this.view.getUint32(S.efer, true) & EFER.LMA) !== 0 && (attributes & 0x2000) !== 0;
    this.view.setUint32(S.codeMode, long ? 2 : (attributes & 0x4000) !== 0 ? 1 : 0, true);
  }

  #at(linear: bigint): number {
    return GUEST + Number(linear & BigInt(GUEST_BYTES - 1));
  }

  #probe(linear: bigint, bytes: number, code: number): void {
    for (const at of [linear, linear + BigInt(bytes - 1)]) {
      if (this.unmapped.has(Number(at & BigInt(GUEST_BYTES - 1)) >> 12))
        throw new GuestFault(VECTOR.PF, code, at);
    }
  }

  // What tests look at and set up

  reg(n: number): bigint {
    return this.view.getBigUint64(gpr(n), true);
  }
  setReg(n: number, value: bigint | number): void {
    this.view.setBigUint64(gpr(n), BigInt(value), true);
  }
  get rip(): number {
    return Number(this.view.getBigUint64(S.rip, true));
  }
  set rip(value: number) {
    this.view.setBigUint64(S.rip, BigInt(value), true);
  }
  get rsp(): number {
    return Number(this.reg(4));
  }
  set rsp(value: number) {
    this.setReg(4, value);
  }
  get flags(): number {
    return readRflags(this.view);
  }
  set flags(value: number) {
    writeRflags(this.view, value);
  }
  get cpl(): number {
    return this.view.getUint32(S.cpl, true);
  }
  selector(index: number): number {
    return readSegment(this, index).selector;
  }
  poke(at: number, value: number | bigint, bytes: 1 | 2 | 4 | 8): void {
    this.writeLinear(BigInt(at), bytes, BigInt(value), false);
  }
  peek(at: number, bytes: 1 | 2 | 4 | 8): number {
    return Number(this.readLinear(BigInt(at), bytes, false));
  }
  set64(at: number, value: bigint | number): void {
    this.view.setBigUint64(at, BigInt(value), true);
  }
  get64(at: number): bigint {
    return this.view.getBigUint64(at, true);
  }

  /** Runs a routine on an instruction made of the operands given. */
  run(name: string, test: TestInstruction = {}): void {
    const { view } = this;
    const at = RECORD_AT;
    for (let i = 0; i < 32; i += 4) view.setUint32(at + i, 0, true);
    view.setUint8(at + RECORD.length, test.length ?? 2);
    view.setUint8(at + RECORD.rep, test.rep ?? 0);
    const mode = view.getUint32(S.codeMode, true);
    view.setUint8(at + RECORD.addressSize, test.addressSize ?? [16, 32, 64][mode] ?? 32);
    view.setUint8(at + RECORD.segment, test.segment ?? (mode === 2 ? FLAT : 3));
    view.setUint16(at + RECORD.baseReg, S.zero, true);
    view.setUint16(at + RECORD.indexReg, S.zero, true);
    let slot = 0;
    let immediates = 0;
    const opsize = test.opsize ?? ([16, 32, 32] as const)[mode as 0 | 1 | 2];
    const operands = (test.operands ?? []).map((operand): OperandInfo => {
      const size = ('size' in operand ? operand.size : undefined) ?? opsize;
      if ('mem' in operand) {
        view.setInt32(at + RECORD.disp, operand.mem, true);
        return { kind: 'mem', size };
      }
      if ('imm' in operand) {
        if (immediates++ === 0) view.setBigInt64(at + RECORD.imm, BigInt(operand.imm), true);
        else view.setInt32(at + RECORD.disp, operand.imm, true);
        return { kind: 'imm', size };
      }
      const address =
        'reg' in operand ? gpr(operand.reg) : 'sreg' in operand ? segment(operand.sreg) : operand.system;
      const name_ = (['r1', 'r2', 'r3'] as const)[slot] ?? 'r3';
      view.setUint16(at + [RECORD.r1, RECORD.r2, RECORD.r3][slot++]!, address, true);
      return { kind: 'reg', size: 'system' in operand ? 64 : size, slot: name_ };
    });
    const routine = systemRoutines[name];
    if (!routine) throw new Error(`no routine ${name}`);
    routine(this, new SystemInstruction(this, at, { opsize, operands }));
  }

  /** The fault that a routine throws; fails when it throws none. RIP and RSP must be as they were. */
  fault(name: string, test: TestInstruction = {}): { vector: number; errorCode: number | undefined } {
    const before = [this.rip, this.rsp, this.flags, this.cpl];
    try {
      this.run(name, test);
    } catch (error) {
      if (!(error instanceof GuestFault)) throw error;
      const after = [this.rip, this.rsp, this.flags, this.cpl];
      if (before.some((value, i) => value !== after[i]))
        throw new Error(`state changed: ${before} to ${after}`);
      return { vector: error.vector, errorCode: error.errorCode };
    }
    throw new Error(`${name} raised nothing`);
  }
}

/** Tables of a guest in protected or long mode. */
export const GDT = 0x1000,
  IDT = 0x2000,
  TSS = 0x3000,
  TSS2 = 0x3800,
  LDT = 0x4000,
  KERNEL_STACK = 0x9000,
  USER_STACK = 0xa000;
export const SEL = {
  code0: 0x08,
  data0: 0x10,
  code3: 0x1b,
  data3: 0x23,
  tss: 0x28,
  ldt: 0x38,
  gate: 0x40,
  conforming: 0x50,
  absent: 0x58,
  tss2: 0x60,
  readOnly: 0x68,
  code64: 0x70,
  code16: 0x78,
  code64user: 0x83,
  gate2: 0x88,
  stack16: 0x90,
} as const;

/** A code or data descriptor of 8 bytes. `flags` are bits 7:4 of byte 6: G D L AVL. */
export function descriptor(base: number, limit: number, access: number, flags: number): bigint {
  return (
    BigInt(limit & 0xffff) |
    (BigInt(base & 0xff_ffff) << 16n) |
    (BigInt(access) << 40n) |
    (BigInt((limit >> 16) & 15) << 48n) |
    (BigInt(flags) << 52n) |
    (BigInt(base >>> 24) << 56n)
  );
}

/** A gate of 8 bytes. */
export function gate(selector: number, offset: number, access: number, parameters = 0): bigint {
  return (
    BigInt(offset & 0xffff) |
    (BigInt(selector) << 16n) |
    (BigInt(parameters) << 32n) |
    (BigInt(access) << 40n) |
    (BigInt(offset >>> 16) << 48n)
  );
}

function tables(bed: Testbed, tssLimit: number): void {
  const entries: [number, bigint][] = [
    [SEL.code0, descriptor(0, 0xfffff, 0x9a, 0xc)],
    [SEL.data0, descriptor(0, 0xfffff, 0x92, 0xc)],
    [SEL.code3, descriptor(0, 0xfffff, 0xfa, 0xc)],
    [SEL.data3, descriptor(0, 0xfffff, 0xf2, 0xc)],
    [SEL.tss, descriptor(TSS, tssLimit, 0x89, 0)],
    [SEL.ldt, descriptor(LDT, 0xff, 0x82, 0)],
    [SEL.conforming, descriptor(0, 0xfffff, 0x9e, 0xc)],
    [SEL.absent, descriptor(0, 0xfffff, 0x12, 0xc)],
    [SEL.tss2, descriptor(TSS2, 0x67, 0x89, 0)],
    [SEL.readOnly, descriptor(0, 0xfff, 0x90, 0x4)],
    [SEL.code64, descriptor(0, 0xfffff, 0x9a, 0xa)],
    [SEL.code16, descriptor(0x50000, 0xffff, 0x9a, 0)],
    [SEL.code64user, descriptor(0, 0xfffff, 0xfa, 0xa)],
    [SEL.stack16, descriptor(0x60000, 0xffff, 0x92, 0)],
  ];
  for (const [selector, value] of entries) bed.poke(GDT + (selector & ~7), value, 8);
  bed.set64(S.gdtrBase, GDT);
  bed.view.setUint32(S.gdtrLimit, 0xff, true);
  bed.set64(S.idtrBase, IDT);
  bed.view.setUint32(S.idtrLimit, 0xfff, true);
}

/** Loads CS, SS and CPL of a level without any check. */
export function setLevel(bed: Testbed, level: 0 | 3, long = false): void {
  const access = 0x9b | (level << 5);
  const code = level === 0 ? (long ? SEL.code64 : SEL.code0) : long ? SEL.code64user : SEL.code3;
  writeSegment(bed, CS, {
    selector: code,
    base: 0n,
    limit: 0xffff_ffff,
    attributes: access | (long ? 0xa000 : 0xc000),
  });
  writeSegment(bed, SS, {
    selector: level === 0 ? SEL.data0 : SEL.data3,
    base: 0n,
    limit: 0xffff_ffff,
    attributes: 0xc093 | (level << 5),
  });
  for (const index of [0, 3])
    writeSegment(bed, index, { selector: SEL.data3, base: 0n, limit: 0xffff_ffff, attributes: 0xc0f3 });
  setCpl(bed, level);
  bed.modeChanged();
}

/** 32-bit protected mode at a level, with a TSS loaded. */
export function protectedBed(level: 0 | 3 = 0): Testbed {
  const bed = new Testbed();
  tables(bed, 0x2067);
  bed.set64(S.cr0, CR0.PE | CR0.ET);
  writeSegment(bed, TR, { selector: SEL.tss, base: BigInt(TSS), limit: 0x2067, attributes: 0x8b });
  bed.poke(GDT + SEL.tss + 5, 0x8b, 1);
  bed.poke(TSS + 4, KERNEL_STACK, 4);
  bed.poke(TSS + 8, SEL.data0, 2);
  bed.poke(TSS + 0x66, 0x68, 2);
  setLevel(bed, level);
  bed.rsp = level === 0 ? KERNEL_STACK - 0x800 : USER_STACK;
  bed.rip = 0x500;
  return bed;
}

/** 64-bit mode at a level, with a 64-bit TSS. */
export function longBed(level: 0 | 3 = 0): Testbed {
  const bed = protectedBed(level);
  bed.set64(S.cr0, CR0.PE | CR0.ET | CR0.PG);
  bed.set64(S.cr4, 1 << 5);
  bed.set64(S.efer, EFER.LME | EFER.LMA | EFER.SCE);
  for (let i = 0; i < 0x68; i += 8) bed.poke(TSS + i, 0, 8);
  bed.poke(TSS + 4, KERNEL_STACK, 8);
  bed.poke(TSS + 0x24, 0xb000, 8);
  setLevel(bed, level, true);
  return bed;
}

/** Virtual-8086 mode, IOPL as given. */
export function v86Bed(iopl: number): Testbed {
  const bed = protectedBed(3);
  bed.flags = VM | (iopl << 12) | 0x202;
  for (const [index, selector] of [
    [0, 0x100],
    [CS, 0x5000],
    [SS, 0x6000],
    [3, 0x200],
    [4, 0x300],
    [5, 0x400],
  ] as const) {
    writeSegment(bed, index, { selector, base: BigInt(selector * 16), limit: 0xffff, attributes: 0xf3 });
  }
  bed.modeChanged();
  bed.rsp = 0x1000;
  bed.rip = 0x100;
  return bed;
}

/** An interrupt (E) or trap (F) gate of 32 bits, or of 64 with `ist`. */
export function setGate(
  bed: Testbed,
  vector: number,
  selector: number,
  offset: number,
  access = 0x8e,
  long = false,
  ist = 0,
): void {
  const at = IDT + vector * (long ? 16 : 8);
  bed.poke(at, gate(selector, offset, access, ist), 8);
  if (long) bed.poke(at + 8, 0, 8);
}
