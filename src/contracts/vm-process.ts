import type { VmExit } from './channel.ts';
import { ChannelError, parseExit } from './channel.ts';

/**
 * What a worker and a VM process tell each other beside the channel: the
 * configuration that the worker writes to the process's standard input, and
 * the files in the VM's directory, which outlive either of them.
 */

/** Names inside a VM's directory, TEREMOK_HOME/run/vms/VM-ID. */
export const VM_FILES = {
  /** The channel's Unix socket. */
  socket: 'vm.sock',
  /** Who runs: a VmProcessRecord. */
  process: 'process.json',
  /** How the last launch ended: a VmExitRecord. */
  exit: 'exit.json',
  /** The serial line's last BACKLOG_BYTES. */
  console: 'console.log',
  /** What the process had to say about itself. */
  log: 'process.log',
} as const;

/** The exit status of a VM process that could not read its configuration. */
export const EXIT_BAD_CONFIG = 64;
/** The exit status of a VM process that failed inside; exit.json says how. */
export const EXIT_FAILED = 70;

/** The descriptor on which a VM process says, by one line, that its socket listens. */
export const READY_DESCRIPTOR = 3;

/** A kernel with what goes with it, or firmware and where it looks for something to start. */
export type VmBootConfig =
  | { readonly kernel: string; readonly initrd?: string; readonly cmdline?: string }
  | {
      readonly order: readonly ('cdrom' | 'disk')[];
      readonly firmware: { readonly bios: string; readonly vgaBios: string };
    };

/**
 * A disk. `overlay` keeps what differs from its base, and `own` all of a disk without one, in a file of the VM's
 * directory (`diskFile`); `throw-away` is an overlay made anew at each launch.
 */
export interface VmDiskConfig {
  readonly id: string;
  readonly mode: 'overlay' | 'throw-away' | 'readonly' | 'own';
  readonly bus: 'virtio' | 'ide';
  /** What the guest sees. */
  readonly sizeBytes: number;
  /** The image's file. Its format is what it was uploaded as. */
  readonly base?: { readonly path: string; readonly format: 'raw' | 'qcow2' };
}

/** The file, in a VM's directory, of a disk that has one. */
export function diskFile(diskId: string): string {
  return `${diskId}.qcow2`;
}

/** What should lie in a CD-ROM drive: a disc's file or nothing. */
export interface DiscConfig {
  /** Grows with each wish of the owner's, so that a worker knows which was acted upon. */
  readonly epoch: number;
  readonly path: string | null;
}

/** Arguments of `changeDisc`. */
export interface DiscChange extends DiscConfig {
  /** Do not ask whether the guest has locked the tray. */
  readonly force: boolean;
}

export interface VmProcessConfig {
  readonly vmId: string;
  /** New at every launch. */
  readonly launchId: string;
  readonly directory: string;
  readonly memoryMiB: number;
  readonly engine: string;
  /** A processor profile's name. */
  readonly cpu: string;
  readonly boot: VmBootConfig;
  readonly disks: readonly VmDiskConfig[];
  /** Without it there is no drive. */
  readonly cdrom?: DiscConfig;
  /** Begin in the paused state. */
  readonly paused: boolean;
  /** How long to run on without a worker before ending, in seconds. */
  readonly orphanSeconds: number;
  /** A folder for what is the same for all VMs and takes long to make. */
  readonly cacheFolder: string;
  /** A file for what is learned of the tenant's guests: see MachineBackends. */
  readonly codeHistory: string;
}

export interface VmProcessRecord {
  readonly vmId: string;
  readonly launchId: string;
  readonly pid: number;
  readonly startTicks: string;
}

export interface VmExitRecord {
  readonly launchId: string;
  readonly exit: VmExit;
}

type Fields = Readonly<Record<string, unknown>>;

function parseFields(json: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw new ChannelError('malformed', 'not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ChannelError('malformed', 'not an object');
  }
  return value as Fields;
}

function text(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== 'string') throw new ChannelError('malformed', `${name} is not a string`);
  return value;
}

function optionalText(fields: Fields, name: string): string | undefined {
  return fields[name] === undefined ? undefined : text(fields, name);
}

function positive(fields: Fields, name: string): number {
  const value = fields[name];
  if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) {
    throw new ChannelError('malformed', `${name} is not a positive number`);
  }
  return value;
}

function group(value: unknown, name: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ChannelError('malformed', `${name} is not an object`);
  }
  return value as Fields;
}

function oneOf<T extends string>(value: unknown, name: string, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined) throw new ChannelError('malformed', `${name} is none of ${allowed.join(', ')}`);
  return found;
}

function list(value: unknown, name: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new ChannelError('malformed', `${name} is not a list`);
  return value;
}

function parseBoot(fields: Fields): VmBootConfig {
  if (fields.kernel === undefined) {
    const firmware = group(fields.firmware, 'firmware');
    return {
      order: list(fields.order, 'order').map((device) => oneOf(device, 'order', ['cdrom', 'disk'])),
      firmware: { bios: text(firmware, 'bios'), vgaBios: text(firmware, 'vgaBios') },
    };
  }
  const initrd = optionalText(fields, 'initrd');
  const cmdline = optionalText(fields, 'cmdline');
  return {
    kernel: text(fields, 'kernel'),
    ...(initrd === undefined ? {} : { initrd }),
    ...(cmdline === undefined ? {} : { cmdline }),
  };
}

function parseDisk(value: unknown): VmDiskConfig {
  const fields = group(value, 'disk');
  const id = text(fields, 'id');
  if (!/^[\w-]{1,80}$/.test(id)) throw new ChannelError('malformed', 'id is none of a disk');
  const base = fields.base === undefined ? undefined : group(fields.base, 'base');
  return {
    id,
    mode: oneOf(fields.mode, 'mode', ['overlay', 'throw-away', 'readonly', 'own']),
    bus: oneOf(fields.bus, 'bus', ['virtio', 'ide']),
    sizeBytes: positive(fields, 'sizeBytes'),
    ...(base === undefined
      ? {}
      : { base: { path: text(base, 'path'), format: oneOf(base.format, 'format', ['raw', 'qcow2']) } }),
  };
}

function parseDisc(fields: Fields): DiscConfig {
  const { epoch } = fields;
  if (typeof epoch !== 'number' || !Number.isSafeInteger(epoch) || epoch < 0) {
    throw new ChannelError('malformed', 'epoch is not a count');
  }
  return { epoch, path: fields.path === null ? null : text(fields, 'path') };
}

/** Reads arguments of `changeDisc`. Throws a ChannelError. */
export function parseDiscChange(value: unknown): DiscChange {
  const fields = group(value, 'disc');
  return { ...parseDisc(fields), force: fields.force === true };
}

/** Reads the configuration of a VM process. Throws a ChannelError that says which field is wrong. */
export function parseVmProcessConfig(json: string): VmProcessConfig {
  const fields = parseFields(json);
  const cdrom = fields.cdrom === undefined ? undefined : group(fields.cdrom, 'cdrom');
  return {
    vmId: text(fields, 'vmId'),
    launchId: text(fields, 'launchId'),
    directory: text(fields, 'directory'),
    memoryMiB: positive(fields, 'memoryMiB'),
    engine: text(fields, 'engine'),
    cpu: text(fields, 'cpu'),
    boot: parseBoot(group(fields.boot, 'boot')),
    disks: list(fields.disks, 'disks').map(parseDisk),
    ...(cdrom === undefined ? {} : { cdrom: parseDisc(cdrom) }),
    paused: fields.paused === true,
    orphanSeconds: positive(fields, 'orphanSeconds'),
    cacheFolder: text(fields, 'cacheFolder'),
    codeHistory: text(fields, 'codeHistory'),
  };
}

/** Reads process.json. Throws a ChannelError when it is not a whole record. */
export function parseVmProcessRecord(json: string): VmProcessRecord {
  const fields = parseFields(json);
  return {
    vmId: text(fields, 'vmId'),
    launchId: text(fields, 'launchId'),
    pid: positive(fields, 'pid'),
    startTicks: text(fields, 'startTicks'),
  };
}

/** Reads exit.json. Throws a ChannelError when it is not a whole record. */
export function parseVmExitRecord(json: string): VmExitRecord {
  const fields = parseFields(json);
  return { launchId: text(fields, 'launchId'), exit: parseExit(fields.exit) };
}
