import { type RealModeProgram, SCRATCH, SS, STACK_TOP, setSegment } from './program.ts';

export function stack(program: RealModeProgram): void {
  const { asm } = program;
  program.test('PUSH SP pushes what it was', STACK_TOP, () => {
    asm.push('sp');
    asm.pop('ax');
  });
  program.test('PUSHA and POPA', 0x1111 + 0x7777, () => {
    asm.mov('ax', 0x1111);
    asm.mov('di', 0x7777);
    asm.db(0x60); // pusha
    asm.mov('ax', 0);
    asm.mov('di', 0);
    asm.db(0x61); // popa
    asm.alu('add', 'ax', 'di');
  });
  program.test('ENTER with nesting and LEAVE', STACK_TOP - 12, () => {
    asm.mov('bp', STACK_TOP);
    asm.db(0xc8, 6, 0, 2); // enter 6, 2: BP, the outer frame, its own, and 6 bytes
    asm.mov('ax', 'sp');
    asm.db(0xc9); // leave
  });
  program.test('SP wraps', 0xabcd, () => {
    setSegment(asm, 'ss', SCRATCH);
    asm.mov('esp', 0);
    asm.mov('ax', 0xabcd);
    asm.push('ax');
    asm.mov('ax', 0);
    asm.db(SS, 0xa1); // mov ax, ss:[fffeh]
    asm.dw(0xfffe);
  });
  program.test('PUSHF shows 16 bits; bit 1 is set, bits 15, 5 and 3 are not', 0x0002, () => {
    asm.db(0x9c); // pushf
    asm.pop('ax');
    asm.alu('and', 'ax', 0x802a);
  });
}
