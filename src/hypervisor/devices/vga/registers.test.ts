import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MODES, Program } from '../../../../test/vga/program.ts';
import { VgaRig } from '../../../../test/vga/rig.ts';

test('each file keeps what it has bits for, and has nothing past its end', () => {
  const rig = new VgaRig();
  const readBack = (port: number, count: number): number[] => {
    const values: number[] = [];
    for (let i = 0; i < count; i++) {
      rig.pio.write(port, 2, 0xff00 | i);
      assert.equal(rig.in8(port), i);
      values.push(rig.in8(port + 1));
    }
    return values;
  };
  assert.deepEqual(readBack(0x3c4, 6), [0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0]);
  assert.deepEqual(readBack(0x3ce, 10), [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff, 0]);
  rig.pio.write(0x3c2, 1, 1);
  const crtc = readBack(0x3d4, 26);
  assert.equal(crtc[0x08], 0x7f);
  assert.equal(crtc[0x18], 0xff);
  assert.equal(crtc[0x19], 0);
});

test('the CRT controller answers at 3Bxh or at 3Dxh, as the miscellaneous output register says', () => {
  const rig = new VgaRig();
  rig.pio.write(0x3b4, 2, 0x120c);
  assert.equal(rig.in8(0x3b5), 0x12);
  assert.equal(rig.in8(0x3d5), 0xff);
  rig.pio.write(0x3c2, 1, 0x67);
  assert.equal(rig.in8(0x3cc), 0x67);
  assert.equal(rig.in8(0x3d5), 0x12);
  assert.equal(rig.in8(0x3b5), 0xff);
  rig.pio.write(0x3da, 1, 0x08);
  assert.equal(rig.in8(0x3ca), 0x08);
});

test('protection keeps the first eight CRT registers but for the line compare bit', () => {
  const rig = new VgaRig();
  const run = new Program().out8(0x3c2, 1).crtc(0, 0x5f).crtc(7, 0x01).crtc(0x11, 0x80);
  rig.run(run.crtc(0, 0x11).crtc(7, 0xff).crtc(8, 0x03).operations);
  const at = (index: number): number => {
    rig.pio.write(0x3d4, 1, index);
    return rig.in8(0x3d5);
  };
  assert.deepEqual([at(0), at(7), at(8)], [0x5f, 0x11, 0x03]);
});

test('the attribute port takes index and data in turn; reading the status begins with the index', () => {
  const rig = new VgaRig();
  rig.pio.write(0x3c2, 1, 1);
  rig.in8(0x3da);
  rig.run(new Program().out8(0x3c0, 0x10).out8(0x3c0, 0x41).out8(0x3c0, 0x02).operations);
  rig.in8(0x3da);
  rig.run(new Program().out8(0x3c0, 0x12).out8(0x3c0, 0x0f).operations);
  rig.in8(0x3da);
  rig.pio.write(0x3c0, 1, 0x10);
  assert.equal(rig.in8(0x3c0), 0x10);
  assert.equal(rig.in8(0x3c1), 0x41);
  rig.in8(0x3da);
  rig.pio.write(0x3c0, 1, 0x32);
  assert.equal(rig.in8(0x3c0), 0x32, 'with the palette source bit');
  assert.equal(rig.in8(0x3c1), 0x0f);
});

test('the palette can be written only while the screen does not use it', () => {
  const rig = new VgaRig();
  rig.pio.write(0x3c2, 1, 1);
  const write = (index: number, value: number): void => {
    rig.in8(0x3da);
    rig.run(new Program().out8(0x3c0, index).out8(0x3c0, value).operations);
  };
  write(0x01, 0x3f);
  write(0x21, 0x07);
  write(0x34, 0x0c);
  rig.in8(0x3da);
  rig.pio.write(0x3c0, 1, 0x01);
  assert.equal(rig.in8(0x3c1), 0x3f);
  rig.in8(0x3da);
  rig.pio.write(0x3c0, 1, 0x14);
  assert.equal(rig.in8(0x3c1), 0x0c);
});

test('retrace comes and goes with the time', () => {
  const rig = new VgaRig();
  rig.run(new Program().mode(MODES.text80).operations);
  const seen = new Set<number>();
  for (let i = 0; i < 20_000; i++) {
    seen.add(rig.in8(0x3da));
    rig.door.advance(1000);
  }
  assert.deepEqual([...seen].sort(), [0, 1, 9]);
});

test('VBE registers: index and data ports, alone or together, and nothing for bytes', () => {
  const rig = new VgaRig();
  rig.pio.write(0x1ce, 2, 1);
  rig.pio.write(0x1cf, 2, 800);
  assert.equal(rig.pio.read(0x1cf, 2), 800);
  assert.equal(rig.pio.read(0x1d0, 2), 800);
  assert.equal(rig.pio.read(0x1ce, 2), 1);
  rig.pio.write(0x1d0, 2, 640);
  assert.equal(rig.pio.read(0x1cf, 2), 640);
  rig.pio.write(0x1ce, 4, 0x0258_0002);
  assert.equal(rig.pio.read(0x1ce, 4), 0x0258_0002);
  rig.pio.write(0x1cf, 1, 1);
  assert.equal(rig.pio.read(0x1cf, 2), 600);
});

test('nothing shows before the guest has turned the screen on', () => {
  const rig = new VgaRig();
  assert.equal(rig.vga.screen.text(), undefined);
  const { surface } = rig.watch().update();
  assert.deepEqual([surface.width, surface.height], [720, 400]);
});
