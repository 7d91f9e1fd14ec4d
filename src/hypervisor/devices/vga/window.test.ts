import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../../../test/native/random.ts';
import { MODES, Program } from '../../../../test/vga/program.ts';
import { VgaRig } from '../../../../test/vga/rig.ts';

const A0000 = 0xa0000;
const B8000 = 0xb8000;

/** The four planes' bytes of an address. */
function planesAt(rig: VgaRig, address: number): number[] {
  return [...rig.vram.subarray(address * 4, address * 4 + 4)];
}

/** The graphics controller bit by bit, as the manual's pictures have it: slow and plain. */
class BitwisePlanes {
  readonly planes = Array.from({ length: 4 }, () => new Uint8Array(0x10000));
  readonly graphics = new Uint8Array(9);
  mapMask = 0;
  #latches = [0, 0, 0, 0];

  read(address: number): number {
    this.#latches = this.planes.map((plane) => plane[address]);
    if (!(this.graphics[5] & 8)) return this.#latches[this.graphics[4]];
    let byte = 0;
    for (let bit = 0; bit < 8; bit++) {
      let match = 1;
      for (let p = 0; p < 4; p++) {
        const wanted = (this.graphics[2] >> p) & 1;
        const there = (this.#latches[p] >> bit) & 1;
        if ((this.graphics[7] >> p) & 1 && wanted !== there) match = 0;
      }
      byte |= match << bit;
    }
    return byte;
  }

  write(address: number, value: number): void {
    const [setReset, enable, , function_, , mode, , , mask] = this.graphics;
    const rotation = function_ & 7;
    const turned = ((value >> rotation) | (value << (8 - rotation))) & 0xff;
    for (let p = 0; p < 4; p++) {
      if (!((this.mapMask >> p) & 1)) continue;
      let byte = 0;
      for (let bit = 0; bit < 8; bit++) {
        const latch = (this.#latches[p] >> bit) & 1;
        const set = (setReset >> p) & 1;
        let source = (turned >> bit) & 1;
        let open = (mask >> bit) & 1;
        if ((mode & 3) === 0 && (enable >> p) & 1) source = set;
        if ((mode & 3) === 2) source = (value >> p) & 1;
        if ((mode & 3) === 3) {
          open &= source;
          source = set;
        }
        const combined = [source, source & latch, source | latch, source ^ latch][function_ >> 3];
        byte |= ((mode & 3) === 1 ? latch : open ? combined : latch) << bit;
      }
      this.planes[p][address] = byte;
    }
  }
}

test('every write and read mode does what it does bit by bit', () => {
  const rig = new VgaRig();
  rig.run(new Program().mode(MODES.mode12).operations);
  const model = new BitwisePlanes();
  const random = new Random(7);
  const MASKS = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x0b, 0, 0x0f, 0xff];
  model.mapMask = 15;
  model.graphics.set(MODES.mode12.graphics);
  for (let i = 0; i < 40_000; i++) {
    const address = random.below(64);
    const value = random.below(256);
    switch (random.below(8)) {
      case 0: {
        const index = [0, 1, 2, 3, 4, 5, 7, 8][random.below(8)];
        model.graphics[index] = value & MASKS[index];
        rig.pio.write(0x3ce, 2, ((value & MASKS[index]) << 8) | index);
        break;
      }
      case 1:
        model.mapMask = value & 15;
        rig.pio.write(0x3c4, 2, (value << 8) | 2);
        break;
      case 2:
      case 3:
        assert.equal(rig.mem(A0000 + address), model.read(address), `read ${i}`);
        break;
      default:
        model.write(address, value);
        rig.mmio.write(A0000 + address, 1, value);
    }
  }
  for (let address = 0; address < 64; address++) {
    assert.deepEqual(
      planesAt(rig, address),
      model.planes.map((plane) => plane[address]),
    );
  }
});

test('text: even addresses are characters in plane 0, odd ones attributes in plane 1', () => {
  const rig = new VgaRig();
  rig.run(new Program().mode(MODES.text80).operations);
  rig.mmio.write(B8000 + 2, 2, 0x1f41);
  assert.deepEqual(planesAt(rig, 2), [0x41, 0x1f, 0, 0]);
  assert.equal(rig.mem(B8000 + 2, 4), 0x0000_1f41);
  assert.equal(rig.mem(B8000 + 3), 0x1f);
});

test('the window is where graphics register 6 puts it, and all ones around', () => {
  const rig = new VgaRig();
  rig.run(new Program().mode(MODES.text80).operations);
  assert.equal(rig.mem(A0000), 0xff);
  assert.equal(rig.mem(B8000, 4), 0);
  rig.run(new Program().graphics(6, 0x0a).operations);
  assert.equal(rig.mem(0xb0000), 0);
  assert.equal(rig.mem(B8000), 0xff);
  assert.equal(rig.mem(B8000 - 2, 4), 0xffff_0000);
  rig.run(new Program().graphics(6, 0x06).operations);
  assert.equal(rig.mem(0xaffff), 0);
  assert.equal(rig.mem(0xb0000), 0xff);
});

test('the upper half of a window of 128 KiB fills the odd addresses', () => {
  const rig = new VgaRig();
  rig.run(new Program().mode(MODES.text80).graphics(6, 0x02).operations);
  rig.mmio.write(0xa0010, 2, 0x2211);
  rig.mmio.write(0xb0010, 2, 0x4433);
  assert.deepEqual(planesAt(rig, 0x10), [0x11, 0x22, 0, 0]);
  assert.deepEqual(planesAt(rig, 0x11), [0x33, 0x44, 0, 0]);
});

test('chain 4: the lowest bits of the address choose the plane, and the map mask counts', () => {
  const rig = new VgaRig();
  rig.run(new Program().mode(MODES.mode13).operations);
  rig.mmio.write(A0000 + 4, 4, 0x44332211);
  assert.deepEqual(planesAt(rig, 4), [0x11, 0x22, 0x33, 0x44]);
  rig.run(new Program().sequencer(2, 5).operations);
  rig.mmio.write(A0000 + 4, 4, 0x88776655);
  assert.deepEqual(planesAt(rig, 4), [0x55, 0x22, 0x77, 0x44]);
  assert.equal(rig.mem(A0000 + 4, 4), 0x44772255);
});

test('VBE: banks of plain memory, and nothing above them', () => {
  const rig = new VgaRig();
  rig.run(new Program().vbe(640, 480, 8).dispi(5, 255).operations);
  rig.mmio.write(A0000 + 0xfffc, 4, 0x04030201);
  assert.deepEqual([...rig.vram.subarray(-4)], [1, 2, 3, 4]);
  assert.equal(rig.mem(A0000 + 0xfffc, 4), 0x04030201);
  rig.mmio.write(0xb0000, 4, 0);
  assert.equal(rig.mem(0xb0000), 0xff);
});

test('VBE with four planes: banks of the planes', () => {
  const rig = new VgaRig();
  rig.run(
    new Program().mode(MODES.mode12).vbe(1024, 768, 4).graphics(6, 5).sequencer(2, 6).dispi(5, 63).operations,
  );
  rig.mmio.write(A0000 + 0xffff, 1, 0xab);
  assert.deepEqual([...rig.vram.subarray(-4)], [0, 0xab, 0xab, 0]);
});
