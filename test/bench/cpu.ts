// `npm run bench -- cpu [OPTION …]`: guest programs under Teremok, QEMU's translator and, with 32 bits, v86, in turn in
// one run, and what the machine takes as a whole. `--help` names the options; docs/performance.md says what it is for.
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RunStats } from '../../src/cli/run/stats.ts';
import type { Bits, Host } from './cpu/build.ts';
import {
  bareGuest,
  type Guest,
  linuxGuest,
  type NativePrograms,
  nativePrograms,
  QEMU,
  qemu,
  qemuVersion,
  teremok,
  v86,
  workFolder,
} from './cpu/machines.ts';
import { runNatively } from './cpu/native.ts';
import { type CpuBenchOptions, readOptions, USAGE } from './cpu/options.ts';
import { benchArgument, PROGRAMS, type Program, programsFor, runsBare } from './cpu/programs.ts';
import { printMachine, printPrograms, troubles } from './cpu/report.ts';
import { type MachineName, makeRow, meanRatio, type Row } from './cpu/rows.ts';
import { type Launch, type Result, runPrograms } from './cpu/session.ts';
import { IDLE_SECONDS, measureMachines } from './cpu/whole.ts';
import { aboutThisMachine, printTable } from './support/figures.ts';

const BOOT_LIMIT_MS = 180_000;

/** Which programs go into one machine. */
interface Part {
  readonly guest: Guest;
  readonly programs: readonly Program[];
}

/** The programs of one width by what they run on. */
async function partsOf(bits: Bits, programs: readonly Program[], host: Host | undefined): Promise<Part[]> {
  const bareWanted = (host ?? (bits === 64 ? 'linux' : 'bare')) === 'bare';
  const bare = programs.filter((program) => bareWanted && runsBare(program));
  const rest = programs.filter((program) => !bare.includes(program));
  return [
    ...(bare.length > 0 ? [{ guest: await bareGuest(bits), programs: bare }] : []),
    ...(rest.length > 0 ? [{ guest: await linuxGuest(bits), programs: rest }] : []),
  ];
}

async function machinesFor(
  bits: Bits,
  options: CpuBenchOptions,
  withQemu: boolean,
): Promise<Map<MachineName, (guest: Guest) => Launch>> {
  const machines = new Map<MachineName, (guest: Guest) => Launch>();
  machines.set('teremok', (guest) => teremok(guest, options));
  if (withQemu) machines.set('qemu', qemu);
  if (bits === 32 && !options.skipV86) machines.set('v86', await v86());
  return machines;
}

/** All programs of one width on all machines, in turn. */
async function measurePrograms(bits: Bits, options: CpuBenchOptions, withQemu: boolean): Promise<Row[]> {
  const stats = options.stats ?? join(workFolder(), 'stats.json');
  const programs = programsFor(bits, options.programs);
  const native = nativeResults(programs, await nativePrograms(bits));
  const parts = await partsOf(bits, programs, options.host);
  const machines = await machinesFor(bits, { ...options, stats }, withQemu);
  const limits = { bootMs: BOOT_LIMIT_MS, programMs: options.limitSeconds * 1000 };
  const results = new Map([...machines.keys()].map((name) => [name, new Map<string, Result[]>()]));
  for (let run = 0; run < options.runs; run++) {
    for (const part of parts) {
      for (const [name, start] of machines) {
        process.stderr.write(`${bits}-bit, run ${run + 1} of ${options.runs}: ${name}\n`);
        const launch = (list: readonly Program[]): Launch =>
          start({ ...part.guest, cmdline: `${part.guest.cmdline} ${benchArgument(list)}`.trim() });
        if (name === 'teremok') await rm(stats, { force: true });
        const measured = await runPrograms(part.programs, launch, limits);
        if (name === 'teremok') process.stdout.write(await tiersOf(stats));
        for (const result of measured) {
          const all = results.get(name) as Map<string, Result[]>;
          all.set(result.name, [...(all.get(result.name) ?? []), result]);
        }
      }
    }
  }
  return programs.map((program) => {
    const of = [...results].map(([name, all]) => [name, all.get(program.name) ?? []] as const);
    return makeRow(program, bits, native.get(program.name), new Map(of), options.clock);
  });
}

/**
 * In which tiers the last machine's instructions ran: a translator that left all to the interpreter is to be seen.
 * @returns nothing for a machine that did not come so far as to write its statistics
 */
async function tiersOf(stats: string): Promise<string> {
  const text = await readFile(stats, 'utf8').catch(() => undefined);
  if (text === undefined) return '';
  const { instructions, tiers } = JSON.parse(text) as RunStats;
  const shares = Object.entries(tiers).map(
    ([tier, count]) => `${tier} ${((count / instructions) * 100).toFixed(1)} %`,
  );
  return `teremok ran ${(instructions / 1e6).toFixed(0)} M instructions: ${shares.join(', ')}\n`;
}

function nativeResults(
  programs: readonly Program[],
  native: NativePrograms | undefined,
): Map<string, Result> {
  const results = native === undefined ? [] : runNatively(programs, native);
  const failed = results.find(({ error }) => error !== undefined);
  if (failed !== undefined) throw new Error(`${failed.name} does not run: ${failed.error}`);
  return new Map(results.map((result) => [result.name, result]));
}

async function run(options: CpuBenchOptions): Promise<void> {
  const version = options.skipQemu ? undefined : qemuVersion();
  const about = aboutThisMachine();
  process.stdout.write(`${about}, engine ${options.engine ?? 'auto'}, ${options.clock} time\n`);
  if (!options.skipQemu)
    process.stdout.write(
      version === undefined
        ? `no ${QEMU} here to compare with: install Debian's qemu-system-x86\n`
        : `beside it QEMU ${version}, -accel tcg -cpu max\n`,
    );
  const withQemu = version !== undefined;
  const rows: Row[] = [];
  for (const bits of options.programs.length > 0 ? options.bits : []) {
    const measured = await measurePrograms(bits, options, withQemu);
    printPrograms(bits, measured);
    rows.push(...measured);
  }
  const machine = options.skipMachine ? undefined : await measureMachines(options.runs, options, withQemu);
  if (machine !== undefined) printMachine(machine.own, machine.theirs, IDLE_SECONDS);
  if (options.json !== undefined) {
    const of = (bits: Bits): Row[] => rows.filter((row) => row.bits === bits);
    const means = {
      qemu64: meanRatio(of(64), 'qemu'),
      qemu32: meanRatio(of(32), 'qemu'),
      v86: meanRatio(of(32), 'v86'),
    };
    const { programs: _, ...settings } = options;
    const figures = { about, qemu: version, settings, rows, means, machine };
    await writeFile(options.json, `${JSON.stringify(figures, null, 2)}\n`);
  }
  if (troubles(rows).some((line) => line.startsWith('error'))) process.exitCode = 1;
}

// The machines end with this process.
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));
try {
  const options = readOptions(process.argv.slice(2));
  if (options === 'help') process.stdout.write(`${USAGE}\n`);
  else if (options === 'list')
    printTable(
      ['program', 'group', 'scale'],
      PROGRAMS.map(({ name, group, scale }) => [name, group, String(scale)]),
    );
  else await run(options);
} catch (error) {
  process.stderr.write(`bench cpu: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
