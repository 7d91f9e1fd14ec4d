import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hex, Ps2Rig } from '../../../../test/support/ps2-driver.ts';
import { BUTTON } from '../../backends/input.ts';

const [GET_VERSION, DATA, STATUS, COMMAND] = [10, 39, 40, 41];
const [ENABLE, DISABLE, RELATIVE, ABSOLUTE] = [0x45414552, 0xf5, 0x4c455252, 0x53424152];

/** As Linux's driver turns it on. */
function absolute(): Ps2Rig {
  const rig = new Ps2Rig();
  rig.mouse(0xf4);
  rig.backdoor(COMMAND, ENABLE);
  assert.equal(rig.backdoor(STATUS), 1);
  assert.equal(rig.backdoor(DATA, 1), 0x3442554a);
  rig.backdoor(COMMAND, ABSOLUTE);
  return rig;
}

/** A packet, read as drivers do: four words at once. */
function packet(rig: Ps2Rig): number[] {
  const status = rig.backdoor(DATA, 4);
  const { ebx, ecx, edx } = rig.registers.values;
  return [status, ebx, ecx, edx].map((word) => word ?? 0);
}

test('a guest that does not know of it reads ones, and changes nothing', () => {
  const rig = new Ps2Rig();
  Object.assign(rig.registers.values, { eax: 1, ebx: 2, ecx: GET_VERSION, edx: 4 });
  assert.equal(rig.pio.read(0x5658, 4), 0xffffffff);
  rig.registers.values['eax'] = 0x564d5868;
  assert.equal(rig.pio.read(0x5658, 1), 0xff);
  assert.equal(rig.pio.read(0x5658, 2), 0xffff);
  rig.pio.write(0x5658, 4, 0x564d5868);
  assert.equal(rig.backdoor(0x1234), 0xffffffff);
  assert.equal(rig.ps2.pointer.absolute, false);
  assert.deepEqual(
    [rig.registers.values['ebx'], rig.registers.values['ecx']],
    [0, 0x1234],
    'the registers are as they were',
  );
});

test('says which version it is', () => {
  const rig = new Ps2Rig();
  assert.equal(rig.backdoor(GET_VERSION), 6);
  assert.equal(rig.registers.values['ebx'], 0x564d5868);
});

test('positions, buttons and wheel, each announced by a packet of the mouse', () => {
  const rig = absolute();
  assert.equal(rig.ps2.pointer.absolute, true);
  rig.ps2.pointer.place(0.5, 1, 0, BUTTON.left);
  rig.door.pump();
  assert.equal(rig.irq12.level, false, 'interrupts of the mouse are off here');
  assert.equal(hex(rig.packets()), '08 00 00');
  assert.equal(rig.backdoor(STATUS), 4);
  assert.deepEqual(packet(rig), [0x20, 0x7fff, 0xffff, 0]);
  rig.ps2.pointer.place(0, 0, -2, BUTTON.right | BUTTON.middle);
  rig.door.pump();
  assert.deepEqual(packet(rig), [0x18, 0, 0, 0xfffffffe]);
  assert.equal(rig.backdoor(STATUS), 0);
});

test('movements come as such in between', () => {
  const rig = absolute();
  rig.ps2.pointer.move(3, 4, 0, 0);
  rig.door.pump();
  assert.deepEqual(packet(rig), [0x10000, 3, 0xfffffffc, 0]);
});

test('the latest position counts, and a click is not lost', () => {
  const rig = absolute();
  for (const [x, buttons] of [
    [0.1, 0],
    [0.2, 0],
    [0.2, 1],
    [0.3, 1],
    [0.3, 0],
  ] as const) {
    rig.ps2.pointer.place(x, 0, 0, buttons);
    rig.door.pump();
  }
  assert.equal(rig.backdoor(STATUS), 12);
  assert.deepEqual(packet(rig).slice(0, 2), [0x00, Math.trunc(0.2 * 0xffff)]);
  assert.deepEqual(packet(rig).slice(0, 2), [0x20, Math.trunc(0.3 * 0xffff)]);
  assert.deepEqual(packet(rig).slice(0, 2), [0x00, Math.trunc(0.3 * 0xffff)]);
});

test('a guest that does not read costs no more than a queue', () => {
  const rig = absolute();
  for (let i = 0; i < 1000; i++) {
    rig.ps2.pointer.place(0, 0, 0, i & 1);
    rig.door.pump();
  }
  assert.equal(rig.backdoor(STATUS), 256);
});

test('to ask for more than there is turns it off until it is enabled again', () => {
  const rig = absolute();
  assert.equal(rig.backdoor(DATA, 4), 0xffffffff);
  assert.equal(rig.backdoor(STATUS), 0xffff0000);
  assert.equal(rig.ps2.pointer.absolute, false);
  rig.backdoor(COMMAND, ENABLE);
  assert.equal(rig.backdoor(STATUS), 1);
});

test('while it is not absolute, positions are not for the mouse, buttons are', () => {
  const rig = absolute();
  rig.backdoor(COMMAND, RELATIVE);
  assert.equal(rig.ps2.pointer.absolute, false);
  rig.ps2.pointer.place(0.5, 0.5, 0, BUTTON.left);
  rig.door.pump();
  assert.equal(hex(rig.packets()), '09 00 00');
  rig.backdoor(COMMAND, DISABLE);
  assert.equal(rig.backdoor(STATUS), 0xffff0000);
});
