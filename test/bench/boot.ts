// `npm run bench -- boot [--runs N]`: Debian's kernel and BusyBox from the start of the process to the shell's prompt,
// through `teremok run` and, where it is installed, QEMU's translator with the same files, in turn.
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { homeDirectory, projectRoot } from '../../src/cli/setup/bootstrap.js';
import { aboutThisMachine, median, printTable, readRuns } from './support/figures.ts';
import { bootToShell, type ToShell } from './support/shell.ts';

const QEMU = 'qemu-system-x86_64';
const MEMORY_MIB = '256';
const CMDLINE = 'console=ttyS0';
/** A boot that takes longer has failed. Milliseconds. */
const LIMIT_MS = 180_000;

const IMAGE = join(homeDirectory(), 'images', 'debian-busybox');
const KERNEL = join(IMAGE, 'vmlinuz');
const INITRD = join(IMAGE, 'initrd');

interface Statistics {
  readonly instructions: number;
  readonly mips: number;
}

type OwnBoot = ToShell & Statistics;

/** One boot on the interpreter, with what `--stats` says of it. */
async function bootTeremok(directory: string): Promise<OwnBoot> {
  const stats = join(directory, 'stats.json');
  const program = join(projectRoot, 'src/cli/teremok.ts');
  const machine = ['--kernel', KERNEL, '--initrd', INITRD, '--append', CMDLINE, '--memory', MEMORY_MIB];
  const args = [program, 'run', ...machine, '--serial', 'stdio', '--stats', stats];
  const boot = await bootToShell('teremok', process.execPath, args, LIMIT_MS);
  const { instructions, mips } = JSON.parse(await readFile(stats, 'utf8')) as Statistics;
  return { ...boot, instructions, mips };
}

/** The same on QEMU's translator, with the processor that has all that it can emulate. */
function bootQemu(): Promise<ToShell> {
  const machine = ['-accel', 'tcg', '-cpu', 'max', '-m', MEMORY_MIB, '-no-reboot'];
  const guest = ['-kernel', KERNEL, '-initrd', INITRD, '-append', CMDLINE];
  const streams = ['-display', 'none', '-serial', 'stdio', '-monitor', 'none', '-nic', 'none'];
  return bootToShell(QEMU, QEMU, [...machine, ...guest, ...streams], LIMIT_MS);
}

function qemuVersion(): string | undefined {
  const { status, stdout } = spawnSync(QEMU, ['--version'], { encoding: 'utf8' });
  return status === 0 ? /version (\S+)/.exec(stdout)?.[1] : undefined;
}

const runs = readRuns(3);
const qemu = qemuVersion();
process.stdout.write(`${aboutThisMachine()}\n`);
process.stdout.write(
  qemu === undefined ? `no ${QEMU} here to compare with\n` : `beside it QEMU ${qemu}, -accel tcg -cpu max\n`,
);
const directory = await mkdtemp(join(tmpdir(), 'teremok-bench-'));
const own: OwnBoot[] = [];
const theirs: ToShell[] = [];
try {
  for (let run = 0; run < runs; run++) {
    own.push(await bootTeremok(directory));
    if (qemu !== undefined) theirs.push(await bootQemu());
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
const rows = [row('teremok (interpret)', own, [millions, mips])];
if (theirs.length > 0) {
  const ratio = (figure: (boot: ToShell) => number): string =>
    `${(middle(own, figure) / middle(theirs, figure)).toFixed(2)}×`;
  rows.push(row('qemu (tcg)', theirs, ['', '']));
  rows.push(['teremok / qemu', ratio((boot) => boot.seconds), ratio((boot) => boot.cpuSeconds), '', '']);
}
process.stdout.write(`Debian's kernel to the shell, medians of ${runs}:\n`);
printTable(['', 'seconds', 'cpu seconds', 'M instructions', 'MIPS'], rows);
