import assert from 'node:assert/strict';
import { test } from 'node:test';
import { scribble, seeded } from '../../../test/support/rfb/drawing.ts';
import { PaintedScreen } from '../../../test/support/rfb/painted-screen.ts';
import { Shadow } from './shadow.ts';

/** A console whose lines repeat, as those of a real one do. */
function console16(height: number): { screen: PaintedScreen; line: (y: number, i: number) => void } {
  const screen = new PaintedScreen(400, height);
  const line = (y: number, i: number): void => {
    const random = seeded(i % 7);
    screen.paint({ x: 0, y, width: 400, height: 16 }, (x, row) =>
      row > 2 && x < 300 && random(5) === 0 ? 0xaaaaaa : 0,
    );
  };
  for (let y = 0; y < height; y += 16) line(y, y / 16);
  return { screen, line };
}

test('a shadow follows the screen, whatever happens to it', () => {
  const random = seeded(11);
  const screen = new PaintedScreen(150, 90);
  const watch = screen.watch();
  const shadow = new Shadow();
  for (let round = 0; round < 200; round++) {
    scribble(screen, random);
    shadow.absorb(watch.update());
    const pitch = screen.surface.stride / 4;
    for (let y = 0; y < 90; y++) {
      const row = screen.pixels.subarray(y * pitch, y * pitch + 150);
      assert.deepEqual(shadow.pixels.subarray(y * 150, (y + 1) * 150), row, `round ${round}, row ${y}`);
    }
  }
});

test('a scroll up or down is found although lines repeat, and leaves little over', () => {
  for (const rows of [16, 48]) {
    const { screen, line } = console16(320);
    const watch = screen.watch();
    const shadow = new Shadow();
    shadow.absorb(watch.update());
    screen.scroll(rows);
    for (let y = 320 - rows; y < 320; y += 16) line(y, 3 + y);
    const { scroll } = shadow.absorb(watch.update());
    assert.equal(scroll?.dy, rows);
    assert.ok((scroll?.rest.size ?? 0) <= 25 * (rows / 16 + 1), `${scroll?.rest.size} tiles`);
  }
  const { screen } = console16(320);
  const watch = screen.watch();
  const shadow = new Shadow();
  shadow.absorb(watch.update());
  const { pixels } = screen;
  const pitch = screen.surface.stride / 4;
  pixels.copyWithin(32 * pitch, 0, 288 * pitch);
  screen.touch({ x: 0, y: 0, width: 400, height: 320 });
  assert.equal(shadow.absorb(watch.update()).scroll?.dy, -32);
});

test('what is no scroll is not taken for one', () => {
  const random = seeded(4);
  const { screen } = console16(320);
  const watch = screen.watch();
  const shadow = new Shadow();
  shadow.absorb(watch.update());
  screen.paint({ x: 0, y: 0, width: 400, height: 320 }, () => random(1 << 24));
  const { scroll, changed } = shadow.absorb(watch.update());
  assert.equal(scroll, undefined);
  assert.equal(changed.size, 25 * 20);
});

test('a surface outside its memory is refused', () => {
  const { surface } = new PaintedScreen(16, 16);
  const whole = [{ x: 0, y: 0, width: 16, height: 16 }];
  for (const wrong of [{ height: 18 }, { offset: 2 }, { stride: 0x1_0000 }, { width: 0 }]) {
    const change = { surface: { ...surface, ...wrong }, replaced: true, rects: whole };
    assert.throws(() => new Shadow().absorb(change), RangeError);
  }
});
