import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Screen, ScreenChange, Surface } from '../backends/screen.ts';
import { SwitchedScreen } from './switched-screen.ts';

/** A screen that counts who watches, and has changed whenever it is told to. */
class Picture implements Screen {
  readonly surface: Surface;
  watched = 0;
  changed = false;

  constructor(width: number, height: number) {
    this.surface = {
      width,
      height,
      stride: 4 * width,
      memory: new SharedArrayBuffer(4 * width * height),
      offset: 0,
    };
  }

  watch() {
    this.watched++;
    let first = true;
    const { surface } = this;
    return {
      update: (): ScreenChange => {
        const rects = first || this.changed ? [{ x: 0, y: 0, width: 1, height: 1 }] : [];
        const replaced = first;
        first = false;
        return { surface, replaced, rects };
      },
      close: () => {
        this.watched--;
      },
    };
  }

  text(): readonly string[] {
    return [`${this.surface.width}`];
  }
}

test('a watch goes from one machine to the next, whose picture is all new', () => {
  const switched = new SwitchedScreen();
  const watch = switched.watch();
  const blank = watch.update();
  assert.deepEqual([blank.replaced, blank.rects.length], [true, 1]);
  assert.deepEqual(watch.update().rects, []);
  assert.equal(switched.text(), undefined);

  const first = new Picture(10, 5);
  switched.show(first);
  assert.deepEqual(watch.update(), {
    surface: first.surface,
    replaced: true,
    rects: [{ x: 0, y: 0, width: 10, height: 5 }],
  });
  assert.deepEqual(watch.update().rects, []);
  assert.deepEqual(switched.text(), ['10']);

  const second = new Picture(20, 5);
  switched.show(second);
  assert.deepEqual([first.watched, second.watched], [0, 1]);
  assert.equal(watch.update().rects[0]?.width, 20);

  switched.show(undefined);
  assert.deepEqual(watch.update(), { surface: second.surface, replaced: false, rects: [] });
  switched.show(first);
  watch.close();
  assert.deepEqual([first.watched, second.watched], [0, 0]);
  switched.show(second);
  assert.equal(second.watched, 0);
});
