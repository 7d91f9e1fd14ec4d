import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PicPair } from './pic.ts';
import { ListBus, Probe } from './testing.ts';

function setup(levelIrqs: number[] = []) {
  const io = new ListBus();
  const intr = new Probe();
  const pic = new PicPair({ output: intr, levelIrqs });
  pic.attach(io);
  const out = (port: number, value: number): void => io.write(port, 1, value);
  const init = (icw4 = 0x01): void => {
    for (const [port, base, cascade] of [
      [0x20, 0x20, 4],
      [0xa0, 0x28, 2],
    ]) {
      out(port, 0x11);
      out(port + 1, base);
      out(port + 1, cascade);
      out(port + 1, icw4);
    }
  };
  return { io, intr, pic, out, init, in: (port: number) => io.read(port, 1) };
}

test('an edge is delivered with its vector and blocks lower priorities until EOI', () => {
  const { pic, intr, out, init, in: inb } = setup();
  init();
  pic.line(4).set(true);
  assert.equal(intr.level, true);
  assert.equal(pic.acknowledge(), 0x24);
  assert.equal(intr.level, false);
  pic.line(5).set(true);
  assert.equal(intr.level, false);
  pic.line(1).set(true);
  assert.equal(pic.acknowledge(), 0x21);
  out(0x20, 0x0b);
  assert.equal(inb(0x20), 0x12);
  out(0x20, 0x20);
  assert.equal(inb(0x20), 0x10);
  assert.equal(intr.level, false);
  out(0x20, 0x64);
  assert.equal(pic.acknowledge(), 0x25);
});

test('the cascade gives vectors of the second controller and needs both EOIs', () => {
  const { pic, intr, out, init } = setup();
  init();
  pic.line(12).set(true);
  pic.line(8).set(true);
  assert.equal(pic.acknowledge(), 0x28);
  out(0xa0, 0x20);
  assert.equal(intr.level, false, 'IR2 is still in service');
  out(0x20, 0x20);
  assert.equal(intr.level, true);
  assert.equal(pic.acknowledge(), 0x2c);
});

test('masked requests wait; IMR reads back', () => {
  const { pic, intr, out, init, in: inb } = setup();
  init();
  out(0x21, 0xff);
  pic.line(3).set(true);
  assert.equal(intr.level, false);
  assert.equal(inb(0x21), 0xff);
  assert.equal(inb(0x20), 0x08);
  out(0x21, 0xf7);
  assert.equal(pic.acknowledge(), 0x23);
});

test('a level input that goes away gives the spurious vectors 7 and 15', () => {
  const { pic, intr, out, init, in: inb } = setup([5, 10]);
  init();
  pic.line(5).set(true);
  assert.equal(intr.level, true);
  pic.line(5).set(false);
  assert.equal(pic.acknowledge(), 0x27);
  out(0x20, 0x0b);
  assert.equal(inb(0x20), 0, 'no in-service bit for a spurious interrupt');
  pic.line(10).set(true);
  out(0x20, 0x0a);
  assert.equal(inb(0x20), 0x04);
});

test('a level input asks again after EOI while it stays asserted', () => {
  const { io, pic, intr, out, init } = setup();
  init();
  io.write(0x4d0, 2, 0xffff);
  assert.equal(io.read(0x4d0, 2), 0xdef8, 'IRQ 0, 1, 2, 8 and 13 stay edge-triggered');
  pic.line(11).set(true);
  assert.equal(pic.acknowledge(), 0x2b);
  out(0xa0, 0x20);
  out(0x20, 0x20);
  assert.equal(intr.level, true);
  pic.line(11).set(false);
  assert.equal(intr.level, false);
});

test('rotation, automatic EOI and special mask mode', () => {
  const { pic, intr, out, init, in: inb } = setup();
  init(0x03);
  out(0x20, 0x80);
  pic.line(0).set(true);
  assert.equal(pic.acknowledge(), 0x20);
  out(0x20, 0x0b);
  assert.equal(inb(0x20), 0, 'automatic EOI leaves nothing in service');
  pic.line(0).set(false);
  pic.line(0).set(true);
  pic.line(1).set(true);
  assert.equal(pic.acknowledge(), 0x21, 'IRQ 0 became the lowest');
  assert.equal(pic.acknowledge(), 0x20);

  init();
  pic.line(1).set(false);
  pic.line(1).set(true);
  assert.equal(pic.acknowledge(), 0x21);
  pic.line(6).set(true);
  assert.equal(intr.level, false);
  out(0x21, 0x02);
  out(0x20, 0x68);
  assert.equal(intr.level, true, 'the masked level in service blocks nobody');
  assert.equal(pic.acknowledge(), 0x26);
});

test('poll mode acknowledges by a read', () => {
  const { pic, out, init, in: inb, intr } = setup();
  init();
  out(0x20, 0x0c);
  assert.equal(inb(0x20), 0);
  pic.line(4).set(true);
  out(0x20, 0x0c);
  assert.equal(inb(0x20), 0x84);
  assert.equal(intr.level, false);
});

test('special fully nested mode lets the second controller interrupt its own service', () => {
  const { pic, init, intr } = setup();
  init(0x11);
  pic.line(10).set(true);
  assert.equal(pic.acknowledge(), 0x2a);
  pic.line(8).set(true);
  assert.equal(intr.level, true);
  assert.equal(pic.acknowledge(), 0x28);
});

test('no sequence of guest accesses throws, and INTR agrees with what is pending', () => {
  const step = fc.tuple(
    fc.constantFrom('out', 'in', 'line', 'ack'),
    fc.constantFrom(0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1),
    fc.nat(255),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { io, pic, intr } = setup();
      for (const [what, port, value] of steps) {
        if (what === 'out') io.write(port, 1, value);
        else if (what === 'in') assert.ok(io.read(port, 1) <= 0xff);
        else if (what === 'line') pic.line(value & 15).set((value & 16) !== 0);
        else assert.ok(pic.acknowledge() <= 0xff);
      }
      const copy = setup();
      copy.pic.restore(pic.save());
      assert.equal(copy.intr.level, intr.level);
      assert.deepEqual(copy.pic.save(), pic.save());
    }),
    { numRuns: 200 },
  );
});
