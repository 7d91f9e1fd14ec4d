import type { GuestLog } from '../../machine/log.ts';
import type { GuestMemory } from '../../machine/memory.ts';
import type { DmaWindow } from './drive.ts';

/** Command register: start, and whether data go to memory. */
const COMMAND = { start: 0x01, toMemory: 0x08 } as const;
/** Status register: active, error and interrupt (cleared by ones), what the drives can do (for software). */
const STATUS = { active: 0x01, error: 0x02, interrupt: 0x04, drives: 0x60 } as const;

const ENTRY_BYTES = 8;
const END_OF_TABLE = 0x8000_0000;
/** A table lies within 64 KiB. */
const TABLE_BYTES = 0x10000;

/** Where the data of a channel's DMA come from and go to. */
export interface DmaSource {
  /** What the selected drive wants moved now. */
  readonly dma: DmaWindow | undefined;
  moved(bytes: number): void;
}

export type BusMasterState = {
  readonly command: number;
  readonly status: number;
  readonly table: number;
  readonly next: number;
  readonly last: boolean;
  readonly address: number;
  readonly left: number;
};

export interface BusMasterOptions {
  readonly name: string;
  readonly memory: GuestMemory;
  readonly log: GuestLog;
  readonly source: DmaSource;
  /** Whether the function may master the bus. */
  readonly allowed: () => boolean;
}

/**
 * One channel's half of the bus master: PIIX4 data sheet (290562), section
 * 4.4.3, and SFF-8038i. It moves data between a drive and the memory that a
 * table of physical regions names: address, byte count (0 is 64 KiB), and a
 * bit for the last.
 *
 * A region outside of RAM ends the transfer with the error bit, as an access
 * does that nobody answers; the drive then waits, as it does behind a table
 * that is too short, until the table goes on or the channel is reset.
 */
export class BusMaster {
  readonly #options: BusMasterOptions;
  #command = 0;
  #status = 0;
  #table = 0;
  /** The entry to be fetched next. */
  #next = 0;
  /** The region at hand is the table's last. */
  #last = false;
  #address = 0;
  #left = 0;

  constructor(options: BusMasterOptions) {
    this.#options = options;
  }

  /** Offsets 0 to 7. */
  read(offset: number): number {
    switch (offset) {
      case 0:
        return this.#command;
      case 2:
        return this.#status;
      case 4:
      case 5:
      case 6:
      case 7:
        return (this.#table >>> (8 * (offset - 4))) & 0xff;
      default:
        return 0;
    }
  }

  write(offset: number, value: number): void {
    switch (offset) {
      case 0:
        return this.#writeCommand(value);
      case 2: {
        const cleared = value & (STATUS.error | STATUS.interrupt);
        this.#status = (this.#status & ~cleared & ~STATUS.drives) | (value & STATUS.drives);
        return;
      }
      case 4:
      case 5:
      case 6:
      case 7: {
        const shift = 8 * (offset - 4);
        this.#table = ((this.#table & ~(0xff << shift)) | (value << shift)) & ~3;
        return;
      }
      default:
        return;
    }
  }

  #writeCommand(value: number): void {
    const started = (value & ~this.#command & COMMAND.start) !== 0;
    this.#command = value & (COMMAND.start | COMMAND.toMemory);
    if (!(value & COMMAND.start)) {
      this.#status &= ~STATUS.active;
      return;
    }
    if (!started) return;
    this.#status |= STATUS.active;
    this.#next = this.#table >>> 0;
    this.#last = false;
    this.#left = 0;
    this.run();
  }

  /** The channel's INTRQ rose. */
  interrupted(): void {
    this.#status |= STATUS.interrupt;
  }

  /** Moves what the drive wants moved, as far as the table goes. */
  run(): void {
    const { source, allowed } = this.#options;
    while (this.#status & STATUS.active && allowed()) {
      const window = source.dma;
      if (!window || window.toGuest !== ((this.#command & COMMAND.toMemory) !== 0)) return;
      if (this.#left === 0 && !this.#fetch()) return;
      const bytes = Math.min(this.#left, window.bytes.length);
      if (!this.#move(window, bytes)) return this.#broken('a region that is no memory');
      this.#address += bytes;
      this.#left -= bytes;
      // The last region is used up: no longer active when the drive raises its interrupt.
      if (this.#left === 0 && this.#last) this.#status &= ~STATUS.active;
      source.moved(bytes);
    }
  }

  #move({ bytes, toGuest }: DmaWindow, count: number): boolean {
    const { memory } = this.#options;
    const part = bytes.subarray(0, count);
    if (memory.view(this.#address, count) === undefined) return false;
    return toGuest ? memory.writeBytes(this.#address, part) : memory.readBytes(this.#address, part);
  }

  /** The next entry; false at the end of the table, or of the 64 KiB that a table may have. */
  #fetch(): boolean {
    const { memory } = this.#options;
    const start = this.#table >>> 0;
    const limit = start - (start % TABLE_BYTES) + TABLE_BYTES;
    if (this.#last || this.#next + ENTRY_BYTES > limit) {
      this.#status &= ~STATUS.active;
      return false;
    }
    if (memory.view(this.#next, ENTRY_BYTES) === undefined) {
      this.#broken('a table that is no memory');
      return false;
    }
    const address = memory.readU32(this.#next);
    const count = memory.readU32(this.#next + 4);
    this.#next += ENTRY_BYTES;
    this.#address = (address & ~1) >>> 0;
    this.#left = count & 0xfffe || 0x10000;
    this.#last = (count & END_OF_TABLE) !== 0;
    return true;
  }

  #broken(why: string): void {
    this.#status = (this.#status & ~STATUS.active) | STATUS.error;
    this.#options.log.guest(`${this.#options.name}: DMA through ${why}`);
  }

  reset(): void {
    this.#command = 0;
    this.#status = 0;
    this.#table = 0;
    this.#next = 0;
    this.#last = false;
    this.#address = 0;
    this.#left = 0;
  }

  save(): BusMasterState {
    return {
      command: this.#command,
      status: this.#status,
      table: this.#table >>> 0,
      next: this.#next,
      last: this.#last,
      address: this.#address,
      left: this.#left,
    };
  }

  restore(state: BusMasterState): void {
    this.#command = state.command & (COMMAND.start | COMMAND.toMemory);
    this.#status = state.status & 0x67;
    this.#table = state.table & ~3;
    this.#next = state.next;
    this.#last = state.last;
    this.#address = state.address;
    this.#left = state.left & 0x1ffff;
  }
}
