import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory, homeDirectory, projectRoot } from '../../../src/cli/setup/bootstrap.js';
import { unpack } from '../../../src/cli/setup/debian.ts';
import {
  buildDebianBusybox,
  DEBIAN_686,
  DEBIAN_CLOUD,
  debianPackages,
} from '../../../src/cli/setup/guest/debian-busybox.ts';
import { type Bits, buildPrograms } from './build.ts';
import { busyboxOf, writeInitrd } from './initrd.ts';
import type { Launch } from './session.ts';
import type { V86Settings } from './v86.ts';

export const QEMU = 'qemu-system-x86_64';

/** What a machine boots. */
export interface Guest {
  readonly kernel: string;
  readonly initrd?: string;
  readonly cmdline: string;
  readonly memoryMiB: number;
}

/** For the machine's command of ours. */
export interface OwnOptions {
  readonly engine?: string | undefined;
  /** File for the statistics of a run. */
  readonly stats?: string | undefined;
}

/** Memory of a guest of this bench. The 686 kernel takes more to come up than what 256 MiB leave it. */
const MEMORY_MIB = 512;
/** Without its ciphers' self-tests, which are most of the 686 kernel's boot. */
const LINUX_CMDLINE = 'console=ttyS0 quiet loglevel=1 cryptomgr.notests rdinit=/bench/init';

/** Teremok, as `npx teremok run` starts it. */
export function teremok(
  { kernel, initrd, cmdline, memoryMiB }: Guest,
  { engine, stats }: OwnOptions,
): Launch {
  return {
    command: process.execPath,
    args: [
      ...[join(projectRoot, 'src/cli/bin/teremok.js'), 'run', '--kernel', kernel, '--append', cmdline],
      ...(initrd === undefined ? [] : ['--initrd', initrd]),
      ...['--memory', String(memoryMiB), '--serial', 'stdio', '--no-reboot'],
      ...(engine === undefined ? [] : ['--engine', engine]),
      ...(stats === undefined ? [] : ['--stats', stats]),
    ],
  };
}

/** QEMU's translator with the processor that has all that it can emulate. */
export function qemu({ kernel, initrd, cmdline, memoryMiB }: Guest): Launch {
  return {
    command: QEMU,
    args: [
      ...['-accel', 'tcg', '-cpu', 'max', '-m', String(memoryMiB), '-no-reboot'],
      ...['-kernel', kernel, '-append', cmdline, ...(initrd === undefined ? [] : ['-initrd', initrd])],
      ...['-display', 'none', '-serial', 'stdio', '-monitor', 'none', '-nic', 'none'],
    ],
  };
}

/** v86 from npm. */
export async function v86(): Promise<(guest: Guest) => Launch> {
  const folder = await biosFolder();
  return ({ kernel, initrd, cmdline, memoryMiB }) => {
    const bios = { bios: join(folder, 'bios.bin'), vgaBios: join(folder, 'vgabios-stdvga.bin') };
    const linux = initrd === undefined ? {} : { linux: { initrd, ...bios } };
    const settings: V86Settings = { memoryMiB, cmdline, kernel, ...linux };
    return {
      command: process.execPath,
      args: [join(import.meta.dirname, 'v86.ts'), JSON.stringify(settings)],
    };
  };
}

/** The version of the QEMU here; undefined when there is none. */
export function qemuVersion(): string | undefined {
  const { status, stdout } = spawnSync(QEMU, ['--version'], { encoding: 'utf8' });
  return status === 0 ? /version (\S+)/.exec(stdout)?.[1] : undefined;
}

/** Where the bench keeps what it made. */
export function workFolder(): string {
  return join(homeDirectory(), 'bench');
}

/** Debian's SeaBIOS, which v86 needs for Linux: the machine's own, or fetched. */
async function biosFolder(): Promise<string> {
  const installed = '/usr/share/seabios';
  if (existsSync(join(installed, 'bios.bin'))) return installed;
  const root = join(workFolder(), 'seabios');
  const folder = join(root, installed);
  if (existsSync(join(folder, 'bios.bin'))) return folder;
  const packages = join(workFolder(), 'packages');
  await mkdir(packages, { recursive: true });
  for (const { file } of await debianPackages(cacheDirectory(), 'amd64').fetch(['seabios'], packages))
    await unpack(file, root);
  await rm(packages, { recursive: true, force: true });
  return folder;
}

/** The kernel of the programs that need no other. */
export async function bareGuest(bits: Bits): Promise<Guest> {
  return { kernel: await buildPrograms(workFolder(), bits, 'bare'), cmdline: '', memoryMiB: MEMORY_MIB };
}

/** Debian's kernel and BusyBox with the programs. */
export async function linuxGuest(bits: Bits): Promise<Guest> {
  const folder = await imageFolder(bits);
  const initrd = join(workFolder(), `initrd${bits}`);
  await writeInitrd(join(folder, 'initrd'), await buildPrograms(workFolder(), bits, 'linux'), initrd);
  return { kernel: join(folder, 'vmlinuz'), initrd, cmdline: LINUX_CMDLINE, memoryMiB: MEMORY_MIB };
}

/** The folder of a guest image, which is made when it is missing. */
async function imageFolder(bits: Bits): Promise<string> {
  const flavour = bits === 64 ? DEBIAN_CLOUD : DEBIAN_686;
  const folder = join(homeDirectory(), 'images', flavour.name);
  await buildDebianBusybox(folder, cacheDirectory(), flavour);
  return folder;
}

/** What the programs are compared with: themselves and BusyBox on this machine. */
export interface NativePrograms {
  readonly program: string;
  readonly busybox: Uint8Array;
}

/**
 * The programs for this machine, of the width asked for where its kernel runs that: they compute the same.
 * @returns undefined where the host is not of the guests' kind
 */
export async function nativePrograms(bits: Bits): Promise<NativePrograms | undefined> {
  if (process.arch !== 'x64' || process.platform !== 'linux') return undefined;
  const busybox = busyboxOf(join(await imageFolder(64), 'initrd'));
  const program = await buildPrograms(workFolder(), bits, 'linux');
  const runs = spawnSync(program, ['nothing']).status === 0;
  return { program: runs ? program : await buildPrograms(workFolder(), 64, 'linux'), busybox };
}
