import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BusDevice } from '../machine/bus.ts';
import { PiixIde } from './piix-ide.ts';
import { ListBus } from './testing.ts';

const fixed = (value: number): BusDevice => ({ read: () => value, write() {} });

function build() {
  const io = new ListBus();
  let resets = 0;
  const fn = new PiixIde({
    channels: [
      { command: fixed(1), control: fixed(2) },
      { command: fixed(3), control: fixed(4) },
    ],
    busMaster: fixed(5),
    onReset: () => {
      resets += 1;
    },
  });
  fn.connect({ io, memory: new ListBus(), intx: { set() {} } });
  const answers = (): number[] => [0x1f0, 0x1f7, 0x3f6, 0x170, 0x376].map((port) => io.read(port, 1));
  return { io, fn, answers, resets: () => resets };
}

test('is 8086:7010, an IDE controller with bus master and legacy ports', () => {
  const { fn } = build();
  assert.equal(fn.configRead(0, 4), 0x70108086);
  assert.equal(fn.configRead(8, 4) >>> 8, 0x010180);
  assert.equal(fn.configRead(0x3d, 1), 0);
  fn.configWrite(0x20, 4, 0xffffffff);
  assert.equal(fn.configRead(0x20, 4), 0xfffffff1);
  assert.equal(fn.configRead(0x10, 4), 0, 'no other BAR');
});

test('ports answer while the command register and IDETIM say so', () => {
  const { fn, io, answers } = build();
  const none = [0xff, 0xff, 0xff, 0xff, 0xff];
  assert.deepEqual(answers(), none);
  fn.configWrite(4, 2, 5);
  assert.deepEqual(answers(), [1, 1, 2, 3, 4]);
  assert.equal(fn.configRead(4, 2), 5);
  assert.equal(io.read(0x3f7, 1), 0xff, "the floppy controller's");
  fn.configWrite(0x41, 1, 0);
  assert.deepEqual(answers(), [0xff, 0xff, 0xff, 3, 4]);
  fn.configWrite(0x40, 4, 0x80000000);
  assert.deepEqual(answers(), [0xff, 0xff, 0xff, 3, 4]);
  fn.configWrite(0x40, 4, 0x8000);
  assert.deepEqual(answers(), [1, 1, 2, 0xff, 0xff]);
  fn.configWrite(0x20, 4, 0xd000);
  assert.equal(io.read(0xd00f, 1), 5);
  fn.configWrite(4, 2, 4);
  assert.deepEqual(answers(), none);
  assert.equal(io.read(0xd000, 1), 0xff);
});

test('RST# reaches the drives and turns decoding off', () => {
  const { fn, answers, resets } = build();
  fn.configWrite(4, 2, 1);
  fn.configWrite(0x40, 2, 0xffff);
  assert.equal(fn.configRead(0x40, 2), 0xf3ff);
  fn.reset();
  assert.equal(resets(), 1);
  assert.equal(answers()[0], 0xff);
  assert.equal(fn.configRead(0x40, 2), 0x8000);
});

test('state brings the ports back', () => {
  const { fn } = build();
  fn.configWrite(4, 2, 1);
  fn.configWrite(0x42, 2, 0);
  const other = build();
  other.fn.restore(fn.save());
  assert.deepEqual(other.answers(), [1, 1, 2, 0xff, 0xff]);
});
