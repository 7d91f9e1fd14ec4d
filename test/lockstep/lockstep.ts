// `npm run lockstep`: Debian to its shell, interpreted and translated side by side, the whole processor compared at
// every stop and RAM at some. Where they differ it starts again, stops more often there, and shows the code.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type CpuProfile, isCpuProfile } from '../../src/hypervisor/index.ts';
import { currentInstruction } from './guest-code.ts';
import { ProcessorState } from './state.ts';
import { type Difference, Twins } from './twins.ts';

const USAGE = `Usage: npm run lockstep -- [--from N] [--every N] [--until N] [--image NAME] [--memory MIB] [--cpu PROFILE]
                           [--append STRING] [--type STRING]
  --from N     ticks (instructions and exceptions) up to which nothing is compared (default 0)
  --every N    ticks between two comparisons (default 100000)
  --until N    where it ends (default: the shell's prompt)
  --image NAME an image in TEREMOK_HOME, with vmlinuz and initrd (default debian-busybox)
  --memory MIB memory of each of the two machines (default 128)
  --cpu NAME   the processor's profile (default portable)
  --append S   the kernel's command line (default "console=ttyS0 quiet")
  --type S     a command for the shell; it ends at the next prompt (give --until too when it is not to wait for one)`;

/** Stops between two comparisons of RAM. */
const RAM_EVERY = 100;
/** Stops between two lines of progress. */
const TELL_EVERY = 1000;
/** How far apart stops are in the second run. */
const FINER = 10_000;
/** How near to the first difference it is worth to come: no instruction, but a region, makes it. */
const RESOLUTION = 16;
/** Instructions shown in front of it: more than a region and the steps behind it have. */
const SHOWN = 400;
/** Characters of the guest's output that are shown at the end. */
const OUTPUT_SHOWN = 2000;
const PROMPT = /~ # /g;
/** Nothing takes longer to come to the prompt. */
const MOST = 20e9;

/** Stops every so many ticks up to a point. */
interface Stretch {
  readonly every: number;
  readonly upTo: number;
}

interface Options {
  readonly from: number;
  readonly every: number;
  readonly until: number | undefined;
  readonly image: string;
  readonly memoryMiB: number;
  readonly cpu: CpuProfile;
  readonly append: string;
  readonly type: string | undefined;
}

/** Throws an Error whose message is for the user. */
function readOptions(args: string[]): Options {
  const { values } = parseArgs({
    args,
    options: {
      from: { type: 'string', default: '0' },
      every: { type: 'string', default: '100000' },
      until: { type: 'string' },
      image: { type: 'string', default: 'debian-busybox' },
      memory: { type: 'string', default: '128' },
      cpu: { type: 'string', default: 'portable' },
      type: { type: 'string' },
      append: { type: 'string', default: 'console=ttyS0 quiet' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const count = (name: string, text: string, least: number, most = MOST): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most)
      throw new Error(`--${name} is a whole number from ${least} to ${most}, not "${text}"`);
    return value;
  };
  if (!/^[\w-]+$/.test(values.image)) throw new Error(`there is no image "${values.image}"`);
  const { cpu } = values;
  if (!isCpuProfile(cpu)) throw new Error(`there is no processor profile "${cpu}"`);
  return {
    cpu,
    from: count('from', values.from, 0),
    every: count('every', values.every, 1),
    until: values.until === undefined ? undefined : count('until', values.until, 1),
    image: values.image,
    memoryMiB: count('memory', values.memory, 1, 1024),
    append: values.append,
    type: values.type,
  };
}

function boot({ image, memoryMiB, cpu, append }: Options): Promise<Twins> {
  const home = process.env.TEREMOK_HOME;
  if (home === undefined) throw new Error('TEREMOK_HOME is not set: run this through npm run lockstep');
  return Twins.boot({ folder: join(home, 'images', image), memoryMiB, cpu, cmdline: append });
}

/** Runs twins through the stretches, until they differ or come to the end. */
async function follow(
  twins: Twins,
  { from, until, type }: Options,
  stretches: readonly Stretch[],
): Promise<Difference | undefined> {
  if (from > 0) await twins.skipTo(from);
  let at = from;
  let stops = 0;
  let prompts = 0;
  for (const { every, upTo } of stretches) {
    while (at < upTo && !twins.ended) {
      at = Math.min(upTo, at + every);
      stops += 1;
      const difference = await twins.runTo(at, stops % RAM_EVERY === 0);
      if (difference) return difference;
      if (stops % TELL_EVERY === 0) tell(twins);
      const seen = twins.output.match(PROMPT)?.length ?? 0;
      if (seen > 0 && prompts === 0 && type !== undefined) twins.type(`${type}\n`);
      else if (seen > prompts && until === undefined) return await twins.runTo(at, true);
      prompts = seen;
    }
  }
  return await twins.runTo(at, true);
}

function tell(twins: Twins): void {
  const { inRegions, interpreted } = twins.samples;
  const share = ((inRegions / Math.max(1, inRegions + interpreted)) * 100).toFixed(1);
  console.log(`the same after ${twins.agreed} ticks; ${share} % of the samples in regions`);
}

/** Ends stretches at a point. */
const endAt = (stretches: readonly Stretch[], end: number): Stretch[] =>
  stretches.map(({ every, upTo }) => ({ every, upTo: Math.min(upTo, end) }));

/**
 * Runs again and again to where they still agreed, and from there on in one go, to see where they first differ. The
 * ways up to there are the same, and with them what is translated; what is behind runs in regions too, but for the
 * last few hundred ticks.
 */
async function bisect(
  options: Options,
  stretches: readonly Stretch[],
  difference: Difference,
): Promise<Difference> {
  let first = difference;
  for (let low = difference.after; first.at - low > RESOLUTION; ) {
    const middle = Math.floor((low + first.at) / 2);
    const twins = await boot(options);
    await follow(twins, options, endAt(stretches, difference.after));
    const found = await twins.runTo(middle, false);
    await twins.dispose();
    if (found) first = found;
    else low = middle;
    console.log(`different between ${low} and ${first.at}`);
  }
  return first;
}

/** Runs once more, and shows the instructions that led to a difference. */
async function show(options: Options, stretches: readonly Stretch[], difference: Difference): Promise<void> {
  const { after, at, lines } = difference;
  const twins = await boot(options);
  await follow(twins, options, endAt(stretches, after));
  const { interpreted, translated } = twins;
  await translated.runTo(at);
  const from = Math.max(after, at - SHOWN);
  await interpreted.runTo(from);
  console.log(`before, at ${from}:\n${new ProcessorState(interpreted.memory)}`);
  for (let tick = from; tick < at; tick++) {
    console.log(`${String(tick).padStart(12)} ${currentInstruction(interpreted.memory)}`);
    await interpreted.runTo(tick + 1);
  }
  console.log(`interpreted, at ${at}:\n${new ProcessorState(interpreted.memory)}`);
  console.log(`translated:\n${new ProcessorState(translated.memory)}`);
  console.log(`different, interpreted / translated:\n${lines.join('\n')}`);
  await twins.dispose();
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  let stretches: Stretch[] = [{ every: options.every, upTo: options.until ?? MOST }];
  let found: Difference | undefined;
  for (const finer of [undefined, FINER]) {
    if (finer !== undefined) {
      if (!found || finer >= found.at - found.after) continue;
      const { after, at } = found;
      console.log(`different between ${after} and ${at}: ${found.lines.join('; ')}`);
      // As before up to there, so that the same is translated.
      stretches = [...endAt(stretches, after), { every: finer, upTo: at }];
    }
    const twins = await boot(options);
    const difference = await follow(twins, options, stretches);
    if (finer === undefined) {
      tell(twins);
      if (options.type !== undefined) console.log(twins.output.slice(-OUTPUT_SHOWN));
    }
    await twins.dispose();
    if (!difference) break;
    found = difference;
  }
  if (!found) return;
  await show(options, stretches, await bisect(options, stretches, found));
  process.exitCode = 1;
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 2;
}
