// `npm run bench -- boot [--runs N]`: Debian's kernel and BusyBox from the start of the process to the shell's prompt,
// through `teremok run` and, where it is installed, QEMU's translator with the same files, in turn.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { QEMU, qemu, qemuVersion, teremok } from './cpu/machines.ts';
import { shellGuest } from './cpu/whole.ts';
import { aboutThisMachine, median, printTable, readRuns } from './support/figures.ts';
import { bootToShell, type ToShell } from './support/shell.ts';

/** A boot that takes longer has failed. Milliseconds. */
const LIMIT_MS = 180_000;

interface Statistics {
  readonly instructions: number;
  readonly mips: number;
}

type OwnBoot = ToShell & Statistics;

/** One boot, with what `--stats` says of it. */
async function bootTeremok(directory: string): Promise<OwnBoot> {
  const stats = join(directory, 'stats.json');
  const { command, args } = teremok(shellGuest(), { stats });
  const boot = await bootToShell('teremok', command, args, LIMIT_MS);
  const { instructions, mips } = JSON.parse(await readFile(stats, 'utf8')) as Statistics;
  return { ...boot, instructions, mips };
}

/** The same on QEMU's translator, with the processor that has all that it can emulate. */
function bootQemu(): Promise<ToShell> {
  const { command, args } = qemu(shellGuest());
  return bootToShell(QEMU, command, args, LIMIT_MS);
}

const runs = readRuns(3);
const version = qemuVersion();
process.stdout.write(`${aboutThisMachine()}\n`);
process.stdout.write(
  version === undefined
    ? `no ${QEMU} here to compare with\n`
    : `beside it QEMU ${version}, -accel tcg -cpu max\n`,
);
const directory = await mkdtemp(join(tmpdir(), 'teremok-bench-'));
const own: OwnBoot[] = [];
const theirs: ToShell[] = [];
try {
  for (let run = 0; run < runs; run++) {
    own.push(await bootTeremok(directory));
    if (version !== undefined) theirs.push(await bootQemu());
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}

const middle = <T>(boots: readonly T[], figure: (boot: T) => number): number => median(boots.map(figure));
const row = (name: string, boots: readonly ToShell[], rest: readonly string[]): string[] => [
  name,
  middle(boots, (boot) => boot.seconds).toFixed(2),
  middle(boots, (boot) => boot.cpuSeconds).toFixed(2),
  ...rest,
];
const millions = (middle(own, (boot) => boot.instructions) / 1e6).toFixed(0);
const mips = middle(own, (boot) => boot.mips).toFixed(1);
const rows = [row('teremok (translate)', own, [millions, mips])];
if (theirs.length > 0) {
  const ratio = (figure: (boot: ToShell) => number): string =>
    `${(middle(own, figure) / middle(theirs, figure)).toFixed(2)}×`;
  rows.push(row('qemu (tcg)', theirs, ['', '']));
  rows.push(['teremok / qemu', ratio((boot) => boot.seconds), ratio((boot) => boot.cpuSeconds), '', '']);
}
process.stdout.write(`Debian's kernel to the shell, medians of ${runs}:\n`);
printTable(['', 'seconds', 'cpu seconds', 'M instructions', 'MIPS'], rows);
