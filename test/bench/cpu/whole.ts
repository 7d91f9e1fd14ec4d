import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { homeDirectory } from '../../../src/cli/setup/bootstrap.js';
import { IMAGE_NAME } from '../../../src/cli/setup/guest/debian-busybox.ts';
import { median } from '../support/figures.ts';
import { atShell } from '../support/shell.ts';
import { type Guest, type OwnOptions, qemu, teremok } from './machines.ts';
import type { Launch } from './session.ts';

/** What a machine takes as a whole. */
export interface MachineFigures {
  /** From starting the command to the shell's prompt. */
  readonly bootSeconds: number;
  /** Processor time at the prompt, in hundredths of a core. */
  readonly idlePercent: number;
  /** Resident memory of the process, all of it. */
  readonly residentMiB: number;
  /** The part of it that is the guest's RAM. */
  readonly inRamMiB: number;
}

/** How long idleness is watched. Seconds. */
export const IDLE_SECONDS = 30;
/** Behind the prompt, until what the boot left over is done. Seconds. */
const SETTLE_SECONDS = 3;
/** Memory of the guest that is booted. */
export const GUEST_MIB = 256;
const BOOT_LIMIT_MS = 180_000;
const PAGE = 4096;
const MIB = 1 << 20;

/** The built-in image as `npm run bench -- boot` boots it. */
export function shellGuest(): Guest {
  const image = join(homeDirectory(), 'images', IMAGE_NAME);
  return {
    kernel: join(image, 'vmlinuz'),
    initrd: join(image, 'initrd'),
    cmdline: 'console=ttyS0',
    memoryMiB: GUEST_MIB,
  };
}

/**
 * Boots the built-in image on Teremok and on QEMU in turn, and watches both at the prompt.
 * @returns medians
 */
export async function measureMachines(
  runs: number,
  options: OwnOptions,
  withQemu: boolean,
): Promise<{ own: MachineFigures; theirs: MachineFigures | undefined }> {
  const guest = shellGuest();
  const own: MachineFigures[] = [];
  const theirs: MachineFigures[] = [];
  for (let run = 0; run < runs; run++) {
    own.push(await measure('teremok', teremok(guest, options), guest.memoryMiB));
    if (withQemu) theirs.push(await measure('qemu', qemu(guest), guest.memoryMiB));
  }
  return { own: middle(own), theirs: theirs.length === 0 ? undefined : middle(theirs) };
}

function middle(figures: readonly MachineFigures[]): MachineFigures {
  const of = (figure: (figures: MachineFigures) => number): number => median(figures.map(figure));
  return {
    bootSeconds: of(({ bootSeconds }) => bootSeconds),
    idlePercent: of(({ idlePercent }) => idlePercent),
    residentMiB: of(({ residentMiB }) => residentMiB),
    inRamMiB: of(({ inRamMiB }) => inRamMiB),
  };
}

function measure(name: string, { command, args }: Launch, memoryMiB: number): Promise<MachineFigures> {
  return atShell(name, command, args, BOOT_LIMIT_MS, async ({ seconds, pid, cpuSeconds }) => {
    await delay(SETTLE_SECONDS * 1000);
    const { resident, inRam } = residentMemory(pid, memoryMiB * MIB);
    const before = { cpu: cpuSeconds(), at: performance.now() };
    await delay(IDLE_SECONDS * 1000);
    const idle = (cpuSeconds() - before.cpu) / ((performance.now() - before.at) / 1000);
    return {
      bootSeconds: seconds,
      idlePercent: idle * 100,
      residentMiB: resident / MIB,
      inRamMiB: inRam / MIB,
    };
  });
}

/**
 * Resident memory of a process that runs a guest, and how much of it is the guest's RAM. The RAM is taken to be the end of the
 * smallest mapping that can hold it: in Teremok other parts of the machine lie before it in the same WebAssembly
 * memory, and count as what they are.
 * @param ramBytes size of the guest's RAM
 */
export function residentMemory(pid: number, ramBytes: number): { resident: number; inRam: number } {
  const mappings = [...readFileSync(`/proc/${pid}/smaps`, 'utf8').matchAll(MAPPING)].map(
    ([, start, end, access, resident]) => ({
      start: Number.parseInt(start as string, 16),
      end: Number.parseInt(end as string, 16),
      writable: access?.startsWith('rw') === true,
      resident: Number(resident) * 1024,
    }),
  );
  const total = mappings.reduce((sum, { resident }) => sum + resident, 0);
  const ram = mappings
    .filter(({ start, end, writable }) => writable && end - start >= ramBytes)
    .toSorted((a, b) => a.end - a.start - (b.end - b.start))[0];
  if (ram === undefined) throw new Error(`process ${pid} has no mapping that could be the guest's RAM`);
  const inRam = residentPages(pid, ram.end - ramBytes, ramBytes / PAGE) * PAGE;
  return { resident: total, inRam };
}

/** A mapping's head line and its resident kibibytes (proc(5), /proc/PID/smaps). */
const MAPPING = /^([0-9a-f]+)-([0-9a-f]+) (\S+) [\s\S]*?^Rss: +(\d+) kB$/gm;

/** Counts the pages that are in memory: bit 63 of their entries (proc(5), /proc/PID/pagemap). */
function residentPages(pid: number, address: number, pages: number): number {
  const entries = Buffer.alloc(pages * 8);
  const file = openSync(`/proc/${pid}/pagemap`, 'r');
  try {
    let read = 0;
    for (let got = -1; got !== 0 && read < entries.length; read += got)
      got = readSync(file, entries, read, entries.length - read, (address / PAGE) * 8 + read);
  } finally {
    closeSync(file);
  }
  let present = 0;
  for (let at = 7; at < entries.length; at += 8) if ((entries[at] as number) & 0x80) present++;
  return present;
}
