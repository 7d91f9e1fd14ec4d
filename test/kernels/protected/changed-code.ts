import { at, mem } from '../assembler.ts';
import type { TestKernel } from '../kit.ts';

/** Code that is written while it runs (SDM vol. 3, 9.1.3). */
export function changedCode(kernel: TestKernel): void {
  const { asm } = kernel;
  kernel.test('code changed right ahead of itself', { w0: 2 }, () => {
    const patched = asm.fresh('patched');
    asm.mov(mem(at(patched, 1), { size: 1 }), 2);
    asm.label(patched);
    asm.mov('eax', 1);
    asm.mov(kernel.at('w0'), 'eax');
  });
  kernel.test('code changed after it ran', { w0: 1 + 2 + 3 + 4 }, () => {
    const again = asm.fresh('again');
    const patched = asm.fresh('patched');
    asm.mov('ecx', 4);
    asm.mov('ebx', 0);
    asm.mov(mem(at(patched, 1)), 1);
    asm.label(again);
    asm.label(patched);
    asm.mov('eax', 0);
    asm.alu('add', 'ebx', 'eax');
    asm.inc(mem(at(patched, 1)));
    asm.dec('ecx');
    asm.j('ne', again);
    asm.mov(kernel.at('w0'), 'ebx');
  });
  kernel.test('an instruction on two pages whose second half changes', { w0: 0x11 + 0x22 }, () => {
    const page = 0x20000;
    asm.mov('ebx', 0);
    // mov eax, imm32 with the immediate on the next page; ret
    for (const [offset, byte] of [
      [0xfff, 0xb8],
      [0x1000, 0x11],
      [0x1001, 0],
      [0x1002, 0],
      [0x1003, 0],
      [0x1004, 0xc3],
    ] as const) {
      asm.mov(mem(page + offset, { size: 1 }), byte);
    }
    asm.mov('edx', page + 0xfff);
    asm.db(0xff, 0xd2); // call edx
    asm.alu('add', 'ebx', 'eax');
    asm.mov(mem(page + 0x1000, { size: 1 }), 0x22);
    asm.mov('edx', page + 0xfff);
    asm.db(0xff, 0xd2);
    asm.alu('add', 'ebx', 'eax');
    asm.mov(kernel.at('w0'), 'ebx');
  });
  kernel.test('REP STOS over the code that follows it', { w0: 0x5555 }, () => {
    const patched = asm.fresh('patched');
    asm.mov('edi', at(patched, 1));
    asm.mov('ecx', 2);
    asm.mov('eax', 0x55);
    asm.db(0xf3, 0xaa);
    asm.label(patched);
    asm.mov('eax', 0);
    asm.mov(kernel.at('w0'), 'eax');
  });
}
