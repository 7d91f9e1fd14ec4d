import type { KeyCode } from '../../backends/input.ts';

const row = (codes: string): readonly KeyCode[] => codes.split(' ').map((code) => Number.parseInt(code, 16));

/** The keys that type characters, row by row from the top left, Yen, the key beside the left Shift and Ro included. */
export const ROWS: readonly (readonly KeyCode[])[] = [
  row('29 02 03 04 05 06 07 08 09 0a 0b 0c 0d 7d'),
  row('10 11 12 13 14 15 16 17 18 19 1a 1b'),
  row('1e 1f 20 21 22 23 24 25 26 27 28 2b'),
  row('56 2c 2d 2e 2f 30 31 32 33 34 35 73'),
];

/** In the place of a character: none. */
export const NONE = '\u2400';
