import { CP437 } from './cp437.ts';
import { planeAddress, type TextMode } from './mode.ts';
import { rowsOf } from './text-picture.ts';

/** The rows of a text mode's characters, without trailing blanks. */
export function screenText(words: Uint32Array, mode: TextMode): string[] {
  const rows: string[] = [];
  for (const part of mode.parts) {
    for (let row = 0; row < rowsOf(mode, part); row++) {
      let text = '';
      for (let column = 0; column < mode.columns; column++) {
        const counter = part.start + row * mode.rowStep + column;
        text += CP437[words[planeAddress(mode.addressing, counter, 0)] & 0xff];
      }
      rows.push(text.trimEnd());
    }
  }
  return rows;
}
