import { accessSync, closeSync, constants, fstatSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { CPU_PROFILE_NAMES, type CpuProfileName, isCpuProfileName } from '../../contracts/cpu-profiles.ts';
import type { OptionSpecs, Options } from '../command.ts';
import { UsageError } from '../command.ts';

/** What `teremok run` is to do, checked as far as that can be done before the machine is built. */
export interface RunOptions {
  readonly memoryMiB: number;
  /** A kernel to start directly, or else firmware. */
  readonly kernel: string | undefined;
  readonly initrd: string | undefined;
  readonly append: string | undefined;
  /** An image of firmware other than the one that set-up brings. */
  readonly firmware: string | undefined;
  /** Where firmware looks first. */
  readonly bootFrom: 'disk' | 'cdrom' | undefined;
  readonly disks: readonly RunDisk[];
  readonly cdrom: string | undefined;
  readonly display: RunDisplay | undefined;
  /** Where firmware's messages go. */
  readonly firmwareLog: string | undefined;
  readonly engine: 'auto' | 'interpret' | 'translate';
  readonly cpu: CpuProfileName;
  /** Nanoseconds that an instruction takes, when time comes from instructions. */
  readonly icount: number | undefined;
  readonly serial: { readonly kind: 'stdio' | 'none' } | { readonly kind: 'file'; readonly path: string };
  readonly debugExit: boolean;
  readonly testDevice: boolean;
  readonly noReboot: boolean;
  readonly stats: string | undefined;
  readonly timeoutSeconds: number | undefined;
}

export interface RunDisk {
  readonly path: string;
  readonly readonly: boolean;
  /** Undefined: by the name. */
  readonly format: DiskFormat | undefined;
  readonly bus: DiskBus;
}

export type DiskFormat = 'raw' | 'qcow2';
export type DiskBus = 'virtio' | 'ide';

/** Where viewers connect: a port of this machine, or a Unix socket. */
export type RunDisplay = { readonly port: number } | { readonly path: string };

/** RAM ends where the PCI window begins, at 3 GiB. */
const MEMORY_MIB = { least: 1, most: 3072, default: 256 } as const;
/** Of an instruction, as the hypervisor takes it. */
const INSTRUCTION_NS = { least: 1, most: 1000 } as const;
/** The kernel's own limit on x86 (boot protocol, COMMAND_LINE_SIZE). */
const MAX_APPEND_BYTES = 2047;

export const RUN_OPTIONS: OptionSpecs = {
  memory: { value: 'MIB', description: `memory of the machine, 1 to 3072 (${MEMORY_MIB.default})` },
  kernel: {
    value: 'FILE',
    description: 'start this: a bzImage, or an ELF with a PVH note or a multiboot header',
  },
  initrd: { value: 'FILE', description: 'an initial RAM disk for the kernel' },
  append: { value: 'STRING', description: 'the kernel’s command line' },
  disk: {
    value: 'FILE[,OPTION…]',
    multiple: true,
    description: 'a disk: format=raw or qcow2, readonly, bus=virtio or ide; may be given several times',
  },
  cdrom: { value: 'FILE', description: 'the disc in the CD-ROM drive: an image, or a drive of this machine' },
  firmware: { value: 'FILE', description: 'start this firmware, not SeaBIOS; without --kernel' },
  boot: { value: 'DRIVE', description: 'where firmware looks first: c, the disks, or d, the CD (c)' },
  'firmware-log': { value: 'FILE', description: 'write the firmware’s messages there' },
  engine: { value: 'ENGINE', description: 'auto, interpret or translate (auto)' },
  cpu: {
    value: 'PROFILE',
    description: 'the processor the guest sees: portable (x86-64-v2 and a few more) or x86-64-v3',
  },
  icount: {
    value: 'NS',
    description: 'time comes from the instructions, NS nanoseconds each: every run is the same, to the bit',
  },
  serial: { value: 'WHERE', description: 'the serial line: stdio, none or a file to write to (stdio)' },
  display: {
    value: 'WHERE',
    description: 'the screen: none, vnc=PORT or vnc=unix:PATH; with --kernel, a video adapter (none)',
  },
  'debug-exit': { description: 'a write of V to port 0xf4 ends with exit status V*2+1' },
  'test-device': { description: 'the devices that kernel unit tests expect' },
  'no-reboot': { description: 'end with exit status 3 when the guest resets the machine' },
  stats: { value: 'FILE', description: 'write what the run took, as JSON, at its end' },
  timeout: { value: 'SECONDS', description: 'end the machine after this time, with exit status 124' },
};

function unavailable(what: string, instead: string): never {
  throw new UsageError(`${what} is not available in this version; ${instead}`);
}

/** Throws a UsageError unless `path` is a file that can be read. */
function checkReadable(what: string, path: string, writable = false): void {
  try {
    const descriptor = openSync(path, writable ? 'r+' : 'r');
    try {
      const info = fstatSync(descriptor);
      if (info.isDirectory()) throw new UsageError(`the ${what} ${path} is a directory`);
      if (info.isFile() && info.size === 0) throw new UsageError(`the ${what} ${path} is empty`);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`the ${what} ${path} ${reasonOf(error, writable)}`);
  }
}

/** Throws a UsageError unless a file can be made, or written, at `path`. */
function checkWritable(what: string, path: string): void {
  const info = statSync(path, { throwIfNoEntry: false });
  if (info?.isDirectory() === true) throw new UsageError(`the ${what} ${path} is a directory`);
  try {
    accessSync(info === undefined ? dirname(path) : path, constants.W_OK);
  } catch (error) {
    throw new UsageError(`the ${what} ${path} ${reasonOf(error, true)}`);
  }
}

function reasonOf(error: unknown, writing: boolean): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
  if (code === 'ENOENT')
    return writing ? 'cannot be written: there is no such file or directory' : 'does not exist';
  if (code === 'EACCES' || code === 'EROFS')
    return writing ? 'cannot be written: no permission' : 'cannot be read: no permission';
  if (code === 'EISDIR') return 'is a directory';
  return `cannot be opened (${code})`;
}

function parseDisk(text: string): RunDisk {
  const [path = '', ...settings] = text.split(',');
  if (path === '') throw new UsageError(`--disk ${text} names no file`);
  let readonly = false;
  let format: DiskFormat | undefined;
  let bus: DiskBus = 'virtio';
  for (const setting of settings) {
    if (setting === 'readonly') readonly = true;
    else if (setting === 'format=raw' || setting === 'format=qcow2')
      format = setting === 'format=raw' ? 'raw' : 'qcow2';
    else if (setting === 'bus=virtio' || setting === 'bus=ide')
      bus = setting === 'bus=ide' ? 'ide' : 'virtio';
    else {
      throw new UsageError(
        `--disk does not know ‘${setting}’: it takes format=raw, format=qcow2, readonly, bus=virtio and bus=ide`,
      );
    }
  }
  checkReadable('disk', path, !readonly);
  return { path, readonly, format, bus };
}

function parseDisplay(text = 'none'): RunDisplay | undefined {
  if (text === 'none') return undefined;
  const [, path, port] = /^vnc=(?:unix:(.+)|(\d{1,5}))$/.exec(text) ?? [];
  if (path !== undefined) return { path };
  const number = Number(port ?? 'none');
  if (number >= 1 && number <= 65535) return { port: number };
  throw new UsageError(`--display takes none, vnc=PORT or vnc=unix:PATH, not ‘${text}’`);
}

function parseSerial(text: string | undefined): RunOptions['serial'] {
  if (text === undefined || text === 'stdio') return { kind: 'stdio' };
  if (text === 'none') return { kind: 'none' };
  if (text === '') throw new UsageError('--serial takes stdio, none or a file');
  checkWritable('serial output', text);
  return { kind: 'file', path: text };
}

function refuseWhatIsLater(options: Options): void {
  const engine = options.oneOf('engine', ['auto', 'interpret', 'translate', 'kvm'] as const);
  if (engine === 'kvm') unavailable(`--engine ${engine}`, 'use auto, interpret or translate');
}

/** What is for machines of the other kind: one starts from a kernel, or from firmware. */
function refuseWhatDoesNotFit(options: Options): void {
  const given = (names: readonly string[]): string | undefined =>
    names.find((name) => options.text(name) !== undefined);
  if (options.text('kernel') === undefined) {
    const part = given(['initrd', 'append']);
    if (part !== undefined) throw new UsageError(`--${part} is a kernel’s: it needs --kernel FILE`);
    if (given(['cdrom', 'firmware']) === undefined && options.list('disk').length === 0)
      throw new UsageError('run needs something to start: --disk, --cdrom, --firmware or --kernel');
    return;
  }
  const part = given(['firmware', 'boot', 'firmware-log']);
  if (part !== undefined)
    throw new UsageError(`--${part} is for a machine that starts from firmware, not --kernel`);
}

function parseCpu(name = 'portable'): CpuProfileName {
  if (isCpuProfileName(name)) return name;
  throw new UsageError(
    `there is no processor profile ‘${name}’; there are ${CPU_PROFILE_NAMES.join(' and ')}`,
  );
}

/** Reads the options of `teremok run`. Throws a UsageError for what is wrong or not there. */
export function parseRunOptions(options: Options): RunOptions {
  refuseWhatIsLater(options);
  refuseWhatDoesNotFit(options);
  const kernel = options.text('kernel');
  const append = options.text('append');
  if (append !== undefined && Buffer.byteLength(append) > MAX_APPEND_BYTES) {
    throw new UsageError(`--append is longer than ${MAX_APPEND_BYTES} bytes`);
  }
  if (append?.includes('\0') === true) throw new UsageError('--append holds a NUL');
  const memoryMiB = options.number('memory', MEMORY_MIB.least, MEMORY_MIB.most) ?? MEMORY_MIB.default;
  const timeoutSeconds = options.number('timeout', 0.001, 2_000_000, { integer: false });
  const engine = options.oneOf('engine', ['auto', 'interpret', 'translate'] as const) ?? 'auto';
  for (const what of ['kernel', 'firmware', 'cdrom'] as const) {
    const path = options.text(what);
    if (path !== undefined) checkReadable(what === 'cdrom' ? 'disc' : what, path);
  }
  const order = options.oneOf('boot', ['c', 'd'] as const);
  const firmwareLog = options.text('firmware-log');
  if (firmwareLog !== undefined) checkWritable('firmware log', firmwareLog);
  const initrd = options.text('initrd');
  if (initrd !== undefined) checkReadable('initrd', initrd);
  const stats = options.text('stats');
  if (stats !== undefined) checkWritable('statistics file', stats);
  return {
    memoryMiB,
    kernel,
    initrd,
    append,
    firmware: options.text('firmware'),
    bootFrom: order && (order === 'd' ? 'cdrom' : 'disk'),
    disks: options.list('disk').map(parseDisk),
    cdrom: options.text('cdrom'),
    display: parseDisplay(options.text('display')),
    firmwareLog,
    engine,
    cpu: parseCpu(options.text('cpu')),
    icount: options.number('icount', INSTRUCTION_NS.least, INSTRUCTION_NS.most),
    serial: parseSerial(options.text('serial')),
    debugExit: options.has('debug-exit'),
    testDevice: options.has('test-device'),
    noReboot: options.has('no-reboot'),
    stats,
    timeoutSeconds,
  };
}
