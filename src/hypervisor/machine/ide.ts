import type { DiskBackend } from '../backends/disk.ts';
import { PiixIde } from '../chipset/piix-ide.ts';
import { AtaDisk } from '../devices/ide/ata-disk.ts';
import { Cdrom } from '../devices/ide/cdrom.ts';
import { IdeController, type IdeDrives } from '../devices/ide/controller.ts';
import type { Tray } from '../devices/ide/tray.ts';
import type { Door } from './door.ts';
import type { IrqLine } from './irq.ts';
import type { GuestLog } from './log.ts';
import type { GuestMemory } from './memory.ts';

/** Disks beside the CD-ROM drive. */
export const MOST_IDE_DISKS = 3;

/** Where they are, one after the other, and where the CD-ROM drive is: channel and unit. */
export const IDE_PLACES = {
  disks: [
    { bus: 'ide', channel: 0, unit: 0 },
    { bus: 'ide', channel: 0, unit: 1 },
    { bus: 'ide', channel: 1, unit: 1 },
  ],
  cdrom: { bus: 'ide', channel: 1, unit: 0 },
} as const;

/** What is on the IDE controller. */
export interface IdeDevices {
  /** Up to MOST_IDE_DISKS: primary device 0 and 1, secondary device 1. */
  readonly disks: readonly DiskBackend[];
  /** A CD-ROM drive, secondary device 0, with this disc in it or none. */
  readonly cdrom?: { readonly medium: DiskBackend | undefined } | undefined;
}

export interface IdeOptions extends IdeDevices {
  readonly door: Door;
  readonly memory: GuestMemory;
  readonly log: GuestLog;
  /** ISA 14 and 15. */
  readonly irqs: readonly [IrqLine, IrqLine];
  /** The guest polls a drive that waits for the host. */
  readonly onPoll: () => void;
}

/** The IDE controller with its drives and its PCI function. */
export interface Ide {
  /** To be put beside the ISA bridge, as function 1. */
  readonly fn: PiixIde;
  readonly controller: IdeController;
  /** Of the CD-ROM drive, for the host to change the disc. */
  readonly tray: Tray | undefined;
  /** The disks in the order in which they were given, and the CD-ROM drive. */
  readonly disks: readonly AtaDisk[];
  readonly cdrom: Cdrom | undefined;
}

/** Throws RangeError for more disks than there is room for. */
export function buildIde(options: IdeOptions): Ide {
  const { door, log, memory, disks, cdrom } = options;
  if (disks.length > MOST_IDE_DISKS) throw new RangeError(`no room for ${disks.length} disks on IDE`);
  const plugged = disks.map((disk, index) => new AtaDisk({ name: `ide-disk${index}`, door, log, disk }));
  const drive = cdrom && new Cdrom({ name: 'ide-cd0', door, log, medium: cdrom.medium });
  const [first, second, third] = plugged;
  const drives: IdeDrives = [first, second, drive, third];
  const controller = new IdeController({ memory, log, drives, irqs: options.irqs, onPoll: options.onPoll });
  const fn = new PiixIde({
    channels: controller.ports,
    busMaster: controller.busMaster,
    onReset: () => controller.reset(),
  });
  controller.attach(fn);
  return { fn, controller, tray: drive?.tray, disks: plugged, cdrom: drive };
}
