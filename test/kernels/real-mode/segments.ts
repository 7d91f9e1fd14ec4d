import { ES, type RealModeProgram, SCRATCH, setSegment, store } from './program.ts';

export function segments(program: RealModeProgram): void {
  const { asm } = program;
  program.test('two segments show the same byte', 0x5678, () => {
    setSegment(asm, 'es', SCRATCH);
    setSegment(asm, 'ds', SCRATCH + 1);
    store(asm, 0x10, 0x5678, [ES]);
    asm.db(0xa1);
    asm.dw(0);
  });
  program.test('BX + SI + displacement', 0x1234, () => {
    setSegment(asm, 'ds', SCRATCH);
    store(asm, 0x345, 0x1234);
    asm.mov('bx', 0x0200);
    asm.mov('si', 0x0100);
    asm.db(0x8b, 0x40, 0x45); // mov ax, [bx+si+45h]
  });
  program.test('an effective address wraps at 64 KiB', 0x4321, () => {
    setSegment(asm, 'ds', SCRATCH);
    store(asm, 0x20, 0x4321);
    asm.mov('bx', 0xfff0);
    asm.mov('di', 0x0010);
    asm.db(0x8b, 0x41, 0x20); // mov ax, [bx+di+20h]
  });
  program.test('BP goes through SS', 0x2222, () => {
    setSegment(asm, 'ds', SCRATCH);
    setSegment(asm, 'es', SCRATCH + 0x100);
    store(asm, 0x40, 0x1111);
    store(asm, 0x40, 0x2222, [ES]);
    setSegment(asm, 'ss', SCRATCH + 0x100);
    asm.mov('bp', 0x30);
    asm.db(0x8b, 0x46, 0x10); // mov ax, [bp+10h]
  });
  program.test('a prefix overrides BP', 0x1111, () => {
    setSegment(asm, 'ds', SCRATCH);
    store(asm, 0x40, 0x1111);
    asm.mov('bp', 0x30);
    asm.db(0x3e, 0x8b, 0x46, 0x10); // mov ax, ds:[bp+10h]
  });
  program.test('FFFF:0010 lies at 1 MiB', 0xb002, () => {
    setSegment(asm, 'ds', 0xffff);
    asm.db(0xa1); // the Multiboot header's first word
    asm.dw(0x10);
  });
  for (const [name, opcode] of [
    ['LDS', [0xc5]],
    ['LES', [0xc4]],
    ['LFS', [0x0f, 0xb4]],
    ['LGS', [0x0f, 0xb5]],
  ] as const) {
    program.test(`${name} loads segment and offset`, 0x2345 + 0x1234, () => {
      setSegment(asm, 'ds', SCRATCH);
      store(asm, 0x50, 0x2345);
      store(asm, 0x52, 0x1234);
      asm.db(...opcode, 0x1e); // lxs bx, [50h]
      asm.dw(0x50);
      asm.mov('ax', name.slice(1).toLowerCase() as 'ds' | 'es' | 'fs' | 'gs');
      asm.alu('add', 'ax', 'bx');
    });
  }
}
