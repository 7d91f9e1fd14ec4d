import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlatMemory } from '../../../test/support/machine-parts.ts';
import { FRAMES } from '../cpu/layout.ts';
import type { MappedRange, MemoryMapping } from './mapping.ts';
import { fitsRom, SHADOW, ShadowRam } from './shadow-ram.ts';

/** Who reads and writes at an address: the frame, or the bus. */
class Mapping implements MemoryMapping {
  readonly pages = new Map<number, { frame: number; read: boolean; write: boolean }>();

  mapMemory({ base, length, frame, read, write }: MappedRange): void {
    for (let at = 0; at < length; at += 4096) this.pages.set(base + at, { frame: frame + at, read, write });
  }
  unmapMemory(base: number, length: number): void {
    for (let at = 0; at < length; at += 4096) this.pages.delete(base + at);
  }
  writtenPages(): readonly number[] {
    return [];
  }
  forgetWrites(): void {}
}

function build(romBytes = 0x4_0000) {
  const mapping = new Mapping();
  const ram = new FlatMemory(1 << 20);
  const frames = new Uint8Array(FRAMES.rom.bytes);
  const shadow = new ShadowRam(mapping, ram, frames, new Uint8Array(romBytes).fill(0x42));
  const route = (start: number, length: number, readDram: boolean, writeDram: boolean): void =>
    shadow.route([{ start, length, readDram, writeDram }]);
  return { mapping, ram, frames, shadow, route };
}

test('the ROM ends at 4 GiB, and its last 128 KiB are below 1 MiB too', () => {
  const { mapping, frames } = build();
  const rom = { read: true, write: false };
  assert.deepEqual(mapping.pages.get(0xfffc_0000), { frame: 0xfffc_0000, ...rom });
  assert.deepEqual(mapping.pages.get(0xffff_f000), { frame: 0xffff_f000, ...rom });
  assert.equal(mapping.pages.get(0xfffb_f000), undefined);
  assert.deepEqual(mapping.pages.get(0xe_0000), { frame: 0xfffe_0000, ...rom });
  assert.deepEqual(mapping.pages.get(0xf_f000), { frame: 0xffff_f000, ...rom });
  assert.equal(mapping.pages.get(0xd_f000), undefined);
  assert.equal(frames.at(-1), 0x42);
  assert.equal(frames.at(-0x4_0001), 0);
});

test('a ROM of 64 KiB is at F0000h alone', () => {
  const { mapping } = build(0x1_0000);
  assert.equal(mapping.pages.get(0xe_f000), undefined);
  assert.equal(mapping.pages.get(0xf_0000)?.frame, 0xffff_0000);
});

test('pieces read RAM or ROM, and write RAM or nothing', () => {
  const { mapping, ram, shadow, route } = build();
  const write = (at: number, value: number): void => shadow.write(at - SHADOW.base, 4, value);
  route(0xf_0000, 0x1_0000, true, true);
  assert.deepEqual(mapping.pages.get(0xf_0000), { frame: 0xf_0000, read: true, write: true });
  route(0xf_0000, 0x1_0000, true, false);
  assert.deepEqual(mapping.pages.get(0xf_0000), { frame: 0xf_0000, read: true, write: false });
  write(0xf_0000, 0x1122_3344);
  assert.equal(ram.readU32(0xf_0000), 0);
  route(0xf_0000, 0x1_0000, false, true);
  assert.deepEqual(mapping.pages.get(0xf_0000), { frame: 0xffff_0000, read: true, write: false });
  write(0xf_0000, 0x1122_3344);
  assert.equal(ram.readU32(0xf_0000), 0x1122_3344);
  // Where there is no ROM, and neither RAM is asked for, nobody answers.
  route(0xc_0000, 0x4000, false, false);
  assert.equal(mapping.pages.get(0xc_0000), undefined);
  assert.equal(shadow.read(0, 2), 0xffff);
});

test('images that are no ROMs', () => {
  assert.deepEqual([0, 0xf000, 0x1_0000, 0x1_0001, 0x4_0000, 0x40_0000, 0x40_1000].map(fitsRom), [
    false,
    false,
    true,
    false,
    true,
    true,
    false,
  ]);
});
