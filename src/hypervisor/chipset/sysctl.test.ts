import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ResetKind } from './sysctl.ts';
import { SystemControl } from './sysctl.ts';
import { ListBus } from './testing.ts';

function setup() {
  const io = new ListBus();
  const resets: ResetKind[] = [];
  const a20: boolean[] = [];
  const control = new SystemControl({
    onReset: (kind) => resets.push(kind),
    onA20: (enabled) => a20.push(enabled),
  });
  control.attach(io);
  return { io, resets, a20, control };
}

test('port 92h: A20, and a reset on the rising edge of bit 0', () => {
  const { io, resets, a20 } = setup();
  assert.equal(io.read(0x92, 1), 2);
  io.write(0x92, 1, 0);
  io.write(0x92, 1, 2);
  assert.deepEqual(a20, [false, true]);
  io.write(0x92, 1, 3);
  io.write(0x92, 1, 3);
  assert.deepEqual(resets, ['soft']);
  assert.equal(io.read(0x92, 1), 3);
});

test('CF9h resets when bit 2 rises, hard or soft by bit 1', () => {
  const { control, resets } = setup();
  control.resetControl.write(0, 1, 0x02);
  control.resetControl.write(0, 1, 0x06);
  control.resetControl.write(0, 1, 0x06);
  control.resetControl.write(0, 1, 0x00);
  control.resetControl.write(0, 1, 0x04);
  assert.deepEqual(resets, ['hard', 'soft']);
});

test('the keyboard controller switches the A20 that port 92h shows', () => {
  const { io, a20, control } = setup();
  control.setA20(false);
  assert.equal(io.read(0x92, 1), 0);
  io.write(0x92, 1, 2);
  control.setA20(true);
  assert.deepEqual(a20, [false, true]);
});

test('port 80h keeps the POST code; state survives save and restore', () => {
  const { io, control } = setup();
  io.write(0x80, 1, 0x55);
  io.write(0x92, 1, 0);
  const copy = setup();
  copy.control.restore(control.save());
  assert.equal(copy.control.postCode, 0x55);
  assert.equal(copy.control.a20, false);
  assert.deepEqual(copy.a20, [false]);
});
