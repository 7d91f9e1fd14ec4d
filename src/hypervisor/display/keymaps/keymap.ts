import type { KeyCode } from '../../backends/input.ts';
import { composition } from './dead-keys.ts';
import { FUNCTION_KEYS } from './function-keys.ts';
import { characterOf } from './keysyms.ts';
import { NONE, ROWS } from './rows.ts';
import { LAYOUTS } from './tables.ts';

/** Keys that go down together: modifiers first, the key that counts last; they go up in the other order. */
export type Stroke = readonly KeyCode[];

/** A keyboard layout. */
export interface Keymap {
  readonly name: string;
  /**
   * How a keysym is typed: one stroke, or with dead keys several, one after
   * the other. Undefined when this keyboard has no way.
   */
  strokesFor(keysym: number): readonly Stroke[] | undefined;
  /** The same for a character, given as a string of one code point. */
  strokesOf(character: string): readonly Stroke[] | undefined;
}

/** The name is that of no layout. */
export class UnknownKeymapError extends Error {
  constructor(name: string) {
    super(
      `there is no keyboard layout ${JSON.stringify(name.slice(0, 40))}; there are ${KEYMAP_NAMES.join(', ')}`,
    );
  }
}

/** Names of all layouts. */
export const KEYMAP_NAMES: readonly string[] = Object.keys(LAYOUTS);

const SHIFT = 0x2a;
const ALT_GR = 0xb8;
const SPACE = 0x39;
/** What is held for the symbols of a key: none, Shift, AltGr, both. */
const LEVELS: readonly Stroke[] = [[], [SHIFT], [ALT_GR], [SHIFT, ALT_GR]];
/** Keys that not every keyboard has. */
const RARE: ReadonlySet<KeyCode> = new Set([0x56, 0x73, 0x7d]);
/** From here on AltGr takes part. */
const ALT_GR_COST = 2;

interface Way {
  readonly stroke: Stroke;
  /** The smaller, the more guests agree on it. */
  readonly cost: number;
}

/** Guests that call a layout by the same name differ most where AltGr is held. */
function cost(code: KeyCode, level: number): number {
  return level < ALT_GR_COST && RARE.has(code) ? 1.5 + level / 10 : level;
}

class TableKeymap implements Keymap {
  readonly name: string;
  readonly #ways = new Map<string, Way>();

  constructor(name: string, rows: readonly string[]) {
    this.name = name;
    rows.forEach((row, i) => {
      row.split(' ').forEach((symbols, j) => {
        const code = ROWS[i]?.[j];
        if (code !== undefined) this.#add(code, [...symbols]);
      });
    });
    this.#ways.set(' ', { stroke: [SPACE], cost: 0 });
  }

  #add(code: KeyCode, symbols: readonly string[]): void {
    symbols.forEach((symbol, level) => {
      const way = { stroke: [...(LEVELS[level] ?? []), code], cost: cost(code, level) };
      const known = this.#ways.get(symbol);
      if (symbol !== NONE && (!known || way.cost < known.cost)) this.#ways.set(symbol, way);
    });
  }

  strokesFor(keysym: number): readonly Stroke[] | undefined {
    const place = FUNCTION_KEYS.get(keysym);
    if (place !== undefined) return [[place]];
    const character = characterOf(keysym);
    return character === undefined ? undefined : this.strokesOf(character);
  }

  strokesOf(character: string): readonly Stroke[] | undefined {
    const direct = this.#ways.get(character);
    if (direct && direct.cost < ALT_GR_COST) return [direct.stroke];
    const composed = this.#compose(character);
    if (!direct) return composed?.map(({ stroke }) => stroke);
    // With AltGr some guests type another character than others; dead keys without it are safer.
    const safer = composed?.every(({ cost }) => cost < ALT_GR_COST) ?? false;
    return safer ? composed?.map(({ stroke }) => stroke) : [direct.stroke];
  }

  #compose(character: string): readonly Way[] | undefined {
    const parts = composition(character);
    if (!parts) return undefined;
    const keys = parts.base === '' ? parts.marks : [...parts.marks, parts.base];
    const ways = keys.map((key) => this.#ways.get(key));
    return ways.every((way) => way !== undefined) ? ways : undefined;
  }
}

const made = new Map<string, Keymap>();

/** @throws UnknownKeymapError for a name that is none of KEYMAP_NAMES */
export function keymapNamed(name: string): Keymap {
  const rows = Object.hasOwn(LAYOUTS, name) ? LAYOUTS[name] : undefined;
  if (!rows) throw new UnknownKeymapError(name);
  const keymap = made.get(name) ?? new TableKeymap(name, rows);
  made.set(name, keymap);
  return keymap;
}
