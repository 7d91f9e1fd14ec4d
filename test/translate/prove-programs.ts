import { ProgramProver, programSeed } from './prover.ts';

const PROGRESS_MILLISECONDS = 5000;
const MOST_FAILURES = 5;

/** The section of `npm run prove` for whole programs: interpreter, translator and host; gives the number of differences. */
export function provePrograms(seed: number, count: number): number {
  const prover = new ProgramProver();
  const { engines } = prover;
  const started = performance.now();
  let shown = started;
  const line = (n: number): string => {
    const { tally } = engines;
    const share = tally.retired === 0 ? 0 : (tally.inRegions / tally.retired) * 100;
    return (
      `${n} of ${count} programs in ${((performance.now() - started) / 1000).toFixed(1)} s: ${tally.native} on the host too, ` +
      `${tally.faults} ended in a fault, ${tally.resumed} of these went on, ${tally.skipped} skipped, ${tally.meetings} meetings in lock-step; ` +
      `${engines.counter('regions')} regions, ${engines.counter('regionsDropped')} dropped, ${share.toFixed(1)} % of ${tally.retired} instructions in regions`
    );
  };
  let failures = 0;
  let n = 0;
  for (; n < count && failures < MOST_FAILURES; n++) {
    const failure = prover.run(programSeed(seed, n));
    if (failure) {
      failures += 1;
      console.log(`\nDIFFERENT\nagain with: npm run prove -- --program ${failure.seed}\n${failure.report}\n`);
    }
    if (performance.now() - shown > PROGRESS_MILLISECONDS) {
      shown = performance.now();
      console.log(line(n + 1));
    }
  }
  console.log(line(n));
  if (engines.hostMissing) console.log(`without the host's processor: ${engines.hostMissing}`);
  const fellBack =
    n > 100 && (engines.counter('regions') < n || engines.tally.inRegions < engines.tally.retired / 2);
  if (fellBack) console.log('the translator fell back to the interpreter: too little ran in regions');
  console.log(failures === 0 ? 'no difference' : `${failures} differences`);
  return failures + (fellBack ? 1 : 0);
}

/** One program by its seed, on every translator. */
export function proveProgram(seed: number): number {
  const failure = new ProgramProver().run(seed, {}, true);
  console.log(failure ? failure.report : 'no difference');
  return failure ? 1 : 0;
}
