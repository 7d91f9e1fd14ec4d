import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DISPI, DISPI_ENABLE, Dispi, VBE_MOST } from './dispi.ts';

const MEMORY = 16 << 20;
const { enabled, capabilities, wideDac, linear, keepMemory } = DISPI_ENABLE;

function shown(width: number, height: number, depth: number, flags = enabled | linear): Dispi {
  const dispi = new Dispi(MEMORY);
  dispi.write(DISPI.depth, depth);
  dispi.write(DISPI.width, width);
  dispi.write(DISPI.height, height);
  dispi.write(DISPI.enable, flags);
  return dispi;
}

test('version 5, 16 MiB, and what the largest mode is', () => {
  const dispi = new Dispi(MEMORY);
  assert.equal(dispi.read(DISPI.id), 0xb0c5);
  dispi.write(DISPI.id, 0xb0c0);
  assert.equal(dispi.read(DISPI.id), 0xb0c0);
  dispi.write(DISPI.id, 0x1234);
  assert.equal(dispi.read(DISPI.id), 0xb0c0);
  assert.equal(dispi.read(DISPI.memory64K), 256);
  dispi.write(DISPI.width, 640);
  dispi.write(DISPI.enable, capabilities);
  assert.deepEqual(
    [DISPI.width, DISPI.height, DISPI.depth].map((i) => dispi.read(i)),
    [2560, 1600, 32],
  );
  dispi.write(DISPI.enable, 0);
  assert.equal(dispi.read(DISPI.width), 640);
  assert.equal(dispi.read(0x1234), 0);
});

test('every depth gives its picture', () => {
  for (const [depth, stride] of [
    [4, 128],
    [8, 1024],
    [15, 2048],
    [16, 2048],
    [24, 3072],
    [32, 4096],
  ]) {
    const picture = shown(1024, 768, depth).picture;
    assert.deepEqual(picture, { width: 1024, height: 768, depth, offset: 0, stride });
  }
});

test('the largest mode fits, with all its bits', () => {
  const { picture } = shown(VBE_MOST.width, VBE_MOST.height, 32);
  assert.equal(picture?.stride, 10240);
  assert.equal(picture?.height, 1600);
});

test('values that make no picture are brought into range', () => {
  const dispi = shown(9999, 0, 17);
  assert.deepEqual(dispi.picture, { width: 2560, height: 1, depth: 8, offset: 0, stride: 2560 });
  assert.deepEqual(shown(0, 65535, 32).picture, { width: 8, height: 1600, depth: 32, offset: 0, stride: 32 });
  assert.equal(shown(1366, 768, 32).picture?.width, 1360);
});

test('offsets move the picture, and past the end of memory they are zero', () => {
  const dispi = shown(640, 480, 32);
  dispi.write(DISPI.virtualWidth, 1024);
  dispi.write(DISPI.xOffset, 10);
  dispi.write(DISPI.yOffset, 20);
  assert.equal(dispi.picture?.offset, 20 * 4096 + 40);
  assert.equal(dispi.read(DISPI.virtualHeight), 4096);
  dispi.write(DISPI.yOffset, 4096 - 480);
  assert.equal(dispi.picture?.offset, (4096 - 480) * 4096 + 40);
  dispi.write(DISPI.yOffset, 4096 - 479);
  assert.equal(dispi.read(DISPI.yOffset), 0);
  dispi.write(DISPI.virtualWidth, 65535);
  assert.equal(dispi.picture?.stride, 65536);
  assert.ok((dispi.picture?.height ?? 0) <= 256);
});

test('turning a mode on forgets the last one, and asks for a clear screen unless told otherwise', () => {
  const dispi = shown(640, 480, 8);
  dispi.write(DISPI.virtualWidth, 800);
  dispi.write(DISPI.bank, 3);
  assert.equal(dispi.bank, 3 * 65536);
  assert.equal(dispi.write(DISPI.enable, enabled | wideDac), 0, 'it is on already');
  assert.equal(dispi.bank, 3 * 65536);
  dispi.write(DISPI.enable, 0);
  assert.equal(dispi.picture, undefined);
  assert.equal(dispi.bank, 0);
  assert.equal(dispi.write(DISPI.enable, enabled), 640 * 480);
  assert.equal(dispi.bank, 0);
  dispi.write(DISPI.enable, 0);
  assert.equal(dispi.write(DISPI.enable, enabled | keepMemory), 0);
});

test('banks lie inside memory', () => {
  const dispi = shown(640, 480, 4);
  dispi.write(DISPI.bank, 65);
  assert.equal(dispi.read(DISPI.bank), 1);
  dispi.write(DISPI.depth, 8);
  dispi.write(DISPI.bank, 255);
  assert.equal(dispi.bank, 255 * 65536);
  dispi.write(DISPI.depth, 4);
  assert.equal(dispi.bank, 63 * 65536);
});

test('state comes back', () => {
  const dispi = shown(800, 600, 16);
  dispi.write(DISPI.yOffset, 7);
  const other = new Dispi(MEMORY);
  other.restore(dispi.save());
  assert.deepEqual(other.picture, dispi.picture);
  assert.deepEqual(other.save(), dispi.save());
});
