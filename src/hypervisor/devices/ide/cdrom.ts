import type { DiskBackend } from '../../backends/disk.ts';
import { BLOCK_BYTES, RAW_BLOCK_BYTES, rawBlock } from './disc.ts';
import { type DriveOptions, IdeDrive, PIECE_BYTES } from './drive.ts';
import { IDENTIFY_BYTES, type Identity, identifyCdrom } from './identify.ts';
import { executePacket, type Outcome, type Unit } from './mmc.ts';
import { COMMAND, ERROR, REASON, REGISTER } from './registers.ts';
import { SENSE, type Sense } from './sense.ts';
import { POWER_ON_MODES, selectMode } from './transfer-modes.ts';
import { Tray, type TrayState } from './tray.ts';

const PACKET_BYTES = 12;
const PIECE_BLOCKS = PIECE_BYTES / BLOCK_BYTES;
const RAW_PIECE_BLOCKS = Math.floor(PIECE_BYTES / RAW_BLOCK_BYTES);

/** Features register of PACKET. */
const FEATURE = { dma: 1, overlapped: 2 } as const;

/** What the buffer is for. */
const STEPS = ['none', 'identify', 'packet', 'reply', 'read'] as const;
type Step = (typeof STEPS)[number];

export interface CdromOptions extends DriveOptions {
  /** What is in the tray at power-on. */
  readonly medium?: DiskBackend | undefined;
  /** Up to 20 ASCII characters. Default: the name. */
  readonly serial?: string;
}

export type CdromState = {
  readonly step: string;
  readonly dma: boolean;
  readonly limit: number;
  readonly raw: boolean;
  readonly lba: number;
  readonly left: number;
  readonly sense: { readonly key: number; readonly code: number; readonly qualifier: number };
  readonly poweredOn: boolean;
  readonly multiword: number | null;
  readonly ultra: number | null;
  readonly standby: boolean;
  readonly tray: TrayState;
};

/**
 * An ATAPI CD-ROM and DVD-ROM drive: the PACKET feature set of ATA/ATAPI-6
 * (§ 8.23, protocol § 9.8 and 9.9); what packets do is in mmc.ts.
 *
 * Deviation: a disc that is changed while it is read ends the command with a
 * unit attention once the piece under way (up to 1 MiB) is over.
 */
export class Cdrom extends IdeDrive {
  readonly tray: Tray;
  readonly #identity: Identity;
  readonly #unit: Unit;
  #modes = POWER_ON_MODES;
  #standby = false;

  // The command under way.
  #step: Step = 'none';
  #dma = false;
  /** Most bytes a block of the data port. */
  #limit = 0;
  #raw = false;
  #lba = 0;
  /** Blocks of the disc from there on. */
  #left = 0;
  /** The disc that is read. */
  #reading: DiskBackend | undefined;

  constructor(options: CdromOptions) {
    super(options);
    const { name, door, medium } = options;
    this.tray = new Tray({ name, door, medium });
    this.tray.onRemoval(() => this.quiesce());
    this.#identity = { model: 'TEREMOK DVD-ROM', serial: options.serial ?? name };
    this.#unit = { tray: this.tray, model: 'DVD-ROM', sense: SENSE.none, poweredOn: true };
    this.endReset(true);
  }

  /** § 9.12: 14h and EBh; DRDY stays clear. */
  protected signature(): boolean {
    this.registers.setSignature(0x14, 0xeb);
    return false;
  }

  protected resetOwn(power: boolean): void {
    this.#step = 'none';
    this.#standby = false;
    this.#reading = undefined;
    if (!power) return;
    this.#modes = POWER_ON_MODES;
    this.#unit.sense = SENSE.none;
    this.#unit.poweredOn = true;
    this.tray.reset();
  }

  /** DEVICE RESET breaks off a packet command. */
  protected override interrupts(command: number): boolean {
    return command === COMMAND.deviceReset;
  }

  protected execute(command: number): void {
    this.#step = 'none';
    switch (command) {
      case COMMAND.deviceReset:
        // No interrupt: § 8.7.
        return this.endReset();
      case 0xa0:
        return this.#packet();
      case 0xa1: // IDENTIFY PACKET DEVICE
        this.#step = 'identify';
        return this.send(identifyCdrom(this.#identity, this.#modes), IDENTIFY_BYTES);
      case 0x20: // READ SECTORS and IDENTIFY DEVICE: how old hosts find out what this is
      case 0xec:
        this.registers.setSignature(0x14, 0xeb);
        return this.fail();
      case 0xe0: // STANDBY IMMEDIATE, STANDBY, SLEEP
      case 0xe2:
      case 0xe6:
        this.#standby = true;
        return this.succeed();
      case 0xe1: // IDLE IMMEDIATE, IDLE
      case 0xe3:
        this.#standby = false;
        return this.succeed();
      case 0xe5: // CHECK POWER MODE
        this.registers.set(REGISTER.count, this.#standby ? 0x00 : 0xff);
        return this.succeed();
      case 0xef:
        return this.#setFeatures();
      default:
        return this.fail();
    }
  }

  #setFeatures(): void {
    const { feature, count } = this.registers;
    const modes = feature === 0x03 ? selectMode(count, this.#modes) : undefined;
    if (modes) this.#modes = modes;
    // Reverting to defaults or not: there are none to revert to.
    if (modes || feature === 0x66 || feature === 0xcc) this.succeed();
    else this.fail();
  }

  // The packet and what follows from it.

  #packet(): void {
    const { feature, byteCount } = this.registers;
    if (feature & FEATURE.overlapped) return this.fail();
    this.#dma = (feature & FEATURE.dma) !== 0;
    // A block that is not the last has an even number of bytes.
    this.#limit = byteCount === 0xffff ? 0xfffe : byteCount & ~1;
    this.#step = 'packet';
    this.receive(PACKET_BYTES, PACKET_BYTES, true);
  }

  protected override offering(bytes: number): void {
    if (this.#step === 'packet') this.#setReason(REASON.command);
    if (this.#step !== 'reply' && this.#step !== 'read') return;
    this.#setReason(REASON.toHost);
    this.registers.byteCount = bytes;
  }

  protected received(buffer: Uint8Array): void {
    this.#standby = false;
    const packet = new DataView(buffer.buffer, buffer.byteOffset, PACKET_BYTES);
    const asksForSense = packet.getUint8(0) === 0x03;
    if (!asksForSense) this.#unit.sense = SENSE.none;
    this.#follow(executePacket(packet, this.#unit));
  }

  #follow(outcome: Outcome): void {
    switch (outcome.kind) {
      case 'done':
        return this.#end();
      case 'check':
        return this.#check(outcome.sense);
      case 'data':
        // The host has left no room for a block: § 8.23.4.
        if (!this.#dma && this.#limit === 0) return this.#refuse();
        this.#step = 'reply';
        return this.#give(outcome.bytes.slice());
      case 'read':
        if (!this.#dma && this.#limit === 0) return this.#refuse();
        this.#step = 'read';
        this.#raw = outcome.raw;
        this.#lba = outcome.lba;
        this.#left = outcome.blocks;
        this.#reading = this.tray.medium;
        return this.callHost();
    }
  }

  #give(bytes: Uint8Array): void {
    if (this.#dma) this.sendByDma(bytes);
    else this.send(bytes, this.#limit);
  }

  protected sent(): void {
    if (this.#step === 'identify') return this.succeed(false);
    if (this.#step !== 'read') return this.#end();
    const blocks = this.#pieceBlocks;
    this.#lba += blocks;
    this.#left -= blocks;
    if (this.#left === 0) return this.#end();
    if (this.#reading !== this.tray.medium) return this.#discGone();
    this.callHost();
  }

  get #pieceBlocks(): number {
    return Math.min(this.#left, this.#raw ? RAW_PIECE_BLOCKS : PIECE_BLOCKS);
  }

  protected async work(): Promise<Uint8Array | null> {
    const medium = this.#reading;
    if (!medium) throw new Error('there is no disc');
    const blocks = this.#pieceBlocks;
    const offset = this.#lba * BLOCK_BYTES;
    const data = new Uint8Array(blocks * BLOCK_BYTES);
    const there = Math.min(data.length, medium.size - offset);
    await medium.readAt(offset, data.subarray(0, there));
    if (!this.#raw) return data;
    const raw = new Uint8Array(blocks * RAW_BLOCK_BYTES);
    for (let i = 0; i < blocks; i++) {
      raw.set(rawBlock(this.#lba + i, data.subarray(i * BLOCK_BYTES)), i * RAW_BLOCK_BYTES);
    }
    return raw;
  }

  protected called(ok: boolean, data: Uint8Array | null): void {
    if (this.#reading !== this.tray.medium) return this.#discGone();
    if (!ok || !data) return this.#check(SENSE.unreadable);
    const blocks = this.#pieceBlocks;
    this.counter.read(blocks * BLOCK_BYTES, blocks === this.#left);
    this.#give(data);
  }

  #discGone(): void {
    const { medium, open } = this.tray;
    if (medium) this.tray.takeChange();
    this.#check(medium ? SENSE.mediumChanged : open ? SENSE.trayOpen : SENSE.noMedium);
  }

  #setReason(reason: number): void {
    this.registers.set(REGISTER.count, reason);
  }

  #end(): void {
    this.#finished();
    this.succeed();
  }

  /** The error register has the sense key. */
  #check(sense: Sense): void {
    this.#unit.sense = sense;
    this.#finished();
    this.fail((sense.key << 4) | ERROR.abort);
  }

  #refuse(): void {
    this.#finished();
    this.fail();
  }

  #finished(): void {
    this.#step = 'none';
    this.#reading = undefined;
    this.#setReason(REASON.command | REASON.toHost);
  }

  // State.

  protected saveOwn(): CdromState {
    return {
      step: this.#step,
      dma: this.#dma,
      limit: this.#limit,
      raw: this.#raw,
      lba: this.#lba,
      left: this.#left,
      sense: { ...this.#unit.sense },
      poweredOn: this.#unit.poweredOn,
      multiword: this.#modes.multiword ?? null,
      ultra: this.#modes.ultra ?? null,
      standby: this.#standby,
      tray: this.tray.save(),
    };
  }

  protected restoreOwn(state: CdromState): void {
    this.#step = STEPS.find((step) => step === state.step) ?? 'none';
    this.#dma = state.dma;
    this.#limit = state.limit & 0xfffe;
    this.#raw = state.raw;
    this.#lba = state.lba;
    this.#left = state.left;
    const { key, code, qualifier } = state.sense;
    const none = key === 0 && code === 0;
    this.#unit.sense = none ? SENSE.none : { key, code, qualifier };
    this.#unit.poweredOn = state.poweredOn;
    this.#modes = { multiword: state.multiword ?? undefined, ultra: state.ultra ?? undefined };
    this.#standby = state.standby;
    this.tray.restore(state.tray);
    this.#reading = this.#step === 'read' ? this.tray.medium : undefined;
  }
}
