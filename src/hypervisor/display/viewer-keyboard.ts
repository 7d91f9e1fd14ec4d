import type { KeyboardLeds, KeyCode } from '../backends/input.ts';
import type { Keymap, Stroke } from './keymaps/keymap.ts';

/** Places of the keys that change what others mean. */
const PLACE = { shift: 0x2a, rightShift: 0x36, altGr: 0xb8, numLock: 0x45 } as const;
/** Keysyms that mean a character: Latin-1 and the like, and Unicode's with their mark (X11's keysymdef.h). */
const CHARACTERS_END = 0xfd00;
const UNICODE = { from: 0x0100_0100, to: 0x0110_ffff } as const;
const LEVEL_3_SHIFTS: readonly number[] = [0xfe03, 0xff7e];
/** KP_0 to KP_9 and KP_Decimal; KP_Home to KP_Delete. */
const KEYPAD_DIGITS = { from: 0xffb0, to: 0xffb9, decimal: 0xffae } as const;
const KEYPAD_MOVES = { from: 0xff95, to: 0xff9f } as const;
/** Most keys that a viewer holds down; a keyboard has fewer than twice as many. */
const MOST_HELD = 64;

export interface ViewerKeyboardOptions {
  readonly keymap: Keymap;
  /** Where keys go; may be asked to press what is pressed. */
  readonly press: (code: KeyCode, down: boolean) => void;
  /** As the guest has them now. */
  readonly leds: () => KeyboardLeds;
}

/**
 * One viewer's keyboard. A key that comes with its place is passed on; one that comes as a keysym only is looked up
 * in the guest's layout, and modifiers that the character needs otherwise than they are held are changed around the
 * press: so it arrives as that character, whatever the layout of the viewer (RFC 6143 §7.5.4).
 */
export class ViewerKeyboard {
  readonly #options: ViewerKeyboardOptions;
  /** What is down, by what the viewer called it when it went down. */
  readonly #held = new Map<string, KeyCode>();
  #level3 = false;

  constructor(options: ViewerKeyboardOptions) {
    this.#options = options;
  }

  /** @param code the key's place, 0 when only the keysym is known */
  event(down: boolean, keysym: number, code: KeyCode): void {
    if (code > 0xff) return;
    if (code !== 0) {
      this.#set(`code ${code}`, code, down);
      return;
    }
    if (LEVEL_3_SHIFTS.includes(keysym)) this.#level3 = down;
    if (down) this.#pressKeysym(keysym);
    else this.#releaseKeysym(keysym);
  }

  /** Lets go of everything. */
  releaseAll(): void {
    const codes = new Set(this.#held.values());
    this.#held.clear();
    this.#level3 = false;
    for (const code of codes) this.#options.press(code, false);
  }

  #pressKeysym(keysym: number): void {
    const strokes = this.#options.keymap.strokesFor(keysym) ?? [];
    this.#adjustNumLock(keysym);
    strokes.forEach((stroke, i) => {
      const code = stroke.at(-1);
      if (code === undefined) return;
      const last = i === strokes.length - 1;
      const undo = isCharacter(keysym) ? this.#adjustModifiers(stroke, last && isLetter(keysym)) : [];
      if (last) this.#set(`keysym ${keysym}`, code, true);
      else this.#tap(code);
      for (const [modifier, down] of undo) this.#options.press(modifier, down);
    });
  }

  /** A key that only prepares the next one, as a dead key does. */
  #tap(code: KeyCode): void {
    this.#options.press(code, true);
    if (!this.holds(code)) this.#options.press(code, false);
  }

  #releaseKeysym(keysym: number): void {
    const name = `keysym ${keysym}`;
    const code = this.#held.get(name) ?? this.#options.keymap.strokesFor(keysym)?.at(-1)?.at(-1);
    if (code === undefined) return;
    // Pressed as "a" and let go as "A", the key is the same.
    const held = this.#held.has(name) ? name : [...this.#held].find(([, other]) => other === code)?.[0];
    if (held !== undefined) this.#set(held, code, false);
  }

  /**
   * @param letter whether the key is one that Caps Lock changes
   * @returns what puts the modifiers back to what the viewer holds
   */
  #adjustModifiers(stroke: Stroke, letter: boolean): [KeyCode, boolean][] {
    const { press, leds } = this.#options;
    const needed = stroke.slice(0, -1);
    const undo: [KeyCode, boolean][] = [];
    const change = (code: KeyCode, down: boolean): void => {
      press(code, down);
      undo.unshift([code, !down]);
    };
    // Caps Lock turns a letter's Shift round.
    const shift = needed.includes(PLACE.shift) !== (leds().caps && letter);
    const held = [PLACE.shift, PLACE.rightShift].filter((code) => this.holds(code));
    if (shift && held.length === 0) change(PLACE.shift, true);
    if (!shift) for (const code of held) change(code, false);
    const altGr = needed.includes(PLACE.altGr);
    if (altGr && !this.holds(PLACE.altGr)) change(PLACE.altGr, true);
    // Held as Alt it belongs to the combination; held as AltGr it only made the character.
    if (!altGr && this.#level3 && this.holds(PLACE.altGr)) change(PLACE.altGr, false);
    for (const code of needed) {
      if (code !== PLACE.shift && code !== PLACE.altGr && !this.holds(code)) change(code, true);
    }
    return undo;
  }

  /** Digits of the keypad are digits only while the guest's Num Lock is on. */
  #adjustNumLock(keysym: number): void {
    const digit =
      (keysym >= KEYPAD_DIGITS.from && keysym <= KEYPAD_DIGITS.to) || keysym === KEYPAD_DIGITS.decimal;
    const move = keysym >= KEYPAD_MOVES.from && keysym <= KEYPAD_MOVES.to;
    if (!digit && !move) return;
    if (this.#options.leds().num === digit) return;
    this.#tap(PLACE.numLock);
  }

  #set(name: string, code: KeyCode, down: boolean): void {
    if (down) {
      if (this.#held.size >= MOST_HELD && !this.#held.has(name)) return;
      this.#held.set(name, code);
    } else {
      this.#held.delete(name);
      if (this.holds(code)) return;
    }
    this.#options.press(code, down);
  }

  /** Whether this viewer has the key down. */
  holds(code: KeyCode): boolean {
    for (const other of this.#held.values()) if (other === code) return true;
    return false;
  }
}

function isCharacter(keysym: number): boolean {
  return (keysym >= 0x20 && keysym < CHARACTERS_END) || (keysym >= UNICODE.from && keysym <= UNICODE.to);
}

/** Whether Caps Lock changes it. */
function isLetter(keysym: number): boolean {
  const code = keysym >= UNICODE.from ? keysym - 0x0100_0000 : keysym;
  if (code > 0xff && keysym < UNICODE.from) return false;
  const character = String.fromCodePoint(code);
  return character.toLowerCase() !== character.toUpperCase();
}
