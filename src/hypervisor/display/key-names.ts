import type { KeyCode } from '../backends/input.ts';
import type { Keymap, Stroke } from './keymaps/keymap.ts';

/** Names of keys that type no character; one key may have several. */
const NAMES: Readonly<Record<string, KeyCode>> = {
  ctrl: 0x1d,
  'ctrl-right': 0x9d,
  shift: 0x2a,
  'shift-right': 0x36,
  alt: 0x38,
  'alt-right': 0xb8,
  altgr: 0xb8,
  meta: 0xdb,
  'meta-right': 0xdc,
  menu: 0xdd,
  enter: 0x1c,
  return: 0x1c,
  esc: 0x01,
  escape: 0x01,
  tab: 0x0f,
  space: 0x39,
  backspace: 0x0e,
  insert: 0xd2,
  delete: 0xd3,
  home: 0xc7,
  end: 0xcf,
  'page-up': 0xc9,
  'page-down': 0xd1,
  up: 0xc8,
  down: 0xd0,
  left: 0xcb,
  right: 0xcd,
  'caps-lock': 0x3a,
  'num-lock': 0x45,
  'scroll-lock': 0x46,
  'print-screen': 0x54,
  pause: 0xc6,
  'keypad-enter': 0x9c,
  'keypad-plus': 0x4e,
  'keypad-minus': 0x4a,
  'keypad-multiply': 0x37,
  'keypad-divide': 0xb5,
  'keypad-decimal': 0x53,
  ...numbered('keypad-', 0, [0x52, 0x4f, 0x50, 0x51, 0x4b, 0x4c, 0x4d, 0x47, 0x48, 0x49]),
  ...numbered('f', 1, [0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x40, 0x41, 0x42, 0x43, 0x44, 0x57, 0x58]),
};

function numbered(stem: string, first: number, codes: readonly KeyCode[]): Record<string, KeyCode> {
  return Object.fromEntries(codes.map((code, i) => [`${stem}${first + i}`, code]));
}

/** All names, for whoever tells them to a user. */
export const KEY_NAMES: readonly string[] = Object.keys(NAMES);

/** A name that is no key's. */
export class UnknownKeyError extends Error {
  constructor(name: string) {
    super(
      `there is no key ${JSON.stringify(name.slice(0, 40))}; keys are single characters and ${KEY_NAMES.join(', ')}`,
    );
  }
}

/**
 * The stroke of a combination such as `ctrl alt delete`: all keys down in this
 * order, and up again. A single character is its key, with Shift or AltGr
 * where the layout needs them; upper and lower case of names are the same.
 *
 * @throws UnknownKeyError for a name that is no key's, or a character that takes more than one stroke
 */
export function combination(names: readonly string[], keymap: Keymap): Stroke {
  const codes = new Set<KeyCode>();
  for (const name of names) for (const code of codesOf(name, keymap)) codes.add(code);
  return [...codes];
}

function codesOf(name: string, keymap: Keymap): Stroke {
  const lower = name.toLowerCase();
  const code = Object.hasOwn(NAMES, lower) ? NAMES[lower] : undefined;
  if (code !== undefined) return [code];
  const strokes = [...name].length === 1 ? keymap.strokesOf(name) : undefined;
  const [stroke] = strokes ?? [];
  if (stroke === undefined || strokes?.length !== 1) throw new UnknownKeyError(name);
  return stroke;
}
