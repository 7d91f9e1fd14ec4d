import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { loadOrder, moduleDependencies } from './modules.ts';

const module = (depends: string) =>
  Buffer.from(`\x7fELF\0license=GPL\0depends=${depends}\0name=x\0`, 'latin1');

describe('kernel modules', () => {
  it('name what they need', () => {
    assert.deepEqual(moduleDependencies(module('virtio,virtio_ring')), ['virtio', 'virtio_ring']);
    assert.deepEqual(moduleDependencies(module('')), []);
    assert.deepEqual(moduleDependencies(Buffer.from('not a module')), []);
  });

  it('are loaded after what they need, each once, and not when built in', () => {
    const files = new Map([
      ['virtio_pci', module('virtio_ring,virtio')],
      ['virtio', module('virtio_ring')],
      ['virtio_ring', module('')],
      ['virtio_blk', module('virtio,virtio_ring')],
    ]);
    const order = loadOrder(['virtio_pci', 'virtio_blk', 'ext4'], (name) => files.get(name));
    assert.deepEqual(
      order.map(({ name }) => name),
      ['virtio_ring', 'virtio', 'virtio_pci', 'virtio_blk'],
    );
  });

  it('that need each other do not make it loop', () => {
    const files = new Map([
      ['a', module('b')],
      ['b', module('a')],
    ]);
    assert.deepEqual(loadOrder(['a'], (name) => files.get(name)).length, 2);
  });
});
