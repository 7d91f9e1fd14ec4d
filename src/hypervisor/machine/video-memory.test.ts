import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FRAMES } from '../cpu/layout.ts';
import type { MappedRange, MemoryMapping } from './mapping.ts';
import { VideoMemory } from './video-memory.ts';

const { base: frame, bytes } = FRAMES.video;

function build() {
  const written = new Set<number>();
  const log: string[] = [];
  let asked = 0;
  const mapping: MemoryMapping = {
    mapMemory: ({ base, length, frame: first }: MappedRange) => {
      assert.deepEqual([length, first], [bytes, frame]);
      log.push(`map ${base.toString(16)}`);
    },
    unmapMemory: (base, length) => {
      assert.equal(length, bytes);
      log.push(`unmap ${base.toString(16)}`);
    },
    writtenPages: ({ base, length, frame: first }) => {
      const from = (first - frame) / 4096;
      assert.equal(base % bytes, first - frame);
      const pages = [...written].filter((page) => page >= from && page < from + length / 4096);
      for (const page of pages) written.delete(page);
      asked += length / 4096;
      return pages.sort((a, b) => a - b).map((page) => page - from);
    },
    forgetWrites: () => log.push('forget'),
  };
  const video = new VideoMemory(mapping);
  const take = (): number[] => {
    const pages = new Uint8Array(bytes / 4096);
    video.take(pages);
    return [...pages.entries()].filter(([, set]) => set === 1).map(([page]) => page);
  };
  /** Pages that the mapping was asked for since the last call. */
  const takeAsked = (): number => {
    const pages = asked;
    asked = 0;
    return pages;
  };
  return { video, written, log, take, takeAsked };
}

test('it is mapped where its BAR is, and nothing is followed until somebody looks', () => {
  const { video, written, log, take } = build();
  video.place(0x8000_0000);
  video.place(0x8000_0000);
  written.add(1);
  assert.deepEqual(take(), []);
  video.place(0x9000_0000);
  video.place(undefined);
  assert.deepEqual(log, ['map 80000000', 'unmap 80000000', 'map 90000000', 'unmap 90000000']);
});

test('pages written since the last look; those of before count only while it is followed', () => {
  const { video, written, log, take } = build();
  video.place(0x8000_0000);
  written.add(7);
  video.enable(true);
  assert.deepEqual(take(), []);
  written.add(2).add(5);
  assert.deepEqual(take(), [2, 5]);
  assert.deepEqual(take(), []);
  written.add(3);
  // What was written before it moved is not lost.
  video.place(0x9000_0000);
  video.place(undefined);
  assert.deepEqual(take(), [3]);
  video.place(0x9000_0000);
  video.enable(false);
  assert.equal(log.at(-1), 'forget');
});

test('what is written at every look is followed at some of them only; no write is lost', () => {
  const { video, written, take, takeAsked } = build();
  video.place(0x8000_0000);
  video.enable(true);
  const all = bytes / 4096;
  const picture = Array.from({ length: 768 }, (_, i) => 10 + i);
  takeAsked();
  let asks = 0;
  for (let look = 0; look < 32; look++) {
    for (const page of picture) written.add(page);
    if (look % 3 === 0) written.add(2).add(3000);
    assert.deepEqual(take(), look % 3 === 0 ? [2, ...picture, 3000] : picture, `look ${look}`);
    const pages = takeAsked();
    assert.ok(pages === all || pages === all - picture.length);
    if (pages === all) asks++;
  }
  assert.equal(asks, 8);
  // Once the guest is done that is noticed, and then each page counts by itself.
  let looks = 0;
  while (take().length > 0) looks++;
  assert.ok(looks <= 7, `${looks} looks`);
  written.add(100);
  assert.deepEqual(take(), [100]);
  assert.deepEqual(take(), []);
});

test('a screen that was drawn once, and moved memory, are followed by the page', () => {
  const { video, written, take } = build();
  video.place(0x8000_0000);
  video.enable(true);
  const draw = (): void => {
    for (let page = 0; page < 500; page++) written.add(page);
  };
  draw();
  assert.equal(take().length, 500);
  assert.deepEqual(take(), []);
  draw();
  take();
  draw();
  assert.equal(take().length, 500);
  video.place(0x9000_0000);
  written.clear();
  assert.deepEqual(take(), []);
});
