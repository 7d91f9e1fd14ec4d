import type { GuestMemory } from '../machine/memory.ts';
import { BootError, type BootSegment, type BootState } from './boot-state.ts';

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const PAGE = 4096;

/** End of conventional memory; the extended BIOS data area follows. */
export const LOW_RAM_END = 0x9fc00;
export const HIGH_RAM_START = 0x100000;
/** Where the ACPI tables lie: inside the range that is searched for the RSDP (ACPI 6.5, 5.2.5.1). */
export const ACPI_AREA = 0xe0000;
export const ACPI_AREA_LENGTH = 0x20000;
/** The GDT of the first instruction, at the end of that range: kernels may lie anywhere below. */
export const BOOT_GDT = ACPI_AREA + ACPI_AREA_LENGTH - 0x100;

/** Where boot structures of kernels that lie above 1 MiB are put, in conventional memory. */
export const BOOT_INFO = 0x7000;
export const BOOT_STACK_TOP = 0x9000;
export const BOOT_PAGE_TABLES = 0x9000;
export const BOOT_CMDLINE = 0x20000;
export const BOOT_CMDLINE_LIMIT = 0x10000;

/** Address range types of ACPI 6.5, table 15.10; multiboot and PVH use the same numbers. */
export const E820_RAM = 1;
export const E820_RESERVED = 2;

export interface MemoryRange {
  readonly base: number;
  readonly length: number;
  readonly type: typeof E820_RAM | typeof E820_RESERVED;
}

/** The memory map that firmware reports for `size` bytes of RAM from address 0. */
export function memoryMap(size: number): MemoryRange[] {
  const map: MemoryRange[] = [
    { base: 0, length: Math.min(size, LOW_RAM_END), type: E820_RAM },
    { base: LOW_RAM_END, length: 0xa0000 - LOW_RAM_END, type: E820_RESERVED },
    { base: ACPI_AREA, length: ACPI_AREA_LENGTH, type: E820_RESERVED },
  ];
  if (size > HIGH_RAM_START)
    map.push({ base: HIGH_RAM_START, length: size - HIGH_RAM_START, type: E820_RAM });
  return map;
}

export function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

export function alignDown(value: number, alignment: number): number {
  return Math.floor(value / alignment) * alignment;
}

/** `12.3 MiB`, for messages. */
export function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(1)} MiB`;
}

/** Writes into RAM that the caller has found large enough. */
export function load(memory: GuestMemory, gpa: number, bytes: Uint8Array): void {
  memory.writeBytes(gpa, bytes);
  memory.written(gpa, bytes.length);
}

/** Zeroes RAM in pieces. */
export function clear(memory: GuestMemory, gpa: number, length: number): void {
  const zeroes = new Uint8Array(Math.min(length, MIB));
  for (let done = 0; done < length; done += zeroes.length) {
    load(memory, gpa + done, zeroes.subarray(0, Math.min(zeroes.length, length - done)));
  }
}

/**
 * A command line as bytes with their terminating zero.
 * @param limit most bytes without the zero
 */
export function commandLine(text: string, limit: number): Uint8Array {
  if (text.includes('\0'))
    throw new BootError('CMDLINE_INVALID', 'the kernel command line contains a zero character');
  const bytes = new TextEncoder().encode(`${text}\0`);
  const length = bytes.length - 1;
  if (length > limit) {
    throw new BootError(
      'CMDLINE_TOO_LONG',
      `the kernel command line has ${length} bytes; this kernel takes ${limit}`,
    );
  }
  return bytes;
}

const UNUSABLE: BootSegment = { selector: 0, base: 0, limit: 0, rights: 0x10000 };
/** 32-bit busy TSS: TR must hold one in long mode and for VM entry. */
const TASK: BootSegment = { selector: 0, base: 0, limit: 0x67, rights: 0x008b };

/** Selectors that Linux's boot protocol names (__BOOT_CS, __BOOT_DS); the other protocols leave them open. */
const CODE_SELECTOR = 0x10;
const DATA_SELECTOR = 0x18;
const CODE64 = 0xa09b;
const CODE32 = 0xc09b;
const DATA = 0xc093;

/** Writes a flat GDT at `BOOT_GDT` and gives the segment registers that fit it. */
export function flatSegments(memory: GuestMemory, mode: 'long' | 'protected') {
  const code = mode === 'long' ? CODE64 : CODE32;
  const flat = (selector: number, rights: number): BootSegment => ({
    selector,
    base: 0,
    limit: 0xffffffff,
    rights,
  });
  const table = new DataView(new ArrayBuffer(0x20));
  table.setBigUint64(CODE_SELECTOR, descriptor(code), true);
  table.setBigUint64(DATA_SELECTOR, descriptor(DATA), true);
  load(memory, BOOT_GDT, new Uint8Array(table.buffer));
  return {
    gdt: { base: BOOT_GDT, limit: 0x1f },
    idt: { base: 0, limit: 0 },
    cs: flat(CODE_SELECTOR, code),
    ds: flat(DATA_SELECTOR, DATA),
    tr: TASK,
    ldtr: UNUSABLE,
  };
}

/** Flat 32-bit code, paging and interrupts off; registers that are not given are 0. Writes the GDT. */
export function protectedState(
  memory: GuestMemory,
  registers: Pick<BootState, 'rip'> & Partial<Pick<BootState, 'rsp' | 'rax' | 'rbx' | 'rsi'>>,
): BootState {
  return {
    mode: 'protected',
    rsp: 0,
    rax: 0,
    rbx: 0,
    rsi: 0,
    ...registers,
    rflags: 0x2,
    cr0: 0x11,
    cr3: 0,
    cr4: 0,
    efer: 0,
    ...flatSegments(memory, 'protected'),
  };
}

/** A descriptor of base 0 and limit 4 GiB, SDM vol. 3, 3.4.5. */
function descriptor(rights: number): bigint {
  return 0x000f_0000_0000_ffffn | (BigInt(rights) << 40n);
}

/** Identity page tables for the first 4 GiB in 2 MiB pages; returns CR3. */
export function identityPageTables(memory: GuestMemory): number {
  const present = 0x3n;
  const large = 0x83n;
  const tables = new DataView(new ArrayBuffer(6 * PAGE));
  const pdpt = BOOT_PAGE_TABLES + PAGE;
  tables.setBigUint64(0, BigInt(pdpt) | present, true);
  for (let gib = 0; gib < 4; gib++) {
    const directory = pdpt + PAGE * (1 + gib);
    tables.setBigUint64(PAGE + 8 * gib, BigInt(directory) | present, true);
    for (let i = 0; i < 512; i++) {
      const page = BigInt(gib * 512 + i) * 0x200000n;
      tables.setBigUint64(PAGE * (2 + gib) + 8 * i, page | large, true);
    }
  }
  load(memory, BOOT_PAGE_TABLES, new Uint8Array(tables.buffer));
  return BOOT_PAGE_TABLES;
}
