// Makes `tables.ts` from the keyboard layouts of xkb-data (X.Org and others; MIT/X11 licences: its `copyright`) as
// libxkbcommon compiles them: `node src/hypervisor/display/keymaps/generate.ts`. Both are Debian packages: xkb-data,
// libxkbcommon0. Nothing of them is needed at run time.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import koffi from 'koffi';
import { DEAD_KEYSYMS } from './dead-keys.ts';
import { NONE, ROWS } from './rows.ts';

/** Our name, and layout and variant of XKB. */
const LAYOUTS: readonly (readonly [name: string, layout: string, variant: string])[] = [
  ['us', 'us', ''],
  ['us-intl', 'us', 'intl'],
  ['gb', 'gb', ''],
  ['be', 'be', ''],
  ['br', 'br', ''],
  ['ch', 'ch', ''],
  ['ch-fr', 'ch', 'fr'],
  ['cz', 'cz', ''],
  ['de', 'de', ''],
  ['dk', 'dk', ''],
  ['es', 'es', ''],
  ['fi', 'fi', ''],
  ['fr', 'fr', ''],
  ['hu', 'hu', ''],
  ['it', 'it', ''],
  ['jp', 'jp', ''],
  ['latam', 'latam', ''],
  ['no', 'no', ''],
  ['pl', 'pl', ''],
  ['pt', 'pt', ''],
  ['ru', 'ru', ''],
  ['se', 'se', ''],
  ['tr', 'tr', ''],
  ['ua', 'ua', ''],
];

/** XKB's number of a key, which is Linux's and 8; KeyCodes are Linux's too but for these. */
const LINUX_CODES: Readonly<Record<number, number>> = { 115: 89, 125: 124 };
const LEVELS = 4;
/** Keysyms from before Unicode that stand for a character. */
const LEGACY = { first: 0x0100, last: 0x20ff } as const;

type Xkb = NonNullable<ReturnType<typeof load>>;

function load() {
  try {
    const library = koffi.load('libxkbcommon.so.0');
    return {
      context: library.func('void *xkb_context_new(int flags)') as (flags: number) => unknown,
      keymap: library.func('void *xkb_keymap_new_from_names(void *context, void *names, int flags)') as (
        context: unknown,
        names: unknown,
        flags: number,
      ) => unknown,
      symbols: library.func(
        'int xkb_keymap_key_get_syms_by_level(void *map, uint32_t key, uint32_t layout, uint32_t level, _Out_ void **syms)',
      ) as (map: unknown, key: number, layout: number, level: number, symbols: unknown[]) => number,
      character: library.func('uint32_t xkb_keysym_to_utf32(uint32_t keysym)') as (keysym: number) => number,
    };
  } catch {
    return undefined;
  }
}

/** What a keysym types: a character, or a dead key as the combining character that it puts on the next one. */
function symbolOf(xkb: Xkb, keysym: number): string {
  const dead = DEAD_KEYSYMS.get(keysym);
  if (dead !== undefined) return dead;
  const code = xkb.character(keysym);
  return code > 0x20 && code !== 0x7f ? String.fromCodePoint(code) : NONE;
}

function keyOf(xkb: Xkb, keymap: unknown, code: number): string {
  const levels: string[] = [];
  for (let level = 0; level < LEVELS; level++) {
    const out: unknown[] = [null];
    const count = xkb.symbols(keymap, (LINUX_CODES[code] ?? code) + 8, 0, level, out);
    levels.push(count === 1 ? symbolOf(xkb, koffi.decode(out[0], 'uint32_t') as number) : NONE);
  }
  return levels.join('').replace(new RegExp(`${NONE}+$`), '');
}

/** A string as the formatter wants it; characters that a reader of the table could not see are escapes. */
function quoted(text: string): string {
  const quote = text.split("'").length > text.split('"').length ? '"' : "'";
  const body = text
    .replaceAll('\\', '\\\\')
    .replaceAll(quote, `\\${quote}`)
    .replace(/[\p{M}\p{Z}\p{C}]/gu, (c) =>
      c === ' ' ? c : `\\u${(c.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`,
    );
  return `${quote}${body}${quote}`;
}

function layoutText(xkb: Xkb, context: unknown, [name, layout, variant]: (typeof LAYOUTS)[number]): string {
  const names = koffi.as(
    { rules: 'evdev', model: 'pc105', layout, variant, options: '' },
    koffi.pointer(RULE_NAMES),
  );
  const keymap = xkb.keymap(context, names, 0);
  if (!keymap) throw new Error(`xkb-data has no layout ${layout} ${variant}`);
  const rows = ROWS.map((codes) =>
    codes
      .map((code) => keyOf(xkb, keymap, code))
      .join(' ')
      .trimEnd(),
  );
  const key = /^[a-z]+$/.test(name) ? name : `'${name}'`;
  return `  ${key}: [\n${rows.map((row) => `    ${quoted(row)},\n`).join('')}  ],\n`;
}

const RULE_NAMES = koffi.struct('xkb_rule_names', {
  rules: 'str',
  model: 'str',
  layout: 'str',
  variant: 'str',
  options: 'str',
});

/** Runs of keysyms whose characters follow one another: `first keysym, how many, first character`. */
function legacyText(xkb: Xkb): string {
  const runs: [number, number, number][] = [];
  for (let keysym: number = LEGACY.first; keysym <= LEGACY.last; keysym++) {
    const code = xkb.character(keysym);
    const run = runs.at(-1);
    if (code === 0) continue;
    if (run && run[0] + run[1] === keysym && run[2] + run[1] === code) run[1] += 1;
    else runs.push([keysym, 1, code]);
  }
  const words = runs.map(([keysym, count, code]) => {
    const length = count === 1 ? '' : `+${count}`;
    return `${keysym.toString(16)}${length}=${code.toString(16)}`;
  });
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length > 100) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return `export const LEGACY_KEYSYMS = \`\n${lines.join('\n')}\n\`;\n`;
}

/** Where Debian has the layouts, and the files of them that others include. */
const SYMBOLS = '/usr/share/X11/xkb/symbols';
const INCLUDED = ['eurosign', 'inet', 'keypad', 'kpdl', 'latin', 'level3', 'nbsp', 'pc', 'srvr_ctrl', 'typo'];

/** Says which release of the layouts it is; undefined where there is none. */
export function sourceDigest(): string | undefined {
  const files = new Set([...LAYOUTS.map(([, layout]) => layout), ...INCLUDED]);
  const hash = createHash('sha256');
  try {
    for (const file of [...files].sort()) hash.update(readFileSync(join(SYMBOLS, file)));
  } catch {
    return undefined;
  }
  return hash.digest('hex');
}

/** The text of `tables.ts`, or undefined where this machine has no libxkbcommon or no xkb-data. */
export function generateTables(): string | undefined {
  const xkb = load();
  const context = xkb?.context(0);
  const digest = sourceDigest();
  if (!xkb || !context || digest === undefined) return undefined;
  return `// Made by generate.ts from xkb-data (MIT/X11): not to be changed by hand.

/** Of the layouts that these were made from. */
export const SOURCE_DIGEST = '${digest}';

/** Keys row by row as in rows.ts, each with what it types alone, with Shift, with AltGr, and with both. */
export const LAYOUTS: Readonly<Record<string, readonly string[]>> = {
${LAYOUTS.map((layout) => layoutText(xkb, context, layout)).join('')}};

/** Characters of keysyms from before Unicode, in hexadecimal: \`keysym[+count]=character\`. */
${legacyText(xkb)}`;
}

if (import.meta.main) {
  const text = generateTables();
  if (text === undefined) throw new Error('libxkbcommon0 and xkb-data are needed');
  await writeFile(join(import.meta.dirname, 'tables.ts'), text);
}
