import { at } from '../assembler.ts';
import { type RealModeProgram, SEGMENT } from './program.ts';

/** Each handler leaves the distance of the saved IP from `from` in AX and goes on there plus what it is told. */
export function exceptions(program: RealModeProgram): void {
  const { asm } = program;
  const exception = (
    name: string,
    vector: number,
    code: readonly number[],
    saved: number,
    before = (): void => {},
  ): void => {
    const label = asm.fresh('exception');
    program.aside(`${label}.handler`, () => {
      asm.mov('bp', 'sp');
      asm.db(0x8b, 0x46, 0x00); // mov ax, [bp]
      asm.alu('sub', 'ax', at(label));
      asm.db(0xc7, 0x46, 0x00); // mov word [bp], …
      asm.dw(at(label, code.length));
      asm.db(0xcf);
    });
    program.test(name, 0x100 + saved, () => {
      program.vector(vector, `${label}.handler`);
      before();
      asm.label(label);
      asm.db(...code);
      asm.alu('add', 'ax', 0x100);
    });
  };
  const zero = (): void => {
    asm.mov('cx', 0);
    asm.mov('dx', 0);
    asm.mov('ax', 1);
  };
  exception('division by zero: interrupt 0, at the instruction', 0, [0xf7, 0xf1], 0, zero);
  exception('INT3: interrupt 3, behind it', 3, [0xcc], 1);
  exception('INTO with OF: interrupt 4, behind it', 4, [0xce], 1, () => {
    asm.mov('ax', 0x7fff);
    asm.alu('add', 'ax', 1);
  });
  program.data(() => {
    asm.label('limits');
    asm.dw(-3, 3);
  });
  exception('BOUND: interrupt 5, at the instruction', 5, [0x62, 0x07], 0, () => {
    asm.mov('bx', at('limits'));
    asm.mov('ax', 4);
  });
  exception('UD2: interrupt 6, at the instruction', 6, [0x0f, 0x0b], 0);
  exception('ARPL is not of real mode: interrupt 6', 6, [0x63, 0xc0], 0);
  exception('LLDT is not of real mode: interrupt 6', 6, [0x0f, 0x00, 0xd0], 0);
  exception('LTR is not of real mode: interrupt 6', 6, [0x0f, 0x00, 0xd8], 0);
  program.aside('step', () => {
    asm.inc('dx');
    asm.db(0xcf);
  });
  program.test('the trap flag: interrupt 1 behind each instruction, the one that clears it too', 4, () => {
    program.vector(1, 'step');
    asm.mov('dx', 0);
    asm.db(0x68, 0x02, 0x01, 0x9d); // push 102h; popf
    asm.db(0x90, 0x90); // nop; nop
    asm.db(0x6a, 0x02, 0x9d); // push 2; popf
    asm.mov('ax', 'dx');
  });
  program.test('no trap behind a load of SS', 3, () => {
    program.vector(1, 'step');
    asm.mov('dx', 0);
    asm.mov('cx', SEGMENT);
    asm.db(0x68, 0x02, 0x01, 0x9d); // push 102h; popf
    asm.mov('ss', 'cx');
    asm.db(0x90);
    asm.db(0x6a, 0x02, 0x9d);
    asm.mov('ax', 'dx');
  });
}
