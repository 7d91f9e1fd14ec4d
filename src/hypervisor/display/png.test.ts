import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodePng } from '../../../test/support/png.ts';
import { scribble, seeded } from '../../../test/support/rfb/drawing.ts';
import { PaintedScreen } from '../../../test/support/rfb/painted-screen.ts';
import { encodePng } from './png.ts';

test('a PNG has the pixels of the surface as they were when it was asked for', async () => {
  const random = seeded(1);
  for (const [width, height] of [
    [1, 1],
    [3, 2],
    [90, 61],
  ]) {
    const screen = new PaintedScreen(width, height);
    for (let i = 0; i < 6; i++) scribble(screen, random);
    // The byte without meaning does not show.
    screen.pixels[0] |= 0xab00_0000;
    const before = screen.pixels.slice();
    const encoding = encodePng(screen.surface);
    screen.paint({ x: 0, y: 0, width, height }, () => 0);
    const decoded = decodePng(await encoding);
    assert.deepEqual([decoded.width, decoded.height], [width, height]);
    for (let i = 0; i < width * height; i++) {
      const at = Math.floor(i / width) * (screen.surface.stride / 4) + (i % width);
      assert.equal(decoded.pixels[i], before[at] & 0xffffff);
    }
  }
});
