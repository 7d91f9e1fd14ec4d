/**
 * What test kernels for hypervisors rely on, as one of our own sees it from
 * inside a machine: the firmware configuration device, the local APIC's CPUID
 * bit, registers that they write and read back, system calls of compatibility
 * mode.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { at, mem } from '../kernels/assembler.ts';
import { TestKernel } from '../kernels/kit.ts';
import { runKernel } from '../kernels/run-kernel.ts';
import { parseTap } from '../kernels/tap.ts';

const MEMORY_MIB = 64;
const FW_CFG = { signature: 0, id: 1, ramSize: 3, vcpus: 5, directory: 0x19 } as const;
const MSR = {
  apicBase: 0x1b,
  tscAdjust: 0x3b,
  miscEnable: 0x1a0,
  asyncPageFaults: 0x4b56_4d02,
  star: 0xc000_0081,
  cstar: 0xc000_0083,
} as const;
const APIC_BASE_OFF = 0xfee0_0100n;
const APIC_BASE_ON = 0xfee0_0900n;
const KERNEL_CODE = 0x08n;
/** Where the kernel's pages are open to ring 3. */
const USER_ALIAS = 0x100_0000;
/** SYSRET's base: 32-bit code at 1Bh, data at 23h. */
const USER_BASE = 0x1bn;

function firmwareConfiguration(kernel: TestKernel): void {
  const { asm } = kernel;
  /** Selects an item and gathers its first four bytes in EBX, the first one lowest. */
  const read = (key: number): void => {
    asm.mov('edx', 0x510);
    asm.mov('eax', key);
    asm.db(0x66, 0xef); // out dx, ax
    asm.mov('edx', 0x511);
    for (let i = 0; i < 4; i++) {
      asm.db(0xec); // in al, dx
      asm.db(0x88, 0xc3); // mov bl, al
      asm.db(0xc1, 0xcb, 8); // ror ebx, 8
    }
  };
  const item = (name: string, key: number, value: number): void =>
    kernel.test(`fw_cfg: ${name}`, { w0: value }, () => {
      read(key);
      asm.mov(kernel.at('w0'), 'ebx');
    });
  item('signature', FW_CFG.signature, 0x554d_4551);
  item('features', FW_CFG.id, 3);
  item('memory', FW_CFG.ramSize, MEMORY_MIB << 20);
  item('one processor, zeroes behind it', FW_CFG.vcpus, 1);
  item('no files', FW_CFG.directory, 0);
  item('no such item', 0x7f, 0);
}

function registers(kernel: TestKernel): void {
  const { asm } = kernel;
  const readBack = (index: number): void => {
    asm.mov('ecx', index);
    asm.db(0x0f, 0x32); // rdmsr
    asm.mov(kernel.at('w0'), 'eax');
    asm.mov(kernel.at('w1'), 'edx');
  };
  kernel.test('MISC_ENABLE keeps its named bits', { w0: 0x00c5_1889, w1: 4 }, () => {
    asm.wrmsr(MSR.miscEnable, 0x4_00c5_1889n);
    readBack(MSR.miscEnable);
  });
  kernel.test("KVM's asynchronous page faults can be asked for", { w0: 0x20_0043, w1: 0 }, () => {
    asm.wrmsr(MSR.asyncPageFaults, 0x20_0043n);
    readBack(MSR.asyncPageFaults);
  });
  kernel.test("#GP(0): reserved bits of KVM's asynchronous page faults", { vector: 13, error: 0 }, () =>
    asm.wrmsr(MSR.asyncPageFaults, 0x20_0013n),
  );
  kernel.test('TSC_ADJUST reads back', { w0: 0x1234, w1: 0x10 }, () => {
    asm.wrmsr(MSR.tscAdjust, 0x10_0000_1234n);
    readBack(MSR.tscAdjust);
  });
  const apic = (name: string, base: bigint, bit: number): void =>
    kernel.test(name, { w0: { value: bit, mask: 1 << 9 } }, () => {
      asm.wrmsr(MSR.apicBase, base);
      asm.mov('eax', 1);
      asm.db(0x0f, 0xa2); // cpuid
      asm.mov(kernel.at('w0'), 'edx');
    });
  apic('no APIC in CPUID while it is disabled', APIC_BASE_OFF, 0);
  apic('and one again', APIC_BASE_ON, 1 << 9);
}

/** From SYSRET to compatibility mode, and by SYSCALL to CSTAR. */
function compatibilitySystemCall(kernel: TestKernel): void {
  const { asm } = kernel;
  asm.wrmsr(MSR.star, (USER_BASE << 48n) | (KERNEL_CODE << 32n));
  kernel.test(
    'SYSCALL of compatibility mode enters at CSTAR',
    { w0: 0x1111, w1: Number(KERNEL_CODE) },
    () => {
      asm.mov('rax', at('cstar.entry'));
      asm.mov('ecx', MSR.cstar);
      asm.mov('edx', 0);
      asm.db(0x0f, 0x30); // wrmsr
      asm.mov('rcx', at('compat', USER_ALIAS));
      asm.mov('r11', 2);
      asm.mov(mem(at('cstar.stack'), { size: 8 }), 'rsp');
      asm.db(0x0f, 0x07); // sysretl
      asm.label('compat');
      asm.bits = 32;
      asm.mov('esi', 0x1111);
      asm.db(0x0f, 0x05); // syscall
      asm.bits = 64;
      asm.label('cstar.entry');
      asm.mov('rsp', mem(at('cstar.stack'), { size: 8 }));
      asm.mov(kernel.at('w0'), 'esi');
      asm.mov('eax', 'cs');
      asm.mov(kernel.at('w1'), 'eax');
    },
  );
  kernel.data(() => {
    asm.label('cstar.stack');
    asm.dq(0);
  });
}

/** VMCALL, as KVM takes it; and where there is no address behind it. */
function hypercalls(kernel: TestKernel): void {
  const { asm } = kernel;
  const vmcall = [0x0f, 0x01, 0xc1] as const;
  kernel.test('VMCALL: no hypercall is known', { w0: -1000, w0High: -1 }, () => {
    asm.mov('eax', 5);
    asm.db(...vmcall);
    asm.mov(kernel.at('w0', 8), 'rax');
  });
  kernel.test('VMCALL: ring 3 may not', { vector: 0x80, ax: -1 }, () => {
    kernel.user(() => asm.db(...vmcall), { alias: USER_ALIAS, stack: at('userStackTop', USER_ALIAS) });
  });
  kernel.test(
    'VMCALL at the end of the lower half: done, and #GP behind it',
    { vector: 13, error: 0, ip: 0, ipHigh: 0x8000, ax: -1000 },
    () => {
      asm.mov('rax', at('edge.pdpt', 7));
      asm.mov(mem(at('pml4', 255 * 8), { size: 8 }), 'rax');
      asm.db(0x48, 0xbf, 0xfd, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0); // mov rdi, 7FFFFFFFFFFDh
      asm.db(0x66, 0xc7, 0x07, vmcall[0], vmcall[1]); // mov word [rdi], …
      asm.db(0xc6, 0x47, 0x02, vmcall[2]); // mov byte [rdi + 2], …
      asm.db(0xff, 0xe7); // jmp rdi
    },
  );
  kernel.data(() => {
    asm.align(4096);
    asm.label('edge.pdpt');
    asm.space(4088);
    asm.dq(at('edge.pd', 7));
    asm.label('edge.pd');
    asm.space(4088);
    asm.dq(0x40_0087);
  });
}

test('a test kernel finds what it relies on', { timeout: 60_000 }, async () => {
  const kernel = new TestKernel(64);
  kernel.asm.mov('eax', 0x620);
  kernel.asm.mov('cr4', 'rax');
  kernel.asm.mov('ecx', 0xc000_0080);
  kernel.asm.db(0x0f, 0x32, 0x83, 0xc8, 0x01, 0x0f, 0x30); // EFER.SCE
  firmwareConfiguration(kernel);
  registers(kernel);
  compatibilitySystemCall(kernel);
  hypercalls(kernel);
  const { exit, output } = await runKernel(kernel.finish(), { memoryMiB: MEMORY_MIB });
  const failed = parseTap(output).filter(({ verdict }) => verdict !== 'ok');
  assert.deepEqual(
    failed.map((r) => [r.name, ...r.differences]),
    [],
  );
  assert.deepEqual(exit, { kind: 'debug-exit', status: 1 });
});
