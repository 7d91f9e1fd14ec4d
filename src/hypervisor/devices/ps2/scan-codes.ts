/**
 * Scan codes of the three sets, by the place of the key (`KeyCode`).
 * Sources: IBM PS/2 Hardware Interface Technical Reference, "Keyboards (101-
 * and 102-key)"; Microsoft, Keyboard Scan Code Specification 1.3a.
 */
import type { KeyCode } from '../../backends/input.ts';

export type ScanCodeSet = 1 | 2 | 3;

/** A key's code is behind E0h. */
export const EXTENDED = 0x80;

/** Keys that the keyboard treats apart. */
export const KEY = {
  leftCtrl: 0x1d,
  leftShift: 0x2a,
  rightShift: 0x36,
  leftAlt: 0x38,
  /** Alt and Print Screen. */
  sysRq: 0x54,
  rightCtrl: 0x9d,
  /** Shifts that nobody pressed: E0h 2Ah and E0h 36h. */
  fakeLeftShift: 0xaa,
  fakeRightShift: 0xb6,
  keypadSlash: 0xb5,
  printScreen: 0xb7,
  rightAlt: 0xb8,
  /** Pause; with Ctrl it is Break, and this is its code. */
  pause: 0xc6,
} as const;

/** The cursor block: Home, up, Page Up, left, right, End, down, Page Down, Insert, Delete. */
export const CURSOR_BLOCK: ReadonlySet<KeyCode> = new Set([
  0xc7, 0xc8, 0xc9, 0xcb, 0xcd, 0xcf, 0xd0, 0xd1, 0xd2, 0xd3,
]);

/** What Pause sends, in set 1 and in set 2; nothing when it is let go. */
export const PAUSE: Readonly<Record<1 | 2, readonly number[]>> = {
  1: [0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5],
  2: [0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77],
};

/** The keyboard controller's translation of set 2 into set 1, codes 00h to 7Fh. */
const TRANSLATED = `
  ff 43 41 3f 3d 3b 3c 58 64 44 42 40 3e 0f 29 59  65 38 2a 70 1d 10 02 5a 66 71 2c 1f 1e 11 03 5b
  67 2e 2d 20 12 05 04 5c 68 39 2f 21 14 13 06 5d  69 31 30 23 22 15 07 5e 6a 72 32 24 16 08 09 5f
  6b 33 25 17 18 0b 0a 60 6c 34 35 26 27 19 0c 61  6d 73 28 74 1a 0d 62 6e 3a 36 1c 1b 75 2b 63 76
  55 56 77 78 79 7a 0e 7b 7c 4f 7d 4b 47 7e 7f 6f  52 53 50 4c 4d 48 01 45 57 4e 51 4a 37 49 46 54`
  .trim()
  .split(/\s+/)
  .map((byte) => Number.parseInt(byte, 16));
const F7 = { set1: 0x41, set2: 0x83 } as const;
const SYS_RQ = { set1: 0x54, set2: 0x84 } as const;

/** The translation of a byte that is neither F0h nor behind one. */
export function translate(byte: number): number {
  if (byte === F7.set2) return F7.set1;
  if (byte === SYS_RQ.set2) return SYS_RQ.set1;
  return TRANSLATED[byte] ?? byte;
}

/** Codes of set 2 by those of set 1. */
const SET_2 = ((): readonly number[] => {
  const codes: number[] = [];
  TRANSLATED.forEach((set1, set2) => {
    codes[set1] = set2;
  });
  codes[F7.set1] = F7.set2;
  codes[SYS_RQ.set1] = SYS_RQ.set2;
  return codes;
})();

/** Set 3: a code of one byte for each key, at the place of the key; 00 for none. Rows of 16 from KeyCode 00h. */
const SET_3 = `
  00 08 16 1e 26 25 2e 36 3d 3e 46 45 4e 55 66 0d  15 1d 24 2d 2c 35 3c 43 44 4d 54 5b 5a 11 1c 1b
  23 2b 34 33 3b 42 4b 4c 52 0e 12 5c 1a 22 21 2a  32 31 3a 41 49 4a 59 7e 19 29 14 07 0f 17 1f 27
  2f 37 3f 47 4f 76 5f 6c 75 7d 84 6b 73 74 7c 69  72 7a 70 71 57 00 13 56 5e 00 00 00 00 00 00 00
  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  87 00 00 51 00 00 00 00 00 86 00 85 00 5d 00 00
  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00 00 00 00 00 79 58 00 00
  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  00 00 00 00 00 77 00 57 39 00 00 00 00 00 00 00
  00 00 00 00 00 00 62 6e 63 6f 00 61 00 6a 00 65  60 6d 67 64 00 00 00 00 00 00 00 8b 8c 8d 00 00`
  .trim()
  .split(/\s+/)
  .map((byte) => Number.parseInt(byte, 16));

/** Codes in set 1 that are prefixes or replies when the key is let go, or none. */
const NO_KEYS: ReadonlySet<number> = new Set([0x00, 0x60, 0x61, 0x7a, 0x7f]);

/** Whether a key has a code that guests can tell from all others. */
export function isKey(code: KeyCode): boolean {
  if (!Number.isInteger(code) || code < 0 || code > 0xff) return false;
  if (code === KEY.fakeLeftShift || code === KEY.fakeRightShift) return false;
  return !NO_KEYS.has(code & 0x7f);
}

/** A key of set 1 or 2 that goes down, or up. */
export function scanCode(code: KeyCode, down: boolean, set: 1 | 2): number[] {
  const prefix = code & EXTENDED ? [0xe0] : [];
  const set1 = code & 0x7f;
  if (set === 1) return [...prefix, down ? set1 : set1 | 0x80];
  const set2 = SET_2[set1] ?? 0;
  return down ? [...prefix, set2] : [...prefix, 0xf0, set2];
}

/** The code of a key in set 3; 0 when it has none there. */
export function scanCode3(code: KeyCode): number {
  return SET_3[code] ?? 0;
}

/** What a key does in set 3. */
export type KeyType = { readonly repeats: boolean; readonly breaks: boolean };
export const KEY_TYPE = {
  typematic: { repeats: true, breaks: false },
  makeBreak: { repeats: false, breaks: true },
  make: { repeats: false, breaks: false },
  typematicMakeBreak: { repeats: true, breaks: true },
} as const satisfies Record<string, KeyType>;

/** By default letters, digits and arrows repeat, shifts tell when they are let go, and what is left does neither. */
const MAKE_BREAK_3: ReadonlySet<number> = new Set([0x11, 0x12, 0x14, 0x19, 0x59]);
const MAKE_3: ReadonlySet<number> = new Set([
  // Escape and the row of function keys, to Pause.
  0x08, 0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x47, 0x4f, 0x56, 0x5e, 0x57, 0x5f, 0x62,
  // Right Alt and Ctrl, Insert, Home, End, Page Up, Page Down.
  0x39, 0x58, 0x67, 0x6e, 0x65, 0x6f, 0x6d,
  // The keypad but for +.
  0x76, 0x6c, 0x6b, 0x69, 0x77, 0x75, 0x73, 0x72, 0x70, 0x7e, 0x7d, 0x74, 0x7a, 0x71, 0x84, 0x79,
]);

/** The type that a key of set 3 has after a reset, by its code there. */
export function defaultKeyType(code3: number): KeyType {
  if (MAKE_BREAK_3.has(code3)) return KEY_TYPE.makeBreak;
  return MAKE_3.has(code3) ? KEY_TYPE.make : KEY_TYPE.typematic;
}
