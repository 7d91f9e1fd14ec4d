import type { VmExit } from '../../src/contracts/channel.ts';
import type { VmProcessConfig } from '../../src/contracts/vm-process.ts';
import type { DiskBackend } from '../../src/hypervisor/backends/disk.ts';
import { openRawDisk } from '../../src/hypervisor/backends/disk-raw.ts';
import type { KeyboardInput, PointerInput } from '../../src/hypervisor/backends/input.ts';
import type { Screen } from '../../src/hypervisor/backends/screen.ts';
import type { Machine, MachineConfig, MachineStats } from '../../src/hypervisor/index.ts';
import { createMachine, isCpuProfile } from '../../src/hypervisor/index.ts';
import { openDisks } from './disks.ts';

/** What a VM process needs of a machine; the hypervisor's own face is adapted to it here and nowhere else. */
export interface VmMachine {
  /** Which engine it runs on. */
  readonly engine: string;
  /** How it ended by itself: `reset` asks for a new machine in its place. */
  readonly exited: Promise<VmExit | { readonly kind: 'reset' }>;
  /** Undefined without a video adapter; so are the others. */
  readonly screen: Screen | undefined;
  readonly keyboard: KeyboardInput | undefined;
  readonly pointer: PointerInput | undefined;
  readonly cdrom: VmCdrom | undefined;
  start(): void;
  pause(): Promise<void>;
  resume(): void;
  reset(): void;
  powerButton(): void;
  dispose(): Promise<void>;
  /** Offers bytes to the serial line; returns how many, from the first, it took. */
  offerInput(bytes: Uint8Array): number;
  /** Calls back once there is room again after `offerInput` took less than all. */
  onInputDrained(listener: () => void): void;
  stats(): Pick<MachineStats, 'cpuSeconds' | 'instructions' | 'disks' | 'cdrom'>;
}

/** A CD-ROM drive, from outside. */
export interface VmCdrom {
  /** The guest has opened the tray and not closed it again. */
  readonly isOpen: boolean;
  /**
   * Puts the disc of this path in, or takes out what is there. Resolves, once the guest's side has it, with false
   * when the guest has locked the tray. Rejects with a DiskError when the disc cannot be read.
   */
  change(path: string | null, force: boolean): Promise<boolean>;
}

export interface MachineSettings {
  readonly config: VmProcessConfig;
  /** What lies in the CD-ROM drive, when there is one. */
  readonly disc: string | null;
  /** What the guest says on its serial line. */
  readonly output: (bytes: Uint8Array) => void;
  readonly log: (message: string) => void;
}

/** The engines there are here; `auto` is the translator. */
const ENGINES = { auto: 'translate', interpret: 'interpret', translate: 'translate' } as const;

function isEngine(name: string): name is keyof typeof ENGINES {
  return Object.hasOwn(ENGINES, name);
}

/**
 * Builds the machine of a VM. Rejects with an error fit for the VM's owner
 * when its kernel, a disk or its disc cannot be read or loaded, or its memory
 * cannot be had.
 */
export async function openMachine({ config, disc, output, log }: MachineSettings): Promise<VmMachine> {
  const { memoryMiB, boot, cpu } = config;
  if (!isEngine(config.engine)) {
    const reason = config.engine === 'kvm' ? 'there is no /dev/kvm that it could use' : 'it is not known';
    throw new Error(`the engine ${config.engine} is not available on this host: ${reason}`);
  }
  if (!isCpuProfile(cpu)) throw new Error(`the processor profile ${cpu} is not known on this host`);
  const engine = ENGINES[config.engine];
  const inDrive = config.cdrom === undefined || disc === null ? undefined : await openDisc(disc);
  const disks = await openDisks(config.disks, log);
  const start: Pick<MachineConfig, 'boot' | 'firmware'> =
    'kernel' in boot ? { boot } : { firmware: { ...boot.firmware, order: boot.order } };
  const cdrom = config.cdrom === undefined ? {} : { cdrom: inDrive ?? null };
  let machine: Machine;
  try {
    machine = await createMachine(
      { memoryMiB, cpu, engine, ...start, disks, ...cdrom },
      { serial: { write: output }, log, cacheFolder: config.cacheFolder, codeHistory: config.codeHistory },
    );
  } catch (error) {
    await Promise.all([...disks.map(({ backend }) => backend.close()), inDrive?.close()]);
    throw error;
  }
  const drive = cdromOf(machine);
  return {
    engine,
    exited: machine.exited,
    ...sidesOf(machine),
    cdrom: drive,
    start: () => machine.start(),
    pause: () => machine.pause(),
    resume: () => machine.resume(),
    reset: () => machine.reset(),
    powerButton: () => machine.powerButton(),
    dispose: async () => {
      await machine.dispose();
      await drive?.close();
    },
    offerInput: (bytes) => machine.serialInput.offer(bytes),
    onInputDrained: (listener) => machine.serialInput.onDrained(listener),
    stats: () => machine.stats(),
  };
}

interface Sides {
  readonly screen?: Screen | undefined;
  readonly keyboard: KeyboardInput;
  readonly pointer: PointerInput;
}

function sidesOf({ screen, keyboard, pointer }: Sides): Pick<VmMachine, 'screen' | 'keyboard' | 'pointer'> {
  return { screen, keyboard, pointer };
}

const openDisc = (path: string): Promise<DiskBackend> => openRawDisk(path, { readOnly: true });

function cdromOf({ tray }: Machine): (VmCdrom & { close(): Promise<void> }) | undefined {
  if (tray === undefined) return undefined;
  return {
    get isOpen() {
      return tray.open;
    },
    async change(path, force) {
      const disc = path === null ? undefined : await openDisc(path);
      const { done, removed } = await tray.change(disc, force);
      await (done ? removed : disc)?.close();
      return done;
    },
    close: async () => tray.disc?.close(),
  };
}
