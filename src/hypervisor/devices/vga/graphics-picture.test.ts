import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MODES, Program } from '../../../../test/vga/program.ts';
import { VgaRig } from '../../../../test/vga/rig.ts';
import type { Surface } from '../../backends/screen.ts';

/** The dots of a stretch of a line that are not black. */
function dots(surface: Surface, x: number, y: number, count: number): string {
  const pixels = new Uint32Array(surface.memory, surface.offset + y * surface.stride + 4 * x, count);
  return Array.from(pixels, (pixel) => (pixel === 0 ? '.' : '#')).join('');
}

function shown(program: Program): Surface {
  const rig = new VgaRig();
  rig.run(program.operations);
  return rig.watch().update().surface;
}

/** Mode 12h with the leftmost byte of rows 0 and 2 lit, and the first byte right of the screen. */
const planar = (): Program =>
  new Program()
    .mode(MODES.mode12)
    .egaColours()
    .store(0xa0000, [0x81])
    .store(0xa0000 + 160, [0xff]);

test('panning moves the picture by pixels, and one more column comes in', () => {
  assert.equal(dots(shown(planar()), 0, 0, 8), '#......#');
  const panned = shown(planar().attribute(0x13, 3));
  assert.equal(dots(panned, 0, 0, 8), '....#...');
  assert.equal(dots(panned, 637, 1, 3), '###', 'the first pixels of the row below follow');
});

test('panning in 256 colours goes by half the register', () => {
  const program = new Program().mode(MODES.mode13).rampColours().colours(0, [0, 0, 0]);
  const surface = shown(program.store(0xa0000, [0, 0, 0, 9]).attribute(0x13, 4));
  assert.equal(dots(surface, 0, 0, 6), '..##..');
});

test('a start in the middle of a row: preset row scan', () => {
  const program = new Program().mode(MODES.mode13).rampColours().colours(0, [0, 0, 0]);
  const surface = shown(program.store(0xa0000, [9]).crtc(8, 1));
  assert.deepEqual(
    [0, 1].map((y) => dots(surface, 0, y, 2)),
    ['##', '..'],
  );
});

test('a split screen begins at address 0 behind the line compare', () => {
  const program = planar().crtc(0x0d, 240).crtc(0x18, 99).crtc(0x07, 0x2e).crtc(0x09, 0);
  const surface = shown(program);
  assert.deepEqual(
    [0, 99, 100, 101, 102].map((y) => dots(surface, 0, y, 8)),
    ['........', '........', '#......#', '........', '########'],
  );
});

test('a row drawn twice changes twice, and nothing else does', () => {
  const rig = new VgaRig();
  rig.run(new Program().mode(MODES.mode13).rampColours().operations);
  const watch = rig.watch();
  watch.update();
  rig.run(new Program().store(0xa0000 + 320 * 7 + 5, [200, 200]).operations);
  assert.deepEqual(watch.update().rects, [{ x: 10, y: 14, width: 4, height: 2 }]);
});

test('another start address draws what differs', () => {
  const rig = new VgaRig();
  rig.run(planar().operations);
  const watch = rig.watch();
  watch.update();
  rig.run(new Program().crtc(0x0d, 80).operations);
  assert.deepEqual(watch.update().rects, [{ x: 0, y: 0, width: 8, height: 3 }]);
});

test('the colour plane enable register takes planes out of the colours', () => {
  const program = new Program().mode(MODES.mode12).egaColours().store(0xa0000, [0xff]);
  const pixel = (surface: Surface): number => new Uint32Array(surface.memory, surface.offset, 1)[0];
  assert.equal(pixel(shown(program)), 0xffffff);
  assert.equal(pixel(shown(program.attribute(0x12, 0x04))), 0xaa0000);
});

test('the colour select register moves the palette in the DAC', () => {
  const program = new Program().mode(MODES.mode12).colours(0, new Uint8Array(768)).store(0xa0000, [0xff]);
  program.colours(0xaf, [63, 0, 0]).colours(0x7f, [0, 63, 0]);
  const pixel = (surface: Surface): number => new Uint32Array(surface.memory, surface.offset, 1)[0];
  // Colour 15 is 3Fh: its lower four bits with the register's, or all six with the upper two.
  assert.equal(pixel(shown(program.attribute(0x14, 0x0a).attribute(0x10, 0x81))), 0xff0000);
  assert.equal(pixel(shown(program.attribute(0x14, 0x04).attribute(0x10, 0x01))), 0x00ff00);
});
