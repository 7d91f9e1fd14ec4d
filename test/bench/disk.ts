// `npm run bench -- disk [OPTION …]`: reads and writes of 4 KiB in a guest, on virtio and IDE, under Teremok and, where
// it is installed, QEMU's translator with the same image and the same guest, in turn. `--help` names the options.
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { projectRoot } from '../../src/cli/setup/bootstrap.js';
import { QEMU, qemuVersion, workFolder } from './cpu/machines.ts';
import { type Launch, type Result, runPrograms } from './cpu/session.ts';
import { diskGuest } from './disk/guest.ts';
import { aboutThisMachine, median, printTable } from './support/figures.ts';

const MIB = 1 << 20;
const IMAGE_MIB = 64;
const MEMORY_MIB = 256;
const LIMITS = { bootMs: 180_000, programMs: 120_000 };
const BLOCK_KIB = 4;

const USAGE = `npm run bench -- disk [OPTION …]
  --bus virtio,ide     how the disk is attached (both)
  --format raw,qcow2   of the image; qcow2 needs qemu-img (raw)
  --engine ENGINE      Teremok's engine: auto, interpret or translate (translate)
  --runs N             how often; the machines take turns, figures are medians (1)
  --rounds N           each job so often in a row; the figure is the last one's, the first one's ratio stands beside (3)
  --scale FACTOR       for the number of requests (1)
  --clock CLOCK        wall, or cpu: processor time of the machine's process, all its threads (wall)
  --skip-qemu          without QEMU`;

interface Job {
  readonly name: string;
  readonly count: number;
}

/** Reads come first, while the image is as it was made; sequential ones stay within the image. */
const JOBS: readonly Job[] = [
  { name: 'sequential-read', count: 6000 },
  { name: 'random-read', count: 6000 },
  { name: 'cached-read', count: 15000 },
  { name: 'sequential-write', count: 6000 },
  { name: 'random-write', count: 6000 },
  { name: 'cached-write', count: 15000 },
];

type Bus = 'virtio' | 'ide';
type Format = 'raw' | 'qcow2';

type Clock = 'wall' | 'cpu';

interface DiskOptions {
  readonly buses: readonly Bus[];
  readonly formats: readonly Format[];
  readonly engine: string;
  readonly runs: number;
  readonly rounds: number;
  readonly clock: Clock;
  readonly jobs: readonly Job[];
  readonly skipQemu: boolean;
}

function readOptions(): DiskOptions | undefined {
  const { values } = parseArgs({
    options: {
      bus: { type: 'string', default: 'virtio,ide' },
      format: { type: 'string', default: 'raw' },
      engine: { type: 'string', default: 'translate' },
      runs: { type: 'string', short: 'n', default: '1' },
      rounds: { type: 'string', default: '3' },
      scale: { type: 'string', default: '1' },
      clock: { type: 'string', default: 'wall' },
      'skip-qemu': { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  const list = <T extends string>(option: string, text: string, known: readonly T[]): T[] =>
    text.split(',').map((word) => {
      const found = known.find((one) => one === word);
      if (found === undefined) throw new Error(`--${option} takes ${known.join(' and ')}, not ${word}`);
      return found;
    });
  const runs = Number(values.runs);
  if (!Number.isInteger(runs) || runs < 1 || runs > 100) throw new Error('--runs takes 1 to 100');
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 100) throw new Error('--rounds takes 1 to 100');
  const scale = Number(values.scale);
  if (!(scale > 0 && scale <= 1)) throw new Error('--scale takes a number up to 1');
  return {
    buses: list('bus', values.bus, ['virtio', 'ide']),
    formats: list('format', values.format, ['raw', 'qcow2']),
    engine: values.engine,
    runs,
    rounds,
    clock: list('clock', values.clock, ['wall', 'cpu'])[0] ?? 'wall',
    jobs: JOBS.map(({ name, count }) => ({ name, count: Math.max(1, Math.round(count * scale)) })),
    skipQemu: values['skip-qemu'],
  };
}

interface Place {
  readonly kernel: string;
  readonly initrd: string;
  readonly image: string;
  readonly bus: Bus;
  readonly format: Format;
  readonly engine: string;
}

const cmdline = (bus: Bus, jobs: readonly Job[]): string =>
  [
    'console=ttyS0 quiet loglevel=1 rdinit=/bench/init',
    `disk=/dev/${bus === 'ide' ? 'sda' : 'vda'}`,
    `jobs=${jobs.map(({ name, count }) => `${name}:${count}`).join(',')}`,
  ].join(' ');

function teremok(place: Place, jobs: readonly Job[]): Launch {
  const { kernel, initrd, image, bus, format, engine } = place;
  return {
    command: process.execPath,
    args: [
      ...[join(projectRoot, 'src/cli/bin/teremok.js'), 'run', '--kernel', kernel, '--initrd', initrd],
      ...['--append', cmdline(bus, jobs), '--memory', String(MEMORY_MIB), '--serial', 'stdio'],
      ...['--disk', `${image},format=${format},bus=${bus}`, '--engine', engine, '--no-reboot'],
    ],
  };
}

function qemu({ kernel, initrd, image, bus, format }: Place, jobs: readonly Job[]): Launch {
  return {
    command: QEMU,
    args: [
      ...['-accel', 'tcg', '-cpu', 'max', '-m', String(MEMORY_MIB), '-no-reboot', '-kernel', kernel],
      ...['-initrd', initrd, '-append', cmdline(bus, jobs)],
      ...['-drive', `file=${image},if=${bus},format=${format}`],
      ...['-display', 'none', '-serial', 'stdio', '-monitor', 'none', '-nic', 'none'],
    ],
  };
}

/** A disk without a hole in it, every block of which differs. */
async function makeImage(path: string, format: Format): Promise<void> {
  const words = new Uint32Array((IMAGE_MIB * MIB) / 4);
  for (let i = 0, x = 1; i < words.length; i++) words[i] = x = Math.imul(x, 1664525) + 1013904223;
  const raw = format === 'raw' ? path : `${path}.raw`;
  await writeFile(raw, words);
  if (format === 'raw') return;
  execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', format, raw, path]);
  await rm(raw);
}

/** Of a machine: by job, for each run what its rounds took. */
type Figures = Map<string, Result[][]>;

function printFigures(
  title: string,
  { jobs, clock }: DiskOptions,
  own: Figures,
  theirs: Figures | undefined,
): boolean {
  let sound = true;
  const seconds = (runs: readonly Result[][] | undefined, round: number): number | undefined => {
    const figures = (runs ?? []).flatMap(
      (rounds) => rounds.at(round)?.[clock === 'cpu' ? 'cpuSeconds' : 'seconds'] ?? [],
    );
    return figures.length > 0 ? median(figures) : undefined;
  };
  const ratioOf = (mine: number | undefined, other: number | undefined): number | undefined =>
    mine !== undefined && other !== undefined ? other / mine : undefined;
  const told = (count: number, time: number | undefined): string[] =>
    time === undefined
      ? ['-', '-']
      : [((time / count) * 1e6).toFixed(0), ((count * BLOCK_KIB) / 1024 / time).toFixed(1)];
  const rates: number[] = [];
  const rows = jobs.map(({ name, count }) => {
    const all = [...(own.get(name) ?? []), ...(theirs?.get(name) ?? [])].flat();
    for (const { error } of all) {
      if (error === undefined) continue;
      sound = false;
      process.stderr.write(`${title}, ${name}: ${error}\n`);
    }
    const sums = new Set(all.flatMap((result) => result.checksum ?? []));
    if (sums.size > 1) {
      sound = false;
      process.stderr.write(`${title}, ${name}: the machines did not see the same data\n`);
    }
    const mine = seconds(own.get(name), -1);
    const other = seconds(theirs?.get(name), -1);
    const ratio = ratioOf(mine, other);
    const first = ratioOf(seconds(own.get(name), 0), seconds(theirs?.get(name), 0));
    if (ratio !== undefined) rates.push(ratio);
    const ratios = theirs ? [...told(count, other), ratio?.toFixed(2) ?? '', first?.toFixed(2) ?? ''] : [];
    return [name, ...told(count, mine), ...ratios];
  });
  process.stdout.write(`\n${title}:\n`);
  const other = theirs ? ['qemu µs', 'MiB/s', 'rate / qemu', 'at first'] : [];
  printTable(['4 KiB', 'teremok µs', 'MiB/s', ...other], rows);
  if (rates.length > 0) {
    const mean = Math.exp(rates.reduce((sum, rate) => sum + Math.log(rate), 0) / rates.length);
    process.stdout.write(`geometric mean of the rates, Teremok / QEMU: ${mean.toFixed(2)}\n`);
  }
  return sound;
}

async function run(options: DiskOptions): Promise<void> {
  const version = options.skipQemu ? undefined : qemuVersion();
  process.stdout.write(`${aboutThisMachine()}, engine ${options.engine}, ${options.clock} clock\n`);
  if (version !== undefined) process.stdout.write(`beside it QEMU ${version}, -accel tcg -cpu max\n`);
  else if (!options.skipQemu) process.stdout.write(`no ${QEMU} here to compare with\n`);
  await mkdir(workFolder(), { recursive: true });
  const guest = await diskGuest(workFolder());
  // Beside what else the bench keeps, and not in a /tmp that may be memory.
  const directory = await mkdtemp(join(workFolder(), 'disk-'));
  try {
    for (const format of options.formats) {
      const master = join(directory, `master.${format}`);
      await makeImage(master, format);
      for (const bus of options.buses) {
        const own: Figures = new Map();
        const theirs: Figures | undefined = version === undefined ? undefined : new Map();
        for (let n = 0; n < options.runs; n++) {
          for (const [machine, start, figures] of [
            ['teremok', teremok, own],
            ['qemu', qemu, theirs],
          ] as const) {
            if (!figures) continue;
            process.stderr.write(`${format} on ${bus}, run ${n + 1} of ${options.runs}: ${machine}\n`);
            const image = join(directory, `${machine}.${format}`);
            await copyFile(master, image);
            const place = { ...guest, image, bus, format, engine: options.engine };
            const jobs = options.jobs.flatMap((job) => Array.from({ length: options.rounds }, () => job));
            const results = await runPrograms(jobs, (rest) => start(place, rest), LIMITS);
            for (const { name } of options.jobs)
              figures.set(name, [
                ...(figures.get(name) ?? []),
                results.filter((result) => result.name === name),
              ]);
          }
        }
        if (!printFigures(`${format} on ${bus}`, options, own, theirs)) process.exitCode = 1;
      }
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

// The machines end with this process.
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));
try {
  const options = readOptions();
  if (options === undefined) process.stdout.write(`${USAGE}\n`);
  else await run(options);
} catch (error) {
  process.stderr.write(`bench disk: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
