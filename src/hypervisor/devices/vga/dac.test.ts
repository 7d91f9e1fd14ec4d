import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Dac } from './dac.ts';

const MASK = 0;
const READ_INDEX = 1;
const WRITE_INDEX = 2;
const DATA = 3;

function colours(dac: Dac, wide = false): Uint32Array {
  const target = new Uint32Array(256);
  dac.colours(target, wide);
  return target;
}

test('a colour changes with its third component, and the index goes on', () => {
  const dac = new Dac();
  dac.write(WRITE_INDEX, 255);
  assert.equal(dac.write(DATA, 63), false);
  assert.equal(dac.write(DATA, 32), false);
  assert.equal(colours(dac)[255], 0);
  assert.equal(dac.write(DATA, 1), true);
  assert.equal(colours(dac)[255], 0xff8204);
  for (const value of [1, 2, 3]) dac.write(DATA, value);
  assert.equal(colours(dac)[0], 0x04080c);
});

test('reads go through the components; the state register tells the direction', () => {
  const dac = new Dac();
  dac.write(WRITE_INDEX, 7);
  assert.equal(dac.read(READ_INDEX, false), 0);
  for (const value of [0xff, 0x40, 0x3f, 5, 6, 7]) dac.write(DATA, value);
  assert.equal(dac.read(WRITE_INDEX, false), 9);
  dac.write(READ_INDEX, 7);
  assert.equal(dac.read(READ_INDEX, false), 3);
  assert.deepEqual(
    Array.from({ length: 6 }, () => dac.read(DATA, false)),
    [0x3f, 0, 0x3f, 5, 6, 7],
  );
  dac.write(READ_INDEX, 7);
  assert.equal(dac.read(DATA, true), 0xff);
});

test('eight bits a component are taken as they are, and the mask chooses among colours', () => {
  const dac = new Dac();
  dac.write(WRITE_INDEX, 1);
  for (const value of [0x81, 0x42, 0xff]) dac.write(DATA, value);
  assert.equal(colours(dac, true)[1], 0x8142ff);
  assert.equal(dac.write(MASK, 0x0f), true);
  assert.equal(dac.write(MASK, 0x0f), false);
  assert.equal(colours(dac, true)[0xf1], 0x8142ff);
});

test('state comes back, in the middle of a colour too', () => {
  const dac = new Dac();
  dac.write(WRITE_INDEX, 3);
  for (const value of [10, 20, 30, 40]) dac.write(DATA, value);
  const other = new Dac();
  other.restore(dac.save());
  for (const it of [dac, other]) for (const value of [50, 60]) it.write(DATA, value);
  assert.deepEqual(other.save(), dac.save());
  assert.deepEqual(colours(other), colours(dac));
});
