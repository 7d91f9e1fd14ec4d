import type { KeyboardInput, KeyCode } from '../../backends/input.ts';
import type { Clock, Door, Timer } from '../../machine/door.ts';
import type { Stateful } from '../../machine/state.ts';
import { HostKeys, KEY_EVENTS, LED, LOST, UP } from './host-keys.ts';
import { KeyEncoder, type KeyEncoderState } from './key-encoder.ts';
import { type Ps2Device, REPLY } from './ps2-device.ts';
import { defaultKeyType, KEY, KEY_TYPE, type KeyType, type ScanCodeSet, scanCode3 } from './scan-codes.ts';

/** Bytes that the keyboard keeps for the controller. */
const BUFFER = 16;
/** Bytes of the longest sequence: Pause in set 2, or a key of the cursor block between two Shifts. */
const LONGEST = 8;

/** Commands from here on; what is below may be the second byte of one. */
const FIRST_COMMAND = 0xed;
const ID: readonly number[] = [0xab, 0x83];
const ECHO = 0xee;
/** Half a second until a key repeats, then 10.9 times a second. */
const DEFAULT_TYPEMATIC = 0x2b;
/** What F7h to FAh set for all keys, and FBh to FDh for some. */
const TYPES_OF_ALL = [KEY_TYPE.typematic, KEY_TYPE.makeBreak, KEY_TYPE.make, KEY_TYPE.typematicMakeBreak];
const TYPES_OF_ONE = [KEY_TYPE.typematic, KEY_TYPE.makeBreak, KEY_TYPE.make];

export type KeyboardState = {
  readonly set: number;
  readonly scanning: boolean;
  readonly leds: number;
  readonly typematic: number;
  readonly command: number;
  readonly replies: Uint8Array;
  readonly buffer: Uint8Array;
  readonly last: number;
  readonly events: readonly number[];
  readonly keys: KeyEncoderState;
  readonly types: readonly (readonly [code: number, repeats: boolean, breaks: boolean])[];
  readonly repeating: number | null;
  readonly repeatAt: number | null;
};

/**
 * A PS/2 keyboard (IBM PS/2 Hardware Interface Technical Reference,
 * "Keyboards (101- and 102-key)").
 *
 * Deviations: reset takes no time; keys wait, 256 events of them, for room in
 * the 16 bytes of the keyboard before any is lost and the overrun code (00h,
 * in set 1 FFh) stands for it; a key that is held repeats only while the guest
 * keeps up.
 */
export class Ps2Keyboard implements Ps2Device, Stateful<KeyboardState> {
  readonly stateVersion = 1;
  /** The host's side. */
  readonly input: KeyboardInput;

  readonly #clock: Clock;
  readonly #host: HostKeys;
  readonly #timer: Timer;
  readonly #keys = new KeyEncoder();

  #onReady = (): void => {};
  #set: ScanCodeSet = 2;
  #scanning = true;
  #leds = 0;
  #typematic = DEFAULT_TYPEMATIC;
  /** A command that waits for its next byte; 0 for none. */
  #command = 0;
  /** Answers to commands; they go before what was typed. */
  #replies: number[] = [];
  #buffer: number[] = [];
  #last = 0;
  #events: number[] = [];
  /** Types of keys of set 3 that differ from the default. */
  #types = new Map<number, KeyType>();
  #repeating: KeyCode | undefined;

  constructor(door: Door) {
    this.#clock = door.clock;
    const port = door.port<number>('ps2.keyboard', (event) => {
      this.#events.push(event);
      this.#advance();
    });
    this.#host = new HostKeys(port, () => this.#buffer.length);
    this.input = this.#host;
    this.#timer = door.clock.timer('ps2.typematic', () => this.#repeat());
  }

  // The controller's side.

  onReady(listener: () => void): void {
    this.#onReady = listener;
  }

  get ready(): boolean {
    return this.#replies.length > 0 || this.#buffer.length > 0;
  }

  take(): number | undefined {
    const byte = this.#replies.shift() ?? this.#buffer.shift();
    if (byte === undefined) return undefined;
    if (byte !== REPLY.resend) this.#last = byte;
    this.#advance();
    this.#host.moved();
    return byte;
  }

  receive(byte: number): void {
    // A command ends the answer to the one before.
    this.#replies = [];
    const command = this.#command;
    this.#command = 0;
    if (command !== 0 && byte < FIRST_COMMAND) this.#argument(command, byte);
    else this.#obey(byte);
    this.#advance();
    if (this.ready) this.#onReady();
  }

  /** As after power-on, with its self-test done. Keys of the host that wait are dropped. */
  reset(): void {
    this.#replies = [];
    this.#command = 0;
    this.#last = 0;
    this.#defaults();
    this.#scanning = true;
    this.#clear();
    this.#light(0);
  }

  save(): KeyboardState {
    return {
      set: this.#set,
      scanning: this.#scanning,
      leds: this.#leds,
      typematic: this.#typematic,
      command: this.#command,
      replies: Uint8Array.from(this.#replies),
      buffer: Uint8Array.from(this.#buffer),
      last: this.#last,
      events: [...this.#events],
      keys: this.#keys.save(),
      types: Array.from(this.#types, ([code, { repeats, breaks }]) => [code, repeats, breaks] as const),
      repeating: this.#repeating ?? null,
      repeatAt: this.#timer.deadline ?? null,
    };
  }

  restore(state: KeyboardState): void {
    this.#set = state.set === 1 || state.set === 3 ? state.set : 2;
    this.#scanning = state.scanning;
    this.#typematic = state.typematic & 0x7f;
    this.#command = state.command & 0xff;
    this.#replies = Array.from(state.replies.subarray(0, BUFFER));
    this.#buffer = Array.from(state.buffer.subarray(0, BUFFER));
    this.#last = state.last & 0xff;
    this.#events = state.events.slice(0, KEY_EVENTS);
    this.#keys.restore(state.keys);
    this.#types = new Map(state.types.map(([code, repeats, breaks]) => [code & 0xff, { repeats, breaks }]));
    this.#repeating = state.repeating ?? undefined;
    this.#timer.cancel();
    if (state.repeatAt !== null) this.#timer.arm(state.repeatAt);
    this.#host.restore(this.#keys.down, this.#events);
    this.#light(state.leds & 7);
  }

  // Commands.

  #obey(byte: number): void {
    switch (byte) {
      case 0xed: // Lights.
      case 0xf0: // Scan code set.
      case 0xf3: // Typematic rate and delay.
        this.#command = byte;
        break;
      case 0xee:
        this.#replies.push(ECHO);
        return;
      case 0xf2:
        this.#replies.push(REPLY.ack, ...ID);
        return;
      case 0xf4:
        this.#clear();
        this.#scanning = true;
        break;
      case 0xf5:
        this.#defaults();
        this.#clear();
        this.#scanning = false;
        break;
      case 0xf6:
        this.#defaults();
        this.#clear();
        break;
      case 0xf7:
      case 0xf8:
      case 0xf9:
      case 0xfa:
        this.#clear();
        for (let code = 1; code < 0x100; code++) this.#types.set(code, TYPES_OF_ALL[byte - 0xf7]);
        break;
      case 0xfb: // Typematic; the codes of keys follow, up to the next command.
      case 0xfc: // Make and break.
      case 0xfd: // Make.
        this.#clear();
        this.#command = byte;
        break;
      case 0xfe:
        this.#replies.push(this.#last);
        return;
      case 0xff:
        this.reset();
        this.#replies.push(REPLY.ack, REPLY.selfTestPassed);
        return;
      default:
        this.#replies.push(REPLY.resend);
        return;
    }
    this.#replies.push(REPLY.ack);
  }

  /** The second byte of a command. */
  #argument(command: number, byte: number): void {
    let valid = true;
    switch (command) {
      case 0xed:
        valid = byte <= 7;
        if (valid) this.#light(byte);
        break;
      case 0xf0:
        valid = byte <= 3;
        if (byte === 0) {
          this.#replies.push(REPLY.ack, this.#set);
          return;
        }
        if (valid) {
          this.#clear();
          this.#set = byte as ScanCodeSet;
        }
        break;
      case 0xf3:
        valid = byte <= 0x7f;
        if (valid) this.#typematic = byte;
        break;
      default:
        // Key types: any number of keys.
        this.#types.set(byte, TYPES_OF_ONE[command - 0xfb]);
        this.#command = command;
    }
    this.#replies.push(valid ? REPLY.ack : REPLY.resend);
  }

  #defaults(): void {
    this.#set = 2;
    this.#typematic = DEFAULT_TYPEMATIC;
    this.#types.clear();
  }

  #light(leds: number): void {
    const changed = leds !== this.#leds;
    this.#leds = leds;
    if (changed) this.#host.lit(leds);
  }

  /** Forgets what was typed, but not which keys are down. */
  #clear(): void {
    this.#buffer = [];
    for (const event of this.#takeEvents(this.#events.length)) this.#encode(event);
    this.#stopRepeating();
    this.#host.moved();
  }

  // Keys.

  #takeEvents(count: number): number[] {
    const taken = this.#events.splice(0, count);
    this.#host.taken(taken.length);
    return taken;
  }

  /** Moves waiting events into the buffer while there is room for all their bytes. */
  #advance(): void {
    const was = this.ready;
    while (this.#events.length > 0 && this.#buffer.length + LONGEST <= BUFFER) {
      const [event] = this.#takeEvents(1);
      if (event === undefined) break;
      const bytes = this.#encode(event);
      if (this.#scanning) {
        this.#buffer.push(...bytes);
        this.#followRepeat(event);
      }
    }
    this.#host.moved();
    if (!was && this.ready) this.#onReady();
  }

  #encode(event: number): number[] {
    if (event & LOST) return [this.#set === 1 ? 0xff : 0x00];
    const code = event & 0xff;
    if (event & UP) {
      const bytes = this.#keys.release(code, this.#set);
      return this.#set === 3 && !this.#type(code).breaks ? [] : bytes;
    }
    return this.#keys.press(code, this.#set, (this.#leds & LED.num) !== 0);
  }

  #type(code: KeyCode): KeyType {
    const code3 = scanCode3(code);
    return this.#types.get(code3) ?? defaultKeyType(code3);
  }

  // Repetition.

  /** The key that went down last repeats until it goes up. */
  #followRepeat(event: number): void {
    const code = event & 0xff;
    if (event & LOST) return;
    if (event & UP) {
      if (code === this.#repeating) this.#stopRepeating();
      return;
    }
    this.#stopRepeating();
    if (this.#set === 3 ? !this.#type(code).repeats : code === KEY.pause) return;
    this.#repeating = code;
    this.#timer.arm(this.#clock.now() + (((this.#typematic >> 5) & 3) + 1) * 250e6);
  }

  #stopRepeating(): void {
    this.#repeating = undefined;
    this.#timer.cancel();
  }

  #repeat(): void {
    if (this.#repeating === undefined) return;
    // (8 + A) * 2^B * 1/240 s.
    const period = ((8 + (this.#typematic & 7)) * 2 ** ((this.#typematic >> 3) & 3) * 1e9) / 240;
    this.#timer.arm(this.#clock.now() + Math.round(period));
    if (this.ready || this.#events.length > 0) return;
    this.#buffer.push(...this.#keys.repeat(this.#repeating, this.#set));
    if (this.ready) this.#onReady();
  }
}
