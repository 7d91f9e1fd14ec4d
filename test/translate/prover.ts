import {
  describe,
  Engines,
  SETTINGS,
  type Setting,
  type TranslatingMachine,
  type Verdict,
} from './engines.ts';
import { makeProgram, type ProgramOptions } from './generator.ts';
import type { Program } from './program.ts';
import { countInstructions, shrinkProgram } from './shrink.ts';

/** A difference between two engines. */
export interface Failure {
  readonly seed: number;
  /** What differs, and the program shrunk and disassembled. */
  readonly report: string;
}

/** One program in so many runs in lock-step as well, and one in exact slices. */
const SHARE = 3;

/** Seeds of a batch: neighbours have nothing in common. */
export const programSeed = (seed: number, n: number): number => (seed % 1_000_000) * 1_000_000 + n;

/** Random programs on the interpreter, on translators and on the host's processor. */
export class ProgramProver {
  readonly engines: Engines;

  constructor(settings: readonly Setting[] = SETTINGS) {
    this.engines = new Engines(settings);
  }

  /** Runs the program of a seed on the first translator and one of the others in turn; `all`: on every one. */
  run(seed: number, options: ProgramOptions = {}, all = false): Failure | undefined {
    const { engines } = this;
    const { translators } = engines;
    const other = translators[1 + (seed % Math.max(1, translators.length - 1))];
    const which =
      all || !other ? translators : translators.filter((t) => t === translators[0] || t === other);
    const program = makeProgram(seed, options);
    const verdict = engines.run(program, which);
    if (verdict.kind === 'different')
      return { seed, report: this.#explain(program, verdict.between, (p, some) => engines.run(p, some)) };
    const stepped = translators[seed % translators.length];
    if (!stepped || verdict.kind === 'skipped') return undefined;
    const kind = seed % SHARE;
    if (kind === 0 || all) {
      const failure = this.#steps(program, 'in lock-step', (p, t = stepped) => engines.lockStep(p, t));
      if (failure) return failure;
    }
    if (kind === 1 || all)
      return this.#steps(program, 'in exact slices', (p, t = stepped) => engines.exactSteps(p, t));
    return undefined;
  }

  #steps(
    program: Program,
    how: string,
    run: (p: Program, t?: TranslatingMachine) => Verdict,
  ): Failure | undefined {
    const verdict = run(program);
    if (verdict.kind !== 'different') return undefined;
    return {
      seed: program.seed,
      report: `${how}, ${this.#explain(program, verdict.between, (p, [t]) => run(p, t))}`,
    };
  }

  #explain(
    program: Program,
    between: string,
    run: (p: Program, which: readonly TranslatingMachine[]) => Verdict,
  ): string {
    const which = this.engines.translators.filter((t) => t.name === between);
    const fails = (smaller: Program): boolean => {
      const verdict = run(smaller, which);
      return verdict.kind === 'different' && verdict.between === between;
    };
    const shrunk = shrinkProgram(program, fails);
    const last = run(shrunk, which);
    const what = last.kind === 'different' ? last.what : 'it does not fail a second time';
    return [
      `seed ${program.seed}: ${between} differs; ${countInstructions(program)} instructions, ${countInstructions(shrunk)} of them needed (the others are NOPs, not shown)`,
      what,
      describe(shrunk),
    ].join('\n');
  }
}
