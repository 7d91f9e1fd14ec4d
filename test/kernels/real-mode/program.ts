import { Assembler, at, mem } from '../assembler.ts';

export const LOAD_ADDRESS = 0x10_0000;
export const SEGMENT = 0x1000;
/** Memory that cases write to. */
export const SCRATCH = 0x2000;
export const STACK_TOP = 0xfff0;
export const COM1 = 0x3f8;
export const TICK_VECTOR = 0x08;
export const SERIAL_VECTOR = 0x0c;
export const CLOCK_VECTOR = 0x70;
/** 8254 at 1.193182 MHz: about a millisecond. */
export const MILLISECOND = 1193;

export const CODE32 = 0x08;
export const CODE16 = 0x10;
export const DATA16 = 0x18;
/** Base 0, 4 GiB. */
export const FLAT = 0x20;

export class RealModeProgram {
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
export function store(asm: Assembler, address: number, value: number, prefix: readonly number[] = []): void {
  asm.db(...prefix, 0xc7, 0x06);
  asm.dw(address, value);
}

export function setSegment(asm: Assembler, name: 'ds' | 'es' | 'ss' | 'fs' | 'gs', value: number): void {
  asm.mov('cx', value);
  asm.mov(name, 'cx');
}

export const ES = 0x26;
export const CS = 0x2e;
export const SS = 0x36;
