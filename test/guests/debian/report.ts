import type { RunFigures, Runner } from './booted.ts';

/** One check of a guest. */
export interface Verdict {
  readonly name: string;
  /** Why the answer is wrong; undefined when it is right. */
  readonly problem: string | undefined;
  /** What every runner has to say in the same words; undefined when it rightly differs from run to run. */
  readonly answer: string | undefined;
}

const LONGEST = 2000;

/** The first line in which two texts differ, for people. */
function firstDifference(actual: string, expected: string): string {
  const [mine, theirs] = [actual.split('\n'), expected.split('\n')];
  const at = mine.findIndex((line, index) => line !== theirs[index]);
  const index = at < 0 ? mine.length : at;
  const show = (line: string | undefined): string =>
    line === undefined ? 'no such line' : JSON.stringify(line.slice(0, LONGEST));
  return `line ${index + 1} is ${show(mine[index])}, not ${show(theirs[index])}`;
}

/** Takes a guest's answers, prints a line for each, and remembers them. */
export class Report {
  readonly runner: Runner;
  readonly verdicts: Verdict[] = [];

  constructor(runner: Runner) {
    this.runner = runner;
  }

  get failures(): number {
    return this.verdicts.filter(({ problem }) => problem !== undefined).length;
  }

  /** Compares an answer with the one that is right. */
  equal(name: string, actual: string, expected: string): void {
    this.judge(name, actual === expected ? undefined : firstDifference(actual, expected), { answer: actual });
  }

  /**
   * @param problem why the answer is wrong; undefined when it is right
   * @param told `answer`: what every runner has to say alike; `note`: what is shown beside a right answer
   */
  judge(name: string, problem: string | undefined, told: { answer?: string; note?: string } = {}): void {
    this.verdicts.push({ name, problem, answer: told.answer });
    const note = told.note === undefined ? '' : ` (${told.note})`;
    const line = problem === undefined ? `ok     ${name}${note}` : `WRONG  ${name}: ${problem}`;
    process.stdout.write(`${this.runner.padEnd(8)} ${line}\n`);
  }

  /** Prints the counts, and what the run took where that is known. */
  conclude({ seconds, instructions = 0, mips = 0 }: RunFigures = { seconds: 0 }): void {
    const right = `${this.verdicts.length - this.failures} right, ${this.failures} wrong`;
    const speed = `, ${(instructions / 1e6).toFixed(0)} million instructions, ${mips.toFixed(1)} million a second`;
    const took = seconds > 0 ? `; ${seconds.toFixed(1)} s${instructions > 0 ? speed : ''}` : '';
    process.stdout.write(`${this.runner.padEnd(8)} ${right}${took}\n`);
  }
}

/**
 * Compares what two runners said, and prints where they differ.
 *
 * @returns how many answers differ
 */
export function compareReports(one: Report, other: Report): number {
  let differences = 0;
  let same = 0;
  for (const { name, answer, problem } of one.verdicts) {
    const theirs = other.verdicts.find((verdict) => verdict.name === name);
    const says = (wrong: string | undefined): string => (wrong === undefined ? 'right' : 'wrong');
    if (theirs === undefined) {
      process.stdout.write(`DIFFERENT ${name}: ${other.runner} did not come to it\n`);
    } else if (answer !== theirs.answer) {
      const difference = firstDifference(answer ?? '', theirs.answer ?? '');
      process.stdout.write(`DIFFERENT ${name}: ${one.runner} and then ${other.runner}: ${difference}\n`);
    } else if ((problem === undefined) !== (theirs.problem === undefined)) {
      const verdicts = `${one.runner} ${says(problem)}, ${other.runner} ${says(theirs.problem)}`;
      process.stdout.write(`DIFFERENT ${name}: ${verdicts}\n`);
    } else {
      same += 1;
      continue;
    }
    differences += 1;
  }
  process.stdout.write(
    `${one.runner} and ${other.runner}: ${same} answers the same, ${differences} different\n`,
  );
  return differences;
}
