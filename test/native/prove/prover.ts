import { CODE32, CODE64, Decoder } from '../../../src/hypervisor/cpu/decode/decoder.ts';
import { type Encoding, OpcodeTable, operandBits } from '../../../src/hypervisor/cpu/decode/encoding.ts';
import { allInstructions } from '../../../src/hypervisor/cpu/isa/index.ts';
import { makeCase, memoryForms, operandSizes } from '../cases.ts';
import { Coverage, differsByVendor, reasonNotRun } from '../coverage.ts';
import { type Allowance, Differential, type Program } from '../differential.ts';
import { Random } from '../random.ts';
import { SequenceMaker } from '../sequences.ts';
import { undefinedFlagsMask, undefinedResult } from '../undefined-flags.ts';
import { randomState, Random as X87Random } from '../x87-cases.ts';
import { isUndefinedX87 } from '../x87-compare.ts';
import { countInstructions, shrinkProgram } from './shrink.ts';

/** A row in one mode, operand size and kind of operand. */
interface Form {
  readonly encoding: Encoding;
  readonly mode: 32 | 64;
  readonly opsize: 16 | 32 | 64;
  readonly memory: boolean;
}

/** A difference between the host's processor and the interpreter. */
export interface Failure {
  /** Number of the trial in the run. */
  readonly trial: number;
  readonly title: string;
  /** What differs, the program shrunk and disassembled, and both states. */
  readonly report: string;
}

export interface Tally {
  instructions: number;
  single: number;
  sequences: number;
  faults: number;
  skipped: number;
}

/** Lines of a disassembly that say no more than NOP. */
const NOP_LINES = /^ *[0-9a-f]+ +90 +nop\n/gm;

/**
 * x87 rows with tests of their own alone: images of the state hold pointers
 * that processors keep differently, and FBLD of digits above nine is undefined.
 */
const X87_APART = /^(fnstenv|fldenv|fnsave|frstor|fbld)$/;
const isProvenX87 = (e: Encoding): boolean =>
  e.instruction.unit === 'x87' && !X87_APART.test(e.instruction.name);

/**
 * Near branches with 16-bit operands in 32-bit code: they go below 64 KiB,
 * where a program of the host has no memory. test/interpreter/near-branches.test.ts runs them.
 */
const leadsBelow = (e: Encoding, mode: 32 | 64, opsize: number): boolean =>
  mode === 32 && opsize === 16 && e.size64 === 'f64';

/** An FXSAVE image with x87 numbers, control and status, and the XMM registers of another. */
function x87Fx(rng: Random, vectors: Uint8Array): Uint8Array {
  const { fx } = randomState(new X87Random(rng.u64()));
  fx.set(vectors.subarray(24, 28), 24);
  fx.set(vectors.subarray(160, 416), 160);
  return fx;
}

/** A seed for one trial, so that neighbours have nothing in common (the finalizer of splitmix64, Steele 2014). */
function mixed(seed: number, trial: number): number {
  let x = BigInt.asUintN(64, BigInt(seed) * 0x9e37_79b9_7f4a_7c15n + BigInt(trial) * 0xd1b5_4a32_d192_ed03n);
  x = BigInt.asUintN(64, (x ^ (x >> 30n)) * 0xbf58_476d_1ce4_e5b9n);
  x = BigInt.asUintN(64, (x ^ (x >> 27n)) * 0x94d0_49bb_1331_11ebn);
  return Number((x ^ (x >> 31n)) >> 12n);
}

/** Trials with a single instruction before each with a sequence of about twelve. */
const SINGLES = 12;

/**
 * Random instructions, alone and in sequences, on the host's processor and on
 * the interpreter. Each trial depends on the seed and its number alone, so one
 * can be run again by itself.
 */
export class Prover {
  readonly table = new OpcodeTable(allInstructions);
  readonly coverage = new Coverage();
  readonly tally: Tally = { instructions: 0, single: 0, sequences: 0, faults: 0, skipped: 0 };
  readonly #seed: number;
  readonly #decoder = new Decoder(this.table);
  readonly #differential = new Differential();
  readonly #forms: readonly Form[];

  /** Throws when there is no host processor to compare with. */
  constructor(seed: number) {
    this.#seed = seed;
    this.#forms = [64, 32].flatMap((mode) => this.#formsOf(mode as 32 | 64));
    this.#differential.fillScratch(new Random(seed));
    this.#differential.keepScratch();
  }

  get forms(): number {
    return this.#forms.length;
  }

  /** Names of the forms that no trial ran. */
  missingForms(): string[] {
    const missing = this.#forms.filter((f) => !this.coverage.hasForm(f.encoding, f.mode, f.opsize, f.memory));
    return missing.map((f) => Coverage.formName(f.encoding, f.mode, f.opsize, f.memory));
  }

  #formsOf(mode: 32 | 64): Form[] {
    const rows = this.table.encodings.filter(
      (e) => (reasonNotRun(e) === undefined || isProvenX87(e)) && e.mode !== (mode === 64 ? 'i64' : 'o64'),
    );
    return rows.flatMap((encoding) =>
      operandSizes(encoding, mode).flatMap((opsize) =>
        memoryForms(encoding)
          .filter((memory) => !differsByVendor(encoding, memory) && !leadsBelow(encoding, mode, opsize))
          .map((memory) => ({ encoding, mode, opsize, memory })),
      ),
    );
  }

  /** Trial number `trial`: a sequence, or a single instruction. The forms take turns, in an order that the seed shuffles. */
  run(trial: number): Failure | undefined {
    const rng = new Random(mixed(this.#seed, trial));
    const round = Math.floor(trial / (SINGLES + 1));
    const place = trial % (SINGLES + 1);
    if (place === SINGLES) return this.#sequence(rng, trial);
    // A step that shares no divisor with the number of forms visits all of them.
    const turn = (round * SINGLES + place) * 7919 + (this.#seed % this.#forms.length);
    const form = this.#forms[turn % this.#forms.length];
    return form && this.#single(rng, trial, form);
  }

  #single(rng: Random, trial: number, { encoding, mode, opsize, memory }: Form): Failure | undefined {
    const made = makeCase(rng, encoding, mode, opsize, memory);
    if (!made) return undefined;
    const x87 = encoding.instruction.unit === 'x87';
    const c = x87 ? { ...made, fx: x87Fx(rng, made.fx) } : made;
    if (x87 && isUndefinedX87(encoding.instruction.name, c.fx)) return undefined;
    // Another row may have a better claim to these bytes.
    const decoded = this.#decoder.decode(c.code, 0, c.code.length, mode === 64 ? CODE64 : CODE32);
    if (decoded === 'ok' && this.#decoder.encoding !== encoding) return undefined;
    const { name, undefinedFlags, unit } = encoding.instruction;
    const first = encoding.operands[0];
    const size = first ? operandBits(first, opsize) : opsize;
    if (undefinedResult(name, c.count, size)) return undefined;
    const allowance = {
      undefinedFlags: undefinedFlagsMask(name, undefinedFlags, c.count, size),
      ...(x87 ? { x87: name } : { vectors: unit !== undefined }),
    };
    this.tally.single += 1;
    const done = this.#compare(c, allowance);
    if (done === 'skipped') return undefined;
    this.tally.instructions += 1;
    this.coverage.note(encoding, mode, opsize, memory);
    return done === 'equal' ? undefined : this.#failure(trial, `${name} (${encoding.text})`, c, allowance);
  }

  #sequence(rng: Random, trial: number): Failure | undefined {
    const program = new SequenceMaker(rng, rng.chance(0.5) ? 64 : 32, this.table).make();
    this.tally.sequences += 1;
    const done = this.#compare(program, { vectors: true });
    if (done === 'skipped') return undefined;
    this.tally.instructions += countInstructions(program);
    return done === 'equal' ? undefined : this.#failure(trial, 'a sequence', program, { vectors: true });
  }

  #compare(program: Program, allowance: Allowance): 'equal' | 'skipped' | 'different' {
    this.#differential.resetScratch();
    const outcome = this.#differential.run(program, allowance);
    if (outcome.kind === 'skipped') this.tally.skipped += 1;
    if (outcome.kind === 'equal' && outcome.fault) this.tally.faults += 1;
    return outcome.kind;
  }

  #failure(trial: number, title: string, program: Program, allowance: Allowance): Failure {
    const attempt = (smaller: Program) => {
      this.#differential.resetScratch();
      return this.#differential.run(smaller, allowance);
    };
    const original = attempt(program);
    const endless = original.kind === 'different' && original.unfinished === true;
    const shrunk = shrinkProgram(program, (smaller) => {
      const outcome = attempt(smaller);
      return outcome.kind === 'different' && (outcome.unfinished === true) === endless;
    });
    const last = attempt(shrunk);
    const what = last.kind === 'different' ? last.what : 'it does not fail a second time';
    const states = endless ? [] : [this.#differential.states(program.mode)];
    const size = `${countInstructions(program)} instructions, ${countInstructions(shrunk)} of them needed (the others are NOPs, not shown)`;
    return { trial, title, report: [size, what, ...states].join('\n').replace(NOP_LINES, '') };
  }
}
