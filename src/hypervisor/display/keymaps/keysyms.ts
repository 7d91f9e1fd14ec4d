import { DEAD_KEYSYMS } from './dead-keys.ts';
import { LEGACY_KEYSYMS } from './tables.ts';

/** Keysyms of characters beyond Latin-1 are their code points with this (X11 protocol, appendix A). */
const UNICODE = 0x0100_0000;
const LAST_CODE_POINT = 0x10ffff;

/** Characters by the keysyms from before Unicode. */
const LEGACY: ReadonlyMap<number, number> = (() => {
  const map = new Map<number, number>();
  for (const [, keysym = '', count = '1', code = ''] of LEGACY_KEYSYMS.matchAll(
    /([0-9a-f]+)(?:\+(\d+))?=([0-9a-f]+)/g,
  )) {
    for (let i = 0; i < Number(count); i++)
      map.set(Number.parseInt(keysym, 16) + i, Number.parseInt(code, 16) + i);
  }
  return map;
})();

/** The keysym of a character, by its code point. */
export function keysymOf(codePoint: number): number {
  const latin1 = (codePoint >= 0x20 && codePoint < 0x7f) || (codePoint >= 0xa0 && codePoint < 0x100);
  return latin1 ? codePoint : UNICODE + codePoint;
}

/**
 * What a keysym types: a character, or of a dead key the combining character
 * that it puts on the next one. Undefined for keys that type nothing.
 */
export function characterOf(keysym: number): string | undefined {
  const dead = DEAD_KEYSYMS.get(keysym);
  if (dead !== undefined) return dead;
  const code = codePointOf(keysym);
  return code === undefined ? undefined : String.fromCodePoint(code);
}

function codePointOf(keysym: number): number | undefined {
  if (!Number.isInteger(keysym)) return undefined;
  if ((keysym >= 0x20 && keysym < 0x7f) || (keysym >= 0xa0 && keysym < 0x100)) return keysym;
  if (keysym >= UNICODE + 0x20 && keysym <= UNICODE + LAST_CODE_POINT) return keysym - UNICODE;
  return LEGACY.get(keysym);
}
