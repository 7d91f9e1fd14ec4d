import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
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

test('a guest that scrolls all the while: what is not told as changed is as it was', async () => {
  const [width, height] = [256, 512];
  const memory = new SharedArrayBuffer(4 * width * height);
  // A band of many colours moves up; what goes out at the top comes back at the end.
  const guest = new Worker(
    `const { workerData: { memory, width } } = require('node:worker_threads');
    const pixels = new Uint32Array(memory);
    for (let i = 0; i < 64 * width; i++) pixels[i] = Math.imul(1 + i / width, 0x9e3779b1) >>> 8;
    for (;;) {
      const first = pixels.slice(0, width);
      pixels.copyWithin(0, width);
      pixels.set(first, pixels.length - width);
    }`,
    { eval: true, workerData: { memory, width } },
  );
  try {
    const surface = { width, height, stride: 4 * width, memory, offset: 0 };
    const whole = { x: 0, y: 0, width, height };
    const shadow = new Shadow();
    shadow.absorb({ surface, replaced: true, rects: [whole] });
    // Viewers that take copies, and those that do not.
    const [copying, plain] = [shadow.pixels.slice(), shadow.pixels.slice()];
    let scrolls = 0;
    for (const end = performance.now() + 20_000; scrolls < 20 && performance.now() < end; ) {
      const { changed, scroll } = shadow.absorb({ surface, replaced: false, rects: [whole] });
      if (scroll !== undefined) {
        scrolls++;
        const { to, dy } = scroll;
        copying.copyWithin(to.y * width, (to.y + dy) * width, (to.y + dy + to.height) * width);
      }
      for (let i = 0; i < copying.length; i++) {
        const [x, y] = [i % width, Math.floor(i / width)];
        if ((scroll?.rest ?? changed).hasAt(x, y)) copying[i] = shadow.pixels[i];
        if (changed.hasAt(x, y)) plain[i] = shadow.pixels[i];
      }
      assert.deepEqual(copying, shadow.pixels);
      assert.deepEqual(plain, shadow.pixels);
    }
    assert.equal(scrolls, 20);
  } finally {
    await guest.terminate();
  }
});
