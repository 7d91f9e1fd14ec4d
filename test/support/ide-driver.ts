import assert from 'node:assert/strict';
import { PiixIde } from '../../src/hypervisor/chipset/piix-ide.ts';
import { IdeController, type IdeDrives } from '../../src/hypervisor/devices/ide/controller.ts';
import type { DriveOptions } from '../../src/hypervisor/devices/ide/drive.ts';
import { AddressSpace } from '../../src/hypervisor/machine/address-space.ts';
import type { AccessSize } from '../../src/hypervisor/machine/bus.ts';
import { FlatMemory, HandDoor, KeptLog, ProbeLine } from './machine-parts.ts';

export const BUSY = 0x80;
export const READY = 0x50;
export const DRQ = 0x08;
export const ERR = 0x01;

/** Where the driver puts the bus master, its table and its data. */
const BUS_MASTER = 0xc000;
const TABLE = 0x1000;
const DATA = 0x20000;

/** Parameters of a command; what is not given is 0. */
export interface Parameters {
  readonly lba?: number;
  readonly count?: number;
  readonly feature?: number;
  /** Registers of 48 bits. */
  readonly extended?: boolean;
  /** Instead of `lba`. */
  readonly chs?: readonly [number, number, number];
}

/** A region of a PRD table; the last one of a list has the end bit unless `open`. */
export interface Region {
  readonly address: number;
  /** As in the table: 0 is 64 KiB. */
  readonly bytes: number;
}

export interface PacketOptions {
  readonly dma?: boolean;
  /** Byte count limit. */
  readonly limit?: number;
  /** Size of the data port's accesses. */
  readonly size?: 2 | 4;
}

export interface PacketResult {
  readonly status: number;
  readonly error: number;
  readonly data: Uint8Array;
  /** Byte counts of the blocks that the drive offered. */
  readonly blocks: readonly number[];
}

/** The guest's side of the IDE controller, as a driver would be, on a machine with nothing else. */
export class IdeDriver {
  readonly door = new HandDoor();
  readonly log = new KeptLog();
  readonly memory: FlatMemory;
  readonly pio = new AddressSpace();
  readonly irqs = [new ProbeLine(), new ProbeLine()] as const;
  readonly controller: IdeController;
  readonly fn: PiixIde;
  /** How often the drives said that the guest polls. */
  polls = 0;
  #channel: 0 | 1 = 0;
  #device: 0 | 1 = 0;

  constructor(
    drives: (options: (name: string) => DriveOptions) => Partial<IdeDrives>,
    memory = new FlatMemory(4 << 20),
  ) {
    this.memory = memory;
    const { door, log } = this;
    const [a, b, c, d] = drives((name) => ({ name, door, log }));
    this.controller = new IdeController({
      memory,
      log,
      drives: [a, b, c, d],
      irqs: this.irqs,
      onPoll: () => {
        this.polls += 1;
      },
    });
    this.fn = new PiixIde({
      channels: this.controller.ports,
      busMaster: this.controller.busMaster,
      onReset: () => this.controller.reset(),
    });
    this.controller.attach(this.fn);
    this.fn.connect({ io: this.pio, memory: new AddressSpace(), intx: { set() {} } });
    this.enable();
  }

  /** What firmware does: BAR 4, decoding and bus mastering. */
  enable(): void {
    this.fn.configWrite(0x20, 4, BUS_MASTER);
    this.fn.configWrite(0x04, 2, 5);
  }

  get #base(): number {
    return this.#channel === 0 ? 0x1f0 : 0x170;
  }

  get irq(): ProbeLine {
    return this.irqs[this.#channel];
  }

  /** Chooses whom the following goes to. */
  use(channel: 0 | 1, device: 0 | 1): void {
    this.#channel = channel;
    this.#device = device;
    this.out(6, 0xa0 | (device << 4));
  }

  in(register: number, size: AccessSize = 1): number {
    return this.pio.read(this.#base + register, size);
  }

  out(register: number, value: number, size: AccessSize = 1): void {
    this.pio.write(this.#base + register, size, value);
  }

  /** Without taking the interrupt away. */
  get alternate(): number {
    return this.pio.read(this.#base + 0x206, 1);
  }

  get status(): number {
    return this.in(7);
  }

  get error(): number {
    return this.in(1);
  }

  control(value: number): void {
    this.pio.write(this.#base + 0x206, 1, value);
  }

  softwareReset(): void {
    this.control(4);
    this.control(0);
    this.#device = 0;
  }

  /** Sector count and address, 28 or 48 bits. */
  address(extended = false): { count: number; lba: number } {
    const low = (hob: boolean): number[] => {
      if (hob) this.control(0x80);
      const values = [2, 3, 4, 5].map((register) => this.in(register));
      if (hob) this.control(0);
      return values;
    };
    const [count, a, b, c] = low(false);
    if (!extended) return { count, lba: a + (b << 8) + (c << 16) + (this.in(6) & 15) * 2 ** 24 };
    const [countHigh, d, e, f] = low(true);
    return {
      count: count + (countHigh << 8),
      lba: a + (b << 8) + (c << 16) + (d + (e << 8) + (f << 16)) * 2 ** 24,
    };
  }

  /** Writes parameters and a command without waiting. */
  start(command: number, { lba = 0, count = 0, feature = 0, extended = false, chs }: Parameters = {}): void {
    const select = 0xa0 | (this.#device << 4);
    if (chs) {
      const [cylinder, head, sector] = chs;
      this.out(6, select | head);
      this.#write([feature, count, sector, cylinder & 0xff, cylinder >> 8]);
    } else {
      const bytes = [0, 8, 16, 24, 32, 40].map((shift) => Math.floor(lba / 2 ** shift) & 0xff);
      this.out(6, select | 0x40 | (extended ? 0 : bytes[3] & 15));
      if (extended) this.#write([feature >> 8, count >> 8, bytes[3], bytes[4], bytes[5]]);
      this.#write([feature & 0xff, count & 0xff, bytes[0], bytes[1], bytes[2]]);
    }
    this.out(7, command);
  }

  #write(values: readonly number[]): void {
    values.forEach((value, i) => this.out(1 + i, value));
  }

  /** Waits until the drive is not busy; its status, with the interrupt taken. */
  async settled(): Promise<number> {
    await this.door.settle(() => (this.alternate & BUSY) === 0);
    return this.status;
  }

  /** A command without data; its status. */
  async run(command: number, parameters: Parameters = {}): Promise<number> {
    this.start(command, parameters);
    return this.settled();
  }

  /** A command that gives data by its port; all of it. */
  async read(
    command: number,
    parameters: Parameters = {},
    size: AccessSize = 2,
    block = 512,
  ): Promise<Uint8Array> {
    this.start(command, parameters);
    const bytes: number[] = [];
    for (;;) {
      const status = await this.settled();
      if (!(status & DRQ)) return Uint8Array.from(bytes);
      for (let i = 0; i < block && this.alternate & DRQ; i += size) {
        const value = this.in(0, size);
        for (let k = 0; k < size; k++) bytes.push((value >>> (8 * k)) & 0xff);
      }
    }
  }

  /** A command that takes data by its port; its last status. */
  async write(
    command: number,
    parameters: Parameters,
    data: Uint8Array,
    size: AccessSize = 2,
  ): Promise<number> {
    this.start(command, parameters);
    let at = 0;
    for (;;) {
      const status = await this.settled();
      if (!(status & DRQ)) return status;
      for (let i = 0; i < 512 && this.alternate & DRQ; i += size) {
        let value = 0;
        for (let k = 0; k < size; k++) value += (data[at++] ?? 0) * 2 ** (8 * k);
        this.out(0, value, size);
      }
    }
  }

  // Bus master.

  get #master(): number {
    return BUS_MASTER + 8 * this.#channel;
  }

  get masterStatus(): number {
    return this.pio.read(this.#master + 2, 1);
  }

  /** Writes a table at `table`, with the end bit in its last entry unless `open`. */
  table(regions: readonly Region[], table = TABLE, open = false): void {
    regions.forEach(({ address, bytes }, i) => {
      this.memory.writeU32(table + 8 * i, address);
      const end = i === regions.length - 1 && !open ? 0x80000000 : 0;
      this.memory.writeU32(table + 8 * i + 4, (end | bytes) >>> 0);
    });
    this.pio.write(this.#master + 4, 4, table);
  }

  startMaster(toMemory: boolean): void {
    // Error and interrupt are cleared; the bits for software stay.
    this.pio.write(this.#master + 2, 1, (this.masterStatus & 0x60) | 6);
    this.pio.write(this.#master, 1, toMemory ? 9 : 1);
  }

  /** Ends it; its status before. */
  stopMaster(): number {
    const status = this.masterStatus;
    this.pio.write(this.#master, 1, 0);
    return status;
  }

  /** A command by DMA over a table that is there, to its interrupt; status of drive and bus master. */
  async dma(
    command: number,
    parameters: Parameters,
    toMemory: boolean,
  ): Promise<{ status: number; master: number }> {
    this.start(command, parameters);
    this.startMaster(toMemory);
    await this.door.settle(() => this.irq.level);
    return { master: this.stopMaster(), status: this.status };
  }

  // Packets.

  /** Sends a packet, padded to 12 bytes, and takes what it gives. */
  async packet(bytes: readonly number[], options: PacketOptions = {}): Promise<PacketResult> {
    const { dma = false, limit = 0xf000, size = 2 } = options;
    if (dma) this.table([{ address: DATA, bytes: 0 }]);
    this.out(1, dma ? 1 : 0);
    this.out(4, limit & 0xff);
    this.out(5, limit >> 8);
    this.out(7, 0xa0);
    assert.equal(this.in(2) & 3, 1, 'C/D: the drive asks for a packet');
    assert.equal(this.irq.level, false, 'without an interrupt');
    const packet = Uint8Array.from({ length: 12 }, (_, i) => bytes[i] ?? 0);
    for (let i = 0; i < 12; i += 2) this.out(0, packet[i] | (packet[i + 1] << 8), 2);
    if (dma) return this.#packetByDma();
    const data: number[] = [];
    const blocks: number[] = [];
    for (;;) {
      const status = await this.settled();
      const count = this.in(4) | (this.in(5) << 8);
      if (!(status & DRQ)) {
        assert.equal(this.in(2) & 3, 3, 'C/D and I/O: the command is over');
        return { status, error: this.error, data: Uint8Array.from(data), blocks };
      }
      assert.equal(this.in(2) & 3, 2, 'I/O: data for the host');
      blocks.push(count);
      const end = data.length + count;
      while (data.length < end) {
        const value = this.in(0, size);
        for (let k = 0; k < size && data.length < end; k++) data.push((value >>> (8 * k)) & 0xff);
      }
    }
  }

  async #packetByDma(): Promise<PacketResult> {
    this.startMaster(true);
    await this.door.settle(() => this.irq.level);
    this.stopMaster();
    const status = this.status;
    return { status, error: this.error, data: this.memory.bytes.slice(DATA, DATA + 0x10000), blocks: [] };
  }

  /** Sense key, code and qualifier of the last packet that failed. */
  async sense(): Promise<readonly number[]> {
    const { data } = await this.packet([0x03, 0, 0, 0, 18]);
    return [data[2] & 15, data[12], data[13]];
  }
}
