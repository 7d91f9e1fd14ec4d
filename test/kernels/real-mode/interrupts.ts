import { type RealModeProgram, SEGMENT, setSegment } from './program.ts';

export function interrupts(program: RealModeProgram): void {
  const { asm } = program;
  program.aside('service', () => {
    asm.mov('bp', 'sp');
    asm.db(0x8b, 0x46, 0x04); // mov ax, [bp+4]: the flags
    asm.db(0x81, 0x4e, 0x04, 0x01, 0x00); // or word [bp+4], 1
    asm.db(0xcf); // iret
  });
  program.test('INT n saves the flags, IRET gives back what lies there', 0x0201, () => {
    program.vector(0x60, 'service');
    asm.db(0xfb, 0xf8, 0xcd, 0x60); // sti; clc; int 60h
    asm.db(0xfa); // cli
    asm.db(0x83, 0xd0, 0); // adc ax, 0
    asm.alu('and', 'ax', 0x0201);
  });
  program.aside('flags', () => {
    asm.db(0x9c); // pushf
    asm.pop('ax');
    asm.db(0xcf);
  });
  program.test('INT n clears IF and TF', 0, () => {
    program.vector(0x60, 'flags');
    asm.db(0xfb, 0xcd, 0x60, 0xfa);
    asm.alu('and', 'ax', 0x0300);
  });
  program.test('IRET turns interrupts on again', 0x0200, () => {
    program.vector(0x60, 'flags');
    asm.db(0xfb, 0xcd, 0x60, 0x9c, 0xfa); // sti; int 60h; pushf; cli
    asm.pop('ax');
    asm.alu('and', 'ax', 0x0200);
  });
  program.test('the table is found at 0', SEGMENT, () => {
    program.vector(0x61, 'flags');
    setSegment(asm, 'ds', 0);
    asm.db(0xa1);
    asm.dw(0x61 * 4 + 2);
  });
}
