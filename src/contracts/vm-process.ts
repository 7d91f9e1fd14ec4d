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

export interface VmProcessConfig {
  readonly vmId: string;
  /** New at every launch. */
  readonly launchId: string;
  readonly directory: string;
  readonly memoryMiB: number;
  readonly engine: string;
  /** A processor profile's name. */
  readonly cpu: string;
  readonly boot: { readonly kernel: string; readonly initrd?: string; readonly cmdline?: string };
  /** Begin in the paused state. */
  readonly paused: boolean;
  /** How long to run on without a worker before ending, in seconds. */
  readonly orphanSeconds: number;
  /** A folder for what is the same for all VMs and takes long to make. */
  readonly cacheFolder: string;
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

/** Reads the configuration of a VM process. Throws a ChannelError that says which field is wrong. */
export function parseVmProcessConfig(json: string): VmProcessConfig {
  const fields = parseFields(json);
  const { boot } = fields;
  if (typeof boot !== 'object' || boot === null) throw new ChannelError('malformed', 'boot is missing');
  const bootFields = boot as Fields;
  const initrd = optionalText(bootFields, 'initrd');
  const cmdline = optionalText(bootFields, 'cmdline');
  return {
    vmId: text(fields, 'vmId'),
    launchId: text(fields, 'launchId'),
    directory: text(fields, 'directory'),
    memoryMiB: positive(fields, 'memoryMiB'),
    engine: text(fields, 'engine'),
    cpu: text(fields, 'cpu'),
    boot: {
      kernel: text(bootFields, 'kernel'),
      ...(initrd === undefined ? {} : { initrd }),
      ...(cmdline === undefined ? {} : { cmdline }),
    },
    paused: fields.paused === true,
    orphanSeconds: positive(fields, 'orphanSeconds'),
    cacheFolder: text(fields, 'cacheFolder'),
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
