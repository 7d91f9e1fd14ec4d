// `npm run guests -- i386 | python | perl | openssl [--cpu PROFILE] [--qemu] [NAME …]`: guests made of Debian's
// packages, booted by `teremok run`, whose answers are known beforehand. With --qemu the same files run under QEMU's
// translator and the answers are compared. `npm run guests -- installer | disk [NAME …]`: whole systems, from firmware.
import { parseArgs } from 'node:util';
import { SetupError } from '../../src/cli/setup/bootstrap.js';
import { runProgram } from '../../src/cli/setup/program.ts';
import { type CpuProfileName, isCpuProfileName } from '../../src/contracts/cpu-profiles.ts';
import { BootedGuest, type BootFiles, type Runner } from './debian/booted.ts';
import type { DebianGuest } from './debian/guest.ts';
import { i386Guest } from './debian/i386.ts';
import { opensslGuest } from './debian/openssl.ts';
import { perlGuest } from './debian/perl.ts';
import { pythonGuest } from './debian/python.ts';
import { compareReports, Report } from './debian/report.ts';
import { diskSystem } from './systems/disk.ts';
import { installerSystem } from './systems/installer.ts';
import type { WholeSystem } from './systems/system.ts';

const GUESTS: Readonly<Record<string, () => DebianGuest>> = {
  i386: i386Guest,
  python: pythonGuest,
  perl: perlGuest,
  openssl: opensslGuest,
};

const SYSTEMS: Readonly<Record<string, WholeSystem>> = { installer: installerSystem, disk: diskSystem };

const USAGE = `Usage: npm run guests -- GUEST [--cpu PROFILE] [--qemu] [NAME …]
  i386     Debian's 686 kernel, 32 bits without PAE, to its shell with 512 MiB
  python   Python's own regression tests; NAMEs such as test_math pick some
  perl     sums, strings, sorting and patterns in Perl against the same Perl on this machine's processor
  openssl  digests, ciphers and signatures against Node's
  installer  Debian's installer on a disc, from SeaBIOS and GRUB: NAMES are text, graphical
  disk       a Debian on a disk with its own GRUB and kernel: NAMES are login, plug; takes root
  --cpu    the processor that the guest sees: portable (default) or x86-64-v3
  --qemu   the same under QEMU's translator, and whether its answers are the same`;

/** Boots the guest, has it checked, turns it off. */
async function runGuest(
  runner: Runner,
  guest: DebianGuest,
  files: BootFiles,
  selection: readonly string[],
  cpu: CpuProfileName,
): Promise<Report> {
  const report = new Report(runner);
  let booted: BootedGuest | undefined;
  try {
    booted = await BootedGuest.boot(runner, files, cpu);
    report.judge('boots to its shell', undefined, {
      note: `${booted.secondsToShell.toFixed(1)} s, ${files.memoryMiB} MiB, ${files.cmdline}`,
    });
    await guest.check(booted.shell, report, selection);
    const ending = await booted.powerOff();
    report.judge('powers off', ending === 'status 0' ? undefined : ending);
  } catch (error) {
    report.judge('runs to its end', error instanceof Error ? error.message : String(error));
  }
  report.conclude(await booted?.close());
  return report;
}

/** What is asked for on the command line; undefined when it is not understood. */
function wanted() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        cpu: { type: 'string', default: 'portable' },
        qemu: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h' },
      },
    });
    const [name = '', ...selection] = positionals;
    const { cpu } = values;
    if (!isCpuProfileName(cpu)) return undefined;
    const make = Object.hasOwn(GUESTS, name) ? GUESTS[name] : undefined;
    const system = Object.hasOwn(SYSTEMS, name) ? SYSTEMS[name] : undefined;
    // Systems are compared with what they are to show, and have the processor that most guests have.
    if (system && (values.qemu || cpu !== 'portable')) return undefined;
    return { ...values, cpu, name, selection, make, system };
  } catch {
    return undefined;
  }
}

/** @returns how many checks failed */
async function runSystem({ about, check }: WholeSystem, selection: readonly string[]): Promise<number> {
  process.stdout.write(`${about}\n`);
  const report = new Report('teremok');
  try {
    await check(report, selection);
  } catch (error) {
    if (error instanceof SetupError) throw error;
    report.judge('runs to its end', error instanceof Error ? error.message : String(error));
  }
  report.conclude();
  return report.failures;
}

await runProgram(async () => {
  const asked = wanted();
  if (asked?.system && !asked.help) {
    process.exitCode = (await runSystem(asked.system, asked.selection)) === 0 ? 0 : 1;
    return;
  }
  if (asked?.make === undefined || asked.help) {
    process.stdout.write(`${USAGE}\n`);
    process.exitCode = asked?.help ? 0 : 2;
    return;
  }
  const { name, make, selection, qemu, cpu } = asked;
  const guest = make();
  const { boots, about } = await guest.prepare();
  process.stdout.write(`${name}: ${about}\n`);
  let wrong = 0;
  for (const files of boots) {
    const own = await runGuest('teremok', guest, files, selection, cpu);
    wrong += own.failures;
    if (qemu) wrong += compareReports(own, await runGuest('qemu', guest, files, selection, cpu));
  }
  process.stdout.write(wrong === 0 ? `${name}: every answer is right\n` : `${name}: ${wrong} WRONG\n`);
  process.exitCode = wrong === 0 ? 0 : 1;
});
