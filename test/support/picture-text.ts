import type { Picture } from '../vga/picture.ts';

const CELL = { width: 9, height: 16 } as const;
/** Rows of the capital A in the font of a VGA BIOS, by which the font is found in one. */
const LETTER_A = [0, 0, 0x10, 0x38, 0x6c, 0xc6, 0xc6, 0xfe, 0xc6, 0xc6, 0xc6, 0xc6, 0, 0, 0, 0];

/** Reads the text of pictures of a text mode with cells of 9 by 16, by the font of a VGA's BIOS. */
export class PictureText {
  /** Characters by their rows, eight bits each, one behind the other. */
  readonly #characters = new Map<string, string>();

  /** @throws Error when there is no such font in it */
  constructor(vgaBios: Buffer) {
    const letter = vgaBios.indexOf(Buffer.from(LETTER_A));
    const from = letter - 0x41 * CELL.height;
    if (letter < 0 || from < 0) throw new Error('no font of 8 by 16 in this VGA BIOS');
    for (let code = 0x7e; code >= 0x20; code--)
      this.#characters.set(
        vgaBios.toString('hex', from + code * CELL.height, from + (code + 1) * CELL.height),
        String.fromCharCode(code),
      );
  }

  /** The rows of text; what is no printable ASCII is a question mark. */
  read(picture: Picture): string {
    const rows: string[] = [];
    for (let y = 0; y + CELL.height <= picture.height; y += CELL.height) {
      let row = '';
      for (let x = 0; x + CELL.width <= picture.width; x += CELL.width) row += this.#cell(picture, x, y);
      rows.push(row.trimEnd());
    }
    return rows.join('\n');
  }

  /** Which of its two colours is the letter's is not known: the one of the corner's pixel is tried as background first. */
  #cell(picture: Picture, x: number, y: number): string {
    const bits: number[] = [];
    const corner = pixel(picture, x, y);
    for (let line = 0; line < CELL.height; line++) {
      let row = 0;
      for (let dot = 0; dot < 8; dot++)
        row = (row << 1) | (pixel(picture, x + dot, y + line) === corner ? 0 : 1);
      bits.push(row);
    }
    const found = (rows: number[]): string | undefined =>
      this.#characters.get(Buffer.from(rows).toString('hex'));
    return found(bits) ?? found(bits.map((row) => row ^ 0xff)) ?? '?';
  }
}

function pixel({ width, rgb }: Picture, x: number, y: number): number {
  const at = (y * width + x) * 3;
  return ((rgb[at] ?? 0) << 16) | ((rgb[at + 1] ?? 0) << 8) | (rgb[at + 2] ?? 0);
}
