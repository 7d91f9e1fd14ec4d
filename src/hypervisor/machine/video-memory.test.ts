import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FRAMES } from '../cpu/layout.ts';
import type { MappedRange, MemoryMapping } from './mapping.ts';
import { VideoMemory } from './video-memory.ts';

const { base: frame, bytes } = FRAMES.video;

function build() {
  const written = new Set<number>();
  const log: string[] = [];
  const mapping: MemoryMapping = {
    mapMemory: ({ base, length, frame: first }: MappedRange) => {
      assert.deepEqual([length, first], [bytes, frame]);
      log.push(`map ${base.toString(16)}`);
    },
    unmapMemory: (base, length) => {
      assert.equal(length, bytes);
      log.push(`unmap ${base.toString(16)}`);
    },
    writtenPages: () => {
      const pages = [...written];
      written.clear();
      return pages;
    },
    forgetWrites: () => log.push('forget'),
  };
  const video = new VideoMemory(mapping);
  const take = (): number[] => {
    const pages = new Uint8Array(bytes / 4096);
    video.take(pages);
    return [...pages.entries()].filter(([, set]) => set === 1).map(([page]) => page);
  };
  return { video, written, log, take };
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
