import { at, mem } from '../assembler.ts';
import { CODE16, CODE32, FLAT, LOAD_ADDRESS, type RealModeProgram, SEGMENT, STACK_TOP } from './program.ts';

/** 32 bits in 16-bit code, and segments that reach further than real mode gives them. */
export function wide(program: RealModeProgram): void {
  const { asm } = program;
  program.test('32-bit operands', 0x1234 + 1, () => {
    asm.mov('eax', 0x1234_ffff);
    asm.alu('add', 'eax', 0x0000_0001);
    asm.shift('shr', 'eax', 16);
  });
  program.test('a 32-bit address with base and scale', 0x6c6c, () => {
    asm.mov('ebx', at('house'));
    asm.mov('ecx', 4);
    asm.db(0x67, 0x8a, 0x44, 0x4b, 0x00); // mov al, [ebx+ecx*2+0]: the second "l"
    asm.mov('ah', mem(4, { base: 'ebx', size: 1 }));
  });
  program.test('a 32-bit push in real mode', 4, () => {
    asm.db(0x66, 0x68, 0x78, 0x56, 0x34, 0x12);
    asm.mov('ax', STACK_TOP);
    asm.alu('sub', 'ax', 'sp');
  });
  program.test('protected mode and back: a segment keeps its limit of 4 GiB', 0xb002, () => {
    asm.db(0x67, 0x66, 0x0f, 0x01, 0x15); // lgdt
    asm.dd(at('gdtrHere'));
    asm.mov('eax', 'cr0');
    asm.alu('or', 'al', 1);
    asm.mov('cr0', 'eax');
    asm.mov('cx', FLAT);
    asm.mov('gs', 'cx');
    asm.alu('and', 'al', 0xfe);
    asm.mov('cr0', 'eax');
    asm.mov('ebx', LOAD_ADDRESS);
    asm.mov('ax', mem(0, { base: 'ebx', segment: 'gs' }));
  });
  program.data(() => {
    asm.align(4);
    asm.label('gdtrHere');
    asm.dw(39);
    asm.dd(at('gdt'));
  });
  program.test('32-bit protected mode and back', 0x8765, () => {
    asm.db(0x67, 0x66, 0x0f, 0x01, 0x15);
    asm.dd(at('gdtrHere'));
    asm.mov('eax', 'cr0');
    asm.alu('or', 'al', 1);
    asm.mov('cr0', 'eax');
    asm.db(0x66, 0xea); // jmp far, 32 bits
    asm.dd(at('protected', SEGMENT * 16));
    asm.dw(CODE32);
    asm.label('protected');
    asm.bits = 32;
    asm.mov('ebx', 0x8765_4321);
    asm.shift('shr', 'ebx', 16);
    asm.far('jmp', CODE16, at('protected16'));
    asm.bits = 16;
    asm.label('protected16');
    asm.mov('eax', 'cr0');
    asm.alu('and', 'al', 0xfe);
    asm.mov('cr0', 'eax');
    asm.far('jmp', SEGMENT, at('realAgain'));
    asm.label('realAgain');
    asm.mov('ax', 'bx');
  });
}
