import { BUTTON } from '../../backends/input.ts';
import type { AccessSize, Bus, BusDevice } from '../../machine/bus.ts';
import type { Stateful } from '../../machine/state.ts';

/** Port of VMware's backdoor, and how many ports a 32-bit access takes. */
const BACKDOOR_PORT = 0x5658;
const BACKDOOR_LENGTH = 4;

/** In EAX at every call, and the answer in EBX to the first. */
const MAGIC = 0x564d5868;
const VERSION = 6;

/** Commands, in CX. */
const GET_VERSION = 10;
const POINTER_DATA = 39;
const POINTER_STATUS = 40;
const POINTER_COMMAND = 41;

/** What EBX asks for with POINTER_COMMAND. */
const ENABLE = 0x45414552;
const DISABLE = 0xf5;
const RELATIVE = 0x4c455252;
const ABSOLUTE = 0x53424152;

/** First word in the queue after ENABLE. */
const QUEUE_VERSION = 0x3442554a;
/** In POINTER_STATUS's upper half: the queue is off. */
const STATUS_OFF = 0xffff0000;
const PACKET_RELATIVE = 0x00010000;
const WORDS = 4;
/** Packets that wait at most. */
const PACKETS = 64;

/** A backdoor's caller: the lower halves of its registers. */
export interface BackdoorRegisters {
  read(name: 'eax' | 'ebx' | 'ecx'): number;
  /** The upper half becomes 0. */
  write(name: (typeof RETURNED)[number], value: number): void;
}
/** Registers that POINTER_DATA fills, after EAX. */
const RETURNED = ['ebx', 'ecx', 'edx', 'esi', 'edi'] as const;

type Packet = {
  readonly relative: boolean;
  /** In 65536ths of the screen, or counts. */
  readonly x: number;
  readonly y: number;
  readonly wheel: number;
  readonly buttons: number;
};

export type VmMouseState = {
  readonly on: boolean;
  readonly absolute: boolean;
  readonly greeting: boolean;
  readonly packets: readonly Packet[];
  readonly partial: readonly number[];
};

/**
 * The absolute pointer of VMware's backdoor (Linux: drivers/input/mouse/
 * vmmouse.c, VMMOUSE_PROTO). It is an IN of 32 bits whose registers say what
 * is wanted; positions are read here, and that there are new ones is told by a
 * packet of the PS/2 mouse.
 *
 * A guest that does not know of it reads all ones, as from a port with nothing
 * behind it: only an IN of 32 bits with the magic number in EAX does anything.
 */
export class VmMouse implements BusDevice, Stateful<VmMouseState> {
  readonly stateVersion = 1;
  readonly #registers: BackdoorRegisters;
  #on = false;
  #absolute = false;
  /** The queue's version has not been read. */
  #greeting = false;
  #packets: Packet[] = [];
  /** Words of a packet that was read in part. */
  #partial: number[] = [];

  constructor(registers: BackdoorRegisters) {
    this.#registers = registers;
  }

  attach(io: Bus): void {
    io.claim('vmmouse', BACKDOOR_PORT, BACKDOOR_LENGTH, this);
  }

  /** Whether a driver has turned it on and wants positions. */
  get absolute(): boolean {
    return this.#on && this.#absolute;
  }

  /** A position, 0 to 65535 in both directions. */
  place(x: number, y: number, wheel: number, buttons: number): void {
    this.#add({ relative: false, x, y, wheel, buttons });
  }

  move(dx: number, dy: number, wheel: number, buttons: number): void {
    this.#add({ relative: true, x: dx, y: dy, wheel, buttons });
  }

  read(offset: number, size: AccessSize): number {
    const registers = this.#registers;
    if (offset !== 0 || size !== 4 || registers.read('eax') !== MAGIC) return 2 ** (8 * size) - 1;
    switch (registers.read('ecx') & 0xffff) {
      case GET_VERSION:
        registers.write('ebx', MAGIC);
        return VERSION;
      case POINTER_STATUS:
        return this.#on ? this.#waiting() : STATUS_OFF;
      case POINTER_DATA:
        return this.#data(registers.read('ebx'));
      case POINTER_COMMAND:
        this.#command(registers.read('ebx'));
        return 0;
      default:
        return 0xffff_ffff;
    }
  }

  write(): void {}

  reset(): void {
    this.#on = false;
    this.#absolute = false;
    this.#empty();
  }

  save(): VmMouseState {
    return {
      on: this.#on,
      absolute: this.#absolute,
      greeting: this.#greeting,
      packets: this.#packets.map((packet) => ({ ...packet })),
      partial: [...this.#partial],
    };
  }

  restore(state: VmMouseState): void {
    this.#on = state.on;
    this.#absolute = state.absolute;
    this.#greeting = state.greeting;
    this.#packets = state.packets.slice(0, PACKETS).map((packet) => ({ ...packet }));
    this.#partial = state.partial.slice(0, WORDS);
  }

  /** Words to be read. */
  #waiting(): number {
    return (this.#greeting ? 1 : 0) + this.#partial.length + WORDS * this.#packets.length;
  }

  #empty(): void {
    this.#greeting = false;
    this.#packets = [];
    this.#partial = [];
  }

  #command(command: number): void {
    switch (command) {
      case ENABLE:
        this.#empty();
        this.#on = true;
        this.#absolute = false;
        this.#greeting = true;
        break;
      case DISABLE:
        this.reset();
        break;
      case RELATIVE:
        this.#absolute = false;
        break;
      case ABSOLUTE:
        this.#absolute = true;
        break;
    }
  }

  /** `count` words, the first in EAX. One that asks for more than there is has lost its place and must begin anew. */
  #data(count: number): number {
    if (!this.#on || count === 0 || count > RETURNED.length + 1 || count > this.#waiting()) {
      this.reset();
      return 0xffff_ffff;
    }
    const first = this.#word();
    for (let i = 1; i < count; i++) this.#registers.write(RETURNED[i - 1], this.#word());
    return first;
  }

  #word(): number {
    if (this.#greeting) {
      this.#greeting = false;
      return QUEUE_VERSION;
    }
    if (this.#partial.length === 0) {
      const next = this.#packets.shift();
      if (next) this.#partial = words(next);
    }
    return this.#partial.shift() ?? 0;
  }

  /** Only the latest of several positions counts, as long as the buttons stay the same. */
  #add(packet: Packet): void {
    if (!this.#on) return;
    const last = this.#packets.at(-1);
    const same = last?.buttons === packet.buttons && last.relative === packet.relative;
    if (last && (same || this.#packets.length >= PACKETS))
      this.#packets[this.#packets.length - 1] = merged(last, packet);
    else this.#packets.push(packet);
  }
}

function merged(a: Packet, b: Packet): Packet {
  const relative = a.relative && b.relative;
  return {
    ...b,
    x: relative ? a.x + b.x : b.x,
    y: relative ? a.y + b.y : b.y,
    wheel: Math.max(-127, Math.min(127, a.wheel + b.wheel)),
  };
}

function words({ relative, x, y, wheel, buttons }: Packet): number[] {
  const status =
    (relative ? PACKET_RELATIVE : 0) |
    (buttons & BUTTON.left ? 0x20 : 0) |
    (buttons & BUTTON.right ? 0x10 : 0) |
    (buttons & BUTTON.middle ? 0x08 : 0);
  // Relative movement counts upwards, as a mouse's does.
  return [status, x, relative ? -y : y, wheel].map((word) => word >>> 0);
}
