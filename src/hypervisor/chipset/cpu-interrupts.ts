export type CpuEvent = 'none' | 'extint' | 'fixed' | 'nmi' | 'smi' | 'init' | 'sipi';

/** What the processor cannot take now; a bit mask for `poll`. */
export const Block = { maskable: 1, nmi: 2, smi: 4, init: 8 } as const;

/** Bits of `CpuInterrupts.pending`. */
export const Pending = { fixed: 1, extint: 2, nmi: 4, smi: 8, init: 16, sipi: 32 } as const;

/** The processor's side of a local APIC. */
export interface CpuInterrupts {
  /** Bit mask of `Pending`; 0 when there is nothing at all. A cheap test for the processor's loop. */
  readonly pending: number;
  /** What to take next, given what is blocked (bits of `Block`); by the priorities of SDM vol. 3, table 7-2. */
  poll(blocked?: number): CpuEvent;
  /**
   * Takes `event`. For 'fixed' and 'extint' the vector (the spurious one when
   * it went away meanwhile), for 'nmi' 2, for 'sipi' the start page (address
   * >> 12); otherwise 0. 'init' also resets the local APIC.
   */
  acknowledge(event?: CpuEvent): number;
  /** CR8: bits 7-4 of the task priority register, 0-15. */
  cr8: number;
  /** In wait-for-SIPI state: runs nothing until a startup message comes. */
  readonly waitingForSipi: boolean;
  /** Global enable of IA32_APIC_BASE: CPUID.1:EDX[9]. */
  readonly enabled: boolean;
  /** undefined: #GP. For IA32_APIC_BASE, IA32_TSC_DEADLINE and 800h-83Fh. */
  readMsr(index: number): bigint | undefined;
  /** false: #GP. */
  writeMsr(index: number, value: bigint): boolean;
}
