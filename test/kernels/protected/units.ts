import { faults, PROTECTED_CR0, type TestKernel } from '../kit.ts';

/** When x87, MMX and SSE may be used, and the exceptions of numbers (SDM vol. 3, 2.5, chapters 13 and 14). */
export function units(kernel: TestKernel): void {
  const { asm } = kernel;
  const cr0 = (value: number) => (): void => kernel.control('cr0', value);
  const restore = cr0(PROTECTED_CR0);
  faults(kernel, '#NM: x87 with CR0.TS', 7, undefined, [0xd9, 0xe8], cr0(0x3b), restore);
  faults(kernel, '#NM: x87 with CR0.EM', 7, undefined, [0xd9, 0xe8], cr0(0x35), restore);
  faults(kernel, '#NM: FWAIT with CR0.TS and MP', 7, undefined, [0x9b], cr0(0x3b), restore);
  kernel.test(
    'FWAIT with CR0.TS without MP',
    {},
    () => {
      cr0(0x39)();
      asm.db(0x9b);
    },
    { after: restore },
  );
  faults(kernel, '#UD: MMX with CR0.EM', 6, undefined, [0x0f, 0xef, 0xc0], cr0(0x35), restore);
  faults(kernel, '#NM: MMX with CR0.TS', 7, undefined, [0x0f, 0xef, 0xc0], cr0(0x3b), restore);
  faults(kernel, '#UD: SSE without CR4.OSFXSR', 6, undefined, [0x0f, 0x57, 0xc0], () => {
    restore();
    kernel.control('cr4', 0);
  });
  faults(
    kernel,
    '#NM: SSE with CR0.TS',
    7,
    undefined,
    [0x0f, 0x57, 0xc0],
    () => {
      kernel.control('cr4', 0x200);
      cr0(0x3b)();
    },
    restore,
  );
  kernel.test(
    'CLTS',
    { w0: { value: 0, mask: 8 } },
    () => {
      cr0(0x3b)();
      asm.db(0x0f, 0x06);
      asm.mov('eax', 'cr0');
      asm.mov(kernel.at('w0'), 'eax');
    },
    { after: restore },
  );
  const mxcsr = (value: number): void => {
    asm.mov(kernel.at('w7'), value);
    asm.encode([0x0f, 0xae], 2, kernel.at('w7'), 4);
  };
  const divide = (): void => {
    asm.db(0x0f, 0x57, 0xc9); // xorps xmm1, xmm1
    asm.mov(kernel.at('w6'), 0x3f80_0000);
    asm.encode([0x0f, 0x10], 0, kernel.at('w6'), 4); // movups xmm0
  };
  const masked = (): void => mxcsr(0x1f80);
  faults(
    kernel,
    '#XM: an unmasked SSE division by zero',
    19,
    undefined,
    [0x0f, 0x5e, 0xc1],
    () => {
      kernel.control('cr4', 0x600);
      divide();
      mxcsr(0x1d80);
    },
    masked,
  );
  faults(
    kernel,
    '#UD: the same without CR4.OSXMMEXCPT',
    6,
    undefined,
    [0x0f, 0x5e, 0xc1],
    () => {
      kernel.control('cr4', 0x200);
      divide();
      mxcsr(0x1d80);
    },
    () => {
      masked();
      kernel.control('cr4', 0);
    },
  );
  faults(
    kernel,
    '#MF: an unmasked x87 division by zero, at the next instruction that waits',
    16,
    undefined,
    [0x9b],
    () => {
      asm.db(0xdb, 0xe3); // fninit
      asm.mov(kernel.at('w7'), 0x37b);
      asm.encode([0xd9], 5, kernel.at('w7'), 4); // fldcw
      asm.db(0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9); // fld1; fldz; fdivp
    },
    () => asm.db(0xdb, 0xe3),
  );
}
