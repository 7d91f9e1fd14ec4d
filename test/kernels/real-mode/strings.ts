import { at } from '../assembler.ts';
import { CS, ES, type RealModeProgram, SCRATCH, SEGMENT, setSegment, store } from './program.ts';

export function strings(program: RealModeProgram): void {
  const { asm } = program;
  program.data(() => {
    asm.label('house');
    asm.text('the little house');
  });
  const toScratch = (): void => {
    setSegment(asm, 'es', SCRATCH);
    asm.mov('si', at('house'));
    asm.mov('di', 0x100);
    asm.mov('cx', 16);
    asm.db(0xf3, 0xa4); // rep movsb
  };
  program.test('REP MOVSB copies and moves its pointers', 0x110 + 0x6568, () => {
    toScratch();
    asm.db(ES, 0xa1); // mov ax, es:[101h]: "he"
    asm.dw(0x101);
    asm.alu('add', 'ax', 'di');
    asm.alu('add', 'ax', 'cx');
  });
  program.test('REP MOVSB downwards over itself', 0x6f68, () => {
    toScratch();
    setSegment(asm, 'ds', SCRATCH);
    asm.mov('si', 0x10f);
    asm.mov('di', 0x112);
    asm.mov('cx', 16);
    asm.db(0xfd, 0xf3, 0xa4); // std; rep movsb
    asm.db(0xa1); // "ho"
    asm.dw(0x10e);
  });
  program.test('MOVSB upwards over itself repeats', 0x6574, () => {
    toScratch();
    setSegment(asm, 'ds', SCRATCH);
    asm.mov('si', 0x100);
    asm.mov('di', 0x103);
    asm.mov('cx', 12);
    asm.db(0xf3, 0xa4);
    asm.db(0xa1); // "the" again and again
    asm.dw(0x10b);
    asm.db(0x86, 0xc4); // xchg al, ah
  });
  program.test('REP STOSW, then REPE SCASW finds the end', 0x200 + 2 * 33, () => {
    setSegment(asm, 'es', SCRATCH);
    asm.mov('di', 0x200);
    asm.mov('ax', 0x4444);
    asm.mov('cx', 32);
    asm.db(0xf3, 0xab);
    store(asm, 0x240, 0, [ES]);
    asm.mov('di', 0x200);
    asm.mov('cx', 0xffff);
    asm.db(0xf3, 0xaf);
    asm.mov('ax', 'di');
  });
  program.test('REPNE SCASB finds a letter', 16 - 5, () => {
    setSegment(asm, 'es', SEGMENT);
    asm.mov('di', at('house'));
    asm.mov('al', 'l'.charCodeAt(0));
    asm.mov('cx', 16);
    asm.db(0xf2, 0xae);
    asm.mov('ax', 'cx');
  });
  program.test('REPE CMPSB stops at a difference', 0x100 + 7 + 0x100, () => {
    toScratch();
    asm.db(ES, 0xc6, 0x06); // mov byte es:[106h], 'x'
    asm.dw(0x106);
    asm.db(0x78);
    asm.mov('si', at('house'));
    asm.mov('di', 0x100);
    asm.mov('cx', 16);
    asm.db(0xf3, 0xa6);
    asm.db(0x0f, 0x92, 0xc4, 0xb0, 0); // setb ah; mov al, 0
    asm.alu('add', 'ax', 'di');
  });
  program.test('LODSB with a segment prefix', 0x7468, () => {
    setSegment(asm, 'ds', SCRATCH);
    asm.mov('si', at('house'));
    asm.db(CS, 0xac); // cs lodsb
    asm.mov('ah', 'al');
    asm.db(CS, 0xac);
  });
  program.test('DI wraps within its segment', 0x9977, () => {
    setSegment(asm, 'es', SCRATCH);
    asm.mov('di', 0xffff);
    asm.mov('al', 0x77);
    asm.db(0xaa);
    asm.mov('al', 0x99);
    asm.db(0xaa); // stosb, twice
    asm.db(ES, 0x8a, 0x26); // mov ah, es:[0]
    asm.dw(0);
    asm.db(ES, 0xa0);
    asm.dw(0xffff);
  });
}
