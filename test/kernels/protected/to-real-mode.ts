import { at, mem } from '../assembler.ts';
import { KERNEL_CODE, KERNEL_DATA, type TestKernel } from '../kit.ts';

/** From protected mode to real mode and back (SDM vol. 3, 10.9). */
export function toRealMode(kernel: TestKernel): void {
  const { asm } = kernel;
  const code16 = kernel.descriptor(0, 0xffff, 0x9a, 0);
  const data16 = kernel.descriptor(0, 0xffff, 0x92, 0);
  const ORIGIN = 0x9000;
  const source = asm.fresh('real');
  asm.jmp(`${source}.over`);
  asm.label(source);
  asm.phase(ORIGIN);
  asm.bits = 16;
  asm.mov('eax', data16);
  for (const name of ['ds', 'es', 'ss'] as const) asm.mov(name, 'eax');
  asm.mov('eax', 'cr0');
  asm.alu('and', 'eax', -2);
  asm.mov('cr0', 'eax');
  asm.far('jmp', 0, at(`${source}.far`));
  asm.label(`${source}.far`);
  asm.mov('eax', 0);
  for (const name of ['ds', 'es', 'ss'] as const) asm.mov(name, 'eax');
  asm.mov('esp', 0x7000);
  asm.db(0x0f, 0x01, 0x1e); // lidt [realIdt]
  asm.dw(at(`${source}.idt`));
  asm.db(0xcd, 0x60); // int 60h: mov bx, 4321h
  asm.db(0xcd, 0x61); // int 61h: what does SP look like
  asm.mov('eax', 0x1234);
  asm.mov('ds', 'eax');
  asm.db(0x8c, 0xd9); // mov cx, ds
  asm.db(0x31, 0xd2, 0xf7, 0xf2); // xor dx, dx; div dx: #DE through vector 0
  asm.label(`${source}.divided`);
  asm.mov('eax', 'cr0');
  asm.alu('or', 'eax', 1);
  asm.mov('cr0', 'eax');
  asm.db(0x66);
  asm.db(0xea);
  asm.dd(at(`${source}.back`));
  asm.dw(KERNEL_CODE);
  asm.label(`${source}.int60`);
  asm.db(0xbb, 0x21, 0x43, 0xcf); // mov bx, 4321h; iret
  asm.label(`${source}.int61`);
  asm.db(0x89, 0xe7, 0xcf); // mov di, sp; iret
  asm.label(`${source}.int0`);
  asm.db(0x89, 0xe5); // mov bp, sp
  asm.db(0x8b, 0x76, 0x00); // mov si, [bp]: saved IP is that of DIV
  asm.db(0x83, 0x46, 0x00, 0x02, 0xcf); // add word [bp], 2; iret
  asm.label(`${source}.idt`);
  asm.dw(0x3ff);
  asm.dd(0);
  asm.label(`${source}.end`);
  asm.dephase();
  asm.bits = 32;
  asm.label(`${source}.over`);
  kernel.test(
    'real mode and back',
    {
      w0: { value: 0x4321, mask: 0xffff },
      w1: { value: 0x7000 - 6, mask: 0xffff },
      w2: { value: 0x1234, mask: 0xffff },
      w3: at(`${source}.divided`, -2),
    },
    () => {
      asm.mov('esi', at(source));
      asm.mov('edi', ORIGIN);
      asm.mov('ecx', 0x200);
      asm.db(0xf3, 0xa4);
      asm.mov(mem(0x60 * 4), at(`${source}.int60`));
      asm.mov(mem(0x61 * 4), at(`${source}.int61`));
      asm.mov(mem(0), at(`${source}.int0`));
      asm.mov('ebp', 0);
      asm.mov('esi', 0);
      asm.far('jmp', code16, ORIGIN);
      asm.label(`${source}.back`);
      asm.mov('eax', KERNEL_DATA);
      for (const name of ['ds', 'es', 'ss', 'fs', 'gs'] as const) asm.mov(name, 'eax');
      asm.mov('esp', kernel.at('resumeSp'));
      asm.encode([0x0f, 0x01], 3, mem(at('idtr')), 0);
      asm.mov(kernel.at('w0'), 'ebx');
      asm.mov(kernel.at('w1'), 'edi');
      asm.mov(kernel.at('w2'), 'ecx');
      asm.alu('and', 'esi', 0xffff);
      asm.mov(kernel.at('w3'), 'esi');
    },
  );
}
