import type { Surface } from '../../../src/hypervisor/backends/screen.ts';

/** The text installer's page, with all of it drawn: the list says each language in English and in itself. */
export const LANGUAGE_TEXT = /Select a language[\s\S]* English +- +English [\s\S]*<Enter> activates buttons/;

/** The installer's banner, at the top: height in pixels. */
const BANNER = 75;
/** How far apart a colour's parts are when it is one, of 255: the page's own greys are less. */
const COLOURED = 40;
/** Of the width that a bar of one colour has at least, to be the selected line of the list. */
const BAR = 0.5;

/** A pixel's red, green and blue. */
type Colour = readonly [number, number, number];

function pixel(bytes: Uint8Array, { stride }: Surface, x: number, y: number): Colour {
  const at = y * stride + 4 * x;
  return [bytes[at + 2] ?? 0, bytes[at + 1] ?? 0, bytes[at] ?? 0];
}

const isColoured = (colour: Colour): boolean => Math.max(...colour) - Math.min(...colour) > COLOURED;

/** How much of a row of pixels is as `test` says, 0 to 1. */
function share(surface: Surface, y: number, test: (colour: Colour) => boolean): number {
  const bytes = new Uint8Array(surface.memory, surface.offset);
  let count = 0;
  for (let x = 0; x < surface.width; x++) if (test(pixel(bytes, surface, x, y))) count++;
  return count / surface.width;
}

/** The first row of pixels of the list's selected line, which is a coloured bar below the banner. */
export function selectedRow(surface: Surface): number | undefined {
  for (let y = BANNER + 10; y < surface.height; y++) if (share(surface, y, isColoured) > BAR) return y;
  return undefined;
}

/** Debian's banner, blue to green; below it a list on white, with one line selected. */
export function looksLikeLanguagePage(surface: Surface): boolean {
  if (surface.height <= 2 * BANNER) return false;
  if (share(surface, BANNER >> 1, isColoured) < BAR) return false;
  let white = 0;
  for (let y = BANNER; y < surface.height; y++)
    if (share(surface, y, (colour) => Math.min(...colour) > 250) > BAR) white++;
  return white > (surface.height - BANNER) / 3 && selectedRow(surface) !== undefined;
}
