import { OpcodeTable } from '../../src/hypervisor/cpu/decode/encoding.ts';
import { allInstructions } from '../../src/hypervisor/cpu/isa/index.ts';
import { randomFx, randomUpper } from '../native/cases.ts';
import { Random } from '../native/random.ts';
import { type Label, TooFar } from './assembler.ts';
import { division, vectors, x87s } from './generator/arithmetic.ts';
import { branch, flagChain, indirectJump } from './generator/branches.ts';
import { call, defineFunction } from './generator/calls.ts';
import { Draft, MOST_REWRITES, MOST_ROUNDS, PAGE, type Scope } from './generator/draft.ts';
import { hotLoop, loop } from './generator/loops.ts';
import { dataInCode, device, segmented, stringInstruction, walk } from './generator/memory.ts';
import { hotRewrite, rewrite } from './generator/rewriting.ts';
import { stackTraffic } from './generator/stack.ts';
import { InstructionPicker, ROLES } from './instructions.ts';
import { CODE, CODE_BYTES, D, DATA } from './places.ts';
import { EXIT_BYTES, type Program, type Variant } from './program.ts';

const TABLE = new OpcodeTable(allInstructions);
/** How many of the programs are defined in all they do. */
const NATIVE_SHARE = 0.6;

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

/** Writes a program: blocks, branches, loops, calls, faults and code that writes code. */
class Generator {
  readonly #seed: number;
  readonly #rng: Random;
  readonly #options: ProgramOptions;
  readonly #mode: 32 | 64;
  readonly #variant: Variant | undefined;
  readonly #draft: Draft;
  /** Where it goes on after a fault. */
  readonly #pads: Label[] = [];

  constructor(seed: number, short: boolean, options: ProgramOptions) {
    this.#seed = seed;
    const rng = new Random(seed);
    this.#rng = rng;
    this.#options = options;
    const hot = options.hotRounds !== undefined;
    const mode = options.mode ?? rng.pick([64, 64, 32] as const);
    this.#mode = mode;
    this.#variant = hot ? undefined : this.#chooseVariant();
    const native = rng.chance(NATIVE_SHARE) && this.#variant === undefined;
    const pick = new InstructionPicker(rng, mode, TABLE, native, hot);
    const chunk = (scope: Scope): void => this.#chunk(scope);
    this.#draft = new Draft({ rng, pick, mode, native, short, hot, chunk });
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
    const { asm } = this.#draft;
    const start = asm.label();
    const end = asm.label();
    const scope: Scope = { rounds: 1, reserved: [], depth: 0, inFunction: false };
    const before = this.#options.hotRounds === undefined ? rng.below(3) : 0;
    for (let n = 0; n < before; n++) defineFunction(this.#draft, scope);
    asm.bind(start);
    // pushf; or dword [rsp], AC; popf
    if (this.#variant === 'alignment') asm.emit(0x9c, 0x81, 0x0c, 0x24, 0, 0, 4, 0, 0x9d);
    if (this.#options.hotRounds !== undefined) hotLoop(this.#draft, this.#options.hotRounds);
    else {
      const blocks = 3 + rng.below(6);
      for (let n = 0; n < blocks; n++) {
        this.#pads.push(asm.here());
        this.#chunk(scope);
        this.#chunk(scope);
      }
    }
    asm.bind(end);
    asm.emit(...new Array<number>(EXIT_BYTES).fill(0x90));
    return this.#finish(start, end);
  }

  #finish(start: Label, end: Label): Program {
    const rng = this.#rng;
    const { asm, tables, initial } = this.#draft;
    const length = asm.bytes.length;
    if (length > CODE_BYTES - PAGE) throw new Error(`a program of ${length} bytes`);
    // Often so that a boundary of pages goes through it.
    const anywhere =
      rng.chance(0.6) && length < PAGE ? PAGE - rng.below(length) : rng.below(CODE_BYTES - length);
    const offset = this.#options.hotRounds === undefined ? anywhere : PAGE + rng.below(PAGE - length);
    const at = CODE + offset;
    const code = asm.link(at);
    const place = (label: Label): number => at + (label.at ?? 0);
    const pointer = this.#mode / 8;
    const patches = tables.map((table) => {
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
      native: this.#draft.native,
      start: place(start),
      end: place(end),
      at,
      code,
      pads: [...this.#pads.slice(1).map(place), place(end)],
      patches: [...patches, ...initial],
      gpr,
      rflags: (rng.below(0x1000) & 0x8d5) | 2,
      fx: randomFx(rng),
      upper: randomUpper(rng),
      variant: this.#variant,
    };
  }

  /** A chunk of a kind that may stand here. */
  #chunk(scope: Scope): void {
    const draft = this.#draft;
    const deep = scope.depth >= 3;
    const choices: (readonly [number, () => void])[] = [
      [10, () => draft.some(scope)],
      [9, () => flagChain(draft, scope)],
      [deep ? 0 : 12, () => branch(draft, scope)],
      [deep || scope.rounds >= MOST_ROUNDS ? 0 : 14, () => loop(draft, scope)],
      [7, () => call(draft, scope)],
      [deep ? 1 : 5, () => indirectJump(draft, scope)],
      [5, () => stackTraffic(draft, scope)],
      [3, () => stringInstruction(draft, scope)],
      [deep ? 0 : 3, () => division(draft, scope)],
      [deep ? 0 : 4, () => walk(draft, scope)],
      [scope.rounds <= MOST_REWRITES ? 7 : 0, () => rewrite(draft, scope)],
      [scope.rounds <= 2 && !deep && !scope.inFunction ? 5 : 0, () => hotRewrite(draft, scope)],
      [3, () => dataInCode(draft, scope)],
      [4, () => vectors(draft, scope)],
      [3, () => x87s(draft)],
      [draft.native ? 0 : 1, () => segmented(draft, scope)],
      [draft.native ? 0 : 3, () => device(draft, scope)],
    ];
    let left = draft.rng.below(choices.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, emit] of choices) {
      left -= weight;
      if (left < 0) return emit();
    }
  }
}
