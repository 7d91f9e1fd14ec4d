import { at } from '../assembler.ts';
import type { TestKernel } from '../kit.ts';

/** Virtual-8086 mode: how it is left, what IOPL decides (SDM vol. 3, chapter 21). */
export function virtual8086(kernel: TestKernel): void {
  const { asm } = kernel;
  /** Copies code to 0x8000 and enters it in virtual-8086 mode at 0800:0000. */
  const v86 = (code: readonly number[], flags: number): void => {
    const source = asm.fresh('v86');
    asm.jmp(`${source}.over`);
    asm.label(source);
    asm.db(...code);
    asm.label(`${source}.over`);
    asm.mov('esi', at(source));
    asm.mov('edi', 0x8000);
    asm.mov('ecx', code.length);
    asm.db(0xf3, 0xa4);
    for (const value of [0x4444, 0x3333, 0x2222, 0x1111, 0x900, 0xfff0, 0x20000 | flags, 0x800, 0])
      asm.push(value);
    asm.db(0xcf);
  };
  const frame = [
    ['GS', at('stack0Top', -4), { value: 0x4444, mask: 0xffff }],
    ['FS', at('stack0Top', -8), { value: 0x3333, mask: 0xffff }],
    ['DS', at('stack0Top', -12), { value: 0x2222, mask: 0xffff }],
    ['ES', at('stack0Top', -16), { value: 0x1111, mask: 0xffff }],
  ] as const;
  const vm = { value: 0x20000, mask: 0x20000 };
  kernel.test(
    'v86: #UD comes with all segment registers',
    { vector: 6, ip: 0, cs: 0x800, sp: 0xfff0, ss: 0x900, flags: vm, memory: frame },
    () => v86([0x0f, 0x0b], 0x3002),
  );
  kernel.test('v86: INT n with IOPL 0 is #GP(0)', { vector: 13, error: 0, ip: 0, flags: vm }, () =>
    v86([0xcd, 0x80], 2),
  );
  kernel.test('v86: INT n with IOPL 3 goes through the IDT', { vector: 0x80, ip: 2, flags: vm }, () =>
    v86([0xcd, 0x80], 0x3002),
  );
  kernel.test('v86: INT3 with IOPL 0 goes through the IDT', { vector: 3, ip: 1, flags: vm }, () =>
    v86([0xcc], 2),
  );
  kernel.test('v86: CLI with IOPL 0 is #GP(0)', { vector: 13, error: 0, flags: vm }, () => v86([0xfa], 2));
  kernel.test('v86: PUSHF with IOPL 0 is #GP(0)', { vector: 13, error: 0, flags: vm }, () => v86([0x9c], 2));
  kernel.test('v86: HLT is #GP(0)', { vector: 13, error: 0, flags: vm }, () => v86([0xf4], 0x3002));
  kernel.test('v86: MOV to CR0 is #GP(0)', { vector: 13, error: 0, flags: vm }, () =>
    v86([0x0f, 0x22, 0xc0], 0x3002),
  );
  kernel.test('v86: SLDT is #UD', { vector: 6, flags: vm }, () => v86([0x0f, 0x00, 0xc0], 0x3002));
  kernel.test('v86: segments are paragraphs', { vector: 0x80, ax: { value: 0x8e08, mask: 0xffff } }, () =>
    v86(
      [
        0xb8,
        0x00,
        0x08,
        0x8e,
        0xd8,
        0xa1,
        0x02,
        0x00,
        0xcd,
        0x80, // mov ax, 800h; mov ds, ax; mov ax, [2]; int 80h
      ],
      0x3002,
    ),
  );
  kernel.test('v86: beyond 64 KiB is #GP(0)', { vector: 13, error: 0, flags: vm }, () =>
    v86([0xa1, 0xff, 0xff], 0x3002),
  );
  kernel.test('v86: an open port', { vector: 0x80 }, () => v86([0xe4, 0x80, 0xcd, 0x80], 0x3002));
  kernel.test('v86: a port that is shut, even with IOPL 3', { vector: 13, error: 0 }, () =>
    v86([0xe4, 0x81], 0x3002),
  );
}
