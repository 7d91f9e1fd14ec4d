import { at } from '../assembler.ts';
import { type RealModeProgram, SCRATCH, SEGMENT, STACK_TOP, setSegment, store } from './program.ts';

export function farTransfers(program: RealModeProgram): void {
  const { asm } = program;
  program.aside('there', () => {
    asm.mov('ax', 'cs');
    asm.db(0xcb); // retf
  });
  program.aside('thereWithTwo', () => {
    asm.mov('bp', 'sp');
    asm.db(0x8b, 0x46, 0x04); // mov ax, [bp+4]
    asm.db(0x2b, 0x46, 0x06); // sub ax, [bp+6]
    asm.db(0xca, 4, 0); // retf 4
  });
  /** The same place, from a segment that begins 1 KiB before. */
  const ALIAS = SEGMENT - 0x40;
  program.test('a far call changes CS, a far return gives it back', ALIAS + SEGMENT, () => {
    asm.far('call', ALIAS, at('there', 0x400));
    asm.mov('bx', 'cs');
    asm.alu('add', 'ax', 'bx');
  });
  program.test('a far call through memory', ALIAS, () => {
    setSegment(asm, 'ds', SCRATCH);
    asm.db(0xc7, 0x06);
    asm.dw(0x60, at('there', 0x400));
    store(asm, 0x62, ALIAS);
    asm.db(0xff, 0x1e); // call far [60h]
    asm.dw(0x60);
  });
  program.test('a far return takes its arguments off the stack', 0x0345 - 0x0122 + STACK_TOP, () => {
    asm.push(0x0122);
    asm.push(0x0345);
    asm.far('call', SEGMENT, at('thereWithTwo'));
    asm.alu('add', 'ax', 'sp');
  });
  program.test('a far jump', ALIAS, () => {
    asm.far('jmp', ALIAS, at('jumped', 0x400));
    asm.label('jumped');
    asm.mov('ax', 'cs');
    asm.far('jmp', SEGMENT, at('jumpedBack'));
    asm.label('jumpedBack');
  });
  program.test('a near call keeps CS and pushes 16 bits', 2, () => {
    asm.call('nearHere');
    asm.jmp('nearEnd');
    asm.label('nearHere');
    asm.mov('ax', STACK_TOP);
    asm.alu('sub', 'ax', 'sp');
    asm.db(0xc3);
    asm.label('nearEnd');
  });
}
