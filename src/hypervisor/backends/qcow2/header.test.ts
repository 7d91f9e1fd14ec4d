import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MemoryFile } from '../../../../test/support/memory-file.ts';
import { emptyImage } from '../../../../test/support/qcow2-images.ts';
import { DiskError, type DiskErrorCode } from '../disk.ts';
import { readHeader } from './header.ts';

const image = await emptyImage({ size: 1 << 20, backing: { name: 'base', format: 'raw' } });

async function refused(
  change: (view: DataView, bytes: Uint8Array) => void,
  code: DiskErrorCode,
  says: RegExp,
) {
  const bytes = image.slice();
  change(new DataView(bytes.buffer), bytes);
  await assert.rejects(readHeader(new MemoryFile(bytes)), (error: unknown) => {
    assert.ok(error instanceof DiskError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, says);
    return true;
  });
}

test('a header that is as it should be', async () => {
  const header = await readHeader(new MemoryFile(image));
  assert.deepEqual(
    [header.version, header.clusterSize, header.size, header.backingName, header.backingFormat],
    [3, 65536, 1 << 20, 'base', 'raw'],
  );
});

test('features that are missing are refused by name', async () => {
  const bit = (at: number) => (view: DataView) => view.setUint32(at < 32 ? 76 : 72, (1 << (at % 32)) >>> 0);
  await refused(bit(2), 'DISK_UNSUPPORTED', /external data file/);
  await refused(bit(4), 'DISK_UNSUPPORTED', /extended L2 entries/);
  await refused(bit(7), 'DISK_UNSUPPORTED', /incompatible feature 7/);
  await refused(bit(63), 'DISK_UNSUPPORTED', /incompatible feature 63/);
  await refused((view) => view.setUint32(32, 1), 'DISK_UNSUPPORTED', /encrypted \(AES\)/);
  await refused((view) => view.setUint32(32, 2), 'DISK_UNSUPPORTED', /encrypted \(LUKS\)/);
  await refused((view) => view.setUint32(4, 1), 'DISK_UNSUPPORTED', /version 1/);
  const named = (view: DataView, bytes: Uint8Array) => {
    bit(9)(view);
    view.setUint32(104, 0x6803f857);
    view.setUint32(108, 48);
    bytes.set(Buffer.from('\0\x09time \x1btravel\0'), 112);
    bytes.fill(0, 112 + 16, 112 + 48);
    view.setUint32(8, 0);
    view.setUint32(12, 0);
  };
  await refused(named, 'DISK_UNSUPPORTED', /time \?travel/);
});

test('fields out of their range are refused', async () => {
  const set = (at: number, value: number) => (view: DataView) => view.setUint32(at, value);
  const cases: readonly (readonly [(view: DataView) => void, RegExp])[] = [
    [set(0, 0), /not a qcow2 image/],
    [set(20, 8), /2\^8 bytes/],
    [set(20, 22), /2\^22 bytes/],
    [set(20, 0xffffffff), /2\^4294967295/],
    [set(24, 0xffffffff), /2\^53/],
    [set(24, 0x7f), /too small/],
    [set(36, 0), /too small/],
    [set(36, 0xffffffff), /L1 table of 4294967295/],
    [set(44, 0x200), /L1 table does not begin at a cluster/],
    [set(40, 1), /L1 table lies outside/],
    [set(40, 0xffffff00), /L1 table lies outside/],
    [set(44, 0), /L1 table lies outside/],
    [set(48, 0x1000), /refcount table lies outside/],
    [set(56, 0), /refcount table of 0/],
    [set(56, 100_000), /refcount table of 100000/],
    [set(60, 70_000), /70000 snapshots/],
    [set(60, 1), /snapshot table lies outside/],
    [set(96, 7), /2\^7 bits/],
    [set(100, 96), /header of 96/],
    [set(100, 105), /header of 105/],
    [set(100, 0x80000000), /header of/],
    [set(108, 0x7fffffff), /header extension/],
    [set(8, 1), /backing file/],
    [set(16, 2000), /backing file/],
    [set(76, 8), /compression type/],
  ];
  for (const [change, says] of cases) await refused(change, 'DISK_FORMAT', says);
});

test('a file that ends early is refused', async () => {
  for (const length of [0, 3, 4, 71, 103, 110, 65536, 65537]) {
    await assert.rejects(readHeader(new MemoryFile(image.slice(0, length))), DiskError, String(length));
  }
});
