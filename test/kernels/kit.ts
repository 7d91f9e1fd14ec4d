import { Assembler, at, type Label, type Memory, mem, type Value } from './assembler.ts';
import { emitCheckRoutines, emitPrintRoutines } from './verdict-routines.ts';

/**
 * The frame of a test kernel: it boots by Multiboot, runs many small cases,
 * prints TAP on COM1 and ends through isa-debug-exit (1 when all passed, else
 * 3, as a process's exit status). What is printed and compared works in 32-bit
 * and in 64-bit code alike.
 *
 * A case is a piece of code and what is expected of it: the exception that it
 * ends with, or none, and fields of the record that the handlers fill in.
 */

const LOAD_ADDRESS = 0x100000;
const DEBUG_EXIT = 0xf4;
const NONE = 0xffff_ffff;
const VECTORS = 0x90;
/** Exceptions that push an error code. */
const WITH_ERROR = new Set([8, 10, 11, 12, 13, 14, 17]);

export const KERNEL_CODE = 0x08;
export const KERNEL_DATA = 0x10;
/** Code of ring 3, 32 bits. */
export const USER_CODE = 0x1b;
export const USER_DATA = 0x23;
/** In the 64-bit kernel: code of ring 3, 64 bits. */
export const USER_CODE64 = 0x2b;
/** Of the 32-bit kernel and of the 64-bit one, where it takes two entries. */
export const TSS_SELECTOR = { 32: 0x28, 64: 0x30 } as const;

/** CR0 in the 32-bit kernel without paging: NE ET MP PE. */
export const PROTECTED_CR0 = 0x33;

/** Fields of the record, 8 bytes each; `…High` is the upper half. */
const FIELDS = [
  'vector',
  'error',
  'ip',
  'cs',
  'flags',
  'sp',
  'ss',
  'cr2',
  'dr6',
  'count',
  'completed',
  'ax',
  'resume',
  'resumeSp',
  'w0',
  'w1',
  'w2',
  'w3',
  'w4',
  'w5',
  'w6',
  'w7',
] as const;
export type Field = (typeof FIELDS)[number];

/** An expected value, and which of its bits count. */
export type Expected = Value | { readonly value: Value; readonly mask: number };

export interface Expectation extends Partial<Record<Field | `${Field}High`, Expected>> {
  /** 32-bit words elsewhere: name, address, value. */
  readonly memory?: readonly (readonly [name: string, address: Value, expected: Expected])[];
}

export interface CaseOptions {
  /** Code behind the case that puts things right, run however it ended. */
  readonly after?: () => void;
  /** A routine that gives 0 in EAX where the processor lacks what the case is about; such a case is skipped. */
  readonly needs?: Requirement | undefined;
}

/** A CPUID bit. */
export interface Requirement {
  readonly name: string;
  readonly leaf: number;
  readonly register: 'eax' | 'ebx' | 'ecx' | 'edx';
  readonly bit: number;
}
const requirement = (
  name: string,
  leaf: number,
  register: Requirement['register'],
  bit: number,
): Requirement => ({ name, leaf, register, bit });
export const NEEDS = {
  pcid: requirement('PCID', 1, 'ecx', 17),
  x2apic: requirement('x2APIC', 1, 'ecx', 21),
  tscDeadline: requirement('TSC-deadline timer', 1, 'ecx', 24),
  smep: requirement('SMEP', 7, 'ebx', 7),
  smap: requirement('SMAP', 7, 'ebx', 20),
  invpcid: requirement('INVPCID', 7, 'ebx', 10),
  umip: requirement('UMIP', 7, 'ecx', 2),
  fsgsbase: requirement('FSGSBASE', 7, 'ebx', 0),
  rdtscp: requirement('RDTSCP', 0x8000_0001, 'edx', 27),
  /** Not QEMU's TCG, which tells its name there: for what it does not survive. */
  notTcg: requirement('not under TCG', 0x4000_0000, 'ebx', 0),
  huge: requirement('1 GiB pages', 0x8000_0001, 'edx', 26),
} as const;

interface Descriptor {
  readonly low: () => number;
  readonly high: () => number;
}

interface Case {
  readonly label: string;
  readonly name: string;
  readonly expected: Expectation;
  readonly table: string;
  readonly needs: Requirement | undefined;
}

/** A kernel of cases in `bits`-bit code. */
export class TestKernel {
  readonly asm = new Assembler(LOAD_ADDRESS);
  readonly bits: 32 | 64;
  readonly #cases: Case[] = [];
  readonly #gates = new Map<number, { readonly handler: string; readonly ist: number }>();
  readonly #extra: Descriptor[] = [];
  readonly #data: (() => void)[] = [];
  readonly #firstExtra: number;

  constructor(bits: 32 | 64) {
    this.bits = bits;
    this.#firstExtra = bits === 32 ? 0x30 : 0x40;
    this.#header();
    this.#entry();
  }

  field(name: Field | `${Field}High`): Label {
    const high = name.endsWith('High');
    const index = FIELDS.indexOf((high ? name.slice(0, -4) : name) as Field);
    return at('record', index * 8 + (high ? 4 : 0));
  }

  /** A field of the record as an operand. */
  at(name: Field | `${Field}High`, size: 1 | 2 | 4 | 8 = 4): Memory {
    return mem(this.field(name), { size });
  }

  /** Adds a descriptor to the GDT; its selector. `access` is byte 5, `flags` bits 7-4 of byte 6. The base may be a label. */
  descriptor(base: Value, limit: number, access: number, flags: number): number {
    const address = (): number =>
      typeof base === 'object' ? this.asm.address(base.label) + base.plus : Number(base);
    return this.#entryOf({
      low: () => (((address() & 0xffff) << 16) | (limit & 0xffff)) >>> 0,
      high: () =>
        ((address() & 0xff00_0000) |
          (flags << 20) |
          (limit & 0xf0000) |
          (access << 8) |
          ((address() >>> 16) & 0xff)) >>>
        0,
    });
  }

  /** Adds a call gate (32-bit) or task gate to the GDT; its selector. */
  gate(type: number, selector: number, target: Value, parameters = 0): number {
    const address = (): number =>
      typeof target === 'object' ? this.asm.address(target.label) + target.plus : Number(target);
    return this.#entryOf({
      low: () => ((selector << 16) | (address() & 0xffff)) >>> 0,
      high: () => ((address() & 0xffff_0000) | (type << 8) | parameters) >>> 0,
    });
  }

  #entryOf(descriptor: Descriptor): number {
    this.#extra.push(descriptor);
    return this.#firstExtra + (this.#extra.length - 1) * 8;
  }

  /** Sends a vector to a handler of the kernel's own. */
  handle(vector: number, handler: string, ist = 0): void {
    this.#gates.set(vector, { handler, ist });
  }

  /** Data behind the code. */
  data(emit: () => void): void {
    this.#data.push(emit);
  }

  /** Adds a case. Without `vector` it is expected to run to its end. */
  test(name: string, expected: Expectation, body: () => void, options: CaseOptions = {}): void {
    const { asm } = this;
    const n = this.#cases.length + 1;
    const label = `case.${n}`;
    const table = `table.${n}`;
    if (this.#cases.some((other) => other.name === name)) throw new Error(`two cases are called ${name}`);
    const whole: Expectation =
      expected.vector === undefined
        ? { vector: NONE, completed: 1, ...expected }
        : { completed: 0, ...(WITH_ERROR.has(Number(expected.vector)) ? {} : { error: NONE }), ...expected };
    this.#cases.push({ label, name, expected: whole, table, needs: options.needs });
    asm.label(label);
    if (options.needs) this.#skipUnless(options.needs, table, `${label}.end`);
    asm.call('reset');
    asm.mov(this.at('resume'), at(`${label}.next`));
    asm.mov(this.at('resumeSp', this.bits === 64 ? 8 : 4), this.bits === 64 ? 'rsp' : 'esp');
    body();
    asm.mov(this.at('completed'), 1);
    asm.label(`${label}.next`);
    options.after?.();
    asm.mov('esi', at(table));
    asm.call('check');
    asm.label(`${label}.end`);
  }

  #skipUnless(needs: Requirement, table: string, end: string): void {
    const { asm } = this;
    const have = asm.fresh('have');
    asm.mov('eax', needs.leaf);
    asm.mov('ecx', 0);
    asm.db(0x0f, 0xa2); // cpuid
    asm.alu('and', needs.register, 1 << needs.bit);
    asm.j('ne', have);
    asm.mov('esi', at(table));
    asm.call('skip');
    asm.jmp(end);
    asm.label(have);
  }

  /** Goes to ring 3 and ends there with INT 80h. `body` runs with flat segments; `alias` is added to the address of its code. */
  user(
    body: () => void,
    options: { flags?: number; alias?: number; stack?: Value; code?: number } = {},
  ): void {
    const { asm } = this;
    const label = asm.fresh('user');
    asm.mov('eax', USER_DATA);
    asm.mov('ds', 'eax');
    asm.mov('es', 'eax');
    asm.push(USER_DATA);
    asm.push(options.stack ?? at('userStackTop'));
    asm.push(options.flags ?? 2);
    asm.push(options.code ?? (this.bits === 64 ? USER_CODE64 : USER_CODE));
    asm.push(at(label, options.alias ?? 0));
    this.iret();
    asm.label(label);
    body();
    asm.db(0xcd, 0x80);
  }

  /** Gives a control register a value, by way of EAX. */
  control(register: 'cr0' | 'cr3' | 'cr4', value: Value): void {
    this.asm.mov('eax', value);
    this.asm.mov(register, 'eax');
  }

  iret(): void {
    if (this.bits === 64) this.asm.db(0x48);
    this.asm.db(0xcf);
  }

  #header(): void {
    const { asm } = this;
    const magic = 0x1bad_b002;
    const flags = 0x10000;
    asm.dd(magic, flags, -(magic + flags));
    asm.dd(LOAD_ADDRESS, LOAD_ADDRESS, at('imageEnd'), at('imageEnd'), at('entry'));
  }

  #entry(): void {
    const { asm } = this;
    asm.label('entry');
    asm.db(0xfa, 0xfc); // cli; cld
    asm.mov('esp', at('stackTop'));
    asm.encode([0x0f, 0x01], 2, mem(at('gdtr')), 0);
    if (this.bits === 64) this.#enterLongMode();
    asm.far('jmp', KERNEL_CODE, at('main'));
    asm.bits = this.bits;
    this.#routines();
    this.#stubs();
    asm.label('main');
    asm.mov('eax', KERNEL_DATA);
    for (const name of ['ds', 'es', 'ss', 'fs', 'gs'] as const) asm.mov(name, 'eax');
    asm.mov('esp', at('stackTop'));
    asm.encode([0x0f, 0x01], 3, mem(at('idtr')), 0);
    asm.mov('eax', TSS_SELECTOR[this.bits]);
    asm.db(0x0f, 0x00, 0xd8); // ltr ax
    // Firmware may have left a timer running: no interrupt that a kernel does not ask for.
    asm.out(0x21, 0xff);
    asm.out(0xa1, 0xff);
    asm.mov('ebp', at('plan'));
    asm.call('print');
  }

  #enterLongMode(): void {
    const { asm } = this;
    this.control('cr4', 0x20); // PAE
    this.control('cr3', at('pml4'));
    asm.wrmsr(0xc000_0080, 0x901n); // NXE, LME, SCE
    this.control('cr0', 0x8001_0033); // PG WP NE ET MP PE
    this.data(() => {
      asm.align(4096);
      asm.label('pml4');
      asm.dq(at('pdpt', 7));
      asm.space(4088);
      asm.label('pdpt');
      asm.dq(at('pd', 7));
      asm.space(4088);
      asm.label('pd');
      // The first 4 MiB are the supervisor's; the same again for ring 3 at 16 MiB.
      for (let i = 0; i < 512; i++) {
        if (i < 2) asm.dq(i * 0x20_0000 + 0x83);
        else if (i === 4) asm.dq(at('pt', 7));
        else if (i === 8 || i === 9) asm.dq((i - 8) * 0x20_0000 + 0x87);
        else asm.dq(0);
      }
      asm.label('pt');
      asm.space(4096);
    });
  }

  /** Clears the record, compares it with a table, prints. */
  #routines(): void {
    const { asm } = this;
    asm.label('reset');
    asm.mov('eax', 0);
    for (const name of FIELDS) {
      const value = name === 'vector' || name === 'error' ? -1 : 0;
      asm.mov(this.at(name), value);
      asm.mov(mem(at('record', FIELDS.indexOf(name) * 8 + 4)), 0);
    }
    asm.db(0xc3);
    emitPrintRoutines(asm);
    emitCheckRoutines(asm);
  }

  /** An entry for each vector; all meet where the record is made. */
  #stubs(): void {
    const { asm } = this;
    for (let vector = 0; vector < VECTORS; vector++) {
      asm.label(`stub.${vector}`);
      if (!WITH_ERROR.has(vector)) asm.push(-1);
      asm.push(vector);
      asm.jmp('caught');
    }
    asm.label('caught');
    asm.db(0xfc);
    asm.push('eax' as const);
    // SS is good here, DS need not be.
    asm.mov('eax', KERNEL_DATA);
    asm.mov('ds', 'eax');
    asm.mov('es', 'eax');
    for (const field of ['ax', 'vector', 'error', 'ip', 'cs', 'flags', 'sp', 'ss'] as const)
      asm.pop(this.at(field));
    const wide = this.bits === 64;
    asm.mov(wide ? 'rax' : 'eax', 'cr2');
    asm.mov(this.at('cr2', wide ? 8 : 4), wide ? 'rax' : 'eax');
    asm.db(0x0f, 0x21, 0xf0); // mov eax, dr6
    asm.mov(this.at('dr6'), 'eax');
    asm.inc(this.at('count'));
    asm.mov('eax', KERNEL_DATA);
    asm.mov('ss', 'eax');
    asm.mov(wide ? 'rsp' : 'esp', this.at('resumeSp'));
    asm.encode([0xff], 4, this.at('resume'), 0);
  }

  /** Ends the kernel and gives its image. */
  finish(): Buffer {
    const { asm } = this;
    asm.mov('ebx', mem(at('failed')));
    asm.mov('edx', DEBUG_EXIT);
    asm.mov('eax', 'ebx');
    asm.db(0xee);
    asm.db(0xf4, 0xeb, 0xfd); // hlt, again and again
    asm.align(16);
    this.#tables();
    this.#texts();
    for (const emit of this.#data) emit();
    asm.align(16);
    asm.label('tss');
    this.#tss();
    // Not part of what a segment override or a table may grow into.
    asm.align(16);
    asm.space(4096);
    asm.label('stack0Top');
    asm.space(64);
    asm.space(8192);
    asm.label('stackTop');
    asm.space(64);
    asm.space(4096);
    asm.label('userStackTop');
    asm.space(64);
    this.#gdt();
    asm.align(4096);
    asm.label('imageEnd');
    return asm.finish();
  }

  #tables(): void {
    const { asm } = this;
    asm.label('record');
    asm.space(FIELDS.length * 8);
    asm.label('failed');
    asm.dd(0);
    asm.align(16);
    asm.label('idt');
    for (let vector = 0; vector < VECTORS; vector++) {
      const own = this.#gates.get(vector);
      const handler = at(own?.handler ?? `stub.${vector}`);
      asm.half(handler, 'low16');
      asm.dw(KERNEL_CODE);
      asm.db(own?.ist ?? 0, vector === 3 || vector === 4 || vector === 0x80 ? 0xee : 0x8e);
      asm.half(handler, 'high16');
      if (this.bits === 64) asm.dq(0);
    }
    asm.label('idtr');
    asm.dw(VECTORS * (this.bits === 64 ? 16 : 8) - 1);
    asm.dd(at('idt'), 0);
  }

  #tss(): void {
    const { asm } = this;
    if (this.bits === 64) {
      asm.dd(0);
      asm.dq(at('stack0Top'), 0, 0, 0);
      for (let i = 1; i <= 7; i++) asm.dq(at('stackTop', -0x200 * i - 0x400));
      asm.dq(0);
      asm.dw(0, 104);
      return;
    }
    asm.dd(0, at('stack0Top'), KERNEL_DATA);
    asm.space(102 - 12);
    asm.dw(104);
    // The I/O permission map: port 80h is open, all others shut.
    for (let port = 0; port < 0x100; port += 8) asm.db(port === 0x80 ? 0xfe : 0xff);
    asm.db(0xff);
  }

  #gdt(): void {
    const { asm } = this;
    asm.align(16);
    asm.label('gdt');
    const { bits } = this;
    const tss = asm.address('tss');
    const limit = bits === 64 ? 103 : 104 + 32;
    asm.dq(0);
    asm.dq(bits === 64 ? 0x00af9a000000ffffn : 0x00cf9a000000ffffn);
    asm.dq(0x00cf92000000ffffn);
    asm.dq(0x00cffa000000ffffn);
    asm.dq(0x00cff2000000ffffn);
    if (bits === 64) asm.dq(0x00affa000000ffffn);
    asm.dd(((tss & 0xffff) << 16) | limit, (tss & 0xff00_0000) | 0x8900 | ((tss >>> 16) & 0xff));
    if (bits === 64) asm.dq(0);
    for (const { low, high } of this.#extra) asm.dd(low(), high());
    asm.label('gdtEnd');
    asm.align(4);
    asm.label('gdtr');
    asm.dw(asm.address('gdtEnd') - asm.address('gdt') - 1);
    asm.dd(at('gdt'), 0);
  }

  #texts(): void {
    const { asm } = this;
    const names = new Map<string, string>();
    const text = (value: string): Label => {
      const known = names.get(value);
      if (known !== undefined) return at(known);
      const label = asm.fresh('text');
      names.set(value, label);
      asm.label(label);
      asm.text(value);
      return at(label);
    };
    for (const [name, value] of [
      ['ok', 'ok '],
      ['notOk', 'not ok '],
      ['line', '\n'],
      ['field', '\n# '],
      ['is', ' is '],
      ['not', ', not '],
      ['skip', ' # SKIP not on this processor\n'],
    ] as const) {
      asm.label(`text.${name}`);
      asm.text(value);
    }
    asm.label('plan');
    asm.text(`1..${this.#cases.length}\n`);
    const tables = this.#cases.map(({ name, expected, table }, index) => ({
      table,
      number: text(`${index + 1} - `),
      name: text(name),
      rows: this.#rows(expected).map(([field, address, value]) => ({ field: text(field), address, value })),
    }));
    asm.align(4);
    for (const { table, number, name, rows } of tables) {
      asm.label(table);
      asm.dd(name, number);
      for (const { field, address, value } of rows) {
        const masked = typeof value === 'object' && 'mask' in value;
        asm.dd(field, address, masked ? value.mask : -1, masked ? value.value : value);
      }
      asm.dd(0);
    }
  }

  #rows(expected: Expectation): (readonly [string, Value, Expected])[] {
    const { memory = [], ...fields } = expected;
    const rows = Object.entries(fields).map(
      ([name, value]) => [name, this.field(name as Field), value as Expected] as const,
    );
    return [...rows, ...memory];
  }
}

/** A case of a few bytes whose fault is expected at its last instruction. */
export function faults(
  kernel: TestKernel,
  name: string,
  vector: number,
  error: number | undefined,
  bytes: readonly number[],
  before: () => void = () => {},
  after?: () => void,
  needs?: Requirement,
): void {
  const ip = kernel.asm.fresh('fault');
  kernel.test(
    name,
    {
      vector,
      ip: at(ip),
      ...(kernel.bits === 64 ? { ipHigh: 0 } : {}),
      cs: KERNEL_CODE,
      ...(error === undefined ? {} : { error }),
    },
    () => {
      before();
      kernel.asm.label(ip);
      kernel.asm.db(...bytes);
    },
    { needs, ...(after ? { after } : {}) },
  );
}
