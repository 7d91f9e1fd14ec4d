/** A dead key: the combining character that it puts on the next one, and what it types before Space. */
interface DeadKey {
  readonly keysym: number;
  readonly mark: string;
  readonly spacing?: string;
}

/** Overlaid strokes do not decompose in Unicode: the letters that a dead stroke makes. */
const STROKE = '\u0335';
const STROKED: Readonly<Record<string, string>> = {
  đ: 'd',
  Đ: 'D',
  ħ: 'h',
  Ħ: 'H',
  ł: 'l',
  Ł: 'L',
  ø: 'o',
  Ø: 'O',
  ŧ: 't',
  Ŧ: 'T',
};

/** X's dead keys (X11's keysymdef.h) and what Compose makes of them and Space (libX11, nls/en_US.UTF-8/Compose). */
const DEAD_KEYS: readonly DeadKey[] = [
  { keysym: 0xfe50, mark: '\u0300', spacing: '`' },
  { keysym: 0xfe51, mark: '\u0301', spacing: "'" },
  { keysym: 0xfe52, mark: '\u0302', spacing: '^' },
  { keysym: 0xfe53, mark: '\u0303', spacing: '~' },
  { keysym: 0xfe54, mark: '\u0304', spacing: '¯' },
  { keysym: 0xfe55, mark: '\u0306', spacing: '˘' },
  { keysym: 0xfe56, mark: '\u0307', spacing: '˙' },
  { keysym: 0xfe57, mark: '\u0308', spacing: '"' },
  { keysym: 0xfe58, mark: '\u030a', spacing: '°' },
  { keysym: 0xfe59, mark: '\u030b', spacing: '˝' },
  { keysym: 0xfe5a, mark: '\u030c', spacing: 'ˇ' },
  { keysym: 0xfe5b, mark: '\u0327', spacing: '¸' },
  { keysym: 0xfe5c, mark: '\u0328', spacing: '˛' },
  { keysym: 0xfe60, mark: '\u0323' },
  { keysym: 0xfe61, mark: '\u0309' },
  { keysym: 0xfe62, mark: '\u031b' },
  { keysym: 0xfe63, mark: STROKE },
  { keysym: 0xfe64, mark: '\u0313' },
  { keysym: 0xfe65, mark: '\u0314' },
  { keysym: 0xfe66, mark: '\u030f' },
  { keysym: 0xfe68, mark: '\u0331' },
  { keysym: 0xfe69, mark: '\u032d' },
  { keysym: 0xfe6d, mark: '\u0311' },
  { keysym: 0xfe6e, mark: '\u0326' },
];

/** Combining characters by the keysyms of dead keys. */
export const DEAD_KEYSYMS: ReadonlyMap<number, string> = new Map(
  DEAD_KEYS.map(({ keysym, mark }) => [keysym, mark]),
);

/** Combining characters of the dead keys that type a character before Space. */
const BY_SPACING: ReadonlyMap<string, string> = new Map(
  DEAD_KEYS.flatMap(({ mark, spacing }) => (spacing === undefined ? [] : [[spacing, mark] as const])),
);
/** And of those that type one when pressed twice. */
const BY_TWICE: ReadonlyMap<string, string> = new Map([
  ['´', '\u0301'],
  ['¨', '\u0308'],
]);

/** How dead keys make a character: their combining characters, in the order of typing, and the character behind them. */
export interface Composition {
  readonly marks: readonly string[];
  readonly base: string;
}

/** Undefined for a character that no dead key makes. */
export function composition(character: string): Composition | undefined {
  const spacing = BY_SPACING.get(character);
  if (spacing !== undefined) return { marks: [spacing], base: ' ' };
  const twice = BY_TWICE.get(character);
  if (twice !== undefined) return { marks: [twice, twice], base: '' };
  const stroked = STROKED[character];
  if (stroked !== undefined) return { marks: [STROKE], base: stroked };
  const [base = '', ...marks] = [...character.normalize('NFD')];
  // The mark that is furthest from the letter is typed first.
  return marks.length === 0 ? undefined : { marks: marks.reverse(), base };
}
