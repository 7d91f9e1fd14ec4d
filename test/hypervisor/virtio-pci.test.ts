import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Msix } from '../../src/hypervisor/chipset/msix.ts';
import { PciFunction } from '../../src/hypervisor/chipset/pci-function.ts';
import type { PciCapability, PciDescriptor } from '../../src/hypervisor/devices/pci.ts';
import { VirtioEntropy } from '../../src/hypervisor/devices/virtio/entropy.ts';
import { VirtioPci } from '../../src/hypervisor/devices/virtio/transport.ts';
import type { AccessSize } from '../../src/hypervisor/machine/bus.ts';
import { FlatMemory, HandDoor, KeptLog } from '../support/machine-parts.ts';

/** Makes the chipset's PCI function of a device's descriptor, as a machine does. */
function functionOf(descriptor: PciDescriptor, messages: { address: number; data: number }[]) {
  const live = new Map<number, PciCapability>();
  const at = (offset: number): [number, PciCapability] | undefined =>
    [...live].find(([start, c]) => offset >= start && offset < start + c.body.length + 2);
  const fn = new PciFunction({
    ...descriptor,
    onConfigReading: (offset, size) => {
      const hit = at(offset);
      const value = hit?.[1].read?.(offset - hit[0], size);
      if (value === undefined) return;
      for (let i = 0; i < size; i++) fn.config.setUint8(offset + i, (value >>> (8 * i)) & 0xff);
    },
    onConfigWritten: (offset, size) => {
      const hit = at(offset);
      let value = 0;
      for (let i = 0; i < size; i++) value += fn.config.getUint8(offset + i) * 2 ** (8 * i);
      hit?.[1].write?.(offset - hit[0], size, value);
    },
  });
  for (const { index, size, device } of descriptor.bars) fn.addBar(index, { kind: 'mem32', size, device });
  const sink = { send: (address: number, data: number) => void messages.push({ address, data }) };
  assert.ok(descriptor.msix);
  const msix = new Msix({ fn, sink, ...descriptor.msix });
  for (const capability of descriptor.capabilities) {
    live.set(fn.addCapability(capability.id, capability.body, capability.writeMask), capability);
  }
  return { fn, msix };
}

test('a virtio device in a PCI function: found by its capabilities, driven through the window', () => {
  const memory = new FlatMemory(1 << 20);
  const device = new VirtioEntropy(new HandDoor());
  const virtio = new VirtioPci({ name: 'rng0', device, memory, log: new KeptLog() });
  const messages: { address: number; data: number }[] = [];
  const { fn, msix } = functionOf(virtio.descriptor, messages);
  virtio.attach({
    get msixEnabled() {
      return msix.enabled;
    },
    notify: (vector) => void msix.notify(vector),
    setIntx: (asserted) => fn.interrupt.set(asserted),
  });
  assert.equal(fn.configRead(0, 4), 0x10441af4);
  const found = new Map<number, number>();
  for (let at = fn.configRead(0x34, 1); at !== 0; at = fn.configRead(at + 1, 1)) {
    const id = fn.configRead(at, 1);
    found.set(id === 9 ? fn.configRead(at + 3, 1) : 0x100 + id, at);
  }
  assert.deepEqual([...found.keys()].sort(), [1, 2, 0x111, 3, 4, 5].sort());
  const window = found.get(5) ?? 0;
  const access = (offset: number, size: AccessSize): void => {
    fn.configWrite(window + 4, 1, 0);
    fn.configWrite(window + 8, 4, offset);
    fn.configWrite(window + 12, 4, size);
  };
  access(0x14, 1);
  fn.configWrite(window + 16, 1, 3);
  assert.equal(virtio.save().status, 3);
  assert.equal(fn.configRead(window + 16, 1), 3);
  access(0x12, 2);
  assert.equal(fn.configRead(window + 16, 2), 1, 'one queue');
  virtio.pciReset();
  fn.reset();
  assert.equal(virtio.save().status, 0);
});
