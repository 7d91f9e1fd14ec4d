import type { SliceEnd } from '../../src/hypervisor/cpu/engine.ts';
import { writeRflags } from '../../src/hypervisor/cpu/flags.ts';
import type { Interpreter } from '../../src/hypervisor/cpu/interpret/engine.ts';
import { CS, DS, ES, FLAT, FS, GS, gpr, S, SEG, SS, segment } from '../../src/hypervisor/cpu/layout.ts';
import type { CpuPlatform } from '../../src/hypervisor/cpu/system/context.ts';
import type { Bus } from '../../src/hypervisor/machine/bus.ts';
import { createInterpreter } from '../native/guest-machine.ts';

/** Paging modes (SDM vol. 3, table 4-1). */
export type Paging = 'none' | '32-bit' | 'pae' | '4-level';

/** Bits of page-table entries. */
export const P = 1n,
  W = 2n,
  U = 4n,
  A = 0x20n,
  D = 0x40n,
  PS = 0x80n,
  G = 0x100n,
  NX = 1n << 63n;

export const CR0_WP = 0x1_0000n,
  CR4_PSE = 0x10n,
  CR4_PAE = 0x20n,
  CR4_PGE = 0x80n,
  CR4_SMEP = 0x10_0000n,
  CR4_SMAP = 0x20_0000n;
export const EFER_NXE = 0x800n;

export interface Control {
  readonly paging: Paging;
  readonly cpl?: 0 | 3;
  readonly wp?: boolean;
  readonly smep?: boolean;
  readonly smap?: boolean;
  readonly ac?: boolean;
  readonly nxe?: boolean;
  readonly pse?: boolean;
  readonly pge?: boolean;
  /** Width of code; 64 unless paging is '32-bit' or 'pae'. */
  readonly code?: 16 | 32 | 64;
}

export interface Fault {
  readonly vector: number;
  readonly errorCode: number | undefined;
  readonly cr2: bigint;
}

/**
 * A processor with RAM and nothing else. There is no IDT, so that a fault
 * ends the run as a triple fault with everything as the fault found it.
 */
export class Rig {
  readonly engine: Interpreter;
  readonly state: DataView;
  readonly ram: Uint8Array;
  readonly view: DataView;
  /** Where the next page table goes. */
  #next = 0x10_0000;

  constructor(ramBytes = 16 << 20, mmio?: Bus, platform?: CpuPlatform) {
    const { engine, ram, view } = createInterpreter(ramBytes, mmio, undefined, platform);
    this.engine = engine;
    this.state = engine.view;
    this.ram = ram;
    this.view = view;
  }

  /** A zeroed page for tables, below 2 MiB; starts again at `resetTables`. */
  table(): number {
    const at = this.#next;
    this.#next += 0x1000;
    this.ram.fill(0, at, at + 0x1000);
    return at;
  }
  resetTables(): void {
    this.#next = 0x10_0000;
  }

  set64(at: number, value: bigint): void {
    this.view.setBigUint64(at, BigInt.asUintN(64, value), true);
  }

  /** Sets control registers and segments; `cr3` is the root. */
  configure(control: Control, cr3 = 0): void {
    const { state } = this;
    const long =
      (control.code ?? (control.paging === '4-level' || control.paging === 'none' ? 64 : 32)) === 64;
    const paged = control.paging !== 'none';
    state.setBigUint64(S.cr0, 0x31n | (paged ? 0x8000_0000n : 0n) | (control.wp ? CR0_WP : 0n), true);
    const pae = control.paging === 'pae' || control.paging === '4-level';
    state.setBigUint64(
      S.cr4,
      0x600n |
        (pae ? CR4_PAE : 0n) |
        (control.pse ? CR4_PSE : 0n) |
        (control.pge ? CR4_PGE : 0n) |
        (control.smep ? CR4_SMEP : 0n) |
        (control.smap ? CR4_SMAP : 0n),
      true,
    );
    state.setBigUint64(
      S.efer,
      (long || control.paging === '4-level' ? 0x500n : 0n) | (control.nxe ? EFER_NXE : 0n) | 1n,
      true,
    );
    state.setBigUint64(S.cr3, BigInt(cr3), true);
    if (control.paging === 'pae')
      for (let i = 0; i < 4; i++)
        state.setBigUint64(S.pdpte + i * 8, this.view.getBigUint64(cr3 + i * 8, true), true);
    const cpl = control.cpl ?? 0;
    state.setUint32(S.cpl, cpl, true);
    const dpl = cpl << 5;
    const width = long ? 0x2000 : control.code === 16 ? 0 : 0x4000;
    this.#segment(CS, 0x8 | cpl, 0x809b | dpl | width);
    for (const index of [ES, SS, DS, FS, GS, FLAT])
      this.#segment(index, 0x10 | cpl, (control.code === 16 ? 0x8093 : 0xc093) | dpl);
    state.setUint32(S.idtrLimit, 0, true);
    state.setUint32(S.halted, 0, true);
    state.setBigUint64(S.cr2, 0n, true);
    writeRflags(state, 0x2 | (control.ac ? 0x4_0000 : 0));
    this.engine.stateChanged();
  }

  #segment(index: number, selector: number, attributes: number): void {
    const at = segment(index);
    this.state.setBigUint64(at + SEG.base, 0n, true);
    this.state.setUint32(at + SEG.limit, 0xffff_ffff, true);
    this.state.setUint32(at + SEG.selector, selector, true);
    this.state.setUint32(at + SEG.attributes, attributes, true);
    this.state.setUint32(at + SEG.checked, 0, true);
  }

  gpr(n: number): bigint {
    return this.state.getBigUint64(gpr(n), true);
  }
  setGpr(n: number, value: bigint | number): void {
    this.state.setBigUint64(gpr(n), BigInt.asUintN(64, BigInt(value)), true);
  }
  get rip(): bigint {
    return this.state.getBigUint64(S.rip, true);
  }
  jump(rip: bigint | number): void {
    this.state.setBigUint64(S.rip, BigInt.asUintN(64, BigInt(rip)), true);
  }

  /** Puts code at a physical address, and tells the engine. */
  code(at: number, ...bytes: number[]): void {
    this.ram.set(bytes, at);
    this.engine.memoryWritten(at, bytes.length);
  }

  /** Runs from `rip` on, to a HLT, a fault (a triple fault without an IDT), or as many instructions as it may. */
  go(rip: bigint | number, instructions = 10_000): SliceEnd {
    this.jump(rip);
    this.state.setUint32(S.halted, 0, true);
    return this.engine.run(instructions);
  }

  /** Puts code at a physical address, with a HLT behind it, and runs it. */
  execute(at: number, ...bytes: number[]): SliceEnd {
    this.code(at, ...bytes, 0xf4);
    return this.go(at);
  }

  /** The fault that ended a run as a triple fault. */
  get fault(): Fault {
    const { state } = this;
    return {
      vector: state.getInt32(S.faultVector, true),
      errorCode: state.getInt32(S.faultHasCode, true) !== 0 ? state.getInt32(S.faultCode, true) : undefined,
      cr2: state.getBigUint64(S.cr2, true),
    };
  }
}
