import type { Bus, BusDevice } from '../../machine/bus.ts';
import type { Clock, Door, Timer } from '../../machine/door.ts';
import type { IrqLine } from '../../machine/irq.ts';
import type { Stateful } from '../../machine/state.ts';
import type { Ps2Device } from './ps2-device.ts';
import { translate } from './scan-codes.ts';

/** Status register. Bits 6 and 7, timeout and parity, stay 0: both devices are there, and no wire is bad. */
const OUTPUT_FULL = 0x01;
const SYSTEM = 0x04;
const LAST_WAS_COMMAND = 0x08;
const UNLOCKED = 0x10;
const OUTPUT_AUX = 0x20;

/** Command byte, byte 0 of the controller's RAM. */
const KEYBOARD_INT = 0x01;
const AUX_INT = 0x02;
const KEYBOARD_OFF = 0x10;
const AUX_OFF = 0x20;
const TRANSLATE = 0x40;
/** As a BIOS leaves it: keyboard on, translated and with its interrupt, mouse off. */
const COMMAND_BYTE = KEYBOARD_INT | SYSTEM | AUX_OFF | TRANSLATE;

/** Output port. Bits 4 and 5 follow the output buffer. */
const OUT_RUN = 0x01;
const OUT_A20 = 0x02;
const OUT_KEYBOARD_FULL = 0x10;
const OUT_AUX_FULL = 0x20;
/** Clock and data of both devices. */
const OUT_WIRES = 0xcc;

/** Input port: the keyboard lock is open. */
const INPUT_PORT = 0x80;
const BREAK_PREFIX = 0xf0;
const RAM_LENGTH = 32;
/**
 * Nanoseconds from the guest's reading of a device's byte to the next one. On
 * the wire a byte takes 1 ms; some of that must stay, for handlers that read
 * the data port and then let the one before them read the same byte again.
 * There are none while both interrupts are off. A guest that polls then, as
 * firmware does, gets what is there at once: it looks at the status, then at
 * a clock, and between the two the host may stop this process for longer than
 * the guest has patience.
 */
const BYTE_GAP = 200_000;

/** Commands with a byte to follow at port 60h. */
const WRITE_OUTPUT_PORT = 0xd1;
const WRITE_KEYBOARD_OUTPUT = 0xd2;
const WRITE_AUX_OUTPUT = 0xd3;
const WRITE_AUX = 0xd4;
const LOAD_PASSWORD = 0xa5;

/** A20 as the machine has it. */
export interface A20Gate {
  open(): boolean;
  set(open: boolean): void;
}

export interface I8042Options {
  readonly door: Door;
  readonly keyboardIrq: IrqLine;
  readonly auxIrq: IrqLine;
  /** Told that the processor's reset line was pulsed. */
  readonly onReset: () => void;
  readonly a20: A20Gate;
  readonly keyboard: Ps2Device;
  /** The mouse. */
  readonly aux: Ps2Device;
}

/** A byte for the guest. */
type Output = { readonly byte: number; readonly aux: boolean };

export type I8042State = {
  readonly ram: Uint8Array;
  readonly outputPort: number;
  readonly lastWasCommand: boolean;
  readonly command: number;
  readonly full: boolean;
  readonly data: Output & { readonly device: boolean };
  readonly response: Output | null;
  readonly released: boolean;
  readonly lastAux: boolean;
  readonly nextByte: number;
};

/**
 * The keyboard controller of a PS/2 (Intel 8042 with IBM's program: PS/2
 * Hardware Interface Technical Reference, "Keyboard and Auxiliary Device
 * Controller"), behind ports 60h and 64h.
 *
 * Commands take no time, so the input buffer is always empty.
 *
 * Deviations: there is no password (A4h says so; A5h and A6h have no effect),
 * and no diagnostic dump (ACh). While the keyboard is off it raises no
 * interrupt for answers of the controller either.
 */
export class I8042 implements Stateful<I8042State> {
  readonly stateVersion = 1;
  readonly #options: I8042Options;
  readonly #clock: Clock;
  readonly #timer: Timer;
  readonly #keyboard: Ps2Device;
  readonly #aux: Ps2Device;

  readonly #ram = new Uint8Array(RAM_LENGTH);
  #outputPort = OUT_WIRES | OUT_RUN;
  #lastWasCommand = false;
  /** A command that waits for its byte; 0 for none. */
  #command = 0;
  /** The output buffer, and whether the guest has yet to read it. */
  #data: Output & { readonly device: boolean } = { byte: 0, aux: false, device: false };
  #full = false;
  /** An answer of the controller that waits for the output buffer. */
  #response: Output | undefined;
  /** The next byte to translate is behind F0h. */
  #released = false;
  /** Whose byte was last: the other goes first. */
  #lastAux = true;
  /** When the next byte of a device can be there. */
  #nextByte = 0;
  /** A device that gives a byte may call meanwhile: it has more. */
  #filling = false;

  constructor(options: I8042Options) {
    this.#options = options;
    this.#clock = options.door.clock;
    this.#timer = options.door.clock.timer('ps2.byte', () => this.#fill());
    this.#keyboard = options.keyboard;
    this.#aux = options.aux;
    this.#keyboard.onReady(() => this.#fill());
    this.#aux.onReady(() => this.#fill());
    this.#ram[0] = COMMAND_BYTE;
  }

  attach(io: Bus): void {
    const port = (read: () => number, write: (byte: number) => void): BusDevice => ({
      read,
      // The bus makes byte accesses of wider ones.
      write: (_offset, _size, value) => write(value & 0xff),
    });
    io.claim(
      'i8042-data',
      0x60,
      1,
      port(
        () => this.#readData(),
        (byte) => this.#writeData(byte),
      ),
    );
    io.claim(
      'i8042-command',
      0x64,
      1,
      port(
        () => this.#status(),
        (byte) => this.#writeCommand(byte),
      ),
    );
  }

  /** As a BIOS leaves it. The devices have resets of their own. */
  reset(): void {
    this.#ram.fill(0);
    this.#ram[0] = COMMAND_BYTE;
    this.#outputPort = OUT_WIRES | OUT_RUN;
    this.#lastWasCommand = false;
    this.#command = 0;
    this.#data = { byte: 0, aux: false, device: false };
    this.#full = false;
    this.#response = undefined;
    this.#released = false;
    this.#lastAux = true;
    this.#nextByte = 0;
    this.#timer.cancel();
    this.#drive();
  }

  save(): I8042State {
    return {
      ram: this.#ram.slice(),
      outputPort: this.#outputPort,
      lastWasCommand: this.#lastWasCommand,
      command: this.#command,
      full: this.#full,
      data: { ...this.#data },
      response: this.#response ?? null,
      released: this.#released,
      lastAux: this.#lastAux,
      nextByte: this.#nextByte,
    };
  }

  restore(state: I8042State): void {
    this.#ram.fill(0);
    this.#ram.set(state.ram.subarray(0, RAM_LENGTH));
    this.#outputPort = state.outputPort & 0xff;
    this.#lastWasCommand = state.lastWasCommand;
    this.#command = state.command & 0xff;
    this.#full = state.full;
    this.#data = { ...state.data };
    this.#response = state.response ?? undefined;
    this.#released = state.released;
    this.#lastAux = state.lastAux;
    this.#nextByte = state.nextByte;
    this.#timer.cancel();
    this.#drive();
    this.#fill();
  }

  get #commandByte(): number {
    return this.#ram[0];
  }

  // The guest's side.

  #status(): number {
    return (
      (this.#full ? OUTPUT_FULL : 0) |
      (this.#commandByte & SYSTEM) |
      (this.#lastWasCommand ? LAST_WAS_COMMAND : 0) |
      UNLOCKED |
      (this.#full && this.#data.aux ? OUTPUT_AUX : 0)
    );
  }

  /** The byte in the output buffer; the same again while there is no new one. */
  #readData(): number {
    const { byte, device } = this.#data;
    if (!this.#full) return byte;
    this.#full = false;
    if (device) this.#nextByte = this.#clock.now() + BYTE_GAP;
    // The line falls between two bytes, so that each has an edge of its own.
    this.#drive();
    this.#fill();
    return byte;
  }

  #writeCommand(byte: number): void {
    this.#lastWasCommand = true;
    this.#command = 0;
    if (byte >= 0xf0) {
      this.#pulse(byte & 15);
      return;
    }
    if (byte >= 0x20 && byte < 0x40) this.#respond(this.#ram[byte & 31]);
    else if (byte >= 0x60 && byte < 0x80) this.#command = byte;
    else this.#obey(byte);
    this.#drive();
    this.#fill();
  }

  #obey(byte: number): void {
    switch (byte) {
      case 0xa4: // Is there a password? No.
        this.#respond(0xf1);
        break;
      case 0xa7:
        this.#ram[0] |= AUX_OFF;
        break;
      case 0xa8:
        this.#ram[0] &= ~AUX_OFF;
        break;
      case 0xa9: // Test of the mouse's wires.
      case 0xab: // And of the keyboard's.
        this.#respond(0x00);
        break;
      case 0xaa: // Self-test.
        this.#respond(0x55);
        break;
      case 0xad:
        this.#ram[0] |= KEYBOARD_OFF;
        break;
      case 0xae:
        this.#ram[0] &= ~KEYBOARD_OFF;
        break;
      case 0xc0:
        this.#respond(INPUT_PORT);
        break;
      case 0xd0:
        this.#respond(this.#readOutputPort());
        break;
      case LOAD_PASSWORD:
      case WRITE_OUTPUT_PORT:
      case WRITE_KEYBOARD_OUTPUT:
      case WRITE_AUX_OUTPUT:
      case WRITE_AUX:
        this.#command = byte;
        break;
      case 0xdd: // A20 off and on, of Hewlett-Packard's controllers.
        this.#options.a20.set(false);
        break;
      case 0xdf:
        this.#options.a20.set(true);
        break;
      case 0xe0: // Test inputs: the clocks of keyboard and mouse, which are low while these are off.
        this.#respond((this.#commandByte & KEYBOARD_OFF ? 0 : 1) | (this.#commandByte & AUX_OFF ? 0 : 2));
        break;
    }
  }

  #writeData(byte: number): void {
    this.#lastWasCommand = false;
    const command = this.#command;
    this.#command = 0;
    if (command === 0) {
      // To write to a device turns it on.
      this.#ram[0] &= ~KEYBOARD_OFF;
      this.#keyboard.receive(byte);
    } else if (command === WRITE_AUX) {
      this.#ram[0] &= ~AUX_OFF;
      this.#aux.receive(byte);
    } else if (command === WRITE_OUTPUT_PORT) {
      this.#writeOutputPort(byte);
    } else if (command === WRITE_KEYBOARD_OUTPUT || command === WRITE_AUX_OUTPUT) {
      this.#response = { byte, aux: command === WRITE_AUX_OUTPUT };
    } else if (command === LOAD_PASSWORD) {
      // It ends with a zero.
      if (byte !== 0) this.#command = command;
    } else {
      this.#ram[command & 31] = byte;
    }
    this.#drive();
    this.#fill();
  }

  /** The latest answer is the one that counts. */
  #respond(byte: number): void {
    this.#response = { byte, aux: false };
  }

  #readOutputPort(): number {
    const filled = this.#data.aux ? OUT_AUX_FULL : OUT_KEYBOARD_FULL;
    return this.#outputPort | (this.#options.a20.open() ? OUT_A20 : 0) | (this.#full ? filled : 0);
  }

  #writeOutputPort(byte: number): void {
    this.#outputPort = (byte & OUT_WIRES) | OUT_RUN;
    this.#options.a20.set((byte & OUT_A20) !== 0);
    if (!(byte & OUT_RUN)) this.#options.onReset();
  }

  /** Lines of the output port whose bit is 0 go low for 6 µs; line 0 is the processor's reset. */
  #pulse(lines: number): void {
    if (!(lines & OUT_RUN)) this.#options.onReset();
  }

  // The devices' side.

  /** Puts the next byte into the output buffer, when it is empty and there is one. */
  #fill(): void {
    if (this.#full || this.#filling) return;
    if (this.#response) {
      this.#show({ ...this.#response, device: false });
      this.#response = undefined;
      return;
    }
    this.#filling = true;
    this.#fillFromDevices();
    this.#filling = false;
  }

  #fillFromDevices(): void {
    const keyboard = this.#keyboard.ready && !(this.#commandByte & KEYBOARD_OFF);
    const aux = this.#aux.ready && !(this.#commandByte & AUX_OFF);
    if (!keyboard && !aux) return;
    const interrupts = (this.#commandByte & (KEYBOARD_INT | AUX_INT)) !== 0;
    if (interrupts && this.#clock.now() < this.#nextByte) {
      this.#timer.arm(this.#nextByte);
      return;
    }
    const fromAux = aux && !(keyboard && this.#lastAux);
    const byte = fromAux ? this.#aux.take() : this.#fromKeyboard();
    if (byte === undefined) return;
    this.#lastAux = fromAux;
    this.#show({ byte, aux: fromAux, device: true });
  }

  /** A byte of the keyboard; translated, a key that goes up is one byte less. */
  #fromKeyboard(): number | undefined {
    if (!(this.#commandByte & TRANSLATE)) return this.#keyboard.take();
    let byte = this.#keyboard.take();
    if (byte === BREAK_PREFIX) {
      this.#released = true;
      byte = this.#keyboard.take();
    }
    if (byte === undefined || byte === BREAK_PREFIX) return undefined;
    const released = this.#released;
    this.#released = false;
    return translate(byte) | (released ? 0x80 : 0);
  }

  #show(output: Output & { readonly device: boolean }): void {
    this.#data = output;
    this.#full = true;
    this.#drive();
  }

  #drive(): void {
    const { aux } = this.#data;
    const on = this.#commandByte;
    this.#options.keyboardIrq.set(this.#full && !aux && (on & KEYBOARD_INT) !== 0 && !(on & KEYBOARD_OFF));
    this.#options.auxIrq.set(this.#full && aux && (on & AUX_INT) !== 0);
  }
}
