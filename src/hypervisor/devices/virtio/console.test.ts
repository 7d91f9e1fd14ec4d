import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HandDoor } from '../../../../test/support/machine-parts.ts';
import { VirtioDriver } from '../../../../test/support/virtio-driver.ts';
import { type ByteSink, RingSink } from '../../backends/streams.ts';
import { VirtioConsole } from './console.ts';

const F_SIZE = 1n;
const text = (s: string): Uint8Array => new TextEncoder().encode(s);

function build(sink: ByteSink = new RingSink()) {
  const door = new HandDoor();
  const device = new VirtioConsole({ name: 'console0', door, sink, columns: 100, rows: 40 });
  return { door, device, driver: new VirtioDriver(device), sink };
}

test('transmit buffers come out at the sink in order', () => {
  const { device, driver, sink } = build();
  driver.start();
  driver.add(1, [text('hello, '), text('wor')]);
  driver.add(1, [text('ld')]);
  driver.notify(1);
  device.flush();
  assert.equal(new TextDecoder().decode((sink as RingSink).snapshot()), 'hello, world');
});

test('with indirect tables too', () => {
  const { device, driver, sink } = build();
  driver.start(1n << 28n);
  driver.add(1, [text('a'), text('b')], true);
  driver.notify(1);
  device.flush();
  assert.equal(new TextDecoder().decode((sink as RingSink).snapshot()), 'ab');
});

test('input waits for receive buffers and fills them one after the other', () => {
  const { door, device, driver } = build();
  driver.start();
  assert.equal(device.input.offer(text('abcdefgh')), 8);
  door.pump();
  assert.equal(driver.usedIndex(0), 0);
  const first = driver.add(0, [3]);
  const second = driver.add(0, [16]);
  driver.notify(0);
  assert.deepEqual(driver.used(0), [
    { head: first.head, length: 3 },
    { head: second.head, length: 5 },
  ]);
  assert.deepEqual(driver.memory.view(second.places[0], 5), text('defgh'));
});

test('64 KiB wait at most; the rest is asked for when half has gone', () => {
  const { door, device, driver } = build();
  driver.start();
  let drained = 0;
  device.input.onDrained(() => {
    drained += 1;
  });
  assert.equal(device.input.offer(new Uint8Array(70_000)), 65_536);
  door.pump();
  for (let i = 0; i < 9; i++) driver.add(0, [4096]);
  driver.notify(0);
  assert.equal(drained, 1);
});

test('while the sink holds, transmit buffers stay in the queue', () => {
  let press: (full: boolean) => void = () => {};
  const got: number[] = [];
  const { door, device, driver } = build({
    write: (bytes) => got.push(...bytes),
    onPressure: (listener) => {
      press = listener;
    },
  });
  driver.start();
  press(true);
  door.pump();
  driver.add(1, [text('x')]);
  driver.notify(1);
  assert.equal(driver.usedIndex(1), 0);
  press(false);
  door.pump();
  device.flush();
  assert.equal(driver.usedIndex(1), 1);
  assert.deepEqual(got, [0x78]);
});

test('size of the terminal, its change, and the emergency write before the driver is up', () => {
  const { door, device, driver, sink } = build();
  driver.setConfig(8, 4, 0x21);
  device.flush();
  assert.deepEqual((sink as RingSink).snapshot(), Uint8Array.of(0x21));
  driver.start(F_SIZE);
  assert.deepEqual([driver.config(0, 2), driver.config(2, 2)], [100, 40]);
  const generation = driver.common(0x15, 1);
  device.resize(132, 50);
  door.pump();
  assert.deepEqual([driver.config(0, 2), driver.config(2, 2)], [132, 50]);
  assert.notEqual(driver.common(0x15, 1), generation);
  assert.deepEqual(driver.vectors, [2]);
});

test('a receive buffer without room breaks the device instead of spinning', () => {
  const { door, device, driver } = build();
  driver.start();
  driver.add(0, [Uint8Array.of(1)]);
  device.input.offer(text('a'));
  door.pump();
  assert.equal(driver.status & 0x40, 0x40);
});
