import type { BusDevice } from '../../machine/bus.ts';
import type { IrqLine } from '../../machine/irq.ts';
import type { GuestLog } from '../../machine/log.ts';
import type { GuestMemory } from '../../machine/memory.ts';
import type { Stateful } from '../../machine/state.ts';
import { BusMaster, type BusMasterState } from './bus-master.ts';
import { type ChannelState, IdeChannel } from './channel.ts';
import type { IdeDrive } from './drive.ts';

/** The drives of a controller: primary device 0 and 1, secondary device 0 and 1. */
export type IdeDrives = readonly [
  IdeDrive | undefined,
  IdeDrive | undefined,
  IdeDrive | undefined,
  IdeDrive | undefined,
];

export interface IdeControllerOptions {
  readonly memory: GuestMemory;
  readonly log: GuestLog;
  readonly drives: IdeDrives;
  /** Of the primary channel, ISA 14, and of the secondary, ISA 15. */
  readonly irqs: readonly [IrqLine, IrqLine];
  /** The guest polls a drive that waits for the host: a good moment to let the host's answer in. */
  readonly onPoll?: () => void;
}

/** What the PCI function gives the controller. */
export interface IdeSlot {
  /** Whether the function may master the bus. */
  readonly busMaster: boolean;
}

/** A channel's ports. */
export interface IdePorts {
  /** Eight ports, 1F0h or 170h. */
  readonly command: BusDevice;
  /** One port, 3F6h or 376h. */
  readonly control: BusDevice;
}

export type IdeControllerState = {
  readonly channels: readonly { readonly channel: ChannelState; readonly busMaster: BusMasterState }[];
};

/** Ports of the bus master: eight a channel. */
export const BUS_MASTER_LENGTH = 16;

/** The two channels of the PIIX's IDE controller with their bus masters: data sheet 290550 (PIIX3) and 290562 (PIIX4). */
export class IdeController implements Stateful<IdeControllerState> {
  readonly stateVersion = 1;
  readonly ports: readonly [IdePorts, IdePorts];
  /** The 16 ports of the bus master, for BAR 4. */
  readonly busMaster: BusDevice;
  readonly #channels: readonly { readonly channel: IdeChannel; readonly busMaster: BusMaster }[];
  #slot: IdeSlot | undefined;

  constructor(options: IdeControllerOptions) {
    const build = (index: 0 | 1): { channel: IdeChannel; busMaster: BusMaster } => {
      const drives = [options.drives[2 * index], options.drives[2 * index + 1]] as const;
      const channel = new IdeChannel({
        drives,
        irq: options.irqs[index],
        onDma: () => busMaster.run(),
        onInterrupt: () => busMaster.interrupted(),
        onPoll: options.onPoll ?? (() => {}),
      });
      const busMaster: BusMaster = new BusMaster({
        name: `ide${index}`,
        memory: options.memory,
        log: options.log,
        source: channel,
        allowed: () => this.#slot?.busMaster ?? false,
      });
      return { channel, busMaster };
    };
    const primary = build(0);
    const secondary = build(1);
    this.#channels = [primary, secondary];
    this.ports = [primary.channel, secondary.channel];
    // Registers of a byte; the table's address is four of them.
    this.busMaster = {
      read: (offset, size) => {
        let value = 0;
        for (let i = 0; i < size; i++)
          value += this.#master(offset + i).read((offset + i) & 7) * 2 ** (8 * i);
        return value;
      },
      write: (offset, size, value) => {
        for (let i = 0; i < size; i++)
          this.#master(offset + i).write((offset + i) & 7, (value >>> (8 * i)) & 0xff);
      },
    };
  }

  attach(slot: IdeSlot): void {
    this.#slot = slot;
  }

  /** RST#. */
  reset(): void {
    for (const { channel, busMaster } of this.#channels) {
      busMaster.reset();
      channel.reset();
    }
  }

  /** Resolves when no call of a back end is under way. */
  async quiesce(): Promise<void> {
    await Promise.all(this.#channels.map(({ channel }) => channel.quiesce()));
  }

  save(): IdeControllerState {
    return {
      channels: this.#channels.map(({ channel, busMaster }) => ({
        channel: channel.save(),
        busMaster: busMaster.save(),
      })),
    };
  }

  restore(state: IdeControllerState): void {
    for (const [i, { channel, busMaster }] of this.#channels.entries()) {
      busMaster.restore(state.channels[i].busMaster);
      channel.restore(state.channels[i].channel);
    }
  }

  #master(offset: number): BusMaster {
    return this.#channels[(offset >> 3) & 1].busMaster;
  }
}
