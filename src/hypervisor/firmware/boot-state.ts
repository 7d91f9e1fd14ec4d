import type { FirmwareWrite } from './bios-state.ts';

/** A segment register as the processor holds it. */
export interface BootSegment {
  readonly selector: number;
  readonly base: number;
  /** In bytes, inclusive: 0xFFFFFFFF for 4 GiB. */
  readonly limit: number;
  /**
   * Access rights in the layout of SDM vol. 3, 25.4.1 (bits 0–3 type, 4 S, 5–6 DPL, 7 P, 12 AVL,
   * 13 L, 14 D/B, 15 G, 16 unusable).
   */
  readonly rights: number;
}

/** Processor state at a kernel's first instruction: what differs from all zeroes. */
export interface BootState {
  /** `long` is 64-bit mode with paging on; `protected` is flat 32-bit mode with paging off. */
  readonly mode: 'long' | 'protected';
  readonly rip: number;
  readonly rsp: number;
  readonly rax: number;
  readonly rbx: number;
  readonly rsi: number;
  readonly rflags: number;
  readonly cr0: number;
  readonly cr3: number;
  readonly cr4: number;
  readonly efer: number;
  readonly gdt: { readonly base: number; readonly limit: number };
  readonly idt: { readonly base: number; readonly limit: number };
  readonly cs: BootSegment;
  /** Also ES, SS, FS and GS. */
  readonly ds: BootSegment;
  readonly tr: BootSegment;
  readonly ldtr: BootSegment;
  /** What firmware has set in the chipset; devices are else as after reset. */
  readonly chipset?: readonly FirmwareWrite[];
}

export type BootErrorCode =
  | 'KERNEL_TOO_SHORT'
  | 'KERNEL_NOT_RECOGNIZED'
  | 'KERNEL_TOO_OLD'
  | 'KERNEL_NO_ENTRY'
  | 'KERNEL_MALFORMED'
  | 'KERNEL_TOO_BIG'
  | 'INITRD_TOO_BIG'
  | 'CMDLINE_TOO_LONG'
  | 'CMDLINE_INVALID'
  | 'MEMORY_TOO_SMALL';

/** Why a machine cannot be started from the given files; `message` is fit to be shown to a user. */
export class BootError extends Error {
  readonly code: BootErrorCode;

  constructor(code: BootErrorCode, message: string) {
    super(message);
    this.name = 'BootError';
    this.code = code;
  }
}

/** What every boot protocol starts from. */
export interface BootRequest {
  readonly kernel: Uint8Array;
  /** The kernel's file name, for what passes it on to the kernel. */
  readonly kernelName?: string;
  readonly initrd?: Uint8Array;
  /** Modules with their own command lines (multiboot; the first is the initrd of the others). */
  readonly modules?: readonly BootModule[];
  readonly cmdline?: string;
  /** Guest-physical address of the ACPI RSDP. */
  readonly rsdp?: number;
}

export interface BootModule {
  readonly data: Uint8Array;
  readonly cmdline: string;
}
