import assert from 'node:assert/strict';
import { test } from 'node:test';
import { smbiosFiles } from './smbios.ts';

const MACHINE = { memoryMiB: 256, vcpus: 2, signature: 0x106ca, features: 0xfabfbff, mhz: 1000 };
/** Lengths of the formatted areas, DSP0134 2.8, chapter 7. */
const LENGTHS: Readonly<Record<number, number>> = {
  1: 27,
  3: 22,
  4: 42,
  16: 23,
  17: 40,
  19: 31,
  32: 11,
  127: 4,
};

test('structures follow one another to the end marker, as the entry point counts them', () => {
  const [tables, anchor] = smbiosFiles(MACHINE).map(({ data }) => data);
  assert.ok(tables && anchor);
  const types: number[] = [];
  let largest = 0;
  for (let at = 0; at < tables.length; ) {
    const start = at;
    const [type = 0, length = 0] = tables.subarray(at, at + 2);
    types.push(type);
    at += length;
    while (tables[at] !== 0 || tables[at + 1] !== 0) at += 1;
    at += 2;
    largest = Math.max(largest, at - start);
    assert.equal(length, LENGTHS[type], `type ${type}`);
  }
  assert.deepEqual(types, [1, 3, 4, 4, 16, 17, 19, 32, 127]);
  const view = new DataView(anchor.buffer);
  assert.equal(anchor.length, 31);
  assert.deepEqual(
    [view.getUint16(8, true), view.getUint16(22, true), view.getUint16(28, true), view.getUint8(30)],
    [largest, tables.length, types.length, 0x28],
  );
});
