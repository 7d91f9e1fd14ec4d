import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HandDoor } from '../../../../test/support/machine-parts.ts';
import { VirtioDriver } from '../../../../test/support/virtio-driver.ts';
import { VirtioEntropy } from './entropy.ts';

test('a request is filled from the door, at most 4096 bytes at a time', () => {
  const driver = new VirtioDriver(new VirtioEntropy(new HandDoor()));
  driver.start();
  const { places } = driver.add(0, [64, 10_000]);
  driver.notify(0);
  assert.equal(driver.used(0)[0].length, 4096);
  const expected = new Uint8Array(64);
  new HandDoor().random(expected);
  assert.deepEqual(driver.memory.view(places[0], 64), expected);
});

test('a request with nothing to write into is given back empty', () => {
  const driver = new VirtioDriver(new VirtioEntropy(new HandDoor()));
  driver.start();
  driver.add(0, [Uint8Array.of(1, 2)]);
  driver.notify(0);
  assert.equal(driver.used(0)[0].length, 0);
});
