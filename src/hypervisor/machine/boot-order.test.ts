import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type BootPlace, bootOrder } from './boot-order.ts';

test('disks before the CD, unless something else is asked for', () => {
  const disk: BootPlace[] = [
    { bus: 'virtio', slot: 0x1f },
    { bus: 'ide', channel: 0, unit: 1 },
  ];
  const cdrom: BootPlace[] = [{ bus: 'ide', channel: 1, unit: 0 }];
  const paths = {
    virtio: '/pci@i0cf8/scsi@1f/disk@0,0',
    ide: '/pci@i0cf8/ide@1,1/drive@0/disk@1',
    cd: '/pci@i0cf8/ide@1,1/drive@1/disk@0',
  };
  assert.deepEqual(bootOrder({ disk, cdrom }), [paths.virtio, paths.ide, paths.cd]);
  assert.deepEqual(bootOrder({ disk, cdrom }, ['cdrom']), [paths.cd, paths.virtio, paths.ide]);
  assert.deepEqual(bootOrder({ disk: [], cdrom: [] }, ['cdrom', 'disk']), []);
});
