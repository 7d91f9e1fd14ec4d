import type { BusDevice, BusRange } from '../machine/bus.ts';
import { Command, PciFunction, type PciFunctionState, type PciSlotWires } from './pci-function.ts';

/** The ports of a channel, as whoever stands behind them answers. */
export interface ChannelPorts {
  /** Eight ports. */
  readonly command: BusDevice;
  /** One port. */
  readonly control: BusDevice;
}

export interface PiixIdeOptions {
  readonly channels: readonly [ChannelPorts, ChannelPorts];
  /** 16 ports of bus master registers. */
  readonly busMaster: BusDevice;
  /** RST# on the bus, before configuration space goes back to its reset values. */
  readonly onReset: () => void;
}

/** Where the channels answer: PIIX3 data sheet (290550), table 12; their interrupts are ISA 14 and 15. */
const LEGACY_PORTS = [
  { command: 0x1f0, control: 0x3f6 },
  { command: 0x170, control: 0x376 },
] as const;
const IDETIM = 0x40;
/** IDE decode enable, of each channel's timing register. */
const DECODE = 0x8000;
const BUS_MASTER_BAR = 4;

/**
 * The PIIX3's IDE function, 8086:7010: data sheet 290550, section 2.3. It
 * answers at the legacy ports while its command register and the channel's
 * timing register say so; timings mean nothing otherwise.
 *
 * Deviation: IDETIM comes up with both channels decoded, as firmware would
 * leave it, instead of off.
 */
export class PiixIde extends PciFunction {
  readonly #options: PiixIdeOptions;
  readonly #ranges: { readonly channel: number; readonly base: number; readonly range: BusRange }[] = [];

  constructor(options: PiixIdeOptions) {
    super({ name: 'ide', vendorId: 0x8086, deviceId: 0x7010, classCode: 0x010180 });
    this.#options = options;
    this.addBar(BUS_MASTER_BAR, { kind: 'io', size: 16, device: options.busMaster });
    this.setConfigMask(0x04, [Command.io | Command.master, 0]);
    // No cache line size; the upper half of the latency timer; no interrupt pin, but its line is there to be written.
    this.setConfigMask(0x0c, [0x00, 0xf0]);
    this.setConfigMask(IDETIM, [0xff, 0xf3, 0xff, 0xf3, 0xff]);
    this.config.setUint16(0x06, 0x0280, true);
    this.config.setUint16(IDETIM, DECODE, true);
    this.config.setUint16(IDETIM + 2, DECODE, true);
  }

  override connect(wires: PciSlotWires): void {
    super.connect(wires);
    for (const [channel, ports] of LEGACY_PORTS.entries()) {
      const { command, control } = this.#options.channels[channel];
      const claim = (name: string, base: number, length: number, device: BusDevice): void => {
        const range = wires.io.claim(`${this.name}${channel}.${name}`, undefined, length, device);
        this.#ranges.push({ channel, base, range });
      };
      claim('command', ports.command, 8, command);
      claim('control', ports.control, 1, control);
    }
    this.#place();
  }

  override reset(): void {
    this.#options.onReset();
    super.reset();
    this.#place();
  }

  override restore(state: PciFunctionState): void {
    super.restore(state);
    this.#place();
  }

  protected override configWritten(offset: number, size: 1 | 2 | 4): void {
    super.configWritten(offset, size);
    if (offset < 0x06 || (offset < IDETIM + 4 && offset + size > IDETIM)) this.#place();
  }

  #place(): void {
    const enabled = (this.config.getUint16(0x04, true) & Command.io) !== 0;
    for (const { channel, base, range } of this.#ranges) {
      const decoded = enabled && (this.config.getUint16(IDETIM + 2 * channel, true) & DECODE) !== 0;
      const at = decoded ? base : undefined;
      if (at === range.base) continue;
      if (at === undefined) range.disable();
      else range.move(at);
    }
  }
}
