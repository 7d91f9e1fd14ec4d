import { ES, type RealModeProgram, setSegment, store } from './program.ts';

export function a20(program: RealModeProgram): void {
  const { asm } = program;
  const gate = (value: number): void => {
    asm.db(0xb0, value, 0xe6, 0x92); // mov al, …; out 92h, al
  };
  /** The word at 0:500h as FFFF:0510h shows it when the gate is shut. */
  const look = (value: number): void => {
    setSegment(asm, 'ds', 0);
    setSegment(asm, 'es', 0xffff);
    gate(2);
    store(asm, 0x510, 0x1111, [ES]);
    store(asm, 0x500, 0x2222);
    gate(value);
    asm.db(ES, 0x8b, 0x1e); // mov bx, es:[510h]
    asm.dw(0x510);
    gate(2);
    asm.mov('ax', 'bx');
  };
  program.test('A20 open: FFFF:0510 lies above 1 MiB', 0x1111, () => look(2));
  program.test('A20 shut: FFFF:0510 is 0000:0500', 0x2222, () => look(0));
}
