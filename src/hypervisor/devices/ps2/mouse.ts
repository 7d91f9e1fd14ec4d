import { BUTTON } from '../../backends/input.ts';
import type { Clock, Door, Timer } from '../../machine/door.ts';
import type { Stateful } from '../../machine/state.ts';
import { Motions, type MotionsState } from './motions.ts';
import { type Ps2Device, REPLY } from './ps2-device.ts';

/** Device ids: a plain mouse, one with a wheel, one with five buttons too. */
const ID = { standard: 0, wheel: 3, explorer: 4 } as const;
/** Sample rates, set one after the other, that turn the mouse into another. */
const KNOCKS: readonly { readonly rates: readonly number[]; readonly id: number }[] = [
  { rates: [200, 100, 80], id: ID.wheel },
  { rates: [200, 200, 80], id: ID.explorer },
];
/** Commands from here on; what is below may be the second byte of one. */
const FIRST_COMMAND = 0xe6;
/** Samples a second. */
const RATES: readonly number[] = [10, 20, 40, 60, 80, 100, 200];
const DEFAULT_RATE = 100;
/** 4 counts a millimetre. */
const DEFAULT_RESOLUTION = 2;
/** Largest movement in a packet; what is more goes into the next. */
const MOST = 255;
/** Counts for 1 to 5 under 2:1 scaling; beyond, twice as many. */
const SCALED: readonly number[] = [0, 1, 1, 3, 6, 9];

const SIGN_X = 0x10;
const SIGN_Y = 0x20;
const OVERFLOW_X = 0x40;
const OVERFLOW_Y = 0x80;

export type MouseState = {
  readonly id: number;
  readonly remote: boolean;
  readonly wrap: boolean;
  readonly reporting: boolean;
  readonly doubled: boolean;
  readonly resolution: number;
  readonly rate: number;
  readonly knock: readonly number[];
  readonly command: number;
  readonly badCommands: number;
  readonly replies: Uint8Array;
  readonly packet: Uint8Array;
  readonly last: Uint8Array;
  readonly reported: number;
  readonly poked: boolean;
  readonly motions: MotionsState;
  readonly nextSample: number;
};

/**
 * A PS/2 mouse (IBM PS/2 Hardware Interface Technical Reference, "Mouse")
 * that becomes an IntelliMouse or an IntelliMouse Explorer when a driver
 * knocks (Microsoft, 1996 and 1999).
 *
 * Deviations: reset takes no time; the resolution is kept and told, but a
 * pixel of the host stays a count; movements that do not fit into a packet go
 * into the next, so the overflow bits say only that the guest is thousands
 * of counts behind.
 */
export class Ps2Mouse implements Ps2Device, Stateful<MouseState> {
  readonly stateVersion = 1;
  readonly #clock: Clock;
  readonly #timer: Timer;

  #onReady = (): void => {};
  #id: number = ID.standard;
  #remote = false;
  #wrap = false;
  #reporting = false;
  /** 2:1 scaling. */
  #doubled = false;
  #resolution = DEFAULT_RESOLUTION;
  #rate = DEFAULT_RATE;
  /** The last sample rates, for knocks. */
  #knock: number[] = [];
  /** A command that waits for its second byte; 0 for none. */
  #command = 0;
  #badCommands = 0;
  #replies: number[] = [];
  #packet: number[] = [];
  /** The last answer or packet, for Resend. */
  #last: readonly number[] = [];
  #reported = 0;
  /** A packet is wanted though nothing moved. */
  #poked = false;
  #motions = new Motions();
  #nextSample = 0;

  constructor(door: Door) {
    this.#clock = door.clock;
    this.#timer = door.clock.timer('ps2.sample', () => this.#sample());
  }

  /** The host's mouse moved, down and right positive; `buttons` as they are now. */
  move(dx: number, dy: number, wheel: number, buttons: number): void {
    // Nothing is counted while nobody wants to know; buttons are.
    if (this.#counting) this.#motions.add(dx, dy, wheel, buttons);
    else this.#motions.forget(buttons);
    this.#sample();
  }

  /** Sends a packet though nothing moved, for a driver that looks elsewhere when one comes. */
  poke(): void {
    if (!this.#counting) return;
    this.#poked = true;
    this.#sample();
  }

  // The controller's side.

  onReady(listener: () => void): void {
    this.#onReady = listener;
  }

  get ready(): boolean {
    return this.#replies.length > 0 || this.#packet.length > 0;
  }

  take(): number | undefined {
    const byte = this.#replies.shift() ?? this.#packet.shift();
    if (!this.ready) this.#sample();
    return byte;
  }

  receive(byte: number): void {
    // A command ends whatever was being sent.
    this.#replies = [];
    this.#packet = [];
    const command = this.#command;
    this.#command = 0;
    if (this.#wrap && byte !== 0xec && byte !== 0xff) this.#replies.push(byte);
    else if (command !== 0 && byte < FIRST_COMMAND) this.#argument(command, byte);
    else this.#obey(byte);
    if (this.ready) this.#onReady();
    else this.#sample();
  }

  /** As after power-on, with its self-test done. */
  reset(): void {
    this.#defaults();
    this.#id = ID.standard;
    this.#replies = [];
    this.#packet = [];
    this.#last = [];
    this.#command = 0;
    this.#badCommands = 0;
    this.#poked = false;
    this.#nextSample = 0;
    this.#timer.cancel();
  }

  save(): MouseState {
    return {
      id: this.#id,
      remote: this.#remote,
      wrap: this.#wrap,
      reporting: this.#reporting,
      doubled: this.#doubled,
      resolution: this.#resolution,
      rate: this.#rate,
      knock: [...this.#knock],
      command: this.#command,
      badCommands: this.#badCommands,
      replies: Uint8Array.from(this.#replies),
      packet: Uint8Array.from(this.#packet),
      last: Uint8Array.from(this.#last),
      reported: this.#reported,
      poked: this.#poked,
      motions: this.#motions.save(),
      nextSample: this.#nextSample,
    };
  }

  restore(state: MouseState): void {
    this.#id = KNOCKS.find(({ id }) => id === state.id)?.id ?? ID.standard;
    this.#remote = state.remote;
    this.#wrap = state.wrap;
    this.#reporting = state.reporting;
    this.#doubled = state.doubled;
    this.#resolution = state.resolution & 3;
    this.#rate = RATES.includes(state.rate) ? state.rate : DEFAULT_RATE;
    this.#knock = state.knock.slice(0, 3);
    this.#command = state.command & 0xff;
    this.#badCommands = state.badCommands;
    this.#replies = Array.from(state.replies.subarray(0, 8));
    this.#packet = Array.from(state.packet.subarray(0, 4));
    this.#last = Array.from(state.last.subarray(0, 8));
    this.#reported = state.reported & 0x1f;
    this.#poked = state.poked;
    this.#motions.restore(state.motions);
    this.#nextSample = state.nextSample;
    this.#timer.arm(this.#nextSample);
  }

  // Commands.

  #obey(byte: number): void {
    const bad = this.#badCommands;
    this.#badCommands = 0;
    switch (byte) {
      case 0xe6:
      case 0xe7:
        this.#doubled = byte === 0xe7;
        break;
      case 0xe8: // Resolution.
      case 0xf3: // Sample rate.
        this.#command = byte;
        break;
      case 0xe9:
        this.#reply(REPLY.ack, this.#status(), this.#resolution, this.#rate);
        return;
      case 0xea:
        this.#remote = false;
        this.#forget();
        break;
      case 0xeb:
        this.#reply(REPLY.ack, ...this.#nextPacket());
        return;
      case 0xec:
        if (this.#wrap) this.#forget();
        this.#wrap = false;
        break;
      case 0xee:
        this.#wrap = true;
        this.#forget();
        break;
      case 0xf0:
        this.#remote = true;
        this.#forget();
        break;
      case 0xf2:
        this.#reply(REPLY.ack, this.#id);
        return;
      case 0xf4:
        this.#reporting = true;
        this.#forget();
        break;
      case 0xf5:
        this.#reporting = false;
        this.#forget();
        break;
      case 0xf6:
        this.#defaults();
        break;
      case 0xfe:
        this.#replies.push(...(this.#last.length > 0 ? this.#last : [REPLY.resend]));
        return;
      case 0xff:
        this.reset();
        this.#reply(REPLY.ack, REPLY.selfTestPassed, this.#id);
        return;
      default:
        this.#refuse(bad);
        return;
    }
    this.#reply(REPLY.ack);
  }

  #argument(command: number, byte: number): void {
    if (command === 0xe8 && byte <= 3) {
      this.#resolution = byte;
    } else if (command === 0xf3 && RATES.includes(byte)) {
      this.#rate = byte;
      this.#knock = [...this.#knock, byte].slice(-3);
      for (const { rates, id } of KNOCKS)
        if (rates.every((rate, i) => rate === this.#knock[i])) this.#id = id;
    } else {
      this.#refuse(this.#badCommands);
      // Another try with a good byte is what is asked for.
      if (this.#badCommands === 1) this.#command = command;
      return;
    }
    this.#badCommands = 0;
    this.#reply(REPLY.ack);
  }

  /** Asks for it again; when that is no better, gives up. */
  #refuse(bad: number): void {
    this.#badCommands = bad === 0 ? 1 : 0;
    this.#replies.push(bad === 0 ? REPLY.resend : REPLY.failed);
  }

  #reply(...bytes: readonly number[]): void {
    this.#last = bytes;
    this.#replies.push(...bytes);
  }

  #status(): number {
    const { buttons } = this.#motions;
    return (
      (this.#remote ? 0x40 : 0) |
      (this.#reporting ? 0x20 : 0) |
      (this.#doubled ? 0x10 : 0) |
      (buttons & BUTTON.left ? 4 : 0) |
      (buttons & BUTTON.middle ? 2 : 0) |
      (buttons & BUTTON.right ? 1 : 0)
    );
  }

  #defaults(): void {
    this.#remote = false;
    this.#wrap = false;
    this.#reporting = false;
    this.#doubled = false;
    this.#resolution = DEFAULT_RESOLUTION;
    this.#rate = DEFAULT_RATE;
    this.#knock = [];
    this.#forget();
  }

  // Packets.

  /** Whether movements are counted: for packets, or for whoever asks. */
  get #counting(): boolean {
    return this.#remote || this.#reporting;
  }

  /** The movement counters are cleared. */
  #forget(): void {
    this.#motions.forget(this.#motions.buttons);
    this.#poked = false;
  }

  /** Buttons that this kind of mouse has. */
  #visible(buttons: number): number {
    const all = BUTTON.left | BUTTON.middle | BUTTON.right;
    return buttons & (this.#id === ID.explorer ? all | BUTTON.side | BUTTON.extra : all);
  }

  /** Makes a packet when there is news, the last one has been taken, and it is time for a sample. */
  #sample(): void {
    if (!this.#reporting || this.#remote || this.#wrap || this.ready) return;
    if (!this.#poked && !this.#news()) return;
    const now = this.#clock.now();
    if (now < this.#nextSample) {
      this.#timer.arm(this.#nextSample);
      return;
    }
    this.#nextSample = now + Math.round(1e9 / this.#rate);
    this.#packet = this.#nextPacket();
    this.#last = [...this.#packet];
    this.#onReady();
  }

  #news(): boolean {
    return this.#motions.discard(
      ({ dx, dy, wheel, buttons }) =>
        dx === 0 &&
        dy === 0 &&
        (wheel === 0 || this.#id === ID.standard) &&
        this.#visible(buttons) === this.#reported,
    );
  }

  #nextPacket(): number[] {
    // Scaling is for stream mode alone.
    const doubled = this.#doubled && !this.#remote;
    const most = doubled ? Math.floor(MOST / 2) : MOST;
    const { dx, dy, wheel, buttons, lostX, lostY } = this.#motions.take(most, 7);
    const x = doubled ? scaled(dx) : dx;
    // A mouse counts upwards.
    const y = doubled ? -scaled(dy) : -dy;
    this.#poked = false;
    this.#reported = this.#visible(buttons);
    const first =
      8 |
      (buttons & BUTTON.left ? 1 : 0) |
      (buttons & BUTTON.right ? 2 : 0) |
      (buttons & BUTTON.middle ? 4 : 0) |
      (x < 0 ? SIGN_X : 0) |
      (y < 0 ? SIGN_Y : 0) |
      (lostX ? OVERFLOW_X : 0) |
      (lostY ? OVERFLOW_Y : 0);
    const packet = [first, x & 0xff, y & 0xff];
    if (this.#id === ID.wheel) packet.push(wheel & 0xff);
    if (this.#id === ID.explorer) {
      const more = (buttons & BUTTON.side ? 0x10 : 0) | (buttons & BUTTON.extra ? 0x20 : 0);
      packet.push((wheel & 0x0f) | more);
    }
    return packet;
  }
}

function scaled(count: number): number {
  const size = Math.abs(count);
  return Math.sign(count) * (SCALED[size] ?? 2 * size);
}
