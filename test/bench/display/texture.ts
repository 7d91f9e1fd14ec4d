import { seeded } from '../../support/rfb/drawing.ts';

/** Rows of a line of text. */
export const LINE = 16;
/** Different lines of text at the top of the texture. */
export const LINES = 16;
/** A window with a title and text, below the lines. */
export const WINDOW = { width: 400, height: 300, row: LINES * LINE } as const;
/** In pixels. */
export const TEXTURE = { width: 1024, height: WINDOW.row + WINDOW.height } as const;

/** What is copied to the screen: 32-bit pixels, text that looks like text. */
export function makeTexture(): Uint32Array {
  const random = seeded(42);
  const pixels = new Uint32Array(TEXTURE.width * TEXTURE.height);
  const glyphs = Array.from({ length: 64 }, () =>
    Array.from({ length: 10 }, () => random(256) & random(256) & 0x7e),
  );
  const glyph = (x: number, y: number, colour: number): void => {
    const rows = glyphs[random(glyphs.length)];
    for (let row = 0; row < rows.length; row++) {
      for (let bit = 0; bit < 8; bit++) {
        if (rows[row] & (1 << bit)) pixels[(y + 3 + row) * TEXTURE.width + x + bit] = colour;
      }
    }
  };
  for (let line = 0; line < LINES; line++) {
    const length = 30 + random(90);
    for (let i = 0; i < length; i++) if (random(6) !== 0) glyph(8 * i, line * LINE, 0xaaaaaa);
  }
  for (let y = 0; y < WINDOW.height; y++) {
    const row = (WINDOW.row + y) * TEXTURE.width;
    pixels.fill(y < 20 ? 0x2040a0 + y : 0xf8f8f8, row, row + WINDOW.width);
  }
  for (let y = 24; y + LINE < WINDOW.height; y += LINE) {
    for (let x = 8; x < 300; x += 8) if (random(6) !== 0) glyph(x, WINDOW.row + y, 0x202020);
  }
  return pixels;
}
