import assert from 'node:assert/strict';
import type { Bus } from '../../machine/bus.ts';
import { BLOCKED, type InterruptKind, type InterruptSource } from '../engine.ts';
import { writeRflags } from '../flags.ts';
import { Interpreter } from '../interpret/engine.ts';
import type { Tier, TierHost } from '../interpret/tier.ts';
import { CS, DS, ES, FS, GS, gpr, RAM, S, SS, TR } from '../layout.ts';
import { CpuidTable } from './cpuid.ts';
import { CR0, CR4, EFER, setCpl, writeSegment } from './registers.ts';
import { resetState } from './reset.ts';
import { saveArchitecturalState } from './snapshot.ts';
import { descriptor, gate } from './testbed.ts';

const RAM_BYTES = 4 << 20;
const PAGES = (RAM + RAM_BYTES) / 65536;
export const KERNEL = 0x100000,
  USER = 0x200000,
  GDT = 0x1000,
  IDT = 0x2000,
  TSS = 0x3000,
  TABLES = 0x10000;
export const KERNEL_TOP = 0x9000,
  USER_TOP = 0x210000;
export const SELECTOR = {
  code0: 0x10,
  data0: 0x18,
  code32: 0x23,
  data3: 0x2b,
  code3: 0x33,
  tss: 0x40,
  code16: 0x50,
  code32Kernel: 0x58,
} as const;

/** A device that asks for an interrupt: what is written to it is the vector. */
export const DOORBELL = 0x400000;

/** A whole processor with 4 MiB, code and data of its own, and one interrupt line. */
export class Guest {
  readonly cpu: Interpreter;
  readonly ports: number[] = [];
  /** Vector of a maskable interrupt that waits. */
  pending: number | undefined;
  /** Something else than a maskable interrupt that waits. */
  signal: InterruptKind = 'none';
  /** Ticks at each access to a port or to the device in memory. */
  readonly accesses: number[] = [];

  constructor(tier?: (host: TierHost) => Tier) {
    const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared: true });
    const interrupts: InterruptSource = {
      poll: (blocked = 0) => {
        const held = this.signal === 'nmi' && (blocked & BLOCKED.nmi) !== 0;
        if (this.signal !== 'none' && !held) return this.signal;
        return this.pending === undefined || (blocked & BLOCKED.maskable) !== 0 ? 'none' : 'fixed';
      },
      acknowledge: (kind) => {
        if (kind !== 'fixed') {
          this.signal = 'none';
          return 0;
        }
        const vector = this.pending ?? 0;
        this.pending = undefined;
        return vector;
      },
    };
    const raise = (vector: number): void => {
      this.pending = vector;
      this.cpu.interruptsChanged();
    };
    const mmio: Bus = {
      read: () => {
        this.accesses.push(this.cpu.ticks);
        return 0xffff_ffff;
      },
      write: (at, _size, value) => {
        this.accesses.push(this.cpu.ticks);
        if (at === DOORBELL) raise(value & 0xff);
      },
      claim: () => {
        throw new Error('no devices here');
      },
    };
    this.cpu = new Interpreter({
      memory,
      ramBytes: RAM_BYTES,
      mmio,
      ...(tier ? { tier } : {}),
      interrupts,
      platform: {
        ioRead: () => 0x5a,
        ioWrite: (port, _size, value) => {
          this.ports.push(value);
          this.accesses.push(this.cpu.ticks);
          if (port === 0x81) {
            this.signal = 'nmi';
            this.cpu.interruptsChanged();
          }
          if (port === 0x80) raise(value);
        },
        msrRead: () => undefined,
        msrWrite: () => false,
        tsc: () => 0n,
        setTsc: () => {},
        random64: () => 1n,
        tprGet: () => 0,
        tprSet: () => {},
        cpuid: new CpuidTable({ tscHz: 1e9, apicHz: 1e9 }),
      },
    });
    resetState(this.cpu.view);
  }

  get view(): DataView {
    return this.cpu.view;
  }
  code(at: number, bytes: string): void {
    for (const [i, byte] of bytes.trim().split(/\s+/).entries())
      this.view.setUint8(RAM + at + i, Number.parseInt(byte, 16));
  }
  poke(at: number, value: bigint | number): void {
    this.view.setBigUint64(RAM + at, BigInt(value), true);
  }
  peek(at: number): bigint {
    return this.view.getBigUint64(RAM + at, true);
  }
  reg(n: number): bigint {
    return this.view.getBigUint64(gpr(n), true);
  }
  setReg(n: number, value: number | bigint): void {
    this.view.setBigUint64(gpr(n), BigInt(value), true);
  }
  set(field: number, value: number | bigint): void {
    this.view.setBigUint64(field, BigInt(value), true);
  }
  gate(vector: number, offset: number, access = 0x8e): void {
    this.poke(IDT + vector * 16, gate(SELECTOR.code0, offset, access));
    this.poke(IDT + vector * 16 + 8, 0);
  }

  /** 64-bit mode, 2 MiB pages mapped to themselves and open to level 3. */
  long(level: 0 | 3, rip: number): this {
    const flat = (access: number, flags: number): bigint => descriptor(0, 0xfffff, access, flags);
    for (const [selector, value] of [
      [SELECTOR.code0, flat(0x9a, 0xa)],
      [SELECTOR.data0, flat(0x92, 0xc)],
      [SELECTOR.code32, flat(0xfa, 0xc)],
      [SELECTOR.data3, flat(0xf2, 0xc)],
      [SELECTOR.code3, flat(0xfa, 0xa)],
      [SELECTOR.tss, descriptor(TSS, 0x67, 0x89, 0)],
      [SELECTOR.code16, descriptor(0, 0xffff, 0x9a, 0)],
      [SELECTOR.code32Kernel, flat(0x9a, 0xc)],
    ] as const)
      this.poke(GDT + (selector & ~7), value);
    this.poke(TABLES, TABLES + 0x1007);
    this.poke(TABLES + 0x1000, TABLES + 0x2007);
    this.poke(TABLES + 0x2000, 0x87);
    this.poke(TABLES + 0x2008, 0x200087);
    this.poke(TABLES + 0x2010, DOORBELL | 0x87);
    this.poke(TSS + 4, KERNEL_TOP);
    this.set(S.gdtrBase, GDT);
    this.set(S.idtrBase, IDT);
    this.view.setUint32(S.idtrLimit, 0xfff, true);
    this.set(S.cr0, CR0.PE | CR0.ET | CR0.NE | CR0.WP | CR0.PG);
    this.set(S.cr3, TABLES);
    this.set(S.cr4, CR4.PAE | CR4.FSGSBASE | CR4.OSFXSR);
    this.set(S.efer, EFER.LMA | EFER.LME | EFER.SCE);
    this.set(S.star, 0x0023_0010_0000_0000n);
    this.set(S.lstar, KERNEL);
    this.set(S.sfmask, 0x4_7700);
    const holder = this.cpu.context;
    writeSegment(holder, TR, { selector: SELECTOR.tss, base: BigInt(TSS), limit: 0x67, attributes: 0x8b });
    writeSegment(holder, CS, {
      selector: level === 0 ? SELECTOR.code0 : SELECTOR.code3,
      base: 0n,
      limit: 0xffff_ffff,
      attributes: 0xa09b | (level << 5),
    });
    writeSegment(holder, SS, {
      selector: level === 0 ? SELECTOR.data0 : SELECTOR.data3,
      base: 0n,
      limit: 0xffff_ffff,
      attributes: 0xc093 | (level << 5),
    });
    setCpl(holder, level);
    this.setReg(4, level === 0 ? KERNEL_TOP - 0x800 : USER_TOP);
    this.set(S.rip, rip);
    writeRflags(this.view, 0x202);
    this.cpu.stateChanged();
    return this;
  }

  /** 32-bit protected mode, 4 MiB mapped to themselves and open to level 3; descriptors that are accessed already. */
  protected32(level: 0 | 3, rip: number): this {
    const flat = (access: number): bigint => descriptor(0, 0xfffff, access, 0xc);
    for (const [selector, value] of [
      [SELECTOR.code32Kernel, flat(0x9b)],
      [SELECTOR.data0, flat(0x93)],
      [SELECTOR.code32, flat(0xfb)],
      [SELECTOR.data3, flat(0xf3)],
      [SELECTOR.tss, descriptor(TSS, 0x67, 0x8b, 0)],
    ] as const)
      this.poke(GDT + (selector & ~7), value);
    this.poke(TABLES, 0x87);
    this.poke(TSS + 4, KERNEL_TOP);
    this.poke(TSS + 8, SELECTOR.data0);
    this.set(S.gdtrBase, GDT);
    this.set(S.idtrBase, IDT);
    this.view.setUint32(S.gdtrLimit, 0xff, true);
    this.view.setUint32(S.idtrLimit, 0x7ff, true);
    this.set(S.cr0, CR0.PE | CR0.ET | CR0.NE | CR0.WP | CR0.PG);
    this.set(S.cr3, TABLES);
    this.set(S.cr4, CR4.PSE | CR4.DE | CR4.OSFXSR);
    this.set(S.efer, 0);
    const holder = this.cpu.context;
    writeSegment(holder, TR, { selector: SELECTOR.tss, base: BigInt(TSS), limit: 0x67, attributes: 0x8b });
    const load = (index: number, selector: number, attributes: number): void =>
      writeSegment(holder, index, {
        selector,
        base: 0n,
        limit: 0xffff_ffff,
        attributes: attributes | (level << 5),
      });
    load(CS, level === 0 ? SELECTOR.code32Kernel : SELECTOR.code32, 0xc09b);
    for (const index of [SS, DS, ES]) load(index, level === 0 ? SELECTOR.data0 : SELECTOR.data3, 0xc093);
    for (const index of [FS, GS])
      writeSegment(holder, index, { selector: 0, base: 0n, limit: 0, attributes: 0 });
    setCpl(holder, level);
    this.setReg(4, level === 0 ? KERNEL_TOP - 0x800 : USER_TOP);
    this.set(S.rip, rip);
    writeRflags(this.view, 0x202);
    this.cpu.stateChanged();
    return this;
  }
  gate32(vector: number, offset: number, access = 0x8e): void {
    this.poke(IDT + vector * 8, gate(SELECTOR.code32Kernel, offset, access));
  }

  untilHalt(): void {
    for (let i = 0; i < 1000; i++) {
      const end = this.cpu.run(10_000);
      if (end === 'halted') return;
      assert.notEqual(end, 'triple-fault', `at ${this.view.getBigUint64(S.rip, true).toString(16)}`);
    }
    assert.fail('the guest does not halt');
  }
}

interface Outcome {
  readonly end: string;
  readonly state: unknown;
  readonly stacks: Uint8Array;
  readonly instructions: number;
}

/** Runs to HLT, or to a triple fault, as it is, or traced by an I/O breakpoint that nothing meets: then every routine takes the long way. */
function outcome(guest: Guest, traced: boolean): Outcome {
  if (traced) {
    guest.set(S.dr, 0xfff0);
    guest.set(S.dr + 56, 0x2_0401);
  }
  guest.cpu.stateChanged();
  let end = 'budget';
  for (let i = 0; i < 100 && end !== 'halted' && end !== 'triple-fault'; i++) end = guest.cpu.run(10_000);
  guest.set(S.dr, 0);
  guest.set(S.dr + 56, 0x400);
  return {
    end,
    state: saveArchitecturalState(guest.view),
    stacks: new Uint8Array(guest.view.buffer, RAM + 0x7000, 0x3000).slice(),
    instructions: guest.cpu.instructions,
  };
}

/**
 * A guest comes to the same end by the short ways of cpu/interpret/runtime/system.ts and by the routines.
 * @returns how many instructions of the first run were a routine's
 */
export function bothAlike(make: () => Guest): number {
  const guest = make();
  assert.deepEqual(outcome(guest, false), outcome(make(), true));
  return guest.cpu.counters()['systemRoutines'] ?? 0;
}
