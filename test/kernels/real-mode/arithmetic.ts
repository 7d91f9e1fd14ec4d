import { at } from '../assembler.ts';
import { type RealModeProgram, SCRATCH, setSegment, store } from './program.ts';

export function arithmetic(program: RealModeProgram): void {
  const { asm } = program;
  const bytes = (name: string, expected: number, ax: number, ...code: number[]): void =>
    program.test(name, expected, () => {
      asm.mov('ax', ax);
      asm.db(...code);
    });
  bytes('AAA after 8 + 6', 0x0104, 0x0008, 0x04, 6, 0x37);
  bytes('AAS after 3 - 7', 0xff06, 0x0003, 0x2c, 7, 0x3f);
  bytes('DAA after 38h + 45h', 0x0083, 0x0038, 0x04, 0x45, 0x27);
  bytes('DAS after 35h - 47h', 0x0088, 0x0035, 0x2c, 0x47, 0x2f);
  bytes('AAM', 0x0903, 93, 0xd4, 10);
  bytes('AAD', 93, 0x0903, 0xd5, 10);
  bytes('CBW', 0xff80, 0x0080, 0x98);
  bytes('SALC after a carry', 0x10ff, 0x1000, 0xf9, 0xd6);
  bytes('RCL through the carry', 0x0001, 0x8000, 0xf9, 0xd1, 0xd0);
  bytes('LAHF shows SF, ZF, AF, PF, CF', 0x4600, 0x0100, 0x2c, 0, 0xf8, 0x9f);
  program.test('MUL of 16 bits gives DX:AX', (0xfffe + 0x0001) & 0xffff, () => {
    asm.mov('ax', 0xffff);
    asm.mov('cx', 0xffff);
    asm.db(0xf7, 0xe1); // mul cx
    asm.alu('add', 'ax', 'dx');
  });
  program.test('DIV of DX:AX', 0x5555 + 1, () => {
    asm.mov('dx', 1);
    asm.mov('ax', 0);
    asm.mov('cx', 3);
    asm.db(0xf7, 0xf1); // div cx
    asm.alu('add', 'ax', 'dx');
  });
  program.test('IDIV rounds towards zero', 0xfffd, () => {
    asm.mov('ax', -7);
    asm.db(0x99, 0xb9, 2, 0, 0xf7, 0xf9); // cwd; mov cx, 2; idiv cx
  });
  program.test('XLAT', 0x0074, () => {
    asm.mov('bx', at('house'));
    asm.mov('ax', 6);
    asm.db(0xd7);
  });
  program.test('LOOP counts CX down', 1000, () => {
    asm.mov('ax', 0);
    asm.mov('ecx', 0x7fff_0000 + 1000);
    const top = asm.here;
    asm.db(0x40, 0xe2); // inc ax; loop
    asm.db((top - asm.here - 1) & 0xff);
  });
  program.test('JCXZ looks at CX alone', 7, () => {
    asm.mov('ax', 7);
    asm.mov('ecx', 0x1_0000);
    asm.db(0xe3, 3); // jcxz over it
    asm.mov('ax', 8);
  });
  program.test('x87: 355 / 113 as an integer of a hundred thousand', 0xcb2f, () => {
    setSegment(asm, 'ds', SCRATCH);
    asm.db(0xdb, 0xe3); // fninit
    for (const [opcode, value] of [
      [0x06, 355], // fild
      [0x36, 113], // fidiv
      [0x0e, 10_000], // fimul
      [0x0e, 10],
    ] as const) {
      store(asm, 0x300, value);
      asm.db(opcode === 0x06 ? 0xdf : 0xde, opcode);
      asm.dw(0x300);
    }
    asm.db(0xdb, 0x1e); // fistp dword [300h]: 314159
    asm.dw(0x300);
    asm.db(0xa1);
    asm.dw(0x300);
  });
}
