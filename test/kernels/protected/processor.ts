import { PROTECTED_CR0, type TestKernel } from '../kit.ts';

/** What the processor tells of itself: CPUID, the time-stamp counter, the machine status word. */
export function processor(kernel: TestKernel): void {
  const { asm } = kernel;
  kernel.test('EFLAGS.ID can be changed', { w0: 0x200000 }, () => {
    asm.push(0x200002);
    asm.db(0x9d, 0x9c);
    asm.pop(kernel.at('w0'));
    asm.alu('and', kernel.at('w0'), 0x200000);
    asm.push(2);
    asm.db(0x9d);
  });
  kernel.test(
    'CPUID: leaf 7 is there, and FPU, TSC, MSR, PAE, APIC, SEP, CMOV, MMX, SSE, SSE2',
    { w0: 1, w1: { value: 0x0700_8a71, mask: 0x0680_8a71 } },
    () => {
      asm.mov('eax', 0);
      asm.db(0x0f, 0xa2);
      asm.alu('cmp', 'eax', 7);
      asm.db(0x0f, 0x93, 0xc0); // setae al
      asm.mov(kernel.at('w0', 1), 'al');
      asm.mov('eax', 1);
      asm.db(0x0f, 0xa2);
      asm.alu('or', 'edx', 0x0100_0000);
      asm.alu('and', 'edx', ~0x00800000);
      asm.mov(kernel.at('w1'), 'edx');
    },
  );
  kernel.test('CPUID beyond the last leaf answers as the last basic one', { w0: 0 }, () => {
    asm.mov('eax', 0);
    asm.db(0x0f, 0xa2);
    asm.mov('ecx', 0);
    asm.db(0x0f, 0xa2);
    asm.push('eax' as const);
    asm.mov('eax', 0x3000_0000);
    asm.mov('ecx', 0);
    asm.db(0x0f, 0xa2);
    asm.pop('ecx');
    asm.alu('sub', 'eax', 'ecx');
    asm.mov(kernel.at('w0'), 'eax');
  });
  kernel.test('RDTSC never goes back', { w0: 0 }, () => {
    const again = asm.fresh('again');
    const fine = asm.fresh('fine');
    asm.mov('ebx', 1000);
    asm.mov('esi', 0);
    asm.mov('edi', 0);
    asm.label(again);
    asm.db(0x0f, 0x31);
    asm.mov('ecx', 'eax');
    asm.mov('ebp', 'edx');
    asm.alu('sub', 'eax', 'esi');
    asm.alu('sbb', 'edx', 'edi');
    asm.mov('esi', 'ecx');
    asm.mov('edi', 'ebp');
    asm.j('ae', fine);
    asm.inc(kernel.at('w0'));
    asm.label(fine);
    asm.dec('ebx');
    asm.j('ne', again);
  });
  kernel.test('SMSW shows CR0', { w0: { value: PROTECTED_CR0, mask: 0xffff } }, () => {
    asm.db(0x0f, 0x01, 0xe0);
    asm.mov(kernel.at('w0'), 'eax');
  });
  kernel.test(
    'LMSW sets TS but cannot clear PE',
    { w0: { value: PROTECTED_CR0 | 8, mask: 0xf } },
    () => {
      asm.mov('eax', 0xa);
      asm.db(0x0f, 0x01, 0xf0);
      asm.mov('eax', 'cr0');
      asm.mov(kernel.at('w0'), 'eax');
      asm.db(0x0f, 0x06);
    },
    {
      after: () => {
        kernel.control('cr0', PROTECTED_CR0);
      },
    },
  );
}
