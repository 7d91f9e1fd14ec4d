import { CONDITION_NAMES } from '../../src/hypervisor/cpu/isa/integer/names.ts';

/**
 * A small typed x86 assembler for test kernels: registers and memory operands
 * as values, labels, and raw bytes for what is rare. What one line emits is
 * always the same length, so that labels need one pass. Encodings: Intel SDM
 * vol. 2, appendix A.
 */

const GPR32 = ['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'] as const;
const GPR64 = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi'] as const;
const GPR64_HIGH = ['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const;
const GPR16 = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'] as const;
const GPR8 = ['al', 'cl', 'dl', 'bl', 'ah', 'ch', 'dh', 'bh'] as const;
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const;
const CONTROL = ['cr0', 'cr1', 'cr2', 'cr3', 'cr4'] as const;
const ALU = ['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'] as const;
const SEGMENT_PREFIX = { es: 0x26, cs: 0x2e, ss: 0x36, ds: 0x3e, fs: 0x64, gs: 0x65 } as const;

export type Gpr =
  | (typeof GPR32)[number]
  | (typeof GPR64)[number]
  | (typeof GPR64_HIGH)[number]
  | (typeof GPR16)[number]
  | (typeof GPR8)[number];
export type SegmentRegister = (typeof SEGMENTS)[number];
export type AluName = (typeof ALU)[number];
export type Condition = (typeof CONDITION_NAMES)[number];

/** A place that only the finished kernel knows, and a distance from it. */
export interface Label {
  readonly label: string;
  readonly plus: number;
}
export const at = (label: string, plus = 0): Label => ({ label, plus });
/** An immediate or address. */
export type Value = number | bigint | Label;

/** A memory operand; without a base, an absolute address below 2 GiB in every mode. */
export interface Memory {
  readonly memory: Value;
  readonly base: Gpr | undefined;
  readonly segment: SegmentRegister | undefined;
  /** In bytes, where no register tells it. */
  readonly size: 1 | 2 | 4 | 8;
}
export function mem(
  address: Value,
  options: { base?: Gpr; segment?: SegmentRegister; size?: 1 | 2 | 4 | 8 } = {},
): Memory {
  return { memory: address, base: options.base, segment: options.segment, size: options.size ?? 4 };
}

interface Register {
  readonly number: number;
  readonly size: 1 | 2 | 4 | 8;
}

function register(name: Gpr): Register {
  const tables = [
    [GPR8, 1],
    [GPR16, 2],
    [GPR32, 4],
    [GPR64, 8],
  ] as const;
  for (const [names, size] of tables) {
    const number = (names as readonly string[]).indexOf(name);
    if (number >= 0) return { number, size };
  }
  return { number: 8 + (GPR64_HIGH as readonly string[]).indexOf(name), size: 8 };
}

interface Fixup {
  readonly at: number;
  readonly label: Label;
  readonly kind: 'abs16' | 'abs32' | 'abs64' | 'rel16' | 'rel32' | 'low16' | 'high16';
  /** Address behind the field, for relative ones. */
  readonly next: number;
}

const isMemory = (operand: Gpr | Value | Memory): operand is Memory =>
  typeof operand === 'object' && 'memory' in operand;

/** Assembles one image; see the file's comment. */
export class Assembler {
  readonly #start: number;
  #shift = 0;
  #bytes: Uint8Array = new Uint8Array(1 << 16);
  #length = 0;
  readonly #labels = new Map<string, number>();
  readonly #fixups: Fixup[] = [];
  #unique = 0;
  /** Of the code that follows: 16, 32 or 64. */
  bits: 16 | 32 | 64 = 32;

  /** `start` is the address of the first byte. */
  constructor(start: number) {
    this.#start = start;
  }

  // Places

  get here(): number {
    return this.#start + this.#length + this.#shift;
  }

  label(name: string): Label {
    if (this.#labels.has(name)) throw new Error(`label ${name} is there twice`);
    this.#labels.set(name, this.here);
    return at(name);
  }

  /** A name that no label has yet. */
  fresh(stem: string): string {
    this.#unique += 1;
    return `${stem}.${this.#unique}`;
  }

  address(name: string): number {
    const address = this.#labels.get(name);
    if (address === undefined) throw new Error(`no label ${name}`);
    return address;
  }

  /** Code that will be copied to `address` before it runs. */
  phase(address: number): void {
    this.#shift = address - this.#start - this.#length;
  }

  dephase(): void {
    this.#shift = 0;
  }

  align(boundary: number): void {
    while (this.here % boundary !== 0) this.db(0);
  }

  space(bytes: number): void {
    for (let i = 0; i < bytes; i++) this.db(0);
  }

  // Data

  db(...values: readonly number[]): void {
    while (this.#length + values.length > this.#bytes.length) {
      const grown = new Uint8Array(this.#bytes.length * 2);
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    for (const value of values) this.#bytes[this.#length++] = value;
  }

  #number(value: Value, bytes: 1 | 2 | 4 | 8): void {
    if (typeof value === 'object') {
      const kind = bytes === 8 ? 'abs64' : bytes === 4 ? 'abs32' : 'abs16';
      this.#fixups.push({ at: this.#length, label: value, kind, next: 0 });
      for (let i = 0; i < bytes; i++) this.db(0);
      return;
    }
    const bits = BigInt.asUintN(bytes * 8, BigInt(value));
    for (let i = 0; i < bytes; i++) this.db(Number((bits >> BigInt(i * 8)) & 0xffn));
  }

  dw(...values: readonly Value[]): void {
    for (const value of values) this.#number(value, 2);
  }

  dd(...values: readonly Value[]): void {
    for (const value of values) this.#number(value, 4);
  }

  dq(...values: readonly Value[]): void {
    for (const value of values) this.#number(value, 8);
  }

  text(value: string): void {
    this.db(...Buffer.from(value, 'latin1'), 0);
  }

  /** Half of an address, as gate descriptors want it. */
  half(label: Label, which: 'low16' | 'high16'): void {
    this.#fixups.push({ at: this.#length, label, kind: which, next: 0 });
    this.db(0, 0);
  }

  // Encoding

  /** Prefixes, opcode and ModRM: `field` is a register number, `size` the operand's in bytes. */
  encode(opcode: readonly number[], field: number, operand: Gpr | Memory, size: number): void {
    const memory = isMemory(operand) ? operand : undefined;
    const rm = memory
      ? memory.base === undefined
        ? 4
        : register(memory.base).number
      : register(operand as Gpr).number;
    if (memory?.segment) this.db(SEGMENT_PREFIX[memory.segment]);
    if (memory && this.bits === 16) this.db(0x67);
    this.#prefixes(size, field, rm);
    this.db(...opcode);
    const low = (field & 7) << 3;
    if (!memory) {
      this.db(0xc0 | low | (rm & 7));
    } else if (memory.base === undefined) {
      // The form with SIB is an absolute address in 64-bit mode too.
      this.db(low | 4, 0x25);
      this.#number(memory.memory, 4);
    } else {
      this.db(0x80 | low | (rm & 7));
      if ((rm & 7) === 4) this.db(0x24);
      this.#number(memory.memory, 4);
    }
  }

  #prefixes(size: number, field: number, rm: number): void {
    if (this.bits === 16 ? size === 4 : size === 2) this.db(0x66);
    const rex = (size === 8 ? 8 : 0) | (field >= 8 ? 4 : 0) | (rm >= 8 ? 1 : 0);
    if (rex !== 0) {
      if (this.bits !== 64) throw new Error('a 64-bit register outside 64-bit code');
      this.db(0x40 | rex);
    }
  }

  // Moves

  mov(
    target: Gpr | Memory | SegmentRegister | (typeof CONTROL)[number],
    source: Gpr | Value | Memory | SegmentRegister | (typeof CONTROL)[number],
  ): void {
    if (typeof target === 'string' && (SEGMENTS as readonly string[]).includes(target)) {
      return this.encode([0x8e], (SEGMENTS as readonly string[]).indexOf(target), source as Gpr | Memory, 0);
    }
    if (typeof source === 'string' && (SEGMENTS as readonly string[]).includes(source)) {
      return this.encode(
        [0x8c],
        (SEGMENTS as readonly string[]).indexOf(source),
        target as Gpr | Memory,
        this.bits === 16 ? 0 : isMemory(target as Memory) ? 0 : register(target as Gpr).size,
      );
    }
    if (typeof target === 'string' && (CONTROL as readonly string[]).includes(target)) {
      return this.encode([0x0f, 0x22], (CONTROL as readonly string[]).indexOf(target), source as Gpr, 0);
    }
    if (typeof source === 'string' && (CONTROL as readonly string[]).includes(source)) {
      return this.encode([0x0f, 0x20], (CONTROL as readonly string[]).indexOf(source), target as Gpr, 0);
    }
    this.#moveGeneral(target as Gpr | Memory, source as Gpr | Value | Memory);
  }

  #moveGeneral(target: Gpr | Memory, source: Gpr | Value | Memory): void {
    if (typeof target !== 'string') {
      if (typeof source === 'string') {
        const { number, size } = register(source);
        return this.encode([size === 1 ? 0x88 : 0x89], number, target, size);
      }
      this.encode([target.size === 1 ? 0xc6 : 0xc7], 0, target, target.size);
      return this.#number(source as Value, target.size === 8 ? 4 : target.size);
    }
    const { number, size } = register(target);
    if (typeof source === 'string' || isMemory(source))
      return this.encode([size === 1 ? 0x8a : 0x8b], number, source, size);
    this.#prefixes(size, 0, number);
    this.db((size === 1 ? 0xb0 : 0xb8) | (number & 7));
    this.#number(source, size);
  }

  alu(name: AluName, target: Gpr | Memory, source: Gpr | Value | Memory): void {
    const index = ALU.indexOf(name);
    if (typeof target === 'string' && isMemory(source)) {
      const { number, size } = register(target);
      return this.encode([(index << 3) | (size === 1 ? 2 : 3)], number, source, size);
    }
    if (typeof source === 'string') {
      const { number, size } = register(source);
      return this.encode([(index << 3) | (size === 1 ? 0 : 1)], number, target, size);
    }
    const size = typeof target === 'string' ? register(target).size : target.size;
    this.encode([size === 1 ? 0x80 : 0x81], index, target, size);
    this.#number(source as Value, size === 8 ? 4 : size);
  }

  inc(target: Gpr | Memory): void {
    const size = typeof target === 'string' ? register(target).size : target.size;
    this.encode([size === 1 ? 0xfe : 0xff], 0, target, size);
  }

  dec(target: Gpr | Memory): void {
    const size = typeof target === 'string' ? register(target).size : target.size;
    this.encode([size === 1 ? 0xfe : 0xff], 1, target, size);
  }

  /** Shifts by an immediate: SHL or SHR. */
  shift(direction: 'shl' | 'shr', target: Gpr, count: number): void {
    const { size } = register(target);
    this.encode([size === 1 ? 0xc0 : 0xc1], direction === 'shl' ? 4 : 5, target, size);
    this.db(count);
  }

  push(source: Gpr | Value | Memory): void {
    if (typeof source === 'string') {
      const { number } = register(source);
      if (number >= 8) this.db(0x41);
      this.db(0x50 | (number & 7));
    } else if (isMemory(source)) {
      this.encode([0xff], 6, source, source.size === 2 ? 2 : 0);
    } else {
      this.db(0x68);
      this.#number(source, this.bits === 16 ? 2 : 4);
    }
  }

  pop(target: Gpr | Memory): void {
    if (typeof target !== 'string') return this.encode([0x8f], 0, target, 0);
    const { number } = register(target);
    if (number >= 8) this.db(0x41);
    this.db(0x58 | (number & 7));
  }

  // Flow

  #relative(opcode: readonly number[], target: Label): void {
    this.db(...opcode);
    const [kind, bytes] = this.bits === 16 ? (['rel16', 2] as const) : (['rel32', 4] as const);
    this.#fixups.push({ at: this.#length, label: target, kind, next: this.here + bytes });
    this.space(bytes);
  }

  jmp(label: string): void {
    this.#relative([0xe9], at(label));
  }

  call(label: string): void {
    this.#relative([0xe8], at(label));
  }

  j(condition: Condition, label: string): void {
    this.#relative([0x0f, 0x80 | CONDITION_NAMES.indexOf(condition)], at(label));
  }

  /** A direct far jump or call: selector and offset. */
  far(kind: 'jmp' | 'call', selector: number, offset: Value): void {
    this.db(kind === 'jmp' ? 0xea : 0x9a);
    this.#number(offset, this.bits === 16 ? 2 : 4);
    this.dw(selector);
  }

  out(port: number, value: number): void {
    this.mov('edx', port);
    this.mov('al', value);
    this.db(0xee);
  }

  /** IN AL, port. */
  in(port: number): void {
    this.mov('edx', port);
    this.db(0xec);
  }

  wrmsr(index: number, value: bigint | Label): void {
    this.mov('ecx', index);
    this.mov('eax', typeof value === 'object' ? value : BigInt.asUintN(32, value));
    this.mov('edx', typeof value === 'object' ? 0 : value >> 32n);
    this.db(0x0f, 0x30);
  }

  rdmsr(index: number): void {
    this.mov('ecx', index);
    this.db(0x0f, 0x32);
  }

  /** The image, with every label in place. */
  finish(): Buffer {
    const image = Buffer.from(this.#bytes.subarray(0, this.#length));
    for (const { at: place, label, kind, next } of this.#fixups) {
      const target = this.address(label.label) + label.plus;
      if (kind === 'abs16') image.writeUInt16LE(target & 0xffff, place);
      else if (kind === 'abs32') image.writeUInt32LE(target >>> 0, place);
      else if (kind === 'abs64') image.writeBigUInt64LE(BigInt(target), place);
      else if (kind === 'rel16') image.writeUInt16LE((target - next) & 0xffff, place);
      else if (kind === 'low16') image.writeUInt16LE(target & 0xffff, place);
      else if (kind === 'high16') image.writeUInt16LE((target >>> 16) & 0xffff, place);
      else image.writeInt32LE(target - next, place);
    }
    return image;
  }
}
