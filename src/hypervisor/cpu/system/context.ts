import type { CpuidTable } from './cpuid.ts';
import type { MsrStore } from './msr-store.ts';

/** Exception vectors (Intel SDM vol. 3, table 7-1). */
export const VECTOR = {
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  BR: 5,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  MC: 18,
  XM: 19,
} as const;

/** Ports that move many values at once: what they do is what as many single accesses would. */
export interface StringPorts {
  takes(port: number): boolean;
  /** How many bytes were moved, a multiple of `size`; with 0 the next one goes alone. */
  read(port: number, size: 1 | 2 | 4, target: Uint8Array): number;
  write(port: number, size: 1 | 2 | 4, source: Uint8Array): number;
}

/** What the processor needs of the machine around it. Ports are 0..0xffff, sizes bytes, values unsigned. */
export interface CpuPlatform {
  ioRead(port: number, size: 1 | 2 | 4): number;
  ioWrite(port: number, size: 1 | 2 | 4, value: number): void;
  /** For repeated INS and OUTS. */
  readonly strings?: StringPorts;
  /** MSRs of the platform (APIC base, x2APIC, TSC deadline, kvmclock …); undefined: there is no such MSR. */
  msrRead(index: number): bigint | undefined;
  /** False: no such MSR, or a value it does not take. */
  msrWrite(index: number, value: bigint): boolean;
  /** The time-stamp counter. */
  tsc(): bigint;
  /** The counter less what is in S.tscOffset, which whoever gives this keeps right; for reads without a routine. */
  elapsed?: (() => number) | undefined;
  setTsc(value: bigint): void;
  /** 64 random bits, from the machine's door. */
  random64(): bigint;
  /** The task priority as CR8 shows it: bits 7:4 of the local APIC's TPR, 0..15. */
  tprGet(): number;
  tprSet(value: number): void;
  readonly cpuid: CpuidTable;
}

/** What the routines of this folder stand on: the state block, linear memory through paging, and the platform. */
export interface CpuContext {
  /** Over the whole linear memory, little endian; the state block lies at the offsets of cpu/layout.ts. */
  readonly view: DataView;
  /**
   * Linear-address access with full paging checks at user or supervisor privilege. May cross pages.
   * Throws GuestFault (#PF with CR2) when paging does not allow it.
   */
  readLinear(linear: bigint, bytes: 1 | 2 | 4 | 8, user: boolean): bigint;
  writeLinear(linear: bigint, bytes: 1 | 2 | 4 | 8, value: bigint, user: boolean): void;
  /** Makes sure that a later write cannot fault; `bytes` ≤ 4096. Throws GuestFault. */
  probeWrite(linear: bigint, bytes: number, user: boolean): void;
  /** Eight bytes of guest-physical memory, as page walks read them; 0 where there is no RAM. */
  readPhysical64(gpa: bigint): bigint;
  flushTlb(kind: 'all' | 'non-global' | { readonly linear: bigint }): void;
  /** After CPL, CS, CR0, CR3, CR4, EFER or EFLAGS.AC/VM changed: recomputes codeMode, the TLB view and unit traps, drops fetch translations. */
  modeChanged(): void;
  readonly platform: CpuPlatform;
  /** Registers without a place in the state block: PAT, MTRRs, MISC_ENABLE … */
  readonly msrs: MsrStore;
}

/** An exception of the guest's. The routine that throws it has changed no register. */
export class GuestFault extends Error {
  readonly vector: number;
  readonly errorCode: number | undefined;
  readonly cr2: bigint | undefined;
  /** Bits to set in DR6, for #DB. */
  readonly dr6: number;

  constructor(vector: number, errorCode?: number, cr2?: bigint, dr6 = 0) {
    super(`exception ${vector}${errorCode === undefined ? '' : ` (${errorCode.toString(16)})`}`);
    this.vector = vector;
    this.errorCode = errorCode;
    this.cr2 = cr2;
    this.dr6 = dr6;
  }
}

/** A fault while delivering a double fault: the processor shuts down (SDM vol. 3, 6.15, #DF). */
export class TripleFault extends Error {
  constructor() {
    super('triple fault');
  }
}

export const gp = (errorCode = 0): GuestFault => new GuestFault(VECTOR.GP, errorCode);
export const ud = (): GuestFault => new GuestFault(VECTOR.UD);
