// `npm run prove -- --seed N --count M`: M random instructions, alone and in sequences, on the host's processor
// and on the interpreter. `--trial T` runs one trial of a seed again. `--no-tests` leaves out the run of the
// project's own tests by which rows that no program can run are counted.
import { parseArgs } from 'node:util';
import { proveProgram, provePrograms } from '../translate/prove-programs.ts';
import { runsOnHost } from './coverage.ts';
import { type Failure, Prover } from './prove/prover.ts';
import { rowName, rowsOfTests } from './prove/tested-rows.ts';

const PROGRESS_MILLISECONDS = 5000;
const MOST_FAILURES = 5;
const MOST_FORMS = 60;

const USAGE = `Usage: npm run prove -- [--seed N] [--count M] [--trial T] [--programs P] [--program S] [--no-tests]
  --seed N     a whole number; the same seed gives the same instructions (default: a random one)
  --count M    instructions to run (default 100000)
  --trial T    only trial number T of the seed
  --programs P whole programs over interpreter, translator and host (default one for 500 instructions)
  --program S  only the whole program of seed S
  --no-tests   do not run the project's tests for the table's coverage`;

interface Options {
  readonly seed: number;
  readonly count: number;
  readonly trial: number | undefined;
  readonly programs: number;
  readonly program: number | undefined;
  readonly tests: boolean;
}

function wholeNumber(name: string, text: string, most: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > most)
    throw new Error(`--${name} is a whole number up to ${most}, not "${text}"`);
  return value;
}

/** Throws an Error whose message is for the user. */
function readOptions(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      seed: { type: 'string' },
      count: { type: 'string', default: '100000' },
      trial: { type: 'string' },
      programs: { type: 'string' },
      program: { type: 'string' },
      tests: { type: 'boolean', default: true },
      help: { type: 'boolean', short: 'h' },
    },
    allowNegative: true,
  });
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  return {
    seed: wholeNumber(
      'seed',
      values.seed ?? String(Math.floor(Math.random() * 1_000_000)),
      Number.MAX_SAFE_INTEGER,
    ),
    count: wholeNumber('count', values.count, 1e10),
    trial: values.trial === undefined ? undefined : wholeNumber('trial', values.trial, 1e10),
    programs:
      values.programs === undefined
        ? Math.ceil(wholeNumber('count', values.count, 1e10) / 500)
        : wholeNumber('programs', values.programs, 1e10),
    program:
      values.program === undefined
        ? undefined
        : wholeNumber('program', values.program, Number.MAX_SAFE_INTEGER),
    tests: values.tests,
  };
}

function show(failure: Failure, seed: number): void {
  console.log(
    `\nDIFFERENT: ${failure.title}\nagain with: npm run prove -- --seed ${seed} --trial ${failure.trial}\n${failure.report}\n`,
  );
}

function runTrials(prover: Prover, options: Options): number {
  const started = performance.now();
  const { tally } = prover;
  const line = (): string => {
    const seconds = (performance.now() - started) / 1000;
    return (
      `${tally.instructions} of ${options.count} instructions in ${seconds.toFixed(1)} s (${Math.round((tally.instructions / seconds) * 60)} a minute): ` +
      `${tally.single} alone, ${tally.sequences} sequences, ${tally.faults} ended in a fault, ${tally.skipped} skipped`
    );
  };
  let failures = 0;
  let shown = started;
  for (let trial = 0; tally.instructions < options.count && failures < MOST_FAILURES; trial++) {
    const failure = prover.run(trial);
    if (failure) {
      failures += 1;
      show(failure, options.seed);
    }
    if (performance.now() - shown > PROGRESS_MILLISECONDS) {
      shown = performance.now();
      console.log(line());
    }
  }
  console.log(line());
  console.log(
    failures === 0
      ? 'no difference'
      : `${failures} differences${failures === MOST_FAILURES ? ', then stopped' : ''}`,
  );
  return failures;
}

/** The table's coverage: rows by what ran them, and by name those that nothing did. */
async function showCoverage(prover: Prover, tests: boolean): Promise<void> {
  const { encodings } = prover.table;
  const here = encodings.filter((e) => prover.coverage.has(e));
  const elsewhere = tests ? await rowsOfTests() : new Set<string>();
  const lacking = encodings.filter((e) => !runsOnHost(e));
  const rest = encodings.filter((e) => runsOnHost(e) && !prover.coverage.has(e));
  const byTests = rest.filter((e) => elsewhere.has(rowName(e)));
  const none = rest.filter((e) => !elsewhere.has(rowName(e)));
  const all = encodings.length - lacking.length;
  const percent = (((all - none.length) / all) * 100).toFixed(1);
  if (lacking.length > 0) {
    const features = new Set(lacking.map((e) => e.instruction.cpuid));
    console.log(`skipped, ${lacking.length} rows: the host's processor has no ${[...features].join(', ')}`);
  }
  console.log(
    `table: ${all - none.length} of ${all} rows executed (${percent} %): ${here.length} here against the host, ` +
      `${prover.coverage.forms} of ${prover.forms} forms` +
      (tests ? `; ${byTests.length} by other tests` : '; other tests not run'),
  );
  const forms = prover.missingForms();
  if (forms.length > 0)
    console.log(
      `forms not run here, ${forms.length}: ${forms.slice(0, MOST_FORMS).join('; ')}${forms.length > MOST_FORMS ? '; …' : ''}`,
    );
  if (none.length > 0) console.log(`not executed, ${none.length}: ${none.map(rowName).join('; ')}`);
}

async function main(): Promise<number> {
  let options: Options;
  try {
    options = readOptions(process.argv.slice(2));
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
    return 2;
  }
  if (options.program !== undefined) return proveProgram(options.program);
  let prover: Prover;
  try {
    prover = new Prover(options.seed);
  } catch (error) {
    console.error(
      `The host's processor cannot be used: ${error instanceof Error ? error.message : String(error)}`,
    );
    return 1;
  }
  console.log(`seed ${options.seed}, ${prover.forms} forms of ${prover.table.encodings.length} rows`);
  if (options.trial !== undefined) {
    const failure = prover.run(options.trial);
    if (failure) show(failure, options.seed);
    else console.log('no difference');
    return failure ? 1 : 0;
  }
  const failures = runTrials(prover, options);
  const inPrograms = provePrograms(options.seed, options.programs);
  await showCoverage(prover, options.tests);
  return failures + inPrograms > 0 ? 1 : 0;
}

process.exitCode = await main();
