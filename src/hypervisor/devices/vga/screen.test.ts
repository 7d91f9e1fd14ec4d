import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertSame, pictureOf } from '../../../../test/vga/picture.ts';
import { MODES, Program } from '../../../../test/vga/program.ts';
import { FRAME_BASE, MMIO_BASE, VgaRig } from '../../../../test/vga/rig.ts';
import { SCENES } from '../../../../test/vga/scenes.ts';
import type { Rect, ScreenWatch, Surface } from '../../backends/screen.ts';
import type { DirtyPages } from './dirty-pages.ts';

/** The processor's side of tracking, by hand. */
class HandPages implements DirtyPages {
  readonly calls: boolean[] = [];
  readonly written = new Set<number>();

  enable(on: boolean): void {
    this.calls.push(on);
  }

  take(pages: Uint8Array): void {
    for (const page of this.written) pages[page] = 1;
    this.written.clear();
  }
}

/** The rectangles of an update of the same surface. */
function again(watch: ScreenWatch, surface: Surface): readonly Rect[] {
  const change = watch.update();
  // Not by deepEqual: what it prints of a surface's memory has no end.
  assert.ok(change.surface === surface && !change.replaced);
  return change.rects;
}

function linearRig(depth: number, width = 640, height = 480): { rig: VgaRig; pages: HandPages } {
  const pages = new HandPages();
  const rig = new VgaRig(pages);
  rig.run(new Program().vbe(width, height, depth).rampColours().operations);
  return { rig, pages };
}

test('writes are tracked from the first watch to the last', () => {
  const { rig, pages } = linearRig(32);
  assert.deepEqual(pages.calls, []);
  const first = rig.watch();
  const second = rig.watch();
  assert.deepEqual(pages.calls, [true]);
  first.close();
  first.close();
  assert.deepEqual(pages.calls, [true]);
  second.close();
  assert.deepEqual(pages.calls, [true, false]);
});

test('with 32 bits the surface is video memory', () => {
  const { rig, pages } = linearRig(32);
  rig.run(new Program().dispi(6, 800).dispi(9, 3).operations);
  const watch = rig.watch();
  const { surface, replaced, rects } = watch.update();
  assert.ok(surface.memory === rig.vram.buffer);
  assert.deepEqual(
    [surface.width, surface.height, surface.stride, surface.offset, replaced],
    [640, 480, 3200, 9600, true],
  );
  assert.deepEqual(rects, [{ x: 0, y: 0, width: 640, height: 480 }]);
  assert.deepEqual(again(watch, surface), []);
  // Page 10 is bytes 40960 to 45055 of memory: row 9 from pixel 640 on, hidden, and row 10, and a part of row 11.
  pages.written.add(10);
  assert.deepEqual(watch.update().rects, [
    { x: 0, y: 10, width: 640, height: 1 },
    { x: 0, y: 11, width: 64, height: 1 },
  ]);
  pages.written.add(2000);
  assert.deepEqual(watch.update().rects, []);
});

test('what changed is told to each watch', () => {
  const { rig } = linearRig(8);
  const first = rig.watch();
  first.update();
  const second = rig.watch();
  assert.equal(second.update().replaced, true);
  rig.mmio.write(FRAME_BASE + 640 * 5 + 7, 1, 9);
  const rects = [{ x: 7, y: 5, width: 1, height: 1 }];
  assert.deepEqual(first.update().rects, rects);
  rig.mmio.write(FRAME_BASE + 640 * 5 + 9, 1, 9);
  assert.deepEqual(second.update().rects, [{ x: 7, y: 5, width: 3, height: 1 }]);
  assert.deepEqual(first.update().rects, [{ x: 9, y: 5, width: 1, height: 1 }]);
  assert.deepEqual(first.update().rects, []);
});

test('writing what is there already changes nothing', () => {
  const { rig } = linearRig(16);
  const watch = rig.watch();
  watch.update();
  rig.mmio.write(FRAME_BASE, 4, 0);
  assert.deepEqual(watch.update().rects, []);
});

test('a mode of another kind or size is a new surface; another start address is none', () => {
  const rig = new VgaRig();
  const watch = rig.watch();
  let { surface } = watch.update();
  for (const [change, replaced] of [
    [new Program().mode(MODES.text80), true],
    [new Program().mode(MODES.mode12), true],
    [new Program().crtc(0x0d, 7), false],
    [new Program().mode(MODES.modeX), false],
    [new Program().vbe(640, 480, 16), true],
    [new Program().vbe(640, 480, 15), false],
    [new Program().vbe(640, 480, 32), true],
    [new Program().vbe(800, 600, 32), true],
    [new Program().mode(MODES.text80), true],
  ] as const) {
    rig.run(change.operations);
    const now = watch.update();
    assert.equal(now.replaced, replaced);
    assert.equal(now.surface !== surface, replaced);
    surface = now.surface;
  }
});

test('a palette changes the picture where its colours are', () => {
  const { rig } = linearRig(8);
  rig.mmio.write(FRAME_BASE + 640, 1, 5);
  const watch = rig.watch();
  watch.update();
  rig.run(new Program().colours(5, [63, 0, 0]).operations);
  assert.deepEqual(watch.update().rects, [{ x: 0, y: 1, width: 1, height: 1 }]);
});

test('a screen that is off is dark, in the size it had', () => {
  for (const mode of [new Program().mode(MODES.mode13), new Program().vbe(640, 480, 32)]) {
    const rig = new VgaRig();
    rig.vram.fill(0x7e);
    const watch = rig.watch();
    rig.run(mode.rampColours().sequencer(1, 0x01).operations);
    rig.vram.fill(0x7e);
    const lit = pictureOf(watch.update().surface);
    assert.ok(lit.rgb.some((c) => c !== 0));
    rig.run(new Program().in8(0x3da).out8(0x3c0, 0).operations);
    const dark = pictureOf(watch.update().surface);
    assert.deepEqual([dark.width, dark.height], [lit.width, lit.height]);
    assert.ok(dark.rgb.every((c) => c === 0));
    rig.run(new Program().in8(0x3da).out8(0x3c0, 0x20).operations);
    assertSame(pictureOf(watch.update().surface), lit);
  }
});

test('the sequencer turns the screen off in the modes of a VGA only', () => {
  const rig = new VgaRig();
  rig.vram.fill(0x7e);
  rig.run(new Program().mode(MODES.mode13).rampColours().sequencer(1, 0x21).operations);
  rig.vram.fill(0x7e);
  assert.ok(pictureOf(rig.watch().update().surface).rgb.every((c) => c === 0));
  rig.run(new Program().vbe(640, 480, 32).operations);
  rig.vram.fill(0x7e);
  assert.ok(pictureOf(rig.watch().update().surface).rgb.every((c) => c === 0x7e));
});

test('big-endian pixels', () => {
  for (const [depth, little, big] of [
    [16, 0x1234, 0x3412],
    [32, 0x123456, 0x56341200],
  ]) {
    const { rig } = linearRig(depth);
    rig.mmio.write(FRAME_BASE, depth === 16 ? 2 : 4, little);
    const expected = pictureOf(rig.watch().update().surface).rgb.slice(0, 3);
    rig.mmio.write(MMIO_BASE + 0x604, 4, 0xbebebebe);
    rig.mmio.write(FRAME_BASE, depth === 16 ? 2 : 4, big);
    assert.deepEqual(pictureOf(rig.watch().update().surface).rgb.slice(0, 3), expected);
  }
});

test('a restored adapter shows the same, to a watch of before too', () => {
  const chosen = ['two-fonts', 'cga4', 'split', 'unchained', 'vbe-8', 'vbe-panned'];
  for (const { name, program } of SCENES.filter((scene) => chosen.includes(scene.name))) {
    const rig = new VgaRig();
    rig.run(program.operations);
    const other = new VgaRig();
    const watch = other.watch();
    watch.update();
    other.vram.set(rig.vram);
    other.vga.restore(rig.vga.save());
    assert.deepEqual(other.vga.save(), rig.vga.save());
    assertSame(pictureOf(watch.update().surface), pictureOf(rig.watch().update().surface), name);
  }
});

test('a closed watch still answers, and is told of nothing', () => {
  const { rig } = linearRig(8);
  const watch = rig.watch();
  const { surface } = watch.update();
  watch.close();
  rig.mmio.write(FRAME_BASE, 1, 9);
  assert.deepEqual(again(watch, surface), []);
});
