import { OpcodeTable } from '../../src/hypervisor/cpu/decode/encoding.ts';
import { allInstructions } from '../../src/hypervisor/cpu/isa/index.ts';
import { randomFx, randomUpper } from '../native/cases.ts';
import type { MemoryChoice } from '../native/encoder.ts';
import { Random } from '../native/random.ts';
import { Assembler, type Label, TooFar } from './assembler.ts';
import { InstructionPicker, ROLES } from './instructions.ts';
import { CODE, CODE_BYTES, D, DATA, DEVICE } from './places.ts';
import { EXIT_BYTES, type Program, type Variant } from './program.ts';

const TABLE = new OpcodeTable(allInstructions);
const PAGE = 0x1000;
/** Times that the body of the innermost loop may run, about. */
const MOST_ROUNDS = 160;
/** Times that something that writes code may run: each time translations are thrown away. */
const MOST_REWRITES = 12;
const NATIVE_SHARE = 0.6;

const RAX = 0,
  RCX = 1,
  RDX = 2,
  RSI = 6;

export interface ProgramOptions {
  /** Only of this mode. */
  readonly mode?: 32 | 64;
  /** One loop, run this often, of what stays in a region. */
  readonly hotRounds?: number;
}

/** The program of a seed: the same one each time. */
export function makeProgram(seed: number, options: ProgramOptions = {}): Program {
  for (const short of [true, false]) {
    try {
      return new Generator(seed, short, options).make();
    } catch (error) {
      if (!(error instanceof TooFar)) throw error;
    }
  }
  throw new Error('branches that are not short reach everywhere');
}

interface Callee {
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
interface Scope {
  readonly rounds: number;
  readonly reserved: readonly number[];
  readonly depth: number;
  readonly inFunction: boolean;
}

/**
 * Writes a program: blocks, branches, loops, calls, faults and code that
 * writes code. Registers of ROLES hold addresses and counts and are written by
 * nothing else, so that accesses lie in the data and loops come to an end.
 */
class Generator {
  readonly #seed: number;
  readonly #rng: Random;
  readonly #short: boolean;
  readonly #options: ProgramOptions;
  readonly #mode: 32 | 64;
  readonly #native: boolean;
  readonly #variant: Variant | undefined;
  readonly #a = new Assembler();
  readonly #pick: InstructionPicker;
  readonly #callees: Callee[] = [];
  readonly #pads: Label[] = [];
  readonly #tables: { readonly at: number; readonly labels: readonly Label[] }[] = [];
  readonly #initial: { readonly offset: number; readonly bytes: Uint8Array }[] = [];
  #slots = D.tables + 0x800;

  constructor(seed: number, short: boolean, options: ProgramOptions) {
    this.#seed = seed;
    this.#rng = new Random(seed);
    this.#short = short;
    this.#options = options;
    this.#mode = options.mode ?? this.#rng.pick([64, 64, 32] as const);
    this.#variant = options.hotRounds === undefined ? this.#chooseVariant() : undefined;
    this.#native = this.#rng.chance(NATIVE_SHARE) && this.#variant === undefined;
    this.#pick = new InstructionPicker(
      this.#rng,
      this.#mode,
      TABLE,
      this.#native,
      options.hotRounds !== undefined,
    );
  }

  #chooseVariant(): Variant | undefined {
    const all = [
      undefined,
      'task-switched',
      'watched',
      'alignment',
      this.#mode === 32 ? 'based' : undefined,
    ] as const;
    return this.#rng.chance(0.2) ? this.#rng.pick(all.map((variant) => ({ variant }))).variant : undefined;
  }

  make(): Program {
    const rng = this.#rng;
    const a = this.#a;
    const start = a.label();
    const end = a.label();
    const scope: Scope = { rounds: 1, reserved: [], depth: 0, inFunction: false };
    const before = this.#options.hotRounds === undefined ? rng.below(3) : 0;
    for (let n = 0; n < before; n++) this.#function(scope);
    a.bind(start);
    // pushf; or dword [rsp], AC; popf
    if (this.#variant === 'alignment') a.emit(0x9c, 0x81, 0x0c, 0x24, 0, 0, 4, 0, 0x9d);
    if (this.#options.hotRounds !== undefined) this.#hot(this.#options.hotRounds);
    else {
      const blocks = 3 + rng.below(6);
      for (let n = 0; n < blocks; n++) {
        this.#pads.push(a.here());
        this.#chunk(scope);
        this.#chunk(scope);
      }
    }
    a.bind(end);
    a.emit(...new Array<number>(EXIT_BYTES).fill(0x90));
    return this.#finish(start, end);
  }

  #finish(start: Label, end: Label): Program {
    const rng = this.#rng;
    const length = this.#a.bytes.length;
    if (length > CODE_BYTES - PAGE) throw new Error(`a program of ${length} bytes`);
    // Often so that a boundary of pages goes through it.
    const anywhere =
      rng.chance(0.6) && length < PAGE ? PAGE - rng.below(length) : rng.below(CODE_BYTES - length);
    const offset = this.#options.hotRounds === undefined ? anywhere : PAGE + rng.below(PAGE - length);
    const at = CODE + offset;
    const code = this.#a.link(at);
    const place = (label: Label): number => at + (label.at ?? 0);
    const pointer = this.#mode / 8;
    const patches = this.#tables.map((table) => {
      const bytes = new Uint8Array(table.labels.length * pointer);
      const view = new DataView(bytes.buffer);
      for (const [n, label] of table.labels.entries()) view.setUint32(n * pointer, place(label), true);
      return { offset: table.at, bytes };
    });
    const roles = ROLES[this.#mode];
    const gpr = new BigUint64Array(16);
    for (let n = 0; n < 16; n++)
      gpr[n] = this.#mode === 64 ? rng.value() : n < 8 ? rng.value() & 0xffff_ffffn : 0n;
    gpr[roles.base1] = BigInt(DATA + D.numbers + 0x1000);
    gpr[roles.base2] = BigInt(DATA + D.numbers + 0x2000 - rng.below(24));
    const misaligned = this.#options.hotRounds === undefined && rng.chance(0.15);
    gpr[4] = BigInt(DATA + D.stack + 0x1000 + (misaligned ? rng.below(16) : 8 * rng.below(8)));
    if (roles.index !== undefined) gpr[roles.index] = BigInt(rng.below(64));
    return {
      seed: this.#seed,
      mode: this.#mode,
      native: this.#native,
      start: place(start),
      end: place(end),
      at,
      code,
      pads: [...this.#pads.slice(1).map(place), place(end)],
      patches: [...patches, ...this.#initial],
      gpr,
      rflags: (rng.below(0x1000) & 0x8d5) | 2,
      fx: randomFx(rng),
      upper: randomUpper(rng),
      variant: this.#variant,
    };
  }

  // Pieces of code

  get #wide(): number[] {
    return this.#mode === 64 ? [0x48] : [];
  }
  /** An instruction with a memory operand at a label of the code, `/reg`, with an immediate of `behind` bytes to come. */
  #atLabel(opcode: readonly number[], reg: number, label: Label, delta: number, behind = 0): void {
    this.#a.emit(...opcode, (reg << 3) | 5);
    if (this.#mode === 64) this.#a.relative(label, delta, behind);
    else this.#a.absolute(label, delta);
  }
  /** An instruction with a memory operand at an offset of the data. */
  #atData(opcode: readonly number[], reg: number, offset: number): void {
    const sib = this.#mode === 64 ? [0x25] : [];
    this.#a.emit(...opcode, (reg << 3) | (this.#mode === 64 ? 4 : 5), ...sib);
    this.#a.emit32(DATA + offset);
  }
  #slot(): number {
    this.#slots += 8;
    return this.#slots;
  }
  #moveImmediate(register: number, value: number): void {
    this.#a.emit(...(register > 7 ? [0x41] : []), 0xb8 + (register & 7));
    this.#a.emit32(value);
  }
  #loadAddress(register: number, label: Label, delta = 0): void {
    if (this.#mode === 64) this.#atLabel([0x48, 0x8d], register, label, delta);
    else {
      this.#a.emit(0xb8 + register);
      this.#a.absolute(label, delta);
    }
  }
  #jump(label: Label, near = false): void {
    if (this.#short && !near && this.#rng.chance(0.6)) this.#a.short(0xeb, label);
    else this.#a.near(label, 0xe9);
  }
  #jcc(condition: number, label: Label, near = false): void {
    if (this.#short && !near && this.#rng.chance(0.6)) this.#a.short(0x70 + condition, label);
    else this.#a.near(label, 0x0f, 0x80 + condition);
  }

  #plain(scope: Scope, names?: RegExp): void {
    this.#a.emit(...this.#pick.plain({ reserved: scope.reserved, ...(names ? { names } : {}) }));
  }
  /** One with undefined flags, and one that defines them again where a host compares. */
  #loose(scope: Scope): void {
    this.#a.emit(...this.#pick.loose({ reserved: scope.reserved }));
    if (!this.#native) return;
    // Carry, zero and sign of shifts are defined; nothing else is looked at.
    this.#normalize();
  }
  /** TEST or CMP of two registers: nothing may fault while flags are undefined. */
  #normalize(): void {
    this.#a.emit(this.#rng.pick([0x85, 0x39]), 0xc0 | this.#rng.below(64));
  }
  #some(scope: Scope, most = 4): void {
    for (let n = this.#rng.below(most); n >= 0; n--) {
      const kind = this.#rng.below(14);
      if (kind === 0 && this.#options.hotRounds === undefined)
        this.#a.emit(...this.#pick.vector(true, scope.reserved));
      else if (kind <= 3) this.#loose(scope);
      else this.#plain(scope);
    }
  }

  // Chunks

  #chunk(scope: Scope): void {
    const rng = this.#rng;
    const deep = scope.depth >= 3;
    const choices: (readonly [number, () => void])[] = [
      [10, () => this.#some(scope)],
      [9, () => this.#flagChain(scope)],
      [deep ? 0 : 12, () => this.#branch(scope)],
      [deep || scope.rounds >= MOST_ROUNDS ? 0 : 14, () => this.#loop(scope)],
      [7, () => this.#call(scope)],
      [deep ? 1 : 5, () => this.#switch(scope)],
      [5, () => this.#stack(scope)],
      [3, () => this.#repeat(scope)],
      [deep ? 0 : 3, () => this.#divide(scope)],
      [deep ? 0 : 4, () => this.#walk(scope)],
      [scope.rounds <= MOST_REWRITES ? 7 : 0, () => this.#rewrite(scope)],
      [scope.rounds <= 2 && !deep && !scope.inFunction ? 5 : 0, () => this.#hotRewrite(scope)],
      [3, () => this.#dataInCode(scope)],
      [4, () => this.#vectors(scope)],
      [3, () => this.#x87s()],
      [this.#native ? 0 : 1, () => this.#segmented(scope)],
      [this.#native ? 0 : 3, () => this.#device(scope)],
    ];
    let left = rng.below(choices.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, emit] of choices) {
      left -= weight;
      if (left < 0) return emit();
    }
  }

  /** Something sets flags, something else changes some of them, and something reads them. */
  #flagChain(scope: Scope): void {
    const rng = this.#rng;
    this.#plain(scope, /^(add|sub|adc|sbb|cmp|test|and|or|xor|neg|inc|dec|xadd|cmpxchg)$/);
    for (let n = rng.below(3); n > 0; n--)
      this.#plain(scope, /^(inc|dec|rol|ror|stc|clc|cmc|lahf|sahf|mov|lea|movzx|not|ad[co]x)$/);
    for (let n = rng.below(3); n >= 0; n--) {
      if (rng.chance(0.15) && this.#options.hotRounds === undefined) this.#pushFlags(scope);
      else this.#plain(scope, /^(set[a-z]+|cmov[a-z]+|adc|sbb|lahf|cmc)$/);
    }
  }

  #pushFlags(scope: Scope): void {
    const rng = this.#rng;
    if (rng.chance(0.4)) {
      this.#a.emit(0x9c); // pushf; ...; popf
      this.#plain(scope);
      this.#a.emit(0x9d);
    } else {
      const n = this.#pick.free(scope.reserved);
      this.#a.emit(0x9c, ...(n > 7 ? [0x41] : []), 0x58 + (n & 7));
    }
  }

  #branch(scope: Scope): void {
    const rng = this.#rng;
    const inner: Scope = { ...scope, depth: scope.depth + 1 };
    const otherwise = this.#a.label();
    const join = this.#a.label();
    if (rng.chance(0.8)) this.#plain(scope, /^(add|sub|cmp|test|and|inc|dec|neg|xor|adc)$/);
    if (rng.chance(0.2)) this.#plain(scope, /^(inc|dec|rol|stc|mov|lea)$/);
    this.#jcc(rng.below(16), otherwise);
    this.#chunk(inner);
    if (rng.chance(0.5)) {
      this.#jump(join);
      this.#a.bind(otherwise);
      this.#chunk(inner);
      this.#a.bind(join);
    } else this.#a.bind(otherwise);
    // Flags that came two ways.
    if (rng.chance(0.5)) this.#plain(scope, /^(set[a-z]+|cmov[a-z]+|adc|sbb)$/);
  }

  /** A counted loop, of several shapes. */
  #loop(scope: Scope): void {
    const rng = this.#rng;
    const most = Math.max(2, Math.floor(MOST_ROUNDS / scope.rounds));
    const count = 1 + rng.below(rng.chance(0.4) ? Math.min(most, 40) : Math.min(most, 9));
    const { outer, inner } = ROLES[this.#mode];
    const kinds: (() => void)[] = [() => this.#memoryLoop(scope, count)];
    if (!scope.inFunction) {
      for (const counter of [outer, inner])
        if (counter !== undefined && !scope.reserved.includes(counter))
          kinds.push(
            () => this.#registerLoop(scope, counter, count),
            () => this.#testedLoop(scope, counter, count),
          );
      if (!scope.reserved.includes(RCX)) kinds.push(() => this.#loopInstruction(scope, count));
    }
    rng.pick(kinds)();
  }
  #inside(scope: Scope, count: number, ...reserved: number[]): Scope {
    return {
      ...scope,
      rounds: scope.rounds * count,
      depth: scope.depth + 1,
      reserved: [...scope.reserved, ...reserved],
    };
  }
  #body(scope: Scope): void {
    this.#chunk(scope);
    if (this.#rng.chance(0.6)) this.#chunk(scope);
  }
  #decrement(register: number): void {
    const wide = this.#mode === 64 && this.#rng.chance(0.5);
    const rex = (register > 7 ? 0x41 : 0) | (wide ? 0x48 : 0);
    // dec, sub 1 or add -1
    this.#a.emit(
      ...(rex ? [rex] : []),
      ...this.#rng.pick([
        [0xff, 0xc8 + (register & 7)],
        [0x83, 0xe8 + (register & 7), 1],
        [0x83, 0xc0 + (register & 7), 0xff],
      ]),
    );
  }
  #registerLoop(scope: Scope, counter: number, count: number): void {
    const inner = this.#inside(scope, count, counter);
    this.#moveImmediate(counter, count);
    const again = this.#a.here();
    this.#body(inner);
    if (this.#rng.chance(0.15)) {
      // Out of the middle.
      const out = this.#a.label();
      this.#jcc(this.#rng.below(16), out);
      this.#plain(inner);
      this.#decrement(counter);
      this.#jcc(5, again, true);
      this.#a.bind(out);
      return;
    }
    this.#decrement(counter);
    this.#jcc(this.#rng.pick([5, 5, 15]), again, true);
  }
  /** Entered at the test, in the middle. */
  #testedLoop(scope: Scope, counter: number, count: number): void {
    const inner = this.#inside(scope, count, counter);
    this.#moveImmediate(counter, count + 1);
    const test = this.#a.label();
    this.#jump(test);
    const again = this.#a.here();
    this.#body(inner);
    this.#a.bind(test);
    if (this.#rng.chance(0.3)) this.#plain(inner);
    this.#decrement(counter);
    this.#jcc(5, again, true);
  }
  /** Counted in memory. */
  #memoryLoop(scope: Scope, count: number): void {
    const slot = this.#slot();
    this.#atData([0xc7], 0, slot);
    this.#a.emit32(count);
    const again = this.#a.here();
    this.#body(this.#inside(scope, count));
    if (this.#rng.chance(0.5)) this.#atData([0xff], 1, slot);
    else {
      this.#atData([0x83], 5, slot);
      this.#a.emit(1);
    }
    this.#jcc(5, again, true);
  }
  /** LOOP, whose branch is short, with JECXZ in front now and then. */
  #loopInstruction(scope: Scope, count: number): void {
    const rng = this.#rng;
    const a = this.#a;
    const inner = this.#inside(scope, count, RCX);
    this.#moveImmediate(RCX, count);
    const out = a.label();
    const again = a.here();
    if (this.#short && rng.chance(0.3)) a.short(0xe3, out);
    this.#body(inner);
    const opcode = rng.pick([0xe2, 0xe2, 0xe1, 0xe0]);
    if (this.#short && rng.chance(0.6)) a.short(opcode, again);
    else {
      const back = a.label();
      const done = a.label();
      a.short(opcode, back);
      a.short(0xeb, done);
      a.bind(back);
      a.near(again, 0xe9);
      a.bind(done);
    }
    a.bind(out);
  }

  /** One loop that stays hot: for measuring how much of it runs in regions. */
  #hot(rounds: number): void {
    const { outer } = ROLES[this.#mode];
    const scope: Scope = { rounds: MOST_ROUNDS, reserved: [outer, RCX], depth: 2, inFunction: false };
    this.#moveImmediate(outer, rounds);
    const again = this.#a.here();
    for (let n = 1 + this.#rng.below(3); n >= 0; n--)
      this.#rng.pick([
        () => this.#hotBranch(scope),
        () => this.#flagChain(scope),
        () => this.#hotCall(scope),
        () => this.#some(scope, 6),
      ])();
    this.#decrement(outer);
    this.#jcc(5, again, true);
  }

  #hotBranch(scope: Scope): void {
    const out = this.#a.label();
    this.#plain(scope, /^(add|sub|cmp|test|and|inc|dec|xor)$/);
    this.#jcc(this.#rng.below(16), out);
    this.#flagChain(scope);
    this.#a.bind(out);
  }
  #hotCall(scope: Scope): void {
    const callee = this.#a.label();
    const over = this.#a.label();
    this.#jump(over, true);
    this.#a.bind(callee);
    this.#flagChain(scope);
    this.#a.emit(0xc3);
    this.#a.bind(over);
    this.#a.near(callee, 0xe8);
  }

  // Calls

  #function(scope: Scope): void {
    const rng = this.#rng;
    const a = this.#a;
    const around = a.label();
    if (scope.depth > 0 || rng.chance(0.5)) this.#jump(around, true);
    const callee: Callee = {
      label: a.label(),
      releases: rng.chance(0.2) ? (this.#mode / 8) * (1 + rng.below(3)) : 0,
      skips: rng.chance(0.25),
      diverts: rng.chance(0.15),
      victim: a.label(),
      depth: rng.chance(0.25) ? this.#slot() : undefined,
    };
    const inner: Scope = { rounds: 16, reserved: [...scope.reserved, RCX], depth: 2, inFunction: true };
    a.bind(callee.label);
    const out = a.label();
    if (callee.depth !== undefined) {
      this.#atData([0xff], 1, callee.depth);
      this.#jcc(8, out, true);
    }
    a.emit(0xb8 + rng.pick([0, 2]));
    a.bind(callee.victim);
    a.emit32(rng.below(0x1_0000_0000) | 0);
    this.#chunk(inner);
    if (callee.depth !== undefined) {
      this.#arguments(callee);
      a.near(callee.label, 0xe8);
      if (callee.skips) this.#skippable();
      this.#plain(inner);
    }
    a.bind(out);
    this.#return(callee);
    a.bind(around);
    this.#callees.push(callee);
  }

  /** Three bytes that a call may come back behind. */
  #skippable(): void {
    this.#a.emit(
      ...this.#rng.pick([
        [0x83, 0xc0, 0x05],
        [0x83, 0xf2, 0x11],
        [0x0f, 0x1f, 0x00],
        [0x0f, 0xaf, 0xc2],
      ]),
    );
    if (this.#native) this.#a.emit(0x85, 0xd2); // test edx, edx: IMUL's flags are half undefined
  }
  #arguments(callee: Callee): void {
    for (let n = callee.releases; n > 0; n -= this.#mode / 8) this.#a.emit(0x50 + this.#rng.pick([0, 2, 6]));
  }

  /** The way back: RET, or something that does not go where a predicted RET goes. */
  #return(callee: Callee): void {
    const rng = this.#rng;
    const a = this.#a;
    const normal = a.label();
    if (callee.skips) {
      this.#plain({ rounds: 1, reserved: [RCX], depth: 0, inFunction: true }, /^(test|cmp|add|xor)$/);
      this.#jcc(rng.below(16), normal, true);
      a.emit(...this.#wide, 0x83, 0x04, 0x24, 3); // add [rsp], 3
    }
    if (callee.diverts) {
      this.#plain({ rounds: 1, reserved: [RCX], depth: 0, inFunction: true }, /^(test|cmp|add|xor)$/);
      this.#jcc(rng.below(16), normal, true);
      this.#atData([...this.#wide, 0x8b], RAX, D.tables + 0x7f8);
      a.emit(...this.#wide, 0x89, 0x04, 0x24); // mov [rsp], rax
    }
    a.bind(normal);
    if (callee.releases > 0) {
      a.emit(0xc2, callee.releases, 0);
      return;
    }
    const kind = rng.below(8);
    if (kind === 0)
      a.emit(0x58, 0xff, 0xe0); // pop rax; jmp rax
    else if (kind === 1)
      a.emit(0x5a, 0x52, 0xc3); // pop rdx; push rdx; ret
    else if (kind === 2) a.emit(0xf3, 0xc3);
    else if (kind === 3)
      a.emit(0xff, 0x34, 0x24, 0xc2, this.#mode / 8, 0); // push [rsp]; ret 8
    else a.emit(0xc3);
  }

  #call(scope: Scope): void {
    const rng = this.#rng;
    const a = this.#a;
    if (this.#callees.length < 4 && scope.depth < 2 && rng.chance(0.35)) this.#function(scope);
    if (this.#callees.length === 0) return this.#position(scope);
    const callee = rng.pick(this.#callees);
    if (callee.depth !== undefined) {
      this.#atData([0xc7], 0, callee.depth);
      a.emit32(rng.below(scope.rounds > 20 ? 4 : 12));
    }
    const alternative = a.label();
    if (callee.diverts) {
      this.#loadAddress(RAX, alternative);
      this.#atData([...this.#wide, 0x89], RAX, D.tables + 0x7f8);
      // The alternative's stack is the one of a call without arguments left.
    }
    this.#arguments(callee);
    const kind = rng.below(6);
    if (kind === 0) {
      this.#loadAddress(RAX, callee.label);
      a.emit(0xff, 0xd0);
    } else if (kind === 1) {
      const table = this.#table([callee.label, callee.label]);
      this.#atData([0xff], 2, table);
    } else if (kind === 2) {
      // push the way back; jmp
      const back = a.label();
      this.#loadAddress(RAX, back);
      a.emit(0x50);
      a.near(callee.label, 0xe9);
      a.bind(back);
    } else a.near(callee.label, 0xe8);
    if (callee.skips) this.#skippable();
    if (callee.diverts) this.#some(scope, 2);
    a.bind(alternative);
  }

  /** Calls of what lies behind them. */
  #position(scope: Scope): void {
    const n = this.#pick.free(scope.reserved);
    this.#a.emit(0xe8, 0, 0, 0, 0, ...(n > 7 ? [0x41] : []), 0x58 + (n & 7));
  }

  #table(labels: readonly Label[]): number {
    const last = this.#tables.at(-1);
    const at = last ? last.at + last.labels.length * 8 : D.tables;
    if (at + labels.length * 8 > D.tables + 0x7f0) throw new Error('too many jump tables');
    this.#tables.push({ at, labels });
    return at;
  }

  /** An indirect jump to one of a few places. */
  #switch(scope: Scope): void {
    const rng = this.#rng;
    const a = this.#a;
    const ways = rng.pick([2, 4]);
    const places = Array.from({ length: ways }, () => a.label());
    const join = a.label();
    const table = this.#table(places);
    const inner: Scope = { ...scope, depth: scope.depth + 1 };
    const { outer } = ROLES[this.#mode];
    const source = scope.reserved.includes(outer) ? outer : rng.pick([RAX, RDX, RSI]);
    a.emit(...(source > 7 ? [0x44] : []), 0x89, 0xc0 | ((source & 7) << 3)); // mov eax, source
    a.emit(0x83, 0xe0, ways - 1); // and eax, ways - 1
    const scaled = [0x04 | (this.#mode === 64 ? 0xc0 : 0x80) | 1];
    const kind = rng.below(3);
    const operand = (reg: number): void => {
      a.emit((reg << 3) | 4, ...scaled);
      a.emit32(DATA + table);
    };
    if (kind === 0) {
      a.emit(0xff);
      operand(4);
    } else if (kind === 1) {
      a.emit(...this.#wide, 0x8b); // mov rax, [table]; jmp rax
      operand(0);
      a.emit(0xff, 0xe0);
    } else {
      a.emit(0xff); // push [table]; ret
      operand(6);
      a.emit(0xc3);
    }
    for (const place of places) {
      a.bind(place);
      if (rng.chance(0.5)) this.#some(inner, 2);
      else this.#chunk({ ...inner, depth: inner.depth + 1 });
      if (rng.chance(0.7)) this.#jump(join, true);
    }
    a.bind(join);
  }

  #stack(scope: Scope): void {
    const rng = this.#rng;
    const a = this.#a;
    const low = (): number => rng.pick([RAX, RDX, RSI, RCX].filter((n) => !scope.reserved.includes(n)));
    switch (rng.below(9)) {
      case 0: {
        const n = 1 + rng.below(3);
        for (let k = 0; k < n; k++) a.emit(0x50 + rng.below(8));
        this.#plain(scope);
        for (let k = 0; k < n; k++) a.emit(0x58 + low());
        return;
      }
      case 1:
        a.emit(0x66, 0x50 + low(), 0x66, 0x58 + low());
        return;
      case 2:
        this.#pushFlags(scope);
        return;
      case 3:
        a.emit(0x54, 0x58 + low()); // push rsp; pop
        return;
      case 4:
        a.emit(0x6a, rng.below(256), 0x8f, 0x43, rng.below(256)); // push imm8; pop [rbx+d]
        return;
      case 5:
        a.emit(0xff, 0x73, rng.below(256), 0x58 + low()); // push [rbx+d]; pop
        return;
      case 6:
        if (this.#mode === 64)
          a.emit(0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20, 0xc9); // a frame, and leave
        else a.emit(0x54, 0x5c); // push esp; pop esp
        return;
      case 7:
        // mov [rsp-n], r; add r, [rsp-n]
        a.emit(
          ...this.#wide,
          0x89,
          0x44,
          0x24,
          -8 & 0xff,
          ...this.#wide,
          0x03,
          0x54,
          0x24,
          (-8 - rng.below(4)) & 0xff,
        );
        return;
      default:
        a.emit(...this.#wide, 0x8d, 0x64, 0x24, 0xf0, 0x68); // lea rsp, [rsp-16]; push imm32; lea rsp, [rsp+16+8]
        a.emit32(rng.below(0x1_0000_0000) | 0);
        a.emit(...this.#wide, 0x8d, 0x64, 0x24, 0x10 + this.#mode / 8);
    }
  }

  /** A string instruction, perhaps repeated, backwards, or into the hole. */
  #repeat(scope: Scope): void {
    const rng = this.#rng;
    const a = this.#a;
    const counted = !scope.reserved.includes(RCX);
    const backwards = rng.chance(0.25);
    const faults = rng.chance(0.06) && counted;
    const count = rng.chance(0.3) ? rng.below(scope.rounds > 10 ? 40 : 400) : rng.below(10);
    const from = D.numbers + 0x800 + rng.below(0x800);
    const to = faults
      ? D.hole - rng.below(64)
      : rng.chance(0.4)
        ? from + rng.below(64) - 32
        : D.numbers + 0x800 + rng.below(0x1000);
    const { base2 } = ROLES[this.#mode];
    if (this.#mode === 32) a.emit(0x50 + base2);
    this.#moveImmediate(RSI, DATA + from);
    this.#moveImmediate(7, DATA + to);
    if (counted) this.#moveImmediate(RCX, count);
    a.emit(backwards && !faults ? 0xfd : 0xfc);
    const size = rng.pick(this.#mode === 64 ? [[], [0x66], [0x48]] : [[], [0x66]]);
    const repeat = counted ? rng.pick([[], [0xf2], [0xf3], [0xf3]]) : [];
    const opcode = rng.pick([0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf]);
    a.emit(...(size[0] === 0x48 ? [...repeat, ...size] : [...size, ...repeat]), opcode, 0xfc);
    if (this.#mode === 32) a.emit(0x58 + base2);
  }

  /** Divisions: of defined quotients, or by a number that comes to zero in the middle of a loop. */
  #divide(scope: Scope): void {
    const rng = this.#rng;
    const a = this.#a;
    const slot = this.#slot();
    const faults = rng.chance(0.12);
    const size = rng.pick(this.#mode === 64 ? [[], [0x48]] : [[]]);
    const signed = rng.chance(0.5);
    const division = (s: Scope): void => {
      if (s.reserved.includes(RDX)) return;
      this.#a.emit(...size, ...(signed ? [0x99] : [0x31, 0xd2])); // cdq, or xor edx, edx
      this.#atData([...size, 0xf7], signed ? 7 : 6, slot);
      if (this.#native) this.#normalize();
    };
    this.#atData([...size, 0xc7], 0, slot);
    a.emit32(faults ? rng.below(6) : rng.pick([1, 3, 7, 10, 0x7fff_ffff, 1000]));
    if (!faults || scope.rounds > MOST_ROUNDS / 8) return division(scope);
    const rounds = this.#slot();
    this.#atData([0xc7], 0, rounds);
    a.emit32(8);
    const again = a.here();
    division(scope);
    this.#plain(scope);
    this.#atData([...size, 0xff], 1, slot);
    this.#atData([0xff], 1, rounds);
    this.#jcc(5, again, true);
  }

  /** Accesses that go on and on, perhaps into the hole or to what is only to be read. */
  #walk(scope: Scope): void {
    const rng = this.#rng;
    const a = this.#a;
    const stride = rng.pick([1, 2, 4, 4, 8, 8, 16, 3, -8]);
    const rounds = Math.min(4 + rng.below(20), Math.max(4, Math.floor(MOST_ROUNDS / scope.rounds)));
    const faults = rng.chance(0.12);
    const border = rng.pick([D.hole, D.readOnly, D.numbers + PAGE, D.behindHole + 0xff0, 0]);
    const reach = faults ? Math.floor(rounds / 2) : rounds + 2;
    const first =
      border === 0 || (!faults && stride < 0)
        ? D.numbers + 0x900
        : border - stride * reach + rng.below(8) * (faults ? 1 : -1);
    const safe = border === D.numbers + PAGE ? D.numbers + PAGE - stride * 3 - rng.below(8) : first;
    const slot = this.#slot();
    this.#moveImmediate(RSI, DATA + Math.max(D.numbers + 0x200, safe));
    this.#atData([0xc7], 0, slot);
    a.emit32(rounds);
    const again = a.here();
    const inner: Scope = { ...scope, rounds: scope.rounds * rounds, reserved: [...scope.reserved, RSI] };
    const memory = {
      base: RSI,
      index: undefined,
      scale: 0,
      displacement: 0,
      displacementBytes: 1,
      ripRelative: false,
    } as const;
    for (let n = rng.below(2); n >= 0; n--) {
      const names = rng.chance(0.5) ? /^(mov|add|xor|sub|cmp|movzx|movsx|adc)$/ : undefined;
      a.emit(...this.#pick.plain({ reserved: inner.reserved, memory, ...(names ? { names } : {}) }));
      if (rng.chance(0.4)) this.#plain(inner);
    }
    a.emit(...this.#wide, 0x83, 0xc6, stride & 0xff); // add rsi, stride
    if (rng.chance(0.3)) this.#plain(inner, /^(set[a-z]+|mov|lea|adc)$/);
    this.#atData([0xff], 1, slot);
    this.#jcc(5, again, true);
  }

  // Code that writes code

  /** A loop that is hot before it writes to itself, now and then: next to what writes, or some granules on. */
  #hotRewrite(scope: Scope): void {
    const rng = this.#rng;
    const { outer } = ROLES[this.#mode];
    if (scope.reserved.includes(outer)) return this.#rewrite(scope);
    const rounds = 24 + rng.below(60);
    const inner = this.#inside(scope, rounds, outer);
    this.#moveImmediate(outer, rounds);
    const again = this.#a.here();
    const over = this.#a.label();
    const victim = this.#a.label();
    // test outer, mask: zero in one round of 8, or of 16
    this.#a.emit(...(outer > 7 ? [0x41] : []), 0xf7, 0xc0 + (outer & 7));
    this.#a.emit32(rng.pick([7, 15]));
    this.#jcc(5, over, true);
    const kind = rng.below(3);
    if (kind === 0) this.#rewrite({ ...inner, rounds: 1 });
    else this.#patch(victim);
    this.#a.bind(over);
    const filling = rng.pick([0, 3, 20, 45]);
    for (let n = 0; n < filling; n++) this.#plain(inner);
    if (rng.chance(0.3) && scope.depth < 2) this.#call(inner);
    if (kind === 0) this.#rewrite({ ...inner, rounds: 1 });
    this.#a.emit(...rng.pick([[0xb8], [0xba], [0x05], [0x2d], [0x35], [0x81, 0xf2]]));
    this.#a.bind(victim);
    this.#a.emit32(rng.below(0x1_0000_0000) | 0);
    this.#plain(inner);
    this.#decrement(outer);
    this.#jcc(5, again, true);
  }

  #rewrite(scope: Scope): void {
    const kinds = [
      () => this.#rewriteImmediate(scope),
      () => this.#rewriteOpcode(scope),
      () => this.#rewriteCondition(scope),
      () => this.#rewriteByPush(scope),
      () => this.#rewriteByMove(scope),
      () => this.#rewriteFunction(scope),
    ];
    this.#rng.pick(kinds)();
  }
  /** Writes one to eight bytes to a victim's immediate: by MOV, INC, ADD, XOR or XCHG. */
  #patch(victim: Label): void {
    const rng = this.#rng;
    const which = rng.below(4);
    switch (rng.below(5)) {
      case 0:
        this.#atLabel([0xc6], 0, victim, which, 1);
        this.#a.emit(rng.below(256));
        return;
      case 1:
        this.#atLabel([0xfe], 0, victim, which);
        return;
      case 2:
        this.#atLabel([0x81], 0, victim, 0, 4);
        this.#a.emit32(rng.below(0x1_0000_0000) | 0);
        return;
      case 3:
        this.#atLabel([0x31], rng.pick([RAX, RDX]), victim, 0);
        return;
      default:
        this.#atLabel([0x66, 0x87], rng.pick([RAX, RDX]), victim, rng.below(3));
    }
  }
  #rewriteImmediate(scope: Scope): void {
    const a = this.#a;
    const victim = a.label();
    const before = this.#rng.chance(0.5);
    if (before) this.#patch(victim);
    if (this.#rng.chance(0.4)) this.#plain(scope);
    a.emit(...this.#rng.pick([[0xb8], [0xba], [0x05], [0x2d], [0x35], [0x81, 0xf2]])); // an operation with imm32
    a.bind(victim);
    a.emit32(this.#rng.below(0x1_0000_0000) | 0);
    if (!before) {
      if (this.#rng.chance(0.4)) this.#plain(scope);
      this.#patch(victim);
    }
  }
  #operation(): number[] {
    // Of two bytes: an operation on EAX and EDX or ESI.
    const rng = this.#rng;
    return [
      rng.pick([0x01, 0x29, 0x31, 0x09, 0x21, 0x11, 0x19, 0x39, 0x89]),
      0xc0 | (rng.pick([0, 2, 6]) << 3) | rng.pick([0, 2]),
    ];
  }
  #rewriteOpcode(scope: Scope): void {
    const rng = this.#rng;
    const victim = this.#a.label();
    this.#atLabel([0x80], 6, victim, 0, 1); // xor byte [victim], 0x28: ADD and SUB in turn
    this.#a.emit(0x28);
    if (rng.chance(0.5)) this.#plain(scope);
    this.#a.bind(victim);
    this.#a.emit(rng.pick([0x01, 0x29]), 0xc0 | (rng.pick([0, 2, 6]) << 3));
    if (rng.chance(0.5)) this.#plain(scope);
  }
  /** Turns a conditional branch into its opposite. */
  #rewriteCondition(scope: Scope): void {
    const a = this.#a;
    const victim = a.label();
    const out = a.label();
    this.#atLabel([0x80], 6, victim, 0, 1);
    a.emit(1);
    this.#plain(scope, /^(add|sub|cmp|test)$/);
    a.bind(victim);
    const operation = [...this.#operation(), ...this.#operation()];
    a.emit(0x70 + this.#rng.below(16), operation.length);
    a.emit(...operation);
    a.bind(out);
  }
  /** PUSH of code that is another one each time: an ADD and a SUB in turn. */
  #rewriteByPush(scope: Scope): void {
    const rng = this.#rng;
    const a = this.#a;
    const victim = a.label();
    const kept = this.#slot();
    const pushed = this.#slot();
    const bytes = this.#mode / 8;
    const code = (): number[] => this.#changing(bytes / 2);
    this.#initial.push({ offset: pushed, bytes: Uint8Array.from(code()) });
    this.#atData([...this.#wide, 0x89], 4, kept); // mov [kept], rsp
    this.#atData([0x80], 6, pushed);
    a.emit(0x28);
    if (this.#mode === 64) this.#atLabel([0x48, 0x8d], 4, victim, bytes);
    else {
      a.emit(0xbc); // mov esp, victim + 4
      a.absolute(victim, bytes);
    }
    this.#atData([0xff], 6, pushed);
    const behind = rng.chance(0.5);
    if (behind) this.#atData([...this.#wide, 0x8b], 4, kept);
    a.bind(victim);
    a.emit(...code());
    if (!behind) this.#atData([...this.#wide, 0x8b], 4, kept);
    if (rng.chance(0.3)) this.#plain(scope);
  }
  /** Operations of which the first becomes a SUB and an ADD in turn when 28h is XORed to it. */
  #changing(count: number): number[] {
    const first = [this.#rng.pick([0x01, 0x29]), 0xc0 | (this.#rng.pick([0, 2, 6]) << 3)];
    return [...first, ...Array.from({ length: count - 1 }, () => this.#operation()).flat()];
  }
  /** REP MOVS, or a vector, over code that comes soon. */
  #rewriteByMove(scope: Scope): void {
    const rng = this.#rng;
    const a = this.#a;
    if (scope.reserved.includes(RCX)) return this.#rewriteOpcode(scope);
    const victim = a.label();
    const source = a.label();
    const over = a.label();
    const n = 2 + rng.below(6);
    const code = (): number[] => this.#changing(n);
    this.#jump(over, true);
    a.bind(source);
    a.emit(...code());
    a.emit(...new Array<number>(16).fill(0x90));
    a.bind(over);
    const { base2 } = ROLES[this.#mode];
    if (this.#mode === 32) a.emit(0x50 + base2);
    this.#atLabel([0x80], 6, source, 0, 1);
    a.emit(0x28);
    this.#loadAddress(RSI, source);
    this.#loadAddress(7, victim);
    this.#moveImmediate(RCX, n * 2);
    a.emit(0xfc, 0xf3, 0xa4);
    if (this.#mode === 32) a.emit(0x58 + base2);
    a.bind(victim);
    a.emit(...code());
  }
  #rewriteFunction(scope: Scope): void {
    if (this.#callees.length === 0) return this.#rewriteImmediate(scope);
    const { victim } = this.#rng.pick(this.#callees);
    this.#patch(victim);
    if (this.#rng.chance(0.6)) this.#call(scope);
  }

  /** Numbers between the code, in the same granule as it or another one. */
  #dataInCode(scope: Scope): void {
    const rng = this.#rng;
    const a = this.#a;
    const island = a.label();
    const over = a.label();
    this.#jump(over, true);
    a.emit(...new Array<number>(rng.pick([0, 1, 70])).fill(0xcc));
    a.bind(island);
    a.emit(...Array.from({ length: 16 }, () => rng.below(256)));
    a.emit(...new Array<number>(rng.pick([0, 1, 70])).fill(0xcc));
    a.bind(over);
    for (let n = rng.below(3); n >= 0; n--) {
      const delta = rng.below(8);
      const reg = rng.pick([RAX, RDX, RSI].filter((r) => !scope.reserved.includes(r)));
      switch (rng.below(4)) {
        case 0:
          this.#atLabel([0xff], 0, island, delta); // inc dword
          break;
        case 1:
          this.#atLabel([...this.#wide, 0x01], reg, island, delta);
          break;
        case 2:
          this.#atLabel([...this.#wide, 0x8b], reg, island, delta);
          break;
        default:
          this.#atLabel([0x88], 0, island, delta);
      }
    }
  }

  #vectors(scope: Scope): void {
    const scalar = this.#rng.chance(0.7);
    for (let n = this.#rng.below(4); n >= 0; n--) this.#a.emit(...this.#pick.vector(scalar, scope.reserved));
  }
  #x87s(): void {
    if (this.#rng.chance(0.5)) this.#a.emit(...this.#pick.x87Numbers());
    for (let n = this.#rng.below(3); n >= 0; n--) this.#a.emit(...this.#pick.x87());
    // Comparisons leave flags that the next chunk defines anew.
    if (this.#rng.chance(0.2) && !this.#native) this.#a.emit(0xdf, 0xe0); // fnstsw ax
  }
  /** Accesses of a device, by an instruction, a vector's or a string's. */
  #device(scope: Scope): void {
    const rng = this.#rng;
    const at = (): MemoryChoice => ({
      base: undefined,
      index: undefined,
      scale: 0,
      displacement: DEVICE + rng.below(0x40),
      displacementBytes: 4,
      ripRelative: false,
    });
    for (let n = rng.below(3); n >= 0; n--)
      this.#a.emit(
        ...this.#pick.plain({
          reserved: scope.reserved,
          memory: at(),
          names: /^(mov|add|cmp|xor|inc|movzx|xchg|adc)$/,
        }),
      );
    if (rng.chance(0.3)) this.#atData([0xdd], rng.pick([0, 3]), DEVICE - DATA + rng.below(16)); // fld, fstp
    if (rng.chance(0.3))
      this.#atData([0x0f, rng.pick([0x10, 0x11])], rng.below(8), DEVICE - DATA + 16 * rng.below(4)); // movups
    if (rng.chance(0.2) && this.#mode === 64 && !scope.reserved.includes(RCX)) {
      this.#moveImmediate(RSI, DATA + D.numbers + 0x800);
      this.#moveImmediate(7, DEVICE + rng.below(8));
      this.#moveImmediate(RCX, rng.below(7));
      this.#a.emit(0xfc, 0xf3, rng.pick([0xa4, 0xa5, 0xaa, 0xab, 0xae]));
    }
  }

  /** Through FS or GS. */
  #segmented(scope: Scope): void {
    const memory = {
      base: undefined,
      index: undefined,
      scale: 0,
      displacement: this.#rng.below(0x700),
      displacementBytes: 4,
      ripRelative: false,
    } as const;
    this.#a.emit(
      ...this.#pick.plain({
        reserved: scope.reserved,
        memory,
        names: /^(mov|add|cmp|xor|inc)$/,
        prefixes: [0x65],
      }),
    );
  }
}
