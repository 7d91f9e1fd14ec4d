import { type DriveTraffic, TrafficCounter } from '../../backends/drive-traffic.ts';
import type { AccessSize } from '../../machine/bus.ts';
import type { Door, DoorPort } from '../../machine/door.ts';
import type { GuestLog } from '../../machine/log.ts';
import type { StateValue } from '../../machine/state.ts';
import { DEVICE, ERROR, STATUS } from './registers.ts';
import { TaskFile, type TaskFileState } from './task-file.ts';

/** Most bytes of data that a drive holds in the host's memory: a longer transfer is done in pieces of it. */
export const PIECE_BYTES = 1 << 20;

/** The names of phases, as they are written down. */
const PHASES = ['idle', 'host', 'in', 'out', 'dma-in', 'dma-out'] as const;

/**
 * What a drive is doing: nothing, waiting for the host, or moving its buffer
 * through the data port or by DMA ("in" is to the guest).
 */
type Phase = (typeof PHASES)[number];

/** The channel as its drives see it. */
export interface DriveWires {
  /** This drive's INTRQ rose or fell. */
  interruptChanged(): void;
  /** This drive waits for the bus master. */
  dmaReady(): void;
}

/** What DMA may move now. */
export interface DmaWindow {
  readonly bytes: Uint8Array;
  readonly toGuest: boolean;
}

export interface DriveOptions {
  /** Names the ways in through the door; unique in a machine. */
  readonly name: string;
  readonly door: Door;
  readonly log: GuestLog;
}

export type DriveState = {
  readonly registers: TaskFileState;
  readonly status: number;
  readonly error: number;
  readonly interrupt: boolean;
  readonly phase: string;
  readonly buffer: Uint8Array;
  readonly position: number;
  readonly end: number;
  readonly blockBytes: number;
  /** What the drive's kind adds. */
  readonly own: StateValue;
};

/** A call of the back end came to its end: what passes the door. */
type Completion = { readonly id: number; readonly ok: boolean; readonly data: Uint8Array | null };

const NOTHING = new Uint8Array(0);

/**
 * What ATA and ATAPI drives have in common: registers, data phases and calls
 * of the back end. A kind of drive says what commands do; it moves the drive
 * from phase to phase by `send`, `receive`, `callHost`, `succeed` and `fail`,
 * and hears of a phase's end by `sent`, `received` and `called`.
 */
export abstract class IdeDrive {
  readonly name: string;
  readonly registers = new TaskFile();
  status = 0;
  error = 0;
  /** INTRQ. */
  interrupt = false;

  protected readonly log: GuestLog;
  /** For the kind of drive to count in, as pieces of a transfer reach the disc or come from it. */
  protected readonly counter = new TrafficCounter();
  #wires: DriveWires | undefined;
  readonly #done: DoorPort<Completion>;
  #phase: Phase = 'idle';
  #buffer: Uint8Array = NOTHING;
  #view: DataView = new DataView(NOTHING.buffer);
  #position = 0;
  /** End of the block that the host may move before it asks again. */
  #end = 0;
  #blockBytes = 1;
  /** The call whose end counts; others were given up. */
  #call = 0;
  #underWay = false;
  /** A call waits for one that was given up: its writes must not overtake. */
  #waiting = false;
  #idle: (() => void)[] = [];

  constructor(options: DriveOptions) {
    this.name = options.name;
    this.log = options.log;
    this.#done = options.door.port<Completion>(`${options.name}.done`, (c) => this.#completed(c));
  }

  get traffic(): DriveTraffic {
    return this.counter;
  }

  connect(wires: DriveWires): void {
    this.#wires = wires;
  }

  // A kind of drive.

  /** Runs a command; the drive is idle. */
  protected abstract execute(command: number): void;
  /** All of the buffer was taken. */
  protected abstract sent(): void;
  /** All of the buffer was filled. */
  protected abstract received(buffer: Uint8Array): void;
  /** What to ask of the back end: a function of the kind's own state alone, so that a restored drive can ask again. */
  protected abstract work(buffer: Uint8Array): Promise<Uint8Array | null>;
  /** How that ended. */
  protected abstract called(ok: boolean, data: Uint8Array | null): void;
  /** Puts the kind's signature into the registers; true when the drive is ready for commands (ATAPI drives are not). */
  protected abstract signature(): boolean;
  /** SRST or the diagnostic command; `power` when it is the power or RST#. */
  protected abstract resetOwn(power: boolean): void;
  protected abstract saveOwn(): StateValue;
  protected abstract restoreOwn(state: StateValue): void;
  /** The next block of `bytes` is about to be offered. */
  protected offering(_bytes: number): void {}
  /** Whether a command may break off another one. */
  protected interrupts(_command: number): boolean {
    return false;
  }

  // The channel's side.

  get busy(): boolean {
    return (this.status & (STATUS.busy | STATUS.drq)) !== 0;
  }

  /** Whether the guest waits for the host and not the other way round. */
  get waitsForHost(): boolean {
    return this.#phase === 'host';
  }

  command(command: number): void {
    if (this.busy && !this.interrupts(command)) return;
    this.setInterrupt(false);
    this.error = 0;
    this.#giveUp();
    this.status = STATUS.ready | STATUS.seek;
    this.execute(command);
  }

  /** Of the data port; what nobody offers reads as zero. */
  readData(size: AccessSize): number {
    if (this.#phase !== 'in') return 0;
    const at = this.#position;
    this.#position = at + size;
    let value = 0;
    if (this.#position <= this.#end) {
      if (size === 2) value = this.#view.getUint16(at, true);
      else value = size === 4 ? this.#view.getUint32(at, true) : this.#buffer[at];
    } else {
      for (let i = 0; at + i < this.#end; i++) value += this.#buffer[at + i] * 2 ** (8 * i);
    }
    if (this.#position >= this.#end) this.#blockMoved();
    return value;
  }

  writeData(size: AccessSize, value: number): void {
    if (this.#phase !== 'out') return;
    const at = this.#position;
    this.#position = at + size;
    if (this.#position <= this.#end) {
      if (size === 2) this.#view.setUint16(at, value, true);
      else if (size === 4) this.#view.setUint32(at, value, true);
      else this.#buffer[at] = value;
    } else {
      for (let i = 0; at + i < this.#end; i++) this.#buffer[at + i] = value >>> (8 * i);
    }
    if (this.#position >= this.#end) this.#blockMoved();
  }

  /** Many reads of the data port at once, within a block. Returns how many bytes they gave. */
  readBlock(size: AccessSize, target: Uint8Array): number {
    const bytes = this.#phase === 'in' ? this.#wholeValues(size, target.length) : 0;
    if (bytes === 0) return 0;
    target.set(this.#buffer.subarray(this.#position, this.#position + bytes));
    this.#blockPartMoved(bytes);
    return bytes;
  }

  writeBlock(size: AccessSize, source: Uint8Array): number {
    const bytes = this.#phase === 'out' ? this.#wholeValues(size, source.length) : 0;
    if (bytes === 0) return 0;
    this.#buffer.set(source.subarray(0, bytes), this.#position);
    this.#blockPartMoved(bytes);
    return bytes;
  }

  /** What DMA may move; undefined when the drive has nothing for it. */
  get dma(): DmaWindow | undefined {
    if (this.#phase !== 'dma-in' && this.#phase !== 'dma-out') return undefined;
    return { bytes: this.#buffer.subarray(this.#position), toGuest: this.#phase === 'dma-in' };
  }

  /** Tells that DMA has moved so many bytes of the window. */
  dmaMoved(bytes: number): void {
    this.#position += bytes;
    if (this.#position >= this.#buffer.length) this.#allMoved();
  }

  setInterrupt(asserted: boolean): void {
    if (asserted === this.interrupt) return;
    this.interrupt = asserted;
    this.#wires?.interruptChanged();
  }

  /** SRST is asserted, or a reset begins: what was going on is given up. */
  beginReset(): void {
    this.#giveUp();
    this.setInterrupt(false);
    this.status = STATUS.busy;
  }

  /** Signature and diagnostic code, § 9.1, 9.2 and 9.3; `power` for a hardware reset. */
  endReset(power = false): void {
    this.beginReset();
    this.resetOwn(power);
    // 01h: this device passed, and so did the other one or it is not there.
    this.error = 0x01;
    this.status = this.signature() ? STATUS.ready | STATUS.seek : 0;
  }

  /** Resolves when no call of the back end is under way. */
  quiesce(): Promise<void> {
    if (!this.#underWay) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  save(): DriveState {
    return {
      registers: this.registers.save(),
      status: this.status,
      error: this.error,
      interrupt: this.interrupt,
      phase: this.#phase,
      buffer: this.#buffer.slice(),
      position: this.#position,
      end: this.#end,
      blockBytes: this.#blockBytes,
      own: this.saveOwn(),
    };
  }

  /** A call of the back end that was under way is begun again. */
  restore(state: DriveState): void {
    this.#giveUp();
    this.registers.restore(state.registers);
    this.status = state.status & 0xff;
    this.error = state.error & 0xff;
    this.interrupt = state.interrupt;
    this.#setBuffer(state.buffer.slice(0, PIECE_BYTES));
    this.#end = Math.min(state.end, this.#buffer.length);
    this.#position = Math.min(state.position, this.#end);
    this.#blockBytes = Math.max(1, state.blockBytes);
    this.#phase = PHASES.find((phase) => phase === state.phase) ?? 'idle';
    this.restoreOwn(state.own);
    if (this.#phase === 'host') this.#startCall();
  }

  // Steps of a command, for the kind of drive.

  /** Offers `buffer` to the guest's data port in blocks, with an interrupt for each. */
  protected send(buffer: Uint8Array, blockBytes: number): void {
    this.#setBuffer(buffer);
    this.#blockBytes = blockBytes;
    this.#phase = 'in';
    this.#offer(true);
  }

  /** Asks the guest's data port for `bytes` in blocks, with an interrupt for each but the first. */
  protected receive(bytes: number, blockBytes: number, quietly: boolean): void {
    this.#setBuffer(new Uint8Array(bytes));
    this.#blockBytes = blockBytes;
    this.#phase = 'out';
    this.#offer(!quietly);
  }

  protected sendByDma(buffer: Uint8Array): void {
    this.#setBuffer(buffer);
    this.#requestDma('dma-in');
  }

  protected receiveByDma(bytes: number): void {
    this.#setBuffer(new Uint8Array(bytes));
    this.#requestDma('dma-out');
  }

  /** Has `work` done; `called` hears how it ended. The buffer stays as it is. */
  protected callHost(): void {
    this.#phase = 'host';
    this.status = STATUS.busy;
    this.#startCall();
  }

  /** The command is over. After data that the guest took through its port nothing more is to be told. */
  protected succeed(interrupt = true): void {
    this.#toIdle();
    this.status = STATUS.ready | STATUS.seek;
    if (interrupt) this.setInterrupt(true);
  }

  /** `error` and `status` are what is told beside the ERR bit. */
  protected fail(error: number = ERROR.abort, status = 0): void {
    this.#toIdle();
    this.error = error;
    this.status = STATUS.ready | STATUS.seek | STATUS.err | status;
    this.setInterrupt(true);
  }

  /** Drops what is going on without a word. */
  protected abandon(): void {
    this.#giveUp();
  }

  // Data phases.

  #setBuffer(buffer: Uint8Array): void {
    this.#buffer = buffer;
    this.#view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
    this.#position = 0;
    this.#end = buffer.length;
  }

  #offer(interrupt: boolean): void {
    const bytes = Math.min(this.#blockBytes, this.#buffer.length - this.#position);
    this.#end = this.#position + bytes;
    this.status = STATUS.ready | STATUS.seek | STATUS.drq;
    this.offering(bytes);
    if (interrupt) this.setInterrupt(true);
  }

  #wholeValues(size: AccessSize, most: number): number {
    const bytes = Math.min(most, this.#end - this.#position);
    return bytes - (bytes % size);
  }

  #blockPartMoved(bytes: number): void {
    this.#position += bytes;
    if (this.#position >= this.#end) this.#blockMoved();
  }

  #blockMoved(): void {
    this.#position = this.#end;
    if (this.#end < this.#buffer.length) this.#offer(true);
    else this.#allMoved();
  }

  #allMoved(): void {
    const buffer = this.#buffer;
    if (this.#phase === 'in' || this.#phase === 'dma-in') {
      this.#toIdle();
      this.sent();
    } else {
      this.#phase = 'idle';
      this.received(buffer);
    }
  }

  #requestDma(phase: Phase): void {
    this.#phase = phase;
    this.status = STATUS.ready | STATUS.seek | STATUS.drq;
    this.#wires?.dmaReady();
  }

  #toIdle(): void {
    this.#phase = 'idle';
    this.#setBuffer(NOTHING);
  }

  #giveUp(): void {
    this.#toIdle();
    this.#call += 1;
    this.#waiting = false;
  }

  // Calls of the back end.

  #startCall(): void {
    this.#waiting = this.#underWay;
    if (this.#waiting) return;
    this.#underWay = true;
    const id = ++this.#call;
    this.work(this.#buffer).then(
      (data) => this.#done.post({ id, ok: true, data }),
      (error: unknown) => {
        this.log.host('disk request failed', { drive: this.name, error: String(error) });
        this.#done.post({ id, ok: false, data: null });
      },
    );
  }

  #completed({ id, ok, data }: Completion): void {
    this.#underWay = false;
    if (this.#waiting) this.#startCall();
    else if (id === this.#call && this.#phase === 'host') {
      this.#phase = 'idle';
      this.called(ok, data);
    }
    if (!this.#underWay) for (const resolve of this.#idle.splice(0)) resolve();
  }
}

/** The device register as it reads: two bits are obsolete and always set. */
export const deviceAsRead = (drive: IdeDrive): number => drive.registers.device | DEVICE.obsolete;
