import { at, mem } from './assembler.ts';
import { KERNEL_CODE, KERNEL_DATA, type TestKernel, TSS_SELECTOR } from './kit.ts';

/**
 * Suspend to RAM and back, for 32-bit test kernels: finds the FACS as a guest
 * does (ACPI 6.5, 5.2.5 to 5.2.10), leaves a waking vector, and writes SLP_EN.
 */

/** Where the code lies that the firmware wakes; below 1 MiB, a segment of its own. */
export const WAKING_VECTOR = 0x1003;
const CODE = 0x1000;
const GDTR = CODE + 0x40;
/** What that code saw: CS and SS as words, the offset that it was entered at, CR0, EFLAGS. */
export const WOKEN = { cs: CODE + 0x80, ss: CODE + 0x82, cr0: CODE + 0x84, flags: CODE + 0x88 } as const;

export const PM1 = { status: 0x600, enable: 0x602, control: 0x604 } as const;
const SLEEP_RAM = 0x2400;
const FACS_VECTOR = 12;
const FACS_WIDE_VECTOR = 24;

/** OUT DX, AX. */
export function out16(kernel: TestKernel, port: number, value: number): void {
  kernel.asm.mov('edx', port);
  kernel.asm.mov('eax', value);
  kernel.asm.db(0x66, 0xef);
}

/** ESI: the FACS; 0 when it is not found. Changes EAX, EBX, ECX. */
function findFacs({ asm }: TestKernel): void {
  const names = { search: asm.fresh('rsdp'), found: asm.fresh('rsdt'), next: asm.fresh('next') };
  const fadt = asm.fresh('fadt');
  const end = asm.fresh('end');
  const word = (plus: number) => mem(plus, { base: 'esi' });
  asm.mov('esi', 0xe_0000 - 16);
  asm.label(names.search);
  asm.alu('add', 'esi', 16);
  asm.alu('cmp', 'esi', 0x10_0000);
  asm.mov('eax', 0);
  asm.j('ae', end);
  asm.alu('cmp', word(0), 0x2044_5352); // "RSD "
  asm.j('ne', names.search);
  asm.alu('cmp', word(4), 0x2052_5450); // "PTR "
  asm.j('ne', names.search);
  asm.mov('ebx', word(16));
  asm.mov('ecx', mem(4, { base: 'ebx' }));
  asm.alu('add', 'ecx', 'ebx');
  asm.alu('add', 'ebx', 36);
  asm.label(names.next);
  asm.alu('cmp', 'ebx', 'ecx');
  asm.j('ae', end);
  asm.mov('esi', mem(0, { base: 'ebx' }));
  asm.alu('add', 'ebx', 4);
  asm.alu('cmp', word(0), 0x5043_4146); // "FACP"
  asm.j('ne', names.next);
  asm.label(fadt);
  asm.mov('eax', word(36));
  asm.label(end);
  asm.mov('esi', 'eax');
}

/** The code at CODE: tells what it sees, goes to protected mode and on at `resumed`. */
function trampoline({ asm }: TestKernel, resumed: string): void {
  const words = [
    // Padding, so that the vector's low four bits matter.
    [0xf4, 0xf4, 0xf4],
    [0x8c, 0x0e, WOKEN.cs & 0xff, WOKEN.cs >> 8], // mov [cs], cs
    [0x8c, 0x16, WOKEN.ss & 0xff, WOKEN.ss >> 8], // mov [ss], ss
    [0x0f, 0x20, 0xc0], // mov eax, cr0
    [0x66, 0xa3, WOKEN.cr0 & 0xff, WOKEN.cr0 >> 8], // mov [cr0], eax
    [0xbc, 0x00, 0x20], // mov sp, 2000h
    [0x9c, 0x8f, 0x06, WOKEN.flags & 0xff, WOKEN.flags >> 8], // pushf; pop [flags]
    [0x66, 0x0f, 0x01, 0x16, GDTR & 0xff, GDTR >> 8], // lgdt [gdtr]
    [0x0c, 0x01, 0x0f, 0x22, 0xc0], // or al, 1; mov cr0, eax
  ].flat();
  words.forEach((byte, i) => asm.mov(mem(CODE + i, { size: 1 }), byte));
  const far = CODE + words.length;
  asm.mov(mem(far, { size: 2 }), 0xea66);
  asm.mov(mem(far + 2), at(resumed));
  asm.mov(mem(far + 6, { size: 2 }), 8);
  for (const part of [0, 4]) {
    asm.mov('eax', mem(at('gdtr', part)));
    asm.mov(mem(GDTR + part), 'eax');
  }
}

export interface SleepOptions {
  /** Events of PM1_EN that are to wake it. */
  readonly enable: number;
  /** The 64-bit vector instead: straight to flat 32-bit code. */
  readonly wide?: boolean;
  /** No vector at all. */
  readonly lost?: boolean;
}

/**
 * Suspends and is woken again, with the registers of a kernel in place. ESP
 * survives in w7; the interrupt controllers come back as after a reset.
 */
export function suspendToRam(kernel: TestKernel, options: SleepOptions): void {
  const { asm } = kernel;
  const resumed = asm.fresh('resumed');
  findFacs(kernel);
  asm.mov('edi', options.lost || options.wide ? 0 : WAKING_VECTOR);
  asm.mov(mem(FACS_VECTOR, { base: 'esi' }), 'edi');
  asm.mov('edi', options.wide ? at(resumed) : 0);
  asm.mov(mem(FACS_WIDE_VECTOR, { base: 'esi' }), 'edi');
  asm.mov(mem(FACS_WIDE_VECTOR + 4, { base: 'esi' }), 0);
  trampoline(kernel, resumed);
  asm.mov(kernel.at('w7'), 'esp');
  out16(kernel, PM1.status, 0xffff);
  out16(kernel, PM1.enable, options.enable);
  out16(kernel, PM1.control, SLEEP_RAM);
  // Not much further before it is woken; QEMU stops at a branch.
  asm.db(0xeb, 0, 0xeb, 0);
  asm.mov(kernel.at('w6'), 0xdead);
  asm.db(0xf4, 0xeb, 0xfd);
  asm.label(resumed);
  asm.db(0xfa);
  // The 64-bit vector comes with the firmware's own descriptors, the other with data segments of 64 KiB.
  asm.encode([0x0f, 0x01], 2, mem(at('gdtr'), { segment: 'cs' }), 0);
  asm.far('jmp', KERNEL_CODE, at(`${resumed}.far`));
  asm.label(`${resumed}.far`);
  asm.mov('eax', KERNEL_DATA);
  for (const name of ['ds', 'es', 'ss', 'fs', 'gs'] as const) asm.mov(name, 'eax');
  asm.mov('esp', kernel.at('w7'));
  asm.encode([0x0f, 0x01], 3, mem(at('idtr')), 0);
  // The descriptor in memory says that the task is busy.
  asm.alu('and', mem(at('gdt', TSS_SELECTOR[32] + 4)), ~0x200);
  asm.mov('eax', TSS_SELECTOR[32]);
  asm.db(0x0f, 0x00, 0xd8); // ltr ax
  asm.out(0x21, 0xff);
  asm.out(0xa1, 0xff);
}
