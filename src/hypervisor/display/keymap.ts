import type { KeyCode } from '../backends/input.ts';

/** Where a layout has its characters. */
export interface Keymap {
  /** The keys for an X keysym: modifiers first, the key itself last; undefined when the layout has no such key. */
  strokesFor(keysym: number): readonly KeyCode[] | undefined;
}

/** Places of the modifiers. */
export const PLACE = { shift: 0x2a, rightShift: 0x36, altGr: 0xb8, numLock: 0x45 } as const;

/** Rows of the keyboard of the United States: the place of the first key, then what keys have without and with Shift. */
const US_ROWS: readonly (readonly [first: number, plain: string, shifted: string])[] = [
  [0x02, '1234567890-=', '!@#$%^&*()_+'],
  [0x10, 'qwertyuiop[]', 'QWERTYUIOP{}'],
  [0x1e, "asdfghjkl;'`", 'ASDFGHJKL:"~'],
  [0x2b, '\\zxcvbnm,./', '|ZXCVBNM<>?'],
  [0x39, ' ', ' '],
];

/** Keys that are the same in every layout: keysym (X11's keysymdef.h) and place. */
const NAMED: readonly (readonly [keysym: number, code: KeyCode])[] = [
  [0xff08, 0x0e], // BackSpace
  [0xff09, 0x0f], // Tab
  [0xfe20, 0x0f], // ISO_Left_Tab
  [0xff0d, 0x1c], // Return
  [0xff13, 0xc6], // Pause
  [0xff14, 0x46], // Scroll_Lock
  [0xff15, 0x54], // Sys_Req
  [0xff1b, 0x01], // Escape
  [0xff50, 0xc7], // Home
  [0xff51, 0xcb], // Left
  [0xff52, 0xc8], // Up
  [0xff53, 0xcd], // Right
  [0xff54, 0xd0], // Down
  [0xff55, 0xc9], // Page_Up
  [0xff56, 0xd1], // Page_Down
  [0xff57, 0xcf], // End
  [0xff61, 0x54], // Print
  [0xff63, 0xd2], // Insert
  [0xff67, 0xdd], // Menu
  [0xff7f, PLACE.numLock],
  [0xff8d, 0x9c], // KP_Enter
  [0xff95, 0x47], // KP_Home
  [0xff96, 0x4b], // KP_Left
  [0xff97, 0x48], // KP_Up
  [0xff98, 0x4d], // KP_Right
  [0xff99, 0x50], // KP_Down
  [0xff9a, 0x49], // KP_Page_Up
  [0xff9b, 0x51], // KP_Page_Down
  [0xff9c, 0x4f], // KP_End
  [0xff9d, 0x4c], // KP_Begin
  [0xff9e, 0x52], // KP_Insert
  [0xff9f, 0x53], // KP_Delete
  [0xffaa, 0x37], // KP_Multiply
  [0xffab, 0x4e], // KP_Add
  [0xffad, 0x4a], // KP_Subtract
  [0xffae, 0x53], // KP_Decimal
  [0xffaf, 0xb5], // KP_Divide
  [0xffb0, 0x52], // KP_0
  [0xffb1, 0x4f],
  [0xffb2, 0x50],
  [0xffb3, 0x51],
  [0xffb4, 0x4b],
  [0xffb5, 0x4c],
  [0xffb6, 0x4d],
  [0xffb7, 0x47],
  [0xffb8, 0x48],
  [0xffb9, 0x49], // KP_9
  ...Array.from({ length: 10 }, (_, i) => [0xffbe + i, 0x3b + i] as const), // F1 to F10
  [0xffc8, 0x57], // F11
  [0xffc9, 0x58], // F12
  [0xffe1, PLACE.shift], // Shift_L
  [0xffe2, PLACE.rightShift],
  [0xffe3, 0x1d], // Control_L
  [0xffe4, 0x9d],
  [0xffe5, 0x3a], // Caps_Lock
  [0xffe7, 0x38], // Meta_L
  [0xffe8, PLACE.altGr],
  [0xffe9, 0x38], // Alt_L
  [0xffea, PLACE.altGr],
  [0xfe03, PLACE.altGr], // ISO_Level3_Shift
  [0xff7e, PLACE.altGr], // Mode_switch
  [0xffeb, 0xdb], // Super_L
  [0xffec, 0xdc],
  [0xffff, 0xd3], // Delete
];

function usKeymap(): Keymap {
  const strokes = new Map<number, readonly KeyCode[]>(NAMED.map(([keysym, code]) => [keysym, [code]]));
  for (const [first, plain, shifted] of US_ROWS) {
    for (let i = plain.length - 1; i >= 0; i--) {
      strokes.set(shifted.charCodeAt(i), [PLACE.shift, first + i]);
      strokes.set(plain.charCodeAt(i), [first + i]);
    }
  }
  return { strokesFor: (keysym) => strokes.get(keysym) };
}

const KEYMAPS: ReadonlyMap<string, () => Keymap> = new Map([['us', usKeymap]]);

/** @throws RangeError when there is no layout of that name */
export function keymapNamed(name: string): Keymap {
  const make = KEYMAPS.get(name);
  if (make === undefined) {
    throw new RangeError(`no keyboard layout "${name}"; there are: ${[...KEYMAPS.keys()].join(', ')}`);
  }
  return make();
}
