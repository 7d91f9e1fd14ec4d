import type { ByteInput, ByteSink } from '../backends/streams.ts';
import type { AccessSize, BusDevice } from '../machine/bus.ts';
import type { Door, DoorPort, Timer } from '../machine/door.ts';
import type { IrqLine } from '../machine/irq.ts';
import type { Stateful } from '../machine/state.ts';
import { HostInput, type HostInputState, type Mark } from './host-input.ts';

/** Bytes of I/O space a 16550A takes. */
export const SERIAL_IO_LENGTH = 8;

const FIFO_SIZE = 16;
const OUTPUT_BATCH = 4096;
/** Most characters kept for a sink that asked to hold; more are lost. */
const HELD_LIMIT = 65536;
/** 1.8432 MHz / 16: the baud rate of divisor 1. */
const BASE_BAUD = 115200;

const IER_RDA = 0x01;
const IER_THRE = 0x02;
const IER_RLS = 0x04;
const IER_MODEM = 0x08;

const IIR_NONE = 0x01;
const IIR_MODEM = 0x00;
const IIR_THRE = 0x02;
const IIR_RDA = 0x04;
const IIR_RLS = 0x06;
const IIR_TIMEOUT = 0x0c;
const IIR_FIFO = 0xc0;

const FCR_ENABLE = 0x01;
const FCR_CLEAR_RX = 0x02;
const FCR_CLEAR_TX = 0x04;
const TRIGGER_LEVELS: readonly number[] = [1, 4, 8, 14];

const LCR_BREAK = 0x40;
const LCR_DLAB = 0x80;

const MCR_DTR = 0x01;
const MCR_RTS = 0x02;
const MCR_OUT1 = 0x04;
const MCR_OUT2 = 0x08;
const MCR_LOOP = 0x10;

const LSR_DR = 0x01;
const LSR_OE = 0x02;
const LSR_BI = 0x10;
/** Errors that belong to one received character: PE, FE, BI. */
const LSR_CHARACTER = 0x1c;
const LSR_THRE = 0x20;
const LSR_TEMT = 0x40;
const LSR_FIFO_ERROR = 0x80;
const LSR_INTERRUPTS = LSR_OE | LSR_CHARACTER;

const MSR_CTS = 0x10;
const MSR_DSR = 0x20;
const MSR_RI = 0x40;
const MSR_DCD = 0x80;
/** What a connected, ready other end drives. */
const LINES_CONNECTED = MSR_CTS | MSR_DSR | MSR_DCD;

export interface SerialOptions {
  /** Names the way in through the door: `serial0` gives `serial0.rx` and `serial0.tx`. */
  readonly name: string;
  readonly door: Door;
  readonly irq: IrqLine;
  readonly sink: ByteSink;
}

/** What comes in: characters, a mark (LSR bits of a character that is none), or the other end's modem lines. */
type SerialInput = Uint8Array | Mark | { readonly lines: number };

interface Received {
  readonly byte: number;
  readonly errors: number;
}

export type SerialState = {
  readonly ier: number;
  readonly fcr: number;
  readonly lcr: number;
  readonly mcr: number;
  readonly lsr: number;
  readonly scr: number;
  readonly divisor: number;
  readonly lines: number;
  readonly msrDelta: number;
  readonly threPending: boolean;
  readonly timeoutPending: boolean;
  readonly timeoutAt: number | null;
  readonly rxBytes: Uint8Array;
  readonly rxErrors: Uint8Array;
  readonly tx: Uint8Array;
  readonly rbr: number;
  readonly waiting: HostInputState;
};

/**
 * A 16550A UART (National Semiconductor PC16550D data sheet) as a PC wires it:
 * eight ports, and an interrupt that passes only while MCR's OUT2 is set.
 *
 * Transmission takes no time: a character written is at the sink at the next
 * `flush`, unless the sink asked to hold, and then THRE stays clear. Reception
 * loses nothing: host bytes wait, up to 64 KiB, until the receiver has room;
 * only what the guest sends itself in loopback can overrun.
 */
export class Serial16550 implements BusDevice, Stateful<SerialState> {
  readonly stateVersion = 1;
  /** The host's end of the receive wire. */
  readonly input: ByteInput;

  readonly #door: Door;
  readonly #irq: IrqLine;
  readonly #sink: ByteSink;
  readonly #port: DoorPort<SerialInput>;
  readonly #timer: Timer;
  readonly #waiting: HostInput;

  #ier = 0;
  #fcr = 0;
  #lcr = 0;
  #mcr = 0;
  /** Only OE and the error bits of a character that was shown: the rest is computed. */
  #lsr = 0;
  #scr = 0;
  #divisor = 12;
  /** The other end's lines, MSR bits 4 to 7, when not in loopback. */
  #lines = LINES_CONNECTED;
  #msrDelta = 0;
  #threPending = false;
  #timeoutPending = false;
  #rbr = 0;
  #rx: Received[] = [];
  #tx: number[] = [];
  #txHeld = false;

  #output = new Uint8Array(OUTPUT_BATCH);
  #outputLength = 0;

  constructor(options: SerialOptions) {
    this.#door = options.door;
    this.#irq = options.irq;
    this.#sink = options.sink;
    this.#port = options.door.port<SerialInput>(`${options.name}.rx`, (payload) => this.#arrive(payload));
    this.#timer = options.door.clock.timer(`${options.name}.timeout`, () => this.#characterTimeout());
    const hold = options.door.port<boolean>(`${options.name}.tx`, (full) => this.#hold(full));
    this.#sink.onPressure?.((full) => hold.post(full));
    this.#waiting = new HostInput(this.#port);
    this.input = this.#waiting;
  }

  /** Sends a break condition to the guest, in order with the bytes offered. */
  sendBreak(): void {
    this.#waiting.offerMark(LSR_BI);
  }

  /** Sets the modem lines of the other end: MSR bits 4 (CTS) to 7 (DCD). */
  setLines(lines: number): void {
    this.#port.post({ lines: lines & 0xf0 });
  }

  /** Hands what the guest has sent to the sink; to be called once per slice. */
  flush(): void {
    if (this.#outputLength === 0) return;
    const bytes = this.#output.slice(0, this.#outputLength);
    this.#outputLength = 0;
    this.#sink.write(bytes);
  }

  /** Hardware reset (data sheet, table II). Waiting host bytes stay. */
  reset(): void {
    this.#ier = 0;
    this.#fcr = 0;
    this.#lcr = 0;
    this.#mcr = 0;
    this.#lsr = 0;
    this.#msrDelta = 0;
    this.#threPending = false;
    this.#tx = [];
    this.#clearReceiver();
    this.#update();
  }

  /** A wider access is as many byte accesses, lowest first, as on the ISA bus. */
  read(offset: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) value += this.#readRegister(offset + i) * 2 ** (8 * i);
    return value;
  }

  write(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) this.#writeRegister(offset + i, (value >>> (8 * i)) & 0xff);
  }

  #readRegister(offset: number): number {
    switch (offset) {
      case 0:
        return this.#lcr & LCR_DLAB ? this.#divisor & 0xff : this.#readReceiver();
      case 1:
        return this.#lcr & LCR_DLAB ? this.#divisor >> 8 : this.#ier;
      case 2:
        return this.#readIir();
      case 3:
        return this.#lcr;
      case 4:
        return this.#mcr;
      case 5:
        return this.#readLsr();
      case 6:
        return this.#readMsr();
      case 7:
        return this.#scr;
      default:
        return 0xff;
    }
  }

  #writeRegister(offset: number, byte: number): void {
    switch (offset) {
      case 0:
        if (this.#lcr & LCR_DLAB) this.#divisor = (this.#divisor & 0xff00) | byte;
        else this.#transmit(byte);
        break;
      case 1:
        if (this.#lcr & LCR_DLAB) this.#divisor = (this.#divisor & 0xff) | (byte << 8);
        else this.#writeIer(byte);
        break;
      case 2:
        this.#writeFcr(byte);
        break;
      case 3:
        this.#writeLcr(byte);
        break;
      case 4:
        this.#writeMcr(byte);
        break;
      case 7:
        this.#scr = byte;
        break;
      default:
        // LSR is for factory tests, MSR is read-only.
        break;
    }
  }

  save(): SerialState {
    return {
      ier: this.#ier,
      fcr: this.#fcr,
      lcr: this.#lcr,
      mcr: this.#mcr,
      lsr: this.#lsr,
      scr: this.#scr,
      divisor: this.#divisor,
      lines: this.#lines,
      msrDelta: this.#msrDelta,
      threPending: this.#threPending,
      timeoutPending: this.#timeoutPending,
      timeoutAt: this.#timer.deadline ?? null,
      rxBytes: Uint8Array.from(this.#rx, (c) => c.byte),
      rxErrors: Uint8Array.from(this.#rx, (c) => c.errors),
      tx: Uint8Array.from(this.#tx),
      rbr: this.#rbr,
      waiting: this.#waiting.save(),
    };
  }

  restore(state: SerialState): void {
    this.#ier = state.ier & 0x0f;
    this.#fcr = state.fcr & 0xc9;
    this.#lcr = state.lcr & 0xff;
    this.#mcr = state.mcr & 0x1f;
    this.#lsr = state.lsr & LSR_INTERRUPTS;
    this.#scr = state.scr & 0xff;
    this.#divisor = state.divisor & 0xffff;
    this.#lines = state.lines & 0xf0;
    this.#msrDelta = state.msrDelta & 0x0f;
    this.#threPending = state.threPending;
    this.#timeoutPending = state.timeoutPending;
    const rx = Array.from(state.rxBytes, (byte, i) => ({ byte, errors: state.rxErrors[i] ?? 0 }));
    this.#rx = rx.slice(0, FIFO_SIZE);
    this.#tx = Array.from(state.tx.subarray(0, HELD_LIMIT));
    this.#rbr = state.rbr & 0xff;
    // Whether the present sink wants to hold is the present sink's to say.
    this.#txHeld = false;
    this.#waiting.restore(state.waiting);
    this.#timer.cancel();
    if (state.timeoutAt !== null) this.#timer.arm(state.timeoutAt);
    this.#drainTransmitter();
    this.#update();
  }

  // Receiver

  #arrive(payload: SerialInput): void {
    if (!(payload instanceof Uint8Array) && 'lines' in payload) this.#setExternalLines(payload.lines);
    else this.#waiting.arrived(payload);
    this.#refill();
    this.#update();
  }

  /** Moves waiting bytes into the receiver as far as it has room. */
  #refill(): void {
    if (this.#mcr & MCR_LOOP || this.#waiting.empty) return;
    const before = this.#rx.length;
    const room = this.#fcr & FCR_ENABLE ? FIFO_SIZE : 1;
    for (;;) {
      const item = this.#waiting.take(room - this.#rx.length);
      if (item === undefined) break;
      if (item instanceof Uint8Array) for (const byte of item) this.#rx.push({ byte, errors: 0 });
      else this.#rx.push({ byte: 0, errors: item.mark & LSR_CHARACTER });
    }
    if (this.#rx.length === before) return;
    this.#shown();
    this.#restartTimeout();
    this.#waiting.relieve();
  }

  /** One character of the guest's own, in loopback: what finds no room is lost. */
  #loopback(byte: number, errors: number): void {
    const fifo = (this.#fcr & FCR_ENABLE) !== 0;
    if (fifo && this.#rx.length >= FIFO_SIZE) {
      this.#lsr |= LSR_OE;
    } else if (!fifo && this.#rx.length > 0) {
      this.#lsr |= LSR_OE;
      this.#rx = [{ byte, errors }];
    } else {
      this.#rx.push({ byte, errors });
    }
    this.#shown();
    this.#restartTimeout();
  }

  /** LSR shows the errors of the character at the head of the receiver. */
  #shown(): void {
    const head = this.#rx[0];
    if (head === undefined || head.errors === 0) return;
    this.#lsr |= head.errors;
    this.#rx[0] = { byte: head.byte, errors: 0 };
  }

  #readReceiver(): number {
    const head = this.#rx.shift();
    if (head !== undefined) this.#rbr = head.byte;
    this.#timeoutPending = false;
    this.#timer.cancel();
    this.#shown();
    this.#refill();
    if (this.#rx.length > 0) this.#restartTimeout();
    this.#update();
    return this.#rbr;
  }

  #clearReceiver(): void {
    this.#rx = [];
    this.#timeoutPending = false;
    this.#timer.cancel();
  }

  /** The time-out runs for four characters from the last one that came or was read (data sheet, 8.4). */
  #restartTimeout(): void {
    this.#timeoutPending = false;
    if ((this.#fcr & FCR_ENABLE) === 0 || this.#rx.length === 0) return;
    this.#timer.arm(this.#door.clock.now() + 4 * this.#characterTime());
  }

  #characterTimeout(): void {
    if ((this.#fcr & FCR_ENABLE) === 0 || this.#rx.length === 0) return;
    this.#timeoutPending = true;
    this.#update();
  }

  /** Of one character with start, parity and stop bits, in nanoseconds. */
  #characterTime(): number {
    const parity = this.#lcr & 0x08 ? 1 : 0;
    const stop = this.#lcr & 0x04 ? 2 : 1;
    const bits = 1 + 5 + (this.#lcr & 3) + parity + stop;
    return Math.ceil((bits * 1e9 * (this.#divisor || 1)) / BASE_BAUD);
  }

  // Transmitter

  #transmit(byte: number): void {
    this.#threPending = false;
    this.#update();
    if (this.#txHeld && (this.#mcr & MCR_LOOP) === 0) {
      // Deeper than the real FIFO: drivers that give up waiting for THRE write all the same.
      if (this.#tx.length < HELD_LIMIT) this.#tx.push(byte);
      return;
    }
    this.#send(byte);
    this.#threPending = true;
    this.#update();
  }

  #send(byte: number): void {
    const mask = 0xff >> (3 - (this.#lcr & 3));
    if (this.#mcr & MCR_LOOP) {
      this.#loopback(byte & mask, 0);
      return;
    }
    // The divisor latch and word length of a PC's firmware are often left at 5 bits; a sink wants bytes.
    this.#output[this.#outputLength++] = byte;
    if (this.#outputLength === OUTPUT_BATCH) this.flush();
  }

  #hold(full: boolean): void {
    this.#txHeld = full;
    if (!full) this.#drainTransmitter();
    this.#update();
  }

  #drainTransmitter(): void {
    if (this.#tx.length === 0) return;
    for (const byte of this.#tx.splice(0)) this.#send(byte);
    this.#threPending = true;
  }

  // Registers

  #writeIer(value: number): void {
    const enabled = value & ~this.#ier;
    this.#ier = value & 0x0f;
    if (enabled & IER_THRE && this.#tx.length === 0) this.#threPending = true;
    this.#update();
  }

  #readIir(): number {
    const source = this.#source();
    // Reading IIR acknowledges THRE when that is what it reports, nothing else.
    if (source === IIR_THRE) {
      this.#threPending = false;
      this.#update();
    }
    return source | (this.#fcr & FCR_ENABLE ? IIR_FIFO : 0);
  }

  #writeFcr(value: number): void {
    const switched = ((this.#fcr ^ value) & FCR_ENABLE) !== 0;
    if (switched || (value & FCR_ENABLE && value & FCR_CLEAR_RX)) this.#clearReceiver();
    if (switched || (value & FCR_ENABLE && value & FCR_CLEAR_TX)) {
      if (this.#tx.length > 0) this.#threPending = true;
      this.#tx = [];
    }
    this.#fcr = value & FCR_ENABLE ? value & 0xc9 : 0;
    this.#refill();
    this.#update();
  }

  #writeLcr(value: number): void {
    const breakStarts = (value & ~this.#lcr & LCR_BREAK) !== 0;
    this.#lcr = value;
    if (breakStarts && this.#mcr & MCR_LOOP) {
      this.#loopback(0, LSR_BI);
      this.#update();
    }
  }

  #writeMcr(value: number): void {
    const before = this.#modemLines();
    this.#mcr = value & 0x1f;
    this.#modemChange(before);
    this.#refill();
    this.#update();
  }

  #readLsr(): number {
    let value = this.#lsr;
    if (this.#rx.length > 0) value |= LSR_DR;
    if (this.#tx.length === 0) value |= LSR_THRE | LSR_TEMT;
    if (this.#fcr & FCR_ENABLE) {
      const pending = value & LSR_CHARACTER || this.#rx.some((c) => c.errors !== 0);
      if (pending) value |= LSR_FIFO_ERROR;
    }
    this.#lsr = 0;
    this.#update();
    return value;
  }

  #readMsr(): number {
    const value = this.#modemLines() | this.#msrDelta;
    this.#msrDelta = 0;
    this.#update();
    return value;
  }

  // Modem lines and interrupt

  #modemLines(): number {
    if ((this.#mcr & MCR_LOOP) === 0) return this.#lines;
    let lines = 0;
    if (this.#mcr & MCR_RTS) lines |= MSR_CTS;
    if (this.#mcr & MCR_DTR) lines |= MSR_DSR;
    if (this.#mcr & MCR_OUT1) lines |= MSR_RI;
    if (this.#mcr & MCR_OUT2) lines |= MSR_DCD;
    return lines;
  }

  #setExternalLines(lines: number): void {
    const before = this.#modemLines();
    this.#lines = lines & 0xf0;
    this.#modemChange(before);
  }

  /** Delta bits: any change of CTS, DSR and DCD; of RI its trailing edge alone. */
  #modemChange(before: number): void {
    const now = this.#modemLines();
    const changed = (before ^ now) & (MSR_CTS | MSR_DSR | MSR_DCD);
    const ringEnded = before & ~now & MSR_RI;
    this.#msrDelta |= (changed | ringEnded) >> 4;
  }

  /** The enabled interrupt of highest priority, as IIR reports it. */
  #source(): number {
    if (this.#ier & IER_RLS && this.#lsr & LSR_INTERRUPTS) return IIR_RLS;
    if (this.#ier & IER_RDA && this.#rx.length > 0) {
      const fifo = (this.#fcr & FCR_ENABLE) !== 0;
      if (!fifo || this.#rx.length >= TRIGGER_LEVELS[this.#fcr >> 6]) return IIR_RDA;
      if (this.#timeoutPending) return IIR_TIMEOUT;
    }
    if (this.#ier & IER_THRE && this.#threPending) return IIR_THRE;
    if (this.#ier & IER_MODEM && this.#msrDelta !== 0) return IIR_MODEM;
    return IIR_NONE;
  }

  #update(): void {
    this.#irq.set((this.#mcr & MCR_OUT2) !== 0 && this.#source() !== IIR_NONE);
  }
}
