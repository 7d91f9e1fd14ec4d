import { readRflags, writeRflags } from '../../src/hypervisor/cpu/flags.ts';
import { Interpreter } from '../../src/hypervisor/cpu/interpret/engine.ts';
import type { Tier, TierHost } from '../../src/hypervisor/cpu/interpret/tier.ts';
import { CS, DS, ES, FLAT, FS, GS, gpr, RAM, S, SS, TR, xmm } from '../../src/hypervisor/cpu/layout.ts';
import type { CpuPlatform } from '../../src/hypervisor/cpu/system/context.ts';
import { CpuidTable } from '../../src/hypervisor/cpu/system/cpuid.ts';
import { writeSegment } from '../../src/hypervisor/cpu/system/registers.ts';
import { resetState } from '../../src/hypervisor/cpu/system/reset.ts';
import type { AccessSize, Bus, BusDevice, BusRange } from '../../src/hypervisor/machine/bus.ts';
import { type HostFault, type HostState, UPPER_BYTES } from './host-cpu.ts';

/** Bus on which nothing answers: reads are all ones. */
export const emptyBus: Bus = {
  read: (_offset: number, size: AccessSize) => (size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff),
  write: () => undefined,
  claim: (name: string, base: number | undefined, length: number, _device: BusDevice): BusRange => ({
    name,
    base,
    length,
    move: () => undefined,
    disable: () => undefined,
  }),
};

/** A platform without devices, whose time stands still. */
export const barePlatform: CpuPlatform = {
  ioRead: () => 0xffff_ffff,
  ioWrite: () => undefined,
  msrRead: () => undefined,
  msrWrite: () => false,
  tsc: () => 0n,
  setTsc: () => undefined,
  random64: () => 0n,
  tprGet: () => 0,
  tprSet: () => undefined,
  cpuid: new CpuidTable({ tscHz: 1e9, apicHz: 1e9 }),
};

/** An interpreter over RAM of its own. */
export function createInterpreter(
  ramBytes: number,
  mmio: Bus = emptyBus,
  tier?: (host: TierHost) => Tier,
  platform: CpuPlatform = barePlatform,
): { engine: Interpreter; ram: Uint8Array; view: DataView } {
  const pages = (RAM + ramBytes) / 65536;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const engine = new Interpreter({
    memory,
    ramBytes,
    mmio,
    platform,
    interrupts: { poll: () => 'none', acknowledge: () => 0 },
    ...(tier ? { tier } : {}),
  });
  resetState(engine.view);
  return {
    engine,
    ram: new Uint8Array(memory.buffer, RAM, ramBytes),
    view: new DataView(memory.buffer, RAM, ramBytes),
  };
}

/** Where the tables of the test machine lie; all in the first 2 MiB, which user mode cannot touch. */
const T = {
  pml4: 0x1000,
  pdpt: 0x2000,
  pd: 0x3000,
  low: 0x4000,
  tables: 0x10000,
  gdt: 0x8000,
  idt: 0x9000,
  tss: 0xa000,
  handlers: 0xb000,
  stack: 0xe000,
} as const;
const PRESENT = 1,
  WRITE = 2,
  USER = 4;

export interface GuestOptions {
  /** Linear ranges, whole pages, that user mode may read, write and execute; physical is the same. */
  readonly user: readonly { readonly address: number; readonly bytes: number; readonly readOnly?: boolean }[];
  readonly ramBytes: number;
  /** Makes the tier that runs hot code, if there is to be one. */
  readonly tier?: (host: TierHost) => Tier;
  /** What lies behind RAM. */
  readonly mmio?: Bus;
}

/** What DS and ES are, when not flat. */
export interface DataSegment {
  readonly selector: number;
  readonly base: number;
  readonly limit: number;
}

export interface RunOptions {
  readonly budget?: number;
  readonly gsBase?: bigint;
  readonly data?: DataSegment | undefined;
}

export interface GuestRun {
  readonly fault: HostFault | undefined;
  /** RIP after the run, or of the fault. */
  readonly rip: bigint;
  /** Whether the code reached `end`. */
  readonly ended: boolean;
}

/** Selectors as Linux has them for programs. */
export const USER_CS64 = 0x33,
  USER_CS32 = 0x23,
  USER_DS = 0x2b;
const KERNEL_CS = 0x08;
const NO_UPPER = new Uint8Array(UPPER_BYTES);

/**
 * A machine in user mode under 4-level paging, like a Linux program: the
 * counterpart of host-cpu.ts. Exceptions go through an IDT to handlers that
 * stand still, so that their stack frames can be read.
 */
export class GuestMachine {
  readonly engine: Interpreter;
  readonly state: DataView;
  readonly ram: Uint8Array;
  readonly view: DataView;
  #tables = T.tables;

  constructor(options: GuestOptions) {
    const { engine, ram, view } = createInterpreter(options.ramBytes, options.mmio ?? emptyBus, options.tier);
    this.engine = engine;
    this.ram = ram;
    this.view = view;
    this.state = engine.view;
    this.#pageTables(options);
    this.#descriptors();
    this.#system();
  }

  #pageTables({ user }: GuestOptions): void {
    const all = PRESENT | WRITE | USER;
    const entry = (at: number, value: number): void => this.view.setBigUint64(at, BigInt(value), true);
    /** The table that an entry leads to, made if there is none. */
    const below = (at: number): number => {
      if (this.view.getUint32(at, true) === 0) {
        entry(at, this.#tables | all);
        this.#tables += 0x1000;
      }
      return this.view.getUint32(at, true) & ~0xfff;
    };
    entry(T.pml4, T.pdpt | all);
    entry(T.pdpt, T.pd | all);
    entry(T.pd, T.low | all);
    for (let page = 0; page < 512; page++) entry(T.low + page * 8, (page << 12) | PRESENT | WRITE);
    for (const { address, bytes, readOnly } of user) {
      for (let at = address; at < address + bytes; at += 4096) {
        const directory = below(T.pdpt + (at >>> 30) * 8);
        const table = below(directory + ((at >>> 21) & 511) * 8);
        entry(table + ((at >>> 12) & 511) * 8, at | (readOnly ? PRESENT | USER : all));
      }
    }
  }

  #descriptors(): void {
    const gdt = (selector: number, high: number, low: number): void => {
      this.view.setUint32(T.gdt + (selector & ~7), low, true);
      this.view.setUint32(T.gdt + (selector & ~7) + 4, high, true);
    };
    gdt(KERNEL_CS, 0x00af9b00, 0xffff);
    gdt(USER_CS32, 0x00cffb00, 0xffff);
    gdt(USER_DS, 0x00cff300, 0xffff);
    gdt(USER_CS64, 0x00affb00, 0xffff);
    this.view.setBigUint64(T.tss + 4, BigInt(T.stack), true);
    // No I/O permission bitmap.
    this.view.setUint16(T.tss + 0x66, 0xffff, true);
    for (let vector = 0; vector < 256; vector++) {
      const handler = T.handlers + vector * 16;
      this.ram.set([0xeb, 0xfe], handler);
      const at = T.idt + vector * 16;
      this.view.setUint32(at, (KERNEL_CS << 16) | (handler & 0xffff), true);
      this.view.setUint32(
        at + 4,
        ((handler & 0xffff_0000) | (vector === 3 || vector === 4 ? 0xee00 : 0x8e00)) >>> 0,
        true,
      );
      this.view.setBigUint64(at + 8, 0n, true);
    }
  }

  #system(): void {
    const { state } = this;
    state.setBigUint64(S.cr0, 0x8001_0033n, true);
    // With OSXSAVE, and AVX enabled.
    state.setBigUint64(S.cr4, 0x5_06b0n, true);
    state.setBigUint64(S.xcr0, 7n, true);
    state.setBigUint64(S.cr3, BigInt(T.pml4), true);
    state.setBigUint64(S.efer, 0xd01n, true);
    state.setBigUint64(S.gdtrBase, BigInt(T.gdt), true);
    state.setUint32(S.gdtrLimit, 0x7f, true);
    state.setBigUint64(S.idtrBase, BigInt(T.idt), true);
    state.setUint32(S.idtrLimit, 0xfff, true);
    this.setSegment(TR, 0x40, BigInt(T.tss), 0x67, 0x008b);
  }

  setSegment(index: number, selector: number, base: bigint, limit: number, attributes: number): void {
    writeSegment({ view: this.state }, index, { selector, base, limit, attributes });
  }

  #enterUser(mode: 32 | 64, gsBase: bigint, data?: DataSegment): void {
    const { state } = this;
    state.setUint32(S.cpl, 3, true);
    state.setUint32(S.halted, 0, true);
    state.setUint32(S.shadow, 0, true);
    state.setBigUint64(S.cr2, 0n, true);
    if (mode === 64) this.setSegment(CS, USER_CS64, 0n, 0xffff_ffff, 0xa0fb);
    else this.setSegment(CS, USER_CS32, 0n, 0xffff_ffff, 0xc0fb);
    for (const index of [ES, SS, DS, FLAT]) this.setSegment(index, USER_DS, 0n, 0xffff_ffff, 0xc0f3);
    if (data) {
      for (const index of [DS, ES])
        this.setSegment(index, data.selector, BigInt(data.base), data.limit, 0x40f3);
    }
    this.setSegment(FS, 0, 0n, 0xffff_ffff, 0xc0f3);
    this.setSegment(GS, 0, gsBase, 0xffff_ffff, 0xc0f3);
    // The busy task's descriptor is not looked at; the stack for CPL 0 is.
    this.engine.stateChanged();
  }

  /** Runs from `start` until `end`, where the code stands still, or a fault. */
  run(
    mode: 32 | 64,
    start: number,
    end: number,
    before: HostState,
    after: HostState,
    options: RunOptions = {},
  ): GuestRun {
    const { state } = this;
    this.#enterUser(mode, options.gsBase ?? 0n, options.data);
    for (let n = 0; n < 16; n++)
      state.setBigUint64(gpr(n), mode === 32 && n > 7 ? 0n : (before.gpr[n] ?? 0n), true);
    writeRflags(state, (before.rflags & 0xcd5) | 0x202);
    this.#loadFx(before.fx);
    this.#loadUpper(before.upper ?? NO_UPPER);
    state.setBigUint64(S.rip, BigInt(start), true);
    this.engine.run(options.budget ?? 3000);
    let rip = state.getBigUint64(S.rip, true);
    const handler = Number(rip) - T.handlers;
    const inHandler = state.getUint32(S.cpl, true) === 0 && handler >= 0 && handler < 0x1000;
    let fault: HostFault | undefined;
    let rsp = state.getBigUint64(gpr(4), true);
    let rflags = readRflags(state);
    if (inHandler) {
      const vector = handler >> 4;
      const coded = vector === 8 || (vector >= 10 && vector <= 14) || vector === 17;
      const frame = Number(rsp);
      const errorCode = coded ? Number(this.view.getBigUint64(frame, true)) : 0;
      const at = coded ? frame + 8 : frame;
      rip = this.view.getBigUint64(at, true);
      rflags = Number(this.view.getBigUint64(at + 16, true));
      rsp = this.view.getBigUint64(at + 24, true);
      fault = {
        signal: 0,
        vector,
        errorCode,
        rip,
        ...(vector === 14 ? { address: state.getBigUint64(S.cr2, true) } : {}),
      };
    }
    for (let n = 0; n < 16; n++) after.gpr[n] = state.getBigUint64(gpr(n), true);
    after.gpr[4] = rsp;
    after.rflags = rflags;
    this.#saveFx(after.fx);
    if (after.upper) this.#saveUpper(after.upper);
    return { fault, rip, ended: fault === undefined && rip === BigInt(end) };
  }

  #upperOf(n: number): Uint8Array {
    return new Uint8Array(this.state.buffer, xmm(n) + 16, 16);
  }
  #loadUpper(upper: Uint8Array): void {
    for (let n = 0; n < 16; n++) this.#upperOf(n).set(upper.subarray(n * 16, n * 16 + 16));
  }
  #saveUpper(upper: Uint8Array): void {
    for (let n = 0; n < 16; n++) upper.set(this.#upperOf(n), n * 16);
  }

  #loadFx(fx: Uint8Array): void {
    const from = new DataView(fx.buffer, fx.byteOffset, 512);
    const { state } = this;
    for (let n = 0; n < 16; n++) {
      state.setBigUint64(xmm(n), from.getBigUint64(160 + n * 16, true), true);
      state.setBigUint64(xmm(n) + 8, from.getBigUint64(168 + n * 16, true), true);
    }
    state.setUint32(S.mxcsr, from.getUint32(24, true), true);
    const top = (from.getUint16(2, true) >> 11) & 7;
    state.setUint32(S.fpuControl, from.getUint16(0, true), true);
    state.setUint32(S.fpuStatus, from.getUint16(2, true) & ~0x3800, true);
    state.setUint32(S.fpuTop, top, true);
    state.setUint32(S.fpuEmpty, ~from.getUint8(4) & 0xff, true);
    for (let n = 0; n < 8; n++) {
      const at = S.fpr + ((top + n) & 7) * 16;
      state.setBigUint64(at, from.getBigUint64(32 + n * 16, true), true);
      state.setBigUint64(at + 8, from.getBigUint64(40 + n * 16, true) & 0xffffn, true);
    }
  }

  #saveFx(fx: Uint8Array): void {
    const to = new DataView(fx.buffer, fx.byteOffset, 512);
    const { state } = this;
    for (let n = 0; n < 16; n++) {
      to.setBigUint64(160 + n * 16, state.getBigUint64(xmm(n), true), true);
      to.setBigUint64(168 + n * 16, state.getBigUint64(xmm(n) + 8, true), true);
    }
    to.setUint32(24, state.getUint32(S.mxcsr, true), true);
    const top = state.getUint32(S.fpuTop, true) & 7;
    to.setUint16(0, state.getUint32(S.fpuControl, true), true);
    to.setUint16(2, state.getUint32(S.fpuStatus, true) | (top << 11), true);
    to.setUint8(4, ~state.getUint32(S.fpuEmpty, true) & 0xff);
    for (let n = 0; n < 8; n++) {
      const at = S.fpr + ((top + n) & 7) * 16;
      to.setBigUint64(32 + n * 16, state.getBigUint64(at, true), true);
      to.setBigUint64(40 + n * 16, state.getBigUint64(at + 8, true) & 0xffffn, true);
    }
  }
}
