import type { KeyboardInput, KeyboardLeds, KeyCode } from '../../backends/input.ts';
import type { DoorPort } from '../../machine/door.ts';
import { isKey, KEY } from './scan-codes.ts';

/** Most events of the host that the keyboard has not taken. */
export const KEY_EVENTS = 256;
/** An event is a KeyCode, with this when the key goes up; or it says that presses before it were lost. */
export const UP = 0x100;
export const LOST = 0x200;

/** Lights as the guest switches them (command EDh). */
export const LED = { scroll: 1, num: 2, caps: 4 } as const;

/**
 * The host's end of the keys' way through the door. What is posted and not
 * yet taken is bounded: beyond that presses are lost, and the guest hears of
 * it, but no release of a key that it sees go down.
 */
export class HostKeys implements KeyboardInput {
  readonly #port: DoorPort<number>;
  readonly #buffered: () => number;
  /** Keys whose press was posted and whose release was not. */
  #held = new Set<KeyCode>();
  /** Events posted and not taken, on either side of the door. */
  #outstanding = 0;
  #losing = false;
  #leds = 0;
  #lit: ((leds: KeyboardLeds) => void) | undefined;
  #drained: (() => void) | undefined;
  #told = true;

  /** @param buffered how many bytes the keyboard keeps for its controller */
  constructor(port: DoorPort<number>, buffered: () => number) {
    this.#port = port;
    this.#buffered = buffered;
  }

  key(code: KeyCode, down: boolean): void {
    if (!isKey(code)) return;
    // Two codes are in use for Print Screen.
    const key = code === KEY.printScreen ? KEY.sysRq : code;
    if (down === this.#held.has(key)) return;
    // Each key that is down has a place kept for its release.
    const room = KEY_EVENTS - this.#outstanding - this.#held.size;
    if (!down) {
      this.#held.delete(key);
      this.#post(key | UP);
    } else if (room > 2) {
      this.#losing = false;
      this.#held.add(key);
      this.#post(key);
    } else if (!this.#losing && room > 0) {
      this.#losing = true;
      this.#post(LOST);
    }
  }

  get leds(): KeyboardLeds {
    return {
      scroll: (this.#leds & LED.scroll) !== 0,
      num: (this.#leds & LED.num) !== 0,
      caps: (this.#leds & LED.caps) !== 0,
    };
  }

  onLeds(listener: (leds: KeyboardLeds) => void): void {
    this.#lit = listener;
  }

  get waiting(): number {
    return this.#outstanding + this.#buffered();
  }

  onDrained(listener: () => void): void {
    this.#drained = listener;
  }

  /** The keyboard has taken events. */
  taken(count: number): void {
    this.#outstanding -= count;
  }

  /** Something was taken, by the keyboard or from it. */
  moved(): void {
    if (this.#told || this.waiting > 0) return;
    this.#told = true;
    this.#drained?.();
  }

  /** The guest has switched the lights. */
  lit(leds: number): void {
    this.#leds = leds;
    this.#lit?.(this.leds);
  }

  /** After a restore: which keys are down, and what waits. */
  restore(down: readonly KeyCode[], events: readonly number[]): void {
    this.#held = new Set(down);
    for (const event of events) {
      if (event & LOST) continue;
      if (event & UP) this.#held.delete(event & 0xff);
      else this.#held.add(event & 0xff);
    }
    this.#outstanding = events.length;
    this.#losing = false;
    this.#told = this.waiting === 0;
  }

  #post(event: number): void {
    this.#outstanding += 1;
    this.#told = false;
    this.#port.post(event);
  }
}
