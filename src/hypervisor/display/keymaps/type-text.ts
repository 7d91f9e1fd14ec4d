import type { Keymap, Stroke } from './keymap.ts';

const CONTROLS: ReadonlyMap<string, Stroke> = new Map([
  ['\b', [0x0e]],
  ['\t', [0x0f]],
  ['\n', [0x1c]],
  ['\x1b', [0x01]],
  ['\x7f', [0xd3]],
]);
/** Characters that an error names at most. */
const NAMED = 20;

/** A text has characters that the layout cannot type. */
export class UntypableTextError extends Error {
  readonly characters: readonly string[];

  constructor(characters: readonly string[], keymap: string) {
    const names = characters
      .slice(0, NAMED)
      .map(
        (c) =>
          `${JSON.stringify(c)} (U+${(c.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')})`,
      );
    const more = characters.length > NAMED ? ` and ${characters.length - NAMED} more` : '';
    super(`the keyboard layout ${keymap} cannot type ${names.join(', ')}${more}`);
    this.characters = characters;
  }
}

/**
 * The strokes that type a text. A line feed, or a carriage return with one, is
 * Enter; tab, backspace, escape and delete are their keys.
 *
 * @throws UntypableTextError naming each character that the layout cannot type, once
 */
export function typeText(text: string, keymap: Keymap): Stroke[] {
  const strokes: Stroke[] = [];
  const untypable = new Set<string>();
  for (const character of text.replaceAll(/\r\n?/g, '\n').normalize('NFC')) {
    const control = CONTROLS.get(character);
    const found = control ? [control] : keymap.strokesOf(character);
    if (found) strokes.push(...found);
    else untypable.add(character);
  }
  if (untypable.size > 0) throw new UntypableTextError([...untypable], keymap.name);
  return strokes;
}
