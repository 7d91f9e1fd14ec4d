import { Assembler, at, mem } from './assembler.ts';

/**
 * A program of 16-bit code that has the machine to itself, as DOS or a boot
 * loader does: the few instructions of 32-bit code that the boot protocol asks
 * for put it at 1000:0000 and take the processor back to real mode. It then
 * prints TAP on COM1 and ends through isa-debug-exit, like the other test
 * kernels (Intel SDM vol. 3, chapters 9.9 and 21; IBM PC/AT Technical
 * Reference for the interrupt controllers and timers).
 *
 * A case leaves its answer in AX.
 */

const LOAD_ADDRESS = 0x10_0000;
const SEGMENT = 0x1000;
/** Memory that cases write to. */
const SCRATCH = 0x2000;
const STACK_TOP = 0xfff0;
const COM1 = 0x3f8;
const TICK_VECTOR = 0x08;
const SERIAL_VECTOR = 0x0c;
const CLOCK_VECTOR = 0x70;
/** 8254 at 1.193182 MHz: about a millisecond. */
const MILLISECOND = 1193;

const CODE32 = 0x08;
const CODE16 = 0x10;
const DATA16 = 0x18;
/** Base 0, 4 GiB. */
const FLAT = 0x20;

export function realModeKernel(): Buffer {
  const program = new RealModeProgram();
  segments(program);
  farTransfers(program);
  stack(program);
  strings(program);
  arithmetic(program);
  interrupts(program);
  exceptions(program);
  wide(program);
  devices(program);
  a20(program);
  return program.finish();
}

class RealModeProgram {
  readonly asm = new Assembler(LOAD_ADDRESS);
  readonly #names: string[] = [];
  readonly #data: (() => void)[] = [];

  constructor() {
    const { asm } = this;
    const magic = 0x1bad_b002;
    const flags = 0x10000;
    asm.dd(magic, flags, -(magic + flags));
    asm.dd(LOAD_ADDRESS, LOAD_ADDRESS, at('imageEnd'), at('imageEnd'), at('entry'));
    asm.label('entry');
    asm.db(0xfa, 0xfc); // cli; cld
    asm.mov('esi', at('program'));
    asm.mov('edi', SEGMENT * 16);
    asm.mov('ecx', 0x4000);
    asm.db(0xf3, 0xa5); // rep movsd
    asm.encode([0x0f, 0x01], 2, mem(at('gdtr')), 0);
    asm.far('jmp', CODE16, 0);
    this.#descriptors();
    asm.align(16);
    asm.label('program');
    asm.phase(0);
    asm.bits = 16;
    this.#toRealMode();
    this.#routines();
    asm.label('main');
    asm.mov('si', at('plan'));
    asm.call('print');
  }

  #descriptors(): void {
    const { asm } = this;
    asm.align(8);
    asm.label('gdt');
    const base = SEGMENT * 16;
    const segment = (access: number): number => base * 0x1_0000 + access * 0x100_0000_0000 + 0xffff;
    asm.dq(0n, 0x00cf9a000000ffffn, segment(0x9a), segment(0x92), 0x00cf92000000ffffn);
    asm.label('gdtr');
    asm.dw(39);
    asm.dd(at('gdt'));
  }

  /** 9.9.2: 64 KiB segments are loaded before PE is cleared; a far jump loads CS. */
  #toRealMode(): void {
    const { asm } = this;
    asm.mov('ax', DATA16);
    for (const name of ['ds', 'es', 'ss', 'fs', 'gs'] as const) asm.mov(name, 'ax');
    asm.mov('eax', 'cr0');
    asm.alu('and', 'al', 0xfe);
    asm.mov('cr0', 'eax');
    asm.far('jmp', SEGMENT, at('real'));
    asm.label('real');
    asm.mov('ax', SEGMENT);
    for (const name of ['ds', 'es', 'ss', 'fs', 'gs'] as const) asm.mov(name, 'ax');
    asm.mov('esp', STACK_TOP);
    asm.db(0x0f, 0x01, 0x1e); // lidt [ivt]
    asm.dw(at('ivt'));
    asm.out(0x21, 0xff);
    asm.out(0xa1, 0xff);
    asm.jmp('main');
    asm.label('ivt');
    asm.dw(0x3ff);
    asm.dd(0);
  }

  #routines(): void {
    const { asm } = this;
    asm.label('putc'); // AL
    asm.push('dx');
    asm.mov('ah', 'al');
    asm.mov('dx', COM1 + 5);
    asm.label('putc.wait');
    asm.db(0xec, 0xa8, 0x20); // in al, dx; test al, THRE
    asm.j('e', 'putc.wait');
    asm.mov('dx', COM1);
    asm.mov('al', 'ah');
    asm.db(0xee);
    asm.pop('dx');
    asm.db(0xc3);

    asm.label('print'); // CS:SI, to its zero
    asm.db(0x2e, 0xac, 0x84, 0xc0); // cs lodsb; test al, al
    asm.j('e', 'print.end');
    asm.call('putc');
    asm.jmp('print');
    asm.label('print.end');
    asm.db(0xc3);

    asm.label('hex'); // BX
    asm.mov('cx', 4);
    asm.label('hex.digit');
    asm.db(0xc1, 0xc3, 4); // rol bx, 4
    asm.mov('al', 'bl');
    asm.db(0x24, 0x0f, 0x3c, 10, 0x1c, 0x69, 0x2f); // and al, 15; cmp al, 10; sbb al, 69h; das
    asm.call('putc');
    asm.db(0xe2); // loop
    asm.db((asm.address('hex.digit') - asm.here - 1) & 0xff);
    asm.db(0xc3);

    // BX: the answer; DX: the right one; SI: the number and name.
    asm.label('verdict');
    asm.alu('cmp', 'bx', 'dx');
    asm.j('ne', 'verdict.bad');
    asm.push('si');
    asm.mov('si', at('text.ok'));
    asm.call('print');
    asm.pop('si');
    asm.call('print');
    asm.jmp('line');
    asm.label('verdict.bad');
    asm.db(0x2e, 0xc6, 0x06); // mov byte cs:[failed], 1
    asm.dw(at('failed'));
    asm.db(1);
    asm.push('dx');
    asm.push('bx');
    asm.push('si');
    asm.mov('si', at('text.notOk'));
    asm.call('print');
    asm.pop('si');
    asm.call('print');
    asm.mov('si', at('text.is'));
    asm.call('print');
    asm.pop('bx');
    asm.call('hex');
    asm.mov('si', at('text.not'));
    asm.call('print');
    asm.pop('bx');
    asm.call('hex');
    asm.label('line');
    asm.mov('al', 10);
    asm.jmp('putc');
  }

  /** Adds a case: code that leaves `expected` in AX. Every case starts with DS, ES = 1000h and a fresh stack. */
  test(name: string, expected: number, body: () => void): void {
    const { asm } = this;
    const n = this.#names.push(name);
    this.normal();
    body();
    asm.mov('bx', 'ax');
    this.normal();
    asm.mov('dx', expected);
    asm.mov('si', at(`name.${n}`));
    asm.call('verdict');
  }

  normal(): void {
    const { asm } = this;
    asm.db(0xfa, 0xfc); // cli; cld
    asm.mov('cx', SEGMENT);
    for (const name of ['ds', 'es', 'fs', 'gs', 'ss'] as const) asm.mov(name, 'cx');
    asm.mov('esp', STACK_TOP);
  }

  /** Puts a handler of this segment into the interrupt table. Changes AX and FS. */
  vector(number: number, handler: string): void {
    const { asm } = this;
    asm.mov('ax', 0);
    asm.mov('fs', 'ax');
    asm.db(0x64, 0xc7, 0x06); // mov word fs:[…], …
    asm.dw(number * 4, at(handler));
    asm.db(0x64, 0xc7, 0x06);
    asm.dw(number * 4 + 2, SEGMENT);
  }

  /** Code that is jumped over; the label's. */
  aside(name: string, emit: () => void): void {
    const { asm } = this;
    asm.jmp(`${name}.over`);
    asm.label(name);
    emit();
    asm.label(`${name}.over`);
  }

  /** Data behind the code. */
  data(emit: () => void): void {
    this.#data.push(emit);
  }

  finish(): Buffer {
    const { asm } = this;
    asm.db(0x2e, 0xa0); // mov al, cs:[failed]
    asm.dw(at('failed'));
    asm.db(0xe6, 0xf4); // out f4h, al
    asm.db(0xf4, 0xeb, 0xfd); // hlt, again and again
    asm.label('failed');
    asm.db(0);
    for (const [name, value] of [
      ['ok', 'ok '],
      ['notOk', 'not ok '],
      ['is', '\n# AX is '],
      ['not', ', not '],
    ] as const) {
      asm.label(`text.${name}`);
      asm.text(value);
    }
    asm.label('plan');
    asm.text(`1..${this.#names.length}\n`);
    this.#names.forEach((name, index) => {
      asm.label(`name.${index + 1}`);
      asm.text(`${index + 1} - ${name}`);
    });
    for (const emit of this.#data) emit();
    if (asm.here > STACK_TOP - 0x400) throw new Error('the program does not fit into its segment');
    asm.dephase();
    asm.label('imageEnd');
    return asm.finish();
  }
}

/** MOV word [address], value: through DS, or as a prefix byte says. */
function store(asm: Assembler, address: number, value: number, prefix: readonly number[] = []): void {
  asm.db(...prefix, 0xc7, 0x06);
  asm.dw(address, value);
}

function setSegment(asm: Assembler, name: 'ds' | 'es' | 'ss' | 'fs' | 'gs', value: number): void {
  asm.mov('cx', value);
  asm.mov(name, 'cx');
}

const ES = 0x26;
const CS = 0x2e;
const SS = 0x36;

function segments(program: RealModeProgram): void {
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

function farTransfers(program: RealModeProgram): void {
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

function stack(program: RealModeProgram): void {
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

function strings(program: RealModeProgram): void {
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

function arithmetic(program: RealModeProgram): void {
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

function interrupts(program: RealModeProgram): void {
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

/** Each handler leaves the distance of the saved IP from `from` in AX and goes on there plus what it is told. */
function exceptions(program: RealModeProgram): void {
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

/** 32 bits in 16-bit code, and segments that reach further than real mode gives them. */
function wide(program: RealModeProgram): void {
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

function devices(program: RealModeProgram): void {
  const { asm } = program;
  program.data(() => {
    asm.align(2);
    asm.label('ticks');
    asm.dw(0);
    asm.label('clocks');
    asm.dw(0);
    asm.label('sent');
    asm.dw(0);
  });
  const increment = (label: string): void => {
    asm.db(CS, 0xff, 0x06); // inc word cs:[…]
    asm.dw(at(label));
  };
  const load = (label: string): void => {
    asm.db(CS, 0xa1); // mov ax, cs:[…]
    asm.dw(at(label));
  };
  const clear = (label: string): void => {
    asm.db(CS, 0xc7, 0x06);
    asm.dw(at(label), 0);
  };
  const endOfInterrupt = (...ports: number[]): void => {
    for (const port of ports) asm.db(0xb0, 0x20, 0xe6, port); // mov al, 20h; out
  };
  program.aside('onTick', () => {
    asm.push('ax');
    increment('ticks');
    endOfInterrupt(0x20);
    asm.pop('ax');
    asm.db(0xcf);
  });
  program.aside('onSerial', () => {
    asm.push('ax');
    asm.push('dx');
    asm.mov('dx', COM1 + 2);
    asm.db(0xec); // in al, dx: which interrupt, and with that it is over
    increment('sent');
    endOfInterrupt(0x20);
    asm.pop('dx');
    asm.pop('ax');
    asm.db(0xcf);
  });
  program.aside('onClock', () => {
    asm.push('ax');
    asm.db(0xb0, 0x0c, 0xe6, 0x70, 0xe4, 0x71); // register C, read
    increment('clocks');
    endOfInterrupt(0xa0, 0x20);
    asm.pop('ax');
    asm.db(0xcf);
  });
  // Vectors as the PC/AT has them: 8 and 70h.
  for (const [port, value] of [
    [0x20, 0x11],
    [0x21, TICK_VECTOR],
    [0x21, 0x04],
    [0x21, 0x01],
    [0xa0, 0x11],
    [0xa1, CLOCK_VECTOR],
    [0xa1, 0x02],
    [0xa1, 0x01],
    [0x21, 0xff],
    [0xa1, 0xff],
  ] as const) {
    asm.out(port, value);
  }
  /** All lines of both controllers; keeps AX. */
  const mask = (): void => {
    asm.mov('cx', 'ax');
    asm.db(0xb0, 0xff, 0xe6, 0x21, 0xe6, 0xa1);
    asm.mov('ax', 'cx');
  };
  /** HLT until the counter has reached `count`; every interrupt wakes the processor. AX is then `count`. */
  const sleepUntil = (label: string, count: number): void => {
    const top = asm.fresh('sleep');
    asm.label(top);
    asm.db(0xfb, 0xf4, 0xfa); // sti; hlt; cli
    load(label);
    asm.alu('cmp', 'ax', count);
    asm.j('b', top);
    asm.mov('ax', count);
  };
  program.test('the timer interrupts through vector 8, twenty times', 20, () => {
    program.vector(TICK_VECTOR, 'onTick');
    clear('ticks');
    asm.out(0x43, 0x34); // counter 0, both bytes, mode 2
    asm.out(0x40, MILLISECOND & 0xff);
    asm.out(0x40, MILLISECOND >> 8);
    asm.out(0x21, 0xfe);
    sleepUntil('ticks', 20);
    mask();
  });
  program.test('no tick comes while interrupts are off', 0, () => {
    program.vector(TICK_VECTOR, 'onTick');
    asm.out(0x21, 0xfe);
    clear('ticks');
    asm.mov('cx', 2000);
    const top = asm.here;
    asm.db(0xe4, 0x61, 0xe2); // in al, 61h; loop
    asm.db((top - asm.here - 1) & 0xff);
    load('ticks');
    mask();
  });
  program.test('the RTC interrupts through the second controller', 8, () => {
    program.vector(CLOCK_VECTOR, 'onClock');
    clear('clocks');
    asm.db(0xb0, 0x0a, 0xe6, 0x70, 0xb0, 0x26, 0xe6, 0x71); // register A: 1024 times a second
    asm.db(0xb0, 0x0b, 0xe6, 0x70, 0xb0, 0x42, 0xe6, 0x71); // register B: periodic interrupts, 24 hours
    asm.db(0xb0, 0x0c, 0xe6, 0x70, 0xe4, 0x71);
    asm.out(0xa1, 0xfe);
    asm.out(0x21, 0xfb);
    sleepUntil('clocks', 8);
    mask();
    asm.mov('cx', 'ax');
    asm.db(0xb0, 0x0b, 0xe6, 0x70, 0xb0, 0x02, 0xe6, 0x71);
    asm.mov('ax', 'cx');
  });
  program.test('the serial port says that it can take more', 1, () => {
    program.vector(SERIAL_VECTOR, 'onSerial');
    clear('sent');
    asm.out(COM1 + 4, 0x0b); // DTR, RTS, OUT2
    asm.out(0x21, 0xef);
    asm.out(COM1 + 1, 0x02);
    sleepUntil('sent', 1);
    mask();
    asm.mov('cx', 'ax');
    asm.out(COM1 + 1, 0);
    asm.mov('ax', 'cx');
  });
}

function a20(program: RealModeProgram): void {
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
