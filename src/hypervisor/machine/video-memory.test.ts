import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MappedRange, MemoryMapping } from './mapping.ts';
import { VideoMemory } from './video-memory.ts';

const PAGES = 4;

function build() {
  const written = new Set<number>();
  const log: string[] = [];
  const mapping: MemoryMapping = {
    mapMemory: ({ base, length, frame }: MappedRange) => log.push(`map ${base} ${length} ${frame}`),
    unmapMemory: (base, length) => log.push(`unmap ${base} ${length}`),
    writtenPages: () => {
      log.push('look');
      const pages = [...written];
      written.clear();
      return pages;
    },
    forgetWrites: () => log.push('forget'),
  };
  const buffer = new SharedArrayBuffer(0x10000);
  const video = new VideoMemory(mapping, { buffer, offset: 0x1000, size: PAGES * 4096 }, 0x7000);
  const take = (): number[] => {
    const pages = new Uint8Array(PAGES);
    video.takeWritten(pages);
    return [...pages];
  };
  return { video, written, log, take };
}

test('it is mapped where its BAR is, and nothing is followed until somebody asks', () => {
  const { video, log } = build();
  video.place(0x8000_0000);
  video.place(0x8000_0000);
  video.touch(0, 10);
  video.place(0x9000_0000);
  video.place(undefined);
  assert.deepEqual(log, [
    'map 2147483648 16384 28672',
    'unmap 2147483648 16384',
    'map 2415919104 16384 28672',
    'unmap 2415919104 16384',
  ]);
});

test('written pages: all at first, then those of the processor and of devices', () => {
  const { video, written, log, take } = build();
  video.place(0x8000_0000);
  video.follow(true);
  assert.deepEqual(take(), [1, 1, 1, 1]);
  assert.deepEqual(take(), [0, 0, 0, 0]);
  written.add(2);
  video.touch(0xfff, 2);
  assert.deepEqual(take(), [1, 1, 1, 0]);
  written.add(3);
  // What was written before it moved is not lost.
  video.place(0x9000_0000);
  video.place(undefined);
  assert.deepEqual(take(), [0, 0, 0, 1]);
  video.place(0x9000_0000);
  video.follow(false);
  assert.equal(log.at(-1), 'forget');
});
