import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FlatMemory } from '../../../test/support/machine-parts.ts';
import { AddressSpace } from '../machine/address-space.ts';
import { FwCfg, type FwCfgFile } from './fw-cfg.ts';

const MEMORY = 1 << 20;
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function build(files: readonly FwCfgFile[] = []) {
  const pio = new AddressSpace();
  const memory = new FlatMemory(MEMORY);
  const device = new FwCfg({ memory, vcpus: 2, maxVcpus: 4, files });
  device.attach(pio);
  const bytes = (length: number) => Array.from({ length }, () => pio.read(0x511, 1));
  const item = (key: number, length: number) => {
    pio.write(0x510, 2, key);
    return bytes(length);
  };
  return { pio, memory, device, bytes, item };
}

/** Writes a request at 0x1000 and runs it; what its control field reads afterwards. */
function dma(parts: ReturnType<typeof build>, control: number, length: number, target: number): number {
  const request = new DataView(new ArrayBuffer(16));
  request.setUint32(0, control);
  request.setUint32(4, length);
  request.setBigUint64(8, BigInt(target));
  parts.memory.writeBytes(0x1000, new Uint8Array(request.buffer));
  parts.pio.write(0x514, 4, 0);
  parts.pio.write(0x518, 4, 0x0010_0000);
  const outcome = new Uint8Array(4);
  parts.memory.readBytes(0x1000, outcome);
  return new DataView(outcome.buffer).getUint32(0);
}

test('items: signature, features, memory, processors; a selection starts over', () => {
  const { item, bytes } = build();
  assert.equal(String.fromCharCode(...item(0, 4)), 'QEMU');
  assert.deepEqual(item(1, 4), [3, 0, 0, 0]);
  assert.deepEqual(item(3, 8), [0, 0, 0x10, 0, 0, 0, 0, 0]);
  assert.deepEqual(item(5, 2), [2, 0]);
  assert.deepEqual(item(5, 1), [2]);
  assert.deepEqual(bytes(1), [0]);
  assert.deepEqual(item(0x0f, 2), [4, 0]);
});

test('past the end of an item, and where there is none, reads are zero', () => {
  const { item } = build();
  assert.deepEqual(item(5, 4), [2, 0, 0, 0]);
  for (const key of [0x06, 0x20, 0x8005, 0xffff]) assert.deepEqual(item(key, 2), [0, 0], key.toString(16));
});

test('the directory names files with their sizes and keys', () => {
  const { item } = build([
    { name: 'etc/one', data: text('first') },
    { name: 'opt/two', data: text('second!') },
  ]);
  const bytes = Uint8Array.from(item(0x19, 4 + 2 * 64));
  const view = new DataView(bytes.buffer);
  assert.equal(view.getUint32(0), 2);
  assert.equal(view.getUint32(68), 7);
  assert.equal(view.getUint16(72), 0x21);
  assert.equal(Buffer.from(bytes.subarray(76, 84)).toString('latin1'), 'opt/two\0');
  assert.equal(String.fromCharCode(...item(0x21, 7)), 'second!');
  assert.throws(() => build([{ name: 'x'.repeat(56), data: text('') }]), RangeError);
});

test('DMA: the signature, a read with zeroes behind the item, a skip', () => {
  const parts = build([{ name: 'etc/one', data: text('abcdef') }]);
  assert.equal(parts.pio.read(0x514, 4), 0x554d4551);
  assert.equal(parts.pio.read(0x518, 4), 0x47464320);
  parts.memory.writeBytes(0x2000, new Uint8Array(8).fill(0xff));
  assert.equal(dma(parts, 0x0020_000a, 8, 0x2000), 0);
  const read = new Uint8Array(8);
  parts.memory.readBytes(0x2000, read);
  assert.equal(Buffer.from(read).toString('latin1'), 'abcdef\0\0');
  assert.ok(parts.memory.told.some(({ gpa, length }) => gpa === 0x2000 && length === 8));
  assert.equal(dma(parts, 0x0020_000c, 4, 0), 0);
  assert.deepEqual(parts.bytes(2), [...text('ef')]);
});

test('DMA: what cannot be done says so, and a request outside memory is dropped', () => {
  const parts = build();
  assert.equal(dma(parts, 0x0005_000a, 0xffff_ffff, 0x2000), 1);
  assert.equal(dma(parts, 0x0005_000a, 2, MEMORY - 1), 1);
  assert.equal(dma(parts, 0x0005_0018, 2, 0x2000), 1);
  parts.pio.write(0x514, 4, 0xffff_ffff);
  parts.pio.write(0x518, 4, 0xffff_ffff);
});

test('state goes over in the middle of an item', () => {
  const a = build();
  a.item(0, 2);
  const b = build();
  b.device.restore(structuredClone(a.device.save()));
  assert.equal(String.fromCharCode(...b.bytes(2)), 'MU');
});
