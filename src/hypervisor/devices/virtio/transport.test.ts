import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FlatMemory, HandDoor } from '../../../../test/support/machine-parts.ts';
import { VirtioDriver } from '../../../../test/support/virtio-driver.ts';
import { RingSink } from '../../backends/streams.ts';
import type { AccessSize } from '../../machine/bus.ts';
import { VirtioConsole } from './console.ts';
import { VirtioEntropy } from './entropy.ts';

const VERSION_1 = 1n << 32n;
const RING_RESET = 1n << 40n;

/** RAM full of a repeated pattern. */
class FlatNoise extends FlatMemory {
  constructor(noise: Uint8Array) {
    super(0x10000);
    for (let at = 0; at + noise.length <= this.size && noise.length > 0; at += noise.length)
      this.bytes.set(noise, at);
  }
}

const entropy = (): VirtioDriver => new VirtioDriver(new VirtioEntropy(new HandDoor()));

test('the descriptor is that of a modern device, its capabilities name the parts of the BAR', () => {
  const { descriptor } = entropy().pci;
  assert.deepEqual(
    [descriptor.vendorId, descriptor.deviceId, descriptor.revision, descriptor.subsystemId],
    [0x1af4, 0x1044, 1, 0x1044],
  );
  assert.deepEqual(descriptor.msix, { vectors: 2, bar: 1 });
  const parts = descriptor.capabilities.map(({ id, body }) => {
    const view = new DataView(body.buffer);
    assert.equal(id, 9);
    assert.equal(body[0], body.length + 2, 'cap_len counts the whole capability');
    return [body[1], body[2], view.getUint32(6, true), view.getUint32(10, true)];
  });
  assert.deepEqual(parts, [
    [1, 0, 0x0000, 0x3c],
    [2, 0, 0x3000, 4],
    [3, 0, 0x1000, 1],
    [4, 0, 0x2000, 4],
    [5, 0, 0, 0],
  ]);
  assert.ok(descriptor.bars.every((bar) => (bar.size & (bar.size - 1)) === 0));
});

test('the way up: reset, acknowledge, features, queues, DRIVER_OK, a request, MSI-X', () => {
  const driver = entropy();
  assert.equal(driver.offered(), VERSION_1 | RING_RESET | (3n << 28n));
  driver.start();
  assert.equal(driver.status, 0x0f);
  const { head, places } = driver.add(0, [16]);
  driver.notify(0);
  assert.deepEqual(driver.used(0), [{ head, length: 16 }]);
  assert.ok(driver.memory.view(places[0], 16)?.some((byte) => byte !== 0));
  assert.deepEqual(driver.vectors, [0]);
  assert.equal(driver.intx, false);
});

test('without VERSION_1, or with a feature not offered, FEATURES_OK does not stick', () => {
  const driver = entropy();
  driver.negotiate(0n);
  assert.equal(driver.status, 0x03);
  driver.negotiate(VERSION_1 | 1n);
  assert.equal(driver.status, 0x03);
  driver.status = 0x0f;
  assert.equal(driver.status & 0x04, 0, 'nor does DRIVER_OK without it');
  driver.negotiate(VERSION_1);
  assert.equal(driver.status, 0x0b);
  driver.setCommon(8, 4, 0);
  driver.setCommon(12, 4, 0x30000000);
  assert.equal(driver.common(12, 4), 0, 'features are settled then');
});

test('INTx while MSI-X is off: the ISR says why and reading it lowers the line', () => {
  const driver = entropy();
  driver.msix = false;
  driver.start();
  driver.add(0, [4]);
  driver.notify(0);
  assert.equal(driver.intx, true);
  assert.equal(driver.isr(), 1);
  assert.equal(driver.intx, false);
  assert.equal(driver.isr(), 0);
});

test('a vector beyond the table reads back as none, and none is sent', () => {
  const driver = entropy();
  driver.start();
  driver.setCommon(0x16, 2, 0);
  driver.setCommon(0x1a, 2, 2);
  assert.equal(driver.common(0x1a, 2), 0xffff);
  driver.add(0, [4]);
  driver.notify(0);
  assert.equal(driver.used(0).length, 1);
  assert.deepEqual(driver.vectors, []);
});

test('a queue that is not there has size 0; notifications and writes to it do nothing', () => {
  const driver = entropy();
  driver.start();
  driver.setCommon(0x16, 2, 7);
  assert.equal(driver.common(0x18, 2), 0);
  driver.setCommon(0x1c, 2, 1);
  driver.notify(7);
  assert.equal(driver.status, 0x0f);
});

test('requests made available before DRIVER_OK are done at DRIVER_OK', () => {
  const driver = entropy();
  driver.negotiate(VERSION_1);
  driver.enableQueue(0, 8);
  driver.add(0, [4]);
  driver.notify(0);
  assert.equal(driver.usedIndex(0), 0);
  driver.status = 0x0f;
  assert.equal(driver.usedIndex(0), 1);
});

test('a broken ring sets DEVICE_NEEDS_RESET, tells the driver, and a reset heals it', () => {
  const driver = entropy();
  driver.start();
  driver.offer(0, 999);
  driver.notify(0);
  assert.equal(driver.status, 0x4f);
  assert.deepEqual(driver.vectors, [1]);
  assert.equal(driver.log.lines.length, 1);
  driver.notify(0);
  assert.equal(driver.log.lines.length, 1);
  driver.status = 0;
  assert.equal(driver.status, 0);
  driver.start();
  driver.add(0, [4]);
  driver.notify(0);
  assert.equal(driver.used(0).length, 1);
});

test('one queue can be reset and enabled again', () => {
  const driver = entropy();
  driver.start(RING_RESET);
  driver.add(0, [4]);
  driver.notify(0);
  driver.setCommon(0x16, 2, 0);
  driver.setCommon(0x3a, 2, 1);
  assert.deepEqual([driver.common(0x3a, 2), driver.common(0x1c, 2)], [0, 0]);
  driver.enableQueue(0, 4);
  driver.add(0, [8]);
  driver.notify(0);
  assert.equal(driver.used(0)[0].length, 8);
});

test('the PCI configuration access capability reaches the BAR', () => {
  const driver = entropy();
  const window = driver.pci.descriptor.capabilities[4];
  assert.ok(window.read && window.write);
  const aim = (offset: number, length: number): void => {
    window.write?.(4, 1, 0);
    window.write?.(8, 4, offset);
    window.write?.(12, 4, length);
  };
  aim(0x14, 1);
  window.write(16, 1, 1);
  assert.equal(driver.status, 1);
  assert.equal(window.read(16, 1), 1);
  assert.equal(window.read(8, 4), 0x14);
  assert.equal(window.read(12, 2), 1);
  aim(0x4000, 4);
  assert.equal(window.read(16, 4), undefined, 'outside the BAR');
  aim(0x15, 2);
  window.write(16, 2, 0xffff);
  window.write(4, 1, 3);
  assert.equal(window.read(16, 2), undefined, 'another BAR');
});

test('state goes over to another device in the middle of its work', () => {
  const a = entropy();
  a.start(1n << 29n);
  a.add(0, [4]);
  a.notify(0);
  a.add(0, [4]);
  const state = structuredClone(a.pci.save());
  const b = new VirtioDriver(new VirtioEntropy(new HandDoor()), a.memory);
  b.pci.restore(state);
  assert.deepEqual(b.pci.save(), state);
  b.rings.push(a.rings[0]);
  b.notify(0);
  assert.equal(b.used(0).length, 2);
  assert.throws(() => b.pci.restore({ ...state, deviceVersion: 99 }), /another version/);
});

test('no sequence of accesses to the BAR throws, whatever memory holds', () => {
  const sizes: AccessSize[] = [1, 2, 4];
  const offset = fc.oneof(fc.nat(0x3f), fc.nat(0x3fff), fc.constantFrom(0x1000, 0x2008, 0x3000, 0x3004));
  const value = fc.oneof(fc.nat(16), fc.nat(0xffffffff), fc.constantFrom(0x0b, 0x0f, 0x1000, 0x2000));
  const step = fc.tuple(fc.boolean(), offset, fc.nat(2), value);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), fc.uint8Array({ maxLength: 2048 }), (steps, noise) => {
      const door = new HandDoor();
      const device = new VirtioConsole({ name: 'console0', door, sink: new RingSink() });
      const driver = new VirtioDriver(device, new FlatNoise(noise));
      driver.negotiate(VERSION_1 | (3n << 28n));
      device.input.offer(new Uint8Array(100));
      for (const [write, at, s, v] of steps) {
        const size = sizes[s];
        const aligned = at - (at % size);
        if (write) driver.write(aligned, size, size === 4 ? v : v % 2 ** (8 * size));
        else {
          const got = driver.read(aligned, size);
          assert.ok(Number.isInteger(got) && got >= 0 && got < 2 ** (8 * size));
        }
        door.pump();
      }
      driver.pci.restore(structuredClone(driver.pci.save()));
    }),
    { numRuns: 300 },
  );
});
