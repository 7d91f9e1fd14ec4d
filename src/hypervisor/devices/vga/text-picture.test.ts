import assert from 'node:assert/strict';
import { test } from 'node:test';
import { plainGlyph } from '../../../../test/vga/font.ts';
import { MODES, Program } from '../../../../test/vga/program.ts';
import { VgaRig } from '../../../../test/vga/rig.ts';
import type { Surface } from '../../backends/screen.ts';
import { CP437 } from './cp437.ts';

const WHITE = 0xaaaaaa;
const FRAME = 1e9 / 70;

/** Text of 80 columns with a font, blank, without a cursor. */
function rigWithText(more: (program: Program) => Program = (program) => program): VgaRig {
  const rig = new VgaRig();
  const program = new Program().mode(MODES.text80).egaColours().font(0, plainGlyph).crtc(0x0a, 0x20);
  program.store(
    0xb8000,
    Uint8Array.from({ length: 8000 }, (_, i) => (i & 1 ? 7 : 0x20)),
  );
  rig.run(more(program).operations);
  return rig;
}

function pixel(surface: Surface, x: number, y: number): number {
  const view = new DataView(surface.memory, surface.offset + y * surface.stride + 4 * x);
  return view.getUint32(0, true);
}

/** The dots of a stretch of a line that are not black. */
function dots(surface: Surface, x: number, y: number, count: number): string {
  return Array.from({ length: count }, (_, i) => (pixel(surface, x + i, y) === 0 ? '.' : '#')).join('');
}

function surfaceOf(rig: VgaRig): Surface {
  return rig.watch().update().surface;
}

test('a character is its glyph in the colours of its attribute', () => {
  const surface = surfaceOf(rigWithText((p) => p.print(1, 2, 'T', 0x1e)));
  const lines = Array.from({ length: 16 }, (_, y) =>
    Array.from({ length: 9 }, (_, x) => (pixel(surface, 18 + x, 16 + y) === 0xffff55 ? '#' : '.')).join(''),
  );
  assert.deepEqual(lines.slice(0, 6), [
    '.........',
    '.#####...',
    '.#####...',
    '...#.....',
    '...#.....',
    '...#.....',
  ]);
  assert.equal(pixel(surface, 18, 16), 0x0000aa);
});

test('the ninth dot of line graphics is the eighth again, unless that is off; of others it is background', () => {
  const program = (p: Program): Program => p.print(0, 0, '\u00cd\u00fe', 7);
  assert.equal(dots(surfaceOf(rigWithText(program)), 0, 6, 10), '##########');
  const off = surfaceOf(rigWithText((p) => program(p).attribute(0x10, 0x08)));
  assert.equal(dots(off, 0, 6, 9), '########.');
});

test('the cursor has its lines, stands where it was put, and blinks every eight frames', () => {
  const rig = rigWithText((p) => p.crtc(0x0a, 13).crtc(0x0b, 14).crtc(0x0f, 81));
  const watch = rig.watch();
  const { surface } = watch.update();
  assert.deepEqual(
    [12, 13, 14, 15].map((line) => dots(surface, 9, 16 + line, 9)),
    ['.........', '#########', '#########', '.........'],
  );
  rig.door.advance(8.5 * FRAME);
  assert.deepEqual(watch.update().rects, [{ x: 9, y: 16, width: 9, height: 16 }]);
  assert.equal(dots(surface, 9, 29, 9), '.........');
  assert.deepEqual(watch.update().rects, []);
  rig.door.advance(8 * FRAME);
  watch.update();
  assert.equal(dots(surface, 9, 29, 9), '#########');
  rig.run(new Program().crtc(0x0f, 82).operations);
  assert.deepEqual(watch.update().rects, [{ x: 9, y: 16, width: 18, height: 16 }]);
  assert.equal(dots(surface, 9, 29, 18), '.........#########');
  rig.run(new Program().crtc(0x0a, 0).operations);
  watch.update();
  assert.equal(dots(surface, 18, 16, 9), '#########');
});

test('no cursor: switched off, or ending above its start; one below the cell is cut', () => {
  const lit = (start: number, end: number): boolean =>
    dots(surfaceOf(rigWithText((p) => p.crtc(0x0a, start).crtc(0x0b, end).crtc(0x0f, 0))), 0, 15, 1) === '#';
  assert.equal(lit(0x2d, 15), false);
  assert.equal(lit(14, 13), false);
  assert.equal(lit(14, 31), true);
  // Skew moves it to the right.
  assert.equal(lit(14, 0x20 | 15), false);
});

test('blinking text goes for sixteen frames; without blinking the bit brightens the background', () => {
  const rig = rigWithText((p) => p.print(0, 0, '\u00db', 0x87));
  const watch = rig.watch();
  const { surface } = watch.update();
  assert.equal(pixel(surface, 0, 0), WHITE);
  rig.door.advance(16.5 * FRAME);
  watch.update();
  assert.equal(pixel(surface, 0, 0), 0);
  rig.run(new Program().attribute(0x10, 0x04).print(0, 1, ' ', 0x87).operations);
  watch.update();
  assert.equal(pixel(surface, 0, 0), WHITE);
  assert.equal(pixel(surface, 9, 0), 0x555555);
});

test('underlined characters have their line', () => {
  const surface = surfaceOf(rigWithText((p) => p.crtc(0x14, 12).print(0, 0, ' ', 1).print(0, 1, ' ', 2)));
  assert.equal(dots(surface, 0, 12, 18), '#########.........');
  assert.equal(dots(surface, 0, 11, 9), '.........');
});

test('panning moves the picture by dots and lines', () => {
  const program = (p: Program): Program => p.print(0, 0, ' \u00db', 7).print(0, 80, '\u00db', 7);
  // With nine dots, 8 is none and 0 is one.
  assert.equal(
    dots(surfaceOf(rigWithText((p) => program(p).attribute(0x13, 2))), 0, 0, 18),
    '......#########...',
  );
  const one = surfaceOf(rigWithText((p) => program(p).attribute(0x13, 0)));
  assert.equal(dots(one, 0, 0, 18), '........#########.');
  assert.equal(dots(one, 718, 0, 2), '.#', 'a column more at the right');
  const scrolled = surfaceOf(rigWithText((p) => program(p).crtc(8, 5)));
  assert.deepEqual([dots(scrolled, 9, 10, 1), dots(scrolled, 9, 11, 1)], ['#', '.']);
  const byte = surfaceOf(rigWithText((p) => program(p).crtc(8, 0x20)));
  assert.equal(dots(byte, 0, 0, 10), '#########.');
});

test('a split screen: below the line compare memory starts anew, not panned if so wished', () => {
  const program = (p: Program): Program =>
    p.print(0, 0, '\u00db', 7).crtc(0x18, 0x63).crtc(7, 0x0f).crtc(9, 0x0f).crtc(0x0d, 80).attribute(0x13, 0);
  const surface = surfaceOf(rigWithText(program));
  assert.deepEqual(
    [0, 99, 100, 115, 116].map((y) => dots(surface, 0, y, 9)),
    ['.........', '.........', '########.', '########.', '.........'],
  );
  const still = surfaceOf(rigWithText((p) => program(p).attribute(0x10, 0x2c)));
  assert.equal(dots(still, 0, 100, 9), '#########');
});

test('lines drawn twice make cells twice as high', () => {
  const surface = surfaceOf(rigWithText((p) => p.print(0, 0, 'T', 7).crtc(9, 0xcf)));
  assert.equal(dots(surface, 0, 2, 9), '.#####...');
  assert.equal(dots(surface, 0, 5, 9), '.#####...');
  assert.equal(dots(surface, 0, 6, 9), '...#.....');
});

test('only changed cells are drawn, and scrolling by the start address draws what differs', () => {
  const rig = rigWithText((p) => p.print(1, 0, 'AAAA', 7));
  const watch = rig.watch();
  watch.update();
  rig.run(new Program().print(1, 0, 'AABA', 7).operations);
  assert.deepEqual(watch.update().rects, [{ x: 18, y: 16, width: 9, height: 16 }]);
  rig.run(new Program().crtc(0x0d, 80).operations);
  const { rects, replaced } = watch.update();
  assert.equal(replaced, false);
  assert.deepEqual(rects, [{ x: 0, y: 0, width: 36, height: 32 }]);
});

test('another glyph in the font shows', () => {
  const rig = rigWithText((p) => p.print(0, 0, 'A', 7));
  const watch = rig.watch();
  const { surface } = watch.update();
  rig.run(new Program().font(0, () => 0xff).operations);
  assert.equal(watch.update().replaced, false);
  assert.equal(dots(surface, 0, 0, 9), '########.');
});

test('the text is there for whoever asks, watched or not, in Unicode and without trailing blanks', () => {
  const rig = rigWithText((p) => p.print(0, 0, '  Caf\u0082 \u00cd\u00bb \u0001', 7).print(24, 78, 'OK', 7));
  const text = rig.vga.screen.text();
  assert.equal(text?.length, 25);
  assert.equal(text[0], '  Café ═╗ ☺');
  assert.equal(text[1], '');
  assert.equal(text[24], `${' '.repeat(78)}OK`);
  rig.run(new Program().mode(MODES.mode12).operations);
  assert.equal(rig.vga.screen.text(), undefined);
});

test('code page 437 has 256 characters, and those of ASCII are themselves', () => {
  assert.equal(CP437.length, 256);
  for (let c = 32; c < 127; c++) assert.equal(CP437[c], String.fromCharCode(c));
  assert.deepEqual(
    [CP437[0x80], CP437[0xb0], CP437[0xdb], CP437[0xe1], CP437[0xfe]],
    ['Ç', '░', '█', 'ß', '■'],
  );
});
