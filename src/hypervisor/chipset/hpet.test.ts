import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HPET_BASE, Hpet } from './hpet.ts';
import { HandClock, ListBus, Probe } from './testing.ts';
import { MIN_PERIOD_NS } from './ticks.ts';

const CONFIG = 0x10;
const STATUS = 0x20;
const COUNTER = 0xf0;
const timer = (n: number): { config: number; comparator: number } => ({
  config: 0x100 + 0x20 * n,
  comparator: 0x108 + 0x20 * n,
});
const ENABLE = 1;
const LEGACY = 2;
const LEVEL = 2;
const INTERRUPT = 4;
const PERIODIC = 8;
const SET = 0x40;
const NARROW = 0x100;
const route = (pin: number): number => pin << 9;

function setup() {
  const clock = new HandClock();
  const bus = new ListBus();
  const pins = new Map([2, 8, 16, 23].map((pin) => [pin, new Probe()]));
  const legacy = [new Probe(), new Probe()] as const;
  const modes: boolean[] = [];
  const hpet = new Hpet({ clock, routes: pins, legacy, onLegacy: (active) => modes.push(active) });
  hpet.attach(bus);
  const read = (offset: number): number => bus.read(HPET_BASE + offset, 4);
  const write = (offset: number, value: number): void => bus.write(HPET_BASE + offset, 4, value);
  const read64 = (offset: number): bigint => BigInt(read(offset)) | (BigInt(read(offset + 4)) << 32n);
  const write64 = (offset: number, value: bigint): void => {
    write(offset, Number(value & 0xffff_ffffn));
    write(offset + 4, Number(value >> 32n));
  };
  const pin = (n: number): Probe => {
    const probe = pins.get(n);
    assert.ok(probe);
    return probe;
  };
  return { clock, bus, hpet, pin, legacy, modes, read, write, read64, write64 };
}

test('says what it is: 100 MHz, three timers that can do everything, their routes', () => {
  const { read, read64 } = setup();
  assert.equal(read(0), 0x8086_a201);
  assert.equal(read(4), 10_000_000);
  for (const n of [0, 1, 2]) {
    assert.equal(read(timer(n).config), 0x30);
    assert.equal(read(timer(n).config + 4), ((1 << 2) | (1 << 8) | (1 << 16) | (1 << 23)) >>> 0);
    assert.equal(read64(timer(n).comparator), 0xffff_ffff_ffff_ffffn);
  }
  assert.equal(read(0x180), 0);
  assert.equal(read(0x3f8), 0);
});

test('the counter runs while enabled, stands still while not, and takes what is written', () => {
  const { clock, read64, write, write64 } = setup();
  clock.advance(1000);
  assert.equal(read64(COUNTER), 0n);
  write(CONFIG, ENABLE);
  clock.advance(12_345);
  assert.equal(read64(COUNTER), 1234n);
  write(CONFIG, 0);
  clock.advance(1e9);
  assert.equal(read64(COUNTER), 1234n);
  write64(COUNTER, 0xffff_ffff_0000_0000n);
  write(CONFIG, ENABLE);
  clock.advance(50);
  assert.equal(read64(COUNTER), 0xffff_ffff_0000_0005n);
});

test('the two halves of one read are of one instant', () => {
  const { clock, read, write, write64 } = setup();
  write64(COUNTER, 0x1_ffff_ffffn);
  write(CONFIG, ENABLE);
  const low = read(COUNTER);
  clock.advance(20);
  assert.equal(low, 0xffff_ffff);
  assert.equal(read(COUNTER + 4), 1);
  assert.equal(read(COUNTER + 4), 2);
});

test('one-shot, edge: interrupts once, at the tick, on the pin it is routed to', () => {
  const { clock, pin, write, read } = setup();
  write(timer(2).config, INTERRUPT | route(16));
  write(timer(2).comparator, 1000);
  write(timer(2).comparator + 4, 0);
  write(CONFIG, ENABLE);
  clock.advance(9_999);
  assert.equal(pin(16).edges, 0);
  clock.advance(1);
  assert.equal(pin(16).edges, 1);
  assert.equal(read(STATUS), 0);
  clock.advance(1e12);
  assert.equal(pin(16).edges, 1);
});

test('level: asserted until its status is cleared; status comes without the interrupt too', () => {
  const { clock, pin, write, write64, read } = setup();
  write(CONFIG, ENABLE);
  write(timer(1).config, INTERRUPT | LEVEL | route(23));
  write64(timer(1).comparator, 100n);
  clock.advance(5000);
  assert.deepEqual([pin(23).level, read(STATUS)], [true, 2]);
  write(timer(1).config, LEVEL | route(23));
  assert.deepEqual([pin(23).level, read(STATUS)], [false, 2]);
  write(STATUS, 2);
  write64(timer(1).comparator, 1000n);
  clock.advance(20_000);
  assert.deepEqual([pin(23).level, read(STATUS)], [false, 2]);
  write(timer(1).config, INTERRUPT | LEVEL | route(23));
  assert.equal(pin(23).level, true);
  write(STATUS, 2);
  assert.deepEqual([pin(23).level, read(STATUS)], [false, 0]);
});

test('periodic: set the first match, then the period; the comparator moves on', () => {
  const { clock, pin, write, read64 } = setup();
  write(CONFIG, ENABLE);
  write(timer(0).config, INTERRUPT | PERIODIC | SET | NARROW | route(2));
  write(timer(0).comparator, 50_000);
  write(timer(0).comparator, 10_000);
  clock.advance(499_999);
  assert.equal(pin(2).edges, 0);
  clock.advance(1);
  assert.equal(pin(2).edges, 1);
  assert.equal(read64(timer(0).comparator), 60_000n);
  clock.advance(1_000_000);
  assert.equal(pin(2).edges, 11);
  // What was missed is one interrupt; the phase stays.
  clock.stall(1_050_000);
  assert.equal(pin(2).edges, 12);
  clock.advance(50_000);
  assert.equal(pin(2).edges, 13);
});

test('a period written in one piece of 64 bits with its bit set is the first match as well', () => {
  const { clock, pin, write, write64, read64 } = setup();
  write(CONFIG, ENABLE);
  write(timer(0).config, INTERRUPT | PERIODIC | SET | route(2));
  write64(timer(0).comparator, 0x1_0000_0000n);
  assert.equal(read64(timer(0).comparator), 0x1_0000_0000n);
  clock.advance(0x1_0000_0000 * 10);
  assert.equal(pin(2).edges, 1);
  assert.equal(read64(timer(0).comparator), 0x2_0000_0000n);
});

test('however short a period, interrupts come at most every MIN_PERIOD_NS', () => {
  const { clock, pin, write } = setup();
  write(CONFIG, ENABLE);
  write(timer(0).config, INTERRUPT | PERIODIC | SET | NARROW | route(2));
  write(timer(0).comparator, 1);
  clock.advance(1e6);
  assert.ok(pin(2).edges <= 1e6 / MIN_PERIOD_NS + 1, String(pin(2).edges));
  assert.ok(pin(2).edges >= 1e6 / MIN_PERIOD_NS / 2, String(pin(2).edges));
});

test('32-bit mode: the upper halves are gone, and the match comes again each turn', () => {
  const { clock, pin, write, write64, read64 } = setup();
  write64(COUNTER, 0x5_ffff_fff0n);
  write(timer(2).config, INTERRUPT | NARROW | route(8));
  write64(timer(2).comparator, 0x7_0000_0010n);
  assert.equal(read64(timer(2).comparator), 0x10n);
  write(CONFIG, ENABLE);
  clock.advance(0x20 * 10);
  assert.equal(pin(8).edges, 1);
  clock.advance(0x1_0000_0000 * 10);
  assert.equal(pin(8).edges, 2);
});

test('a comparator that was just passed matches at once; one far behind does not', () => {
  const { clock, pin, write, write64 } = setup();
  write64(COUNTER, 0x10_0000_0000n);
  write(CONFIG, ENABLE);
  write(timer(2).config, INTERRUPT | route(8));
  write64(timer(2).comparator, 0xf_ffff_0000n);
  clock.advance(1);
  assert.equal(pin(8).edges, 1);
  write64(timer(2).comparator, 0x1_0000_0000n);
  clock.advance(1e9);
  assert.equal(pin(8).edges, 1);
});

test('legacy replacement: timers 0 and 1 are IRQ 0 and 8 while the counter is enabled', () => {
  const { clock, legacy, modes, pin, write, write64, hpet } = setup();
  write(CONFIG, LEGACY);
  assert.deepEqual(modes, []);
  write(CONFIG, LEGACY | ENABLE);
  assert.deepEqual(modes, [true]);
  for (const n of [0, 1]) {
    write(timer(n).config, INTERRUPT | route(16));
    write64(timer(n).comparator, 1000n * BigInt(n + 1));
  }
  clock.advance(10_000);
  assert.deepEqual([legacy[0].edges, legacy[1].edges, pin(16).edges], [1, 0, 0]);
  clock.advance(10_000);
  assert.deepEqual([legacy[0].edges, legacy[1].edges, pin(16).edges], [1, 1, 0]);
  hpet.reset();
  assert.deepEqual(modes, [true, false]);
});

test('a route that is not there is not taken', () => {
  const { read, write } = setup();
  write(timer(0).config, route(16));
  write(timer(0).config, route(5));
  assert.equal(read(timer(0).config), 0x30 | route(16));
});

test('no sequence of guest accesses throws; state survives save and restore', () => {
  const offset = fc.oneof(
    fc.constantFrom(CONFIG, STATUS, COUNTER, COUNTER + 4, 0x100, 0x108, 0x10c, 0x120, 0x128, 0x140, 0x148),
    fc.nat(0x3ff),
  );
  const value = fc.oneof(fc.nat(0xffff), fc.integer({ min: 0, max: 0xffff_ffff }));
  const step = fc.tuple(fc.nat(3), offset, fc.constantFrom<1 | 2 | 4>(1, 2, 4, 4, 4), value);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const one = setup();
      for (const [what, at, size, data] of steps) {
        if (what === 0) assert.ok(one.bus.read(HPET_BASE + at, size) >= 0);
        else if (what === 1) one.clock.stall(data);
        else one.bus.write(HPET_BASE + at, size, data);
      }
      const two = setup();
      two.clock.advance(one.clock.now());
      two.hpet.restore(one.hpet.save());
      assert.deepEqual(two.hpet.save(), one.hpet.save());
      for (const side of [one, two]) side.clock.stall(3e6);
      assert.deepEqual(two.hpet.save(), one.hpet.save());
      for (const n of [2, 8, 16, 23]) assert.equal(two.pin(n).level, one.pin(n).level);
    }),
    { numRuns: 300 },
  );
});
