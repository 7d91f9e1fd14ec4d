import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HandDoor } from '../../../../test/support/machine-parts.ts';
import { MODES, Program } from '../../../../test/vga/program.ts';
import { MMIO_BASE, VgaRig } from '../../../../test/vga/rig.ts';
import { DescribedFunction } from '../../chipset/pci-described.ts';
import { AddressSpace } from '../../machine/address-space.ts';
import { NO_DIRECT_WRITES } from './dirty-pages.ts';
import { edid } from './edid.ts';
import { Vga, VRAM_SIZE } from './vga.ts';

const FRAME = 0xd000_0000;
const MMIO = 0xd100_0000;
const ROM = 0xd101_0000;

function pciRig() {
  const places: (number | undefined)[] = [];
  const rom = Uint8Array.from({ length: 0x10000 }, (_, i) => i & 0xff);
  const vga = new Vga({
    door: new HandDoor(),
    vram: new Uint8Array(new SharedArrayBuffer(VRAM_SIZE)),
    dirty: NO_DIRECT_WRITES,
    rom,
    onFramebuffer: (base) => places.push(base),
  });
  const memory = new AddressSpace();
  const fn = new DescribedFunction(vga.descriptor, { send() {} });
  fn.connect({ io: new AddressSpace(), memory, intx: { set() {} } });
  return { fn, memory, places, rom };
}

test('the PCI function: a VGA with framebuffer, registers and ROM, and no interrupt', () => {
  const { fn, memory, places, rom } = pciRig();
  assert.equal(fn.configRead(0x00, 4), 0x1111_1234);
  assert.equal(fn.configRead(0x08, 4), 0x0300_0002);
  assert.equal(fn.configRead(0x3d, 1), 0);
  assert.equal(fn.configRead(0x34, 1), 0);
  for (const [offset, mask] of [
    [0x10, 0xff00_0008],
    [0x14, 0],
    [0x18, 0xffff_f000],
    [0x30, 0xffff_0001],
  ]) {
    fn.configWrite(offset, 4, 0xffff_ffff);
    assert.equal(fn.configRead(offset, 4), mask);
  }
  fn.configWrite(0x10, 4, FRAME);
  fn.configWrite(0x18, 4, MMIO);
  fn.configWrite(0x30, 4, ROM);
  assert.deepEqual(places, []);
  fn.configWrite(0x04, 2, 2);
  assert.deepEqual(places, [FRAME]);
  memory.write(FRAME + VRAM_SIZE - 4, 4, 0x12345678);
  assert.equal(memory.read(FRAME + VRAM_SIZE - 4, 4), 0x12345678);
  assert.equal(memory.read(MMIO + 0x500, 2), 0xb0c5);
  assert.equal(memory.read(ROM, 1), 0xff, 'not enabled yet');
  fn.configWrite(0x30, 4, ROM | 1);
  assert.equal(memory.read(ROM + 0xaa54, 4), 0x57565554);
  memory.write(ROM, 1, 0x55);
  assert.equal(rom[0], 0);
  fn.configWrite(0x04, 2, 0);
  assert.deepEqual(places, [FRAME, undefined]);
  assert.equal(memory.read(ROM, 1), 0xff);
  const state = fn.save();
  assert.equal(state.msix, null);
  fn.configWrite(0x04, 2, 2);
  fn.restore(state);
  assert.deepEqual(places, [FRAME, undefined, FRAME, undefined]);
});

test('BAR 2: EDID, the ports from 3C0h on, VBE registers without an index, and the byte order', () => {
  const rig = new VgaRig();
  const at = (offset: number, size: 1 | 2 | 4): number => rig.mem(MMIO_BASE + offset, size);
  const block = Array.from({ length: 128 }, (_, i) => at(i, 1));
  assert.deepEqual(block, [...edid()]);
  assert.equal(at(0x80, 4), 0);
  rig.mmio.write(MMIO_BASE + 0x402, 1, 0x67);
  assert.equal(rig.in8(0x3cc), 0x67);
  rig.mmio.write(MMIO_BASE + 0x414, 2, 0x120c);
  assert.equal(at(0x415, 1), 0x12);
  rig.mmio.write(MMIO_BASE + 0x502, 2, 1024);
  rig.mmio.write(MMIO_BASE + 0x504, 4, 0x0020_0300);
  assert.equal(at(0x502, 4), 0x0300_0400);
  assert.equal(at(0x506, 2), 32);
  assert.equal(at(0x503, 1), 4);
  assert.equal(at(0x514, 2), 256);
  assert.equal(at(0x600, 4), 8);
  assert.equal(at(0x604, 4), 0x1e1e1e1e);
  rig.mmio.write(MMIO_BASE + 0x604, 4, 0xbebebebe);
  assert.equal(at(0x604, 4), 0xbebebebe);
  rig.mmio.write(MMIO_BASE + 0x604, 4, 7);
  assert.equal(at(0x604, 4), 0xbebebebe);
  assert.equal(at(0x700, 4), 0);
});

test('a mode turned on clears its part of memory, unless told otherwise', () => {
  const rig = new VgaRig();
  rig.vram.fill(0x55);
  rig.run(new Program().vbe(640, 480, 16, 0xc1).operations);
  assert.equal(rig.vram[0], 0x55);
  rig.run(new Program().vbe(640, 480, 16).operations);
  assert.equal(rig.vram.indexOf(0x55), 640 * 480 * 2);
});

test('reset leaves what a power-on does, but for memory', () => {
  const rig = new VgaRig();
  const fresh = rig.vga.save();
  rig.run(new Program().mode(MODES.mode12).vbe(640, 480, 4).rampColours().operations);
  rig.vram.fill(0x55);
  rig.vga.reset();
  assert.deepEqual({ ...rig.vga.save(), latches: 0 }, fresh);
  assert.equal(rig.vram[0], 0x55);
});

test('video memory of another size is refused', () => {
  const vram = new Uint8Array(new SharedArrayBuffer(1 << 20));
  assert.throws(() => new Vga({ door: new HandDoor(), vram, dirty: NO_DIRECT_WRITES }), RangeError);
});
