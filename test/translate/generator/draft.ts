import type { Random } from '../../native/random.ts';
import { Assembler, type Label } from '../assembler.ts';
import type { InstructionPicker } from '../instructions.ts';
import { D, DATA } from '../places.ts';

export const PAGE = 0x1000;
/** Times that the body of the innermost loop may run, about. */
export const MOST_ROUNDS = 160;
/** Times that something that writes code may run: each time translations are thrown away. */
export const MOST_REWRITES = 12;

export const RAX = 0,
  RCX = 1,
  RDX = 2,
  RSI = 6;

export interface Callee {
  readonly label: Label;
  /** Bytes of arguments that it takes from the stack. */
  readonly releases: number;
  /** It may go on three bytes behind where it was called from. */
  readonly skips: boolean;
  /** It may go on at the address in the slot of alternatives. */
  readonly diverts: boolean;
  /** An instruction in it with an immediate that others may write. */
  readonly victim: Label;
  /** Counter of its depth, when it calls itself. */
  readonly depth: number | undefined;
}

/** Where the emission stands: how often it runs, and what it must not write. */
export interface Scope {
  readonly rounds: number;
  readonly reserved: readonly number[];
  readonly depth: number;
  readonly inFunction: boolean;
}

interface DraftOptions {
  readonly rng: Random;
  readonly pick: InstructionPicker;
  readonly mode: 32 | 64;
  /** Compare with a host's processor: nothing undefined. */
  readonly native: boolean;
  /** Branches may be short. */
  readonly short: boolean;
  /** Of what stays in a region only. */
  readonly hot: boolean;
  /** Emits a chunk of any kind, to stand in another one. */
  readonly chunk: (scope: Scope) => void;
}

/**
 * A program that is being written, and the pieces that all of its chunks are
 * made of. Registers of ROLES hold addresses and counts and are written by
 * nothing else, so that accesses lie in the data and loops come to an end.
 */
export class Draft {
  readonly rng: Random;
  readonly pick: InstructionPicker;
  readonly mode: 32 | 64;
  readonly native: boolean;
  readonly short: boolean;
  readonly hot: boolean;
  readonly chunk: (scope: Scope) => void;
  readonly asm = new Assembler();
  /** Functions that there are by now. */
  readonly callees: Callee[] = [];
  /** Tables of addresses in the data. */
  readonly tables: { readonly at: number; readonly labels: readonly Label[] }[] = [];
  /** What the data holds at first, by offset. */
  readonly initial: { readonly offset: number; readonly bytes: Uint8Array }[] = [];
  #slots = D.tables + 0x800;

  constructor(options: DraftOptions) {
    this.rng = options.rng;
    this.pick = options.pick;
    this.mode = options.mode;
    this.native = options.native;
    this.short = options.short;
    this.hot = options.hot;
    this.chunk = options.chunk;
  }

  /** The prefix of an operation as wide as an address. */
  get wide(): number[] {
    return this.mode === 64 ? [0x48] : [];
  }

  /** An instruction with a memory operand at a label of the code, `/reg`, with an immediate of `behind` bytes to come. */
  atLabel(opcode: readonly number[], reg: number, label: Label, delta: number, behind = 0): void {
    this.asm.emit(...opcode, (reg << 3) | 5);
    if (this.mode === 64) this.asm.relative(label, delta, behind);
    else this.asm.absolute(label, delta);
  }

  /** An instruction with a memory operand at an offset of the data. */
  atData(opcode: readonly number[], reg: number, offset: number): void {
    const sib = this.mode === 64 ? [0x25] : [];
    this.asm.emit(...opcode, (reg << 3) | (this.mode === 64 ? 4 : 5), ...sib);
    this.asm.emit32(DATA + offset);
  }

  /** Offset of eight bytes of the data that nothing else uses. */
  slot(): number {
    this.#slots += 8;
    return this.#slots;
  }

  /** MOV of 32 bits to a register; flags stay. */
  moveImmediate(register: number, value: number): void {
    this.asm.emit(...(register > 7 ? [0x41] : []), 0xb8 + (register & 7));
    this.asm.emit32(value);
  }

  /** A place's address to a register; flags stay. */
  loadAddress(register: number, label: Label, delta = 0): void {
    if (this.mode === 64) this.atLabel([0x48, 0x8d], register, label, delta);
    else {
      this.asm.emit(0xb8 + register);
      this.asm.absolute(label, delta);
    }
  }

  /** JMP; `near` where a short one may not reach. */
  jump(label: Label, near = false): void {
    if (this.short && !near && this.rng.chance(0.6)) this.asm.short(0xeb, label);
    else this.asm.near(label, 0xe9);
  }

  /** A conditional branch, by its number in the SDM (vol. 1, appendix B). */
  jcc(condition: number, label: Label, near = false): void {
    if (this.short && !near && this.rng.chance(0.6)) this.asm.short(0x70 + condition, label);
    else this.asm.near(label, 0x0f, 0x80 + condition);
  }

  /** An integer instruction whose effects are all defined. */
  plain(scope: Scope, names?: RegExp): void {
    this.asm.emit(...this.pick.plain({ reserved: scope.reserved, ...(names ? { names } : {}) }));
  }

  /** One with undefined flags, and one that defines them again where a host compares. */
  loose(scope: Scope): void {
    this.asm.emit(...this.pick.loose({ reserved: scope.reserved }));
    if (!this.native) return;
    // Carry, zero and sign of shifts are defined; nothing else is looked at.
    this.normalize();
  }

  /** TEST or CMP of two registers: nothing may fault while flags are undefined. */
  normalize(): void {
    this.asm.emit(this.rng.pick([0x85, 0x39]), 0xc0 | this.rng.below(64));
  }

  /** One to `most` instructions without branches. */
  some(scope: Scope, most = 4): void {
    for (let n = this.rng.below(most); n >= 0; n--) {
      const kind = this.rng.below(14);
      if (kind === 0 && !this.hot) this.asm.emit(...this.pick.vector(true, scope.reserved));
      else if (kind <= 3) this.loose(scope);
      else this.plain(scope);
    }
  }

  /** A table of addresses in the data; its offset. */
  table(labels: readonly Label[]): number {
    const last = this.tables.at(-1);
    const at = last ? last.at + last.labels.length * 8 : D.tables;
    if (at + labels.length * 8 > D.tables + 0x7f0) throw new Error('too many jump tables');
    this.tables.push({ at, labels });
    return at;
  }
}
