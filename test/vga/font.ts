/** Capital letters and digits on a grid of 5 by 7, a number for each line. */
const LETTERS: Readonly<Record<string, string>> = {
  A: '0e 11 11 1f 11 11 11',
  B: '1e 11 11 1e 11 11 1e',
  C: '0e 11 10 10 10 11 0e',
  D: '1e 11 11 11 11 11 1e',
  E: '1f 10 10 1e 10 10 1f',
  F: '1f 10 10 1e 10 10 10',
  G: '0e 11 10 17 11 11 0e',
  H: '11 11 11 1f 11 11 11',
  I: '0e 04 04 04 04 04 0e',
  K: '11 12 14 18 14 12 11',
  L: '10 10 10 10 10 10 1f',
  M: '11 1b 15 15 11 11 11',
  N: '11 19 15 13 11 11 11',
  O: '0e 11 11 11 11 11 0e',
  P: '1e 11 11 1e 10 10 10',
  R: '1e 11 11 1e 14 12 11',
  S: '0f 10 10 0e 01 01 1e',
  T: '1f 04 04 04 04 04 04',
  U: '11 11 11 11 11 11 0e',
  V: '11 11 11 11 11 0a 04',
  W: '11 11 11 15 15 1b 11',
  X: '11 11 0a 04 0a 11 11',
  Y: '11 11 0a 04 04 04 04',
  '0': '0e 13 15 15 15 19 0e',
  '1': '04 0c 04 04 04 04 0e',
  '2': '0e 11 01 06 08 10 1f',
  '3': '1f 02 04 02 01 11 0e',
  '4': '02 06 0a 12 1f 02 02',
  '5': '1f 10 1e 01 01 11 0e',
  '6': '06 08 10 1e 11 11 0e',
  '7': '1f 01 02 04 08 08 08',
  '8': '0e 11 11 0e 11 11 0e',
  '9': '0e 11 11 0f 01 02 0c',
};

const ROWS = new Map(
  Object.entries(LETTERS).map(([letter, rows]) => [
    letter.charCodeAt(0),
    rows.split(' ').map((row) => Number.parseInt(row, 16)),
  ]),
);

/** 8 by 16: letters, a double line at CDh, a full block at DBh, a checkerboard at FEh, else blank. */
export function plainGlyph(character: number, line: number): number {
  if (character === 0xcd) return line === 6 || line === 9 ? 0xff : 0;
  if (character === 0xdb) return 0xff;
  if (character === 0xfe) return line & 1 ? 0x55 : 0xaa;
  return (ROWS.get(character)?.[(line - 1) >> 1] ?? 0) << 2;
}

/** The same upside down, for a second font. */
export function turnedGlyph(character: number, line: number): number {
  return plainGlyph(character, 15 - line);
}

/** A glyph of which every bit counts. */
export function noisyGlyph(character: number, line: number): number {
  return ((character * 37 + line * 101) ^ (character >> 3)) & 0xff;
}
