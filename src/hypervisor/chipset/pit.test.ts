import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { PIT_HZ, Pit } from './pit.ts';
import { HandClock, ListBus, Probe } from './testing.ts';
import { tickScale } from './ticks.ts';

const scale = tickScale(PIT_HZ);

function setup() {
  const clock = new HandClock();
  const io = new ListBus();
  const irq0 = new Probe();
  const pit = new Pit({ clock, irq0 });
  pit.attach(io);
  return {
    clock,
    io,
    irq0,
    pit,
    out: (port: number, value: number): void => io.write(port, 1, value),
    in: (port: number): number => io.read(port, 1),
    /** Moves time to the start of CLK `tick`. */
    toTick: (tick: number): void => clock.advance(scale.toNs(tick) - clock.now()),
    count(channel: number): number {
      io.write(0x43, 1, channel << 6);
      return io.read(0x40 + channel, 1) | (io.read(0x40 + channel, 1) << 8);
    },
    status(channel: number): number {
      io.write(0x43, 1, 0xe0 | (2 << channel));
      return io.read(0x40 + channel, 1);
    },
  };
}

test('mode 2 interrupts at 1193182 / count and counts from count down to 1', () => {
  const { clock, out, irq0, toTick, count } = setup();
  out(0x43, 0x34);
  out(0x40, 100);
  out(0x40, 0);
  assert.equal(irq0.level, true);
  const before = irq0.edges;
  toTick(1);
  assert.equal(count(0), 100);
  toTick(100);
  assert.equal(count(0), 1);
  toTick(101);
  assert.equal(count(0), 100);
  assert.equal(irq0.edges, before + 1);
  clock.advance(1e9 - clock.now());
  assert.equal(irq0.edges - before, Math.floor((PIT_HZ - 1) / 100));
});

test('missed periods become one edge and the phase stays', () => {
  const { clock, out, irq0, toTick } = setup();
  out(0x43, 0x34);
  out(0x40, 0xe8);
  out(0x40, 0x03);
  const before = irq0.edges;
  clock.stall(scale.toNs(5500));
  assert.equal(irq0.edges, before + 1);
  toTick(6000);
  assert.equal(irq0.edges, before + 1);
  toTick(6001);
  assert.equal(irq0.edges, before + 2);
});

test('a period shorter than a host can follow is bounded', () => {
  const { clock, out, irq0 } = setup();
  out(0x43, 0x14);
  out(0x40, 1);
  const before = irq0.edges;
  clock.advance(1e6);
  assert.ok(irq0.edges - before <= 51);
});

test('mode 0 goes high after count + 1 clocks, once, and goes on counting', () => {
  const { out, irq0, toTick, count, status } = setup();
  out(0x43, 0x30);
  out(0x40, 50);
  assert.equal(status(0) & 0x40, 0x40, 'null count until both bytes are written');
  out(0x40, 0);
  assert.equal(irq0.level, false);
  toTick(50);
  assert.equal(irq0.level, false);
  toTick(51);
  assert.equal(irq0.level, true);
  assert.equal(status(0), 0xb0);
  toTick(52);
  assert.equal(count(0), 0xffff);
  out(0x43, 0x30);
  assert.equal(irq0.level, false, 'the control word sets OUT low');
});

test('mode 3 is a square wave that counts by two, odd counts with a longer high half', () => {
  const { out, toTick, count, io } = setup();
  out(0x61, 1);
  out(0x43, 0xb6);
  out(0x42, 5);
  out(0x42, 0);
  const seen: [number, number][] = [];
  for (let tick = 1; tick <= 10; tick++) {
    toTick(tick);
    seen.push([count(2), (io.read(0x61, 1) >> 5) & 1]);
  }
  const period: [number, number][] = [
    [4, 1],
    [2, 1],
    [0, 1],
    [4, 0],
    [2, 0],
  ];
  assert.deepEqual(seen, [...period, ...period]);
});

test('the gate of counter 2 holds mode 0, as TSC calibration uses it', () => {
  const { out, io, toTick, count } = setup();
  out(0x61, 0);
  out(0x43, 0xb0);
  out(0x42, 100);
  out(0x42, 0);
  toTick(500);
  assert.equal(io.read(0x61, 1) & 0x20, 0);
  assert.equal(count(2), 100);
  out(0x61, 1);
  toTick(599);
  assert.equal(io.read(0x61, 1) & 0x20, 0);
  toTick(600);
  assert.equal(io.read(0x61, 1) & 0x21, 0x21);
});

test('modes 1 and 5 are started by the gate, mode 4 by the count', () => {
  const { out, io, toTick } = setup();
  const out2 = (): number => (io.read(0x61, 1) >> 5) & 1;
  out(0x43, 0x92);
  out(0x42, 10);
  toTick(20);
  assert.equal(out2(), 1);
  out(0x61, 1);
  toTick(21);
  assert.equal(out2(), 0);
  toTick(30);
  assert.equal(out2(), 0);
  toTick(31);
  assert.equal(out2(), 1);
  out(0x43, 0x98);
  out(0x42, 10);
  const strobe: number[] = [];
  for (let tick = 32; tick <= 44; tick++) {
    toTick(tick);
    strobe.push(out2());
  }
  assert.deepEqual(strobe, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1]);
  out(0x61, 0);
  out(0x43, 0x9a);
  out(0x42, 3);
  out(0x61, 1);
  toTick(48);
  assert.equal(out2(), 0);
  toTick(49);
  assert.equal(out2(), 1);
});

test('BCD counts, latched counts hold, and a count written in mode 2 waits for the period to end', () => {
  const { out, in: inb, toTick, count } = setup();
  out(0x43, 0x35);
  out(0x40, 0x00);
  out(0x40, 0x10);
  toTick(2);
  assert.equal(count(0), 0x0999);
  out(0x43, 0x00);
  toTick(500);
  out(0x43, 0x00);
  assert.equal(inb(0x40) | (inb(0x40) << 8), 0x0999, 'a second latch command is ignored');
  out(0x40, 0x50);
  out(0x40, 0x00);
  toTick(1000);
  assert.equal(count(0), 0x0001);
  toTick(1001);
  assert.equal(count(0), 0x0050);
});

test('port 61h: refresh toggles every 15 µs', () => {
  const { clock, io } = setup();
  let flips = 0;
  let last = io.read(0x61, 1) & 0x10;
  for (let i = 0; i < 1000; i++) {
    clock.advance(1000);
    const now = io.read(0x61, 1) & 0x10;
    if (now !== last) flips++;
    last = now;
  }
  assert.equal(flips, 66);
});

test('no sequence of guest accesses throws; state survives save and restore', () => {
  const step = fc.tuple(
    fc.boolean(),
    fc.constantFrom(0x40, 0x41, 0x42, 0x43, 0x61),
    fc.nat(255),
    fc.nat(100_000),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const one = setup();
      for (const [write, port, value, ns] of steps) {
        if (write) one.out(port, value);
        else assert.ok(one.in(port) <= 0xff);
        one.clock.advance(ns);
      }
      const two = setup();
      two.clock.advance(one.clock.now());
      two.pit.restore(one.pit.save());
      assert.deepEqual(two.pit.save(), one.pit.save());
      for (const port of [0x40, 0x41, 0x42, 0x61]) assert.equal(two.in(port), one.in(port));
    }),
    { numRuns: 200 },
  );
});
