import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Rtc } from './rtc.ts';
import { HandClock, HandDoor, ListBus, Probe } from './testing.ts';

const EPOCH = Date.UTC(2026, 10, 22, 13, 59, 58);

function setup(ramBytes = 256 * 2 ** 20) {
  const clock = new HandClock();
  const door = new HandDoor(clock, EPOCH);
  const irq = new Probe();
  const io = new ListBus();
  const masks: boolean[] = [];
  const alarms: number[] = [];
  const rtc = new Rtc({
    door,
    irq,
    ramBytes,
    bootDevices: [3, 2],
    bytes: { 96: 7 },
    onNmiMask: (masked) => masks.push(masked),
    onAlarm: () => alarms.push(Math.round(clock.now() / 1e9)),
  });
  rtc.attach(io);
  const get = (index: number): number => {
    io.write(0x70, 1, index);
    return io.read(0x71, 1);
  };
  const put = (index: number, value: number): void => {
    io.write(0x70, 1, index);
    io.write(0x71, 1, value);
  };
  const time = (): number[] => [0x32, 9, 8, 7, 4, 2, 0].map(get);
  return { clock, door, irq, io, rtc, get, put, time, masks, alarms };
}

test('shows the wall clock in BCD and binary, 24 and 12 hours', () => {
  const { time, put, get, clock } = setup();
  assert.deepEqual(time(), [0x20, 0x26, 0x11, 0x22, 0x13, 0x59, 0x58]);
  assert.equal(get(6), 1, '22 November 2026 is a Sunday');
  put(0x0b, 0x06);
  assert.deepEqual(time(), [20, 26, 11, 22, 13, 59, 58]);
  put(0x0b, 0x00);
  assert.equal(get(4), 0x81);
  clock.advance(2e9);
  assert.deepEqual(time(), [0x20, 0x26, 0x11, 0x22, 0x82, 0x00, 0x00]);
  assert.equal(get(0x0d), 0x80);
});

test('a guest sets the time under SET; the clock goes on from there', () => {
  const { time, put, get, clock } = setup();
  put(0x0b, 0x82);
  clock.advance(5e9);
  for (const [index, value] of [
    [0x32, 0x19],
    [9, 0x99],
    [8, 0x12],
    [7, 0x31],
    [4, 0x23],
    [2, 0x59],
    [0, 0x59],
    [6, 0x06],
  ]) {
    put(index, value);
  }
  assert.equal(get(0), 0x59);
  put(0x0b, 0x02);
  clock.advance(1e9);
  assert.deepEqual(time(), [0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00]);
  assert.equal(get(6), 7);
});

test('UIP precedes the change of the second', () => {
  const { get, clock } = setup();
  assert.equal(get(0x0a), 0x26);
  clock.advance(999e6);
  assert.equal(get(0x0a), 0xa6);
  clock.advance(1e6);
  assert.equal(get(0x0a), 0x26);
});

test('update-ended and alarm interrupts; register C clears what it shows', () => {
  const { get, put, clock, irq } = setup();
  clock.advance(250e6);
  put(0x0b, 0x12);
  get(0x0c);
  clock.advance(749e6);
  assert.equal(irq.level, false);
  clock.advance(1e6);
  assert.equal(irq.level, true);
  clock.advance(5e9);
  assert.equal(irq.edges, 1, 'no further interrupt until register C was read');
  assert.equal(get(0x0c) & 0x90, 0x90);
  assert.equal(irq.level, false);
  put(0x0b, 0x22);
  put(5, 0xff);
  put(3, 0x01);
  put(1, 0x30);
  clock.advance(3600e9);
  assert.equal(irq.edges, 2);
  assert.equal(get(0x0c) & 0xa0, 0xa0);
  put(1, 0x75);
  clock.advance(86400e9);
  assert.equal(get(0x0c) & 0x20, 0, 'an impossible second never matches');
});

test('asleep the clock waits for its alarm alone, tells each, and interrupts nobody', () => {
  const { get, put, clock, irq, rtc, alarms } = setup();
  for (const index of [1, 3]) put(index, 0xff);
  put(5, 0xff);
  put(0x0b, 0x72);
  rtc.onBattery = true;
  assert.equal(irq.level, false);
  assert.equal(clock.timers.filter(({ deadline }) => deadline !== undefined).length, 1);
  clock.advance(3.5e9);
  assert.deepEqual(alarms, [1, 2, 3]);
  assert.equal(irq.edges, 0);
  rtc.onBattery = false;
  assert.equal(irq.level, true);
  rtc.reset();
  assert.equal(irq.level, false);
  assert.equal(get(0x0b), 0x02);
  rtc.onBattery = true;
  assert.ok(clock.timers.every(({ deadline }) => deadline === undefined));
});

test('an alarm whose interrupt is off is told to nobody', () => {
  const { put, get, clock, alarms } = setup();
  for (const index of [1, 3, 5]) put(index, 0xff);
  clock.advance(5e9);
  assert.equal(get(0x0c) & 0x20, 0x20);
  assert.deepEqual(alarms, []);
});

test('periodic interrupts at 1024 Hz and 2 Hz; flags without interrupts', () => {
  const { get, put, clock, irq } = setup();
  clock.advance(10e6);
  assert.equal(get(0x0c), 0x40);
  put(0x0b, 0x42);
  for (let i = 0; i < 2000; i++) {
    clock.advance(0.5e6);
    if (irq.level) get(0x0c);
  }
  assert.ok(irq.edges >= 1022 && irq.edges <= 1026, `${irq.edges}`);
  put(0x0a, 0x2f);
  const before = irq.edges;
  for (let i = 0; i < 100; i++) {
    clock.advance(100e6);
    if (irq.level) assert.equal(get(0x0c) & 0xc0, 0xc0);
  }
  assert.equal(irq.edges - before, 20);
});

test('a period that begins while register C is read has an interrupt of its own', () => {
  const { get, put, clock, irq } = setup();
  put(0x0b, 0x42);
  clock.advance(1e6);
  assert.equal(irq.level, true);
  const now = clock.now.bind(clock);
  let looks = 0;
  clock.now = () => now() + 1e6 * looks++;
  for (let i = 1; i < 10; i++) {
    get(0x0c);
    assert.deepEqual([irq.level, irq.edges], [true, 1 + i]);
  }
});

test('CMOS: memory size, boot order, checksum, the second bank, and the NMI mask', () => {
  const { get, io, masks, rtc } = setup(3 * 2 ** 30);
  const word = (index: number): number => get(index) | (get(index + 1) << 8);
  assert.equal(word(0x15), 640);
  assert.equal(word(0x17), 0xffff);
  assert.equal(word(0x30), 0xffff);
  assert.equal(word(0x34), (3 * 2 ** 30 - 16 * 2 ** 20) / 65536);
  assert.equal(get(0x3d), 0x23);
  assert.equal(get(0x60), 7);
  let sum = 0;
  for (let index = 0x10; index < 0x2e; index++) sum += get(index);
  assert.equal((get(0x2e) << 8) | get(0x2f), sum);
  io.write(0x72, 1, 0x10);
  io.write(0x73, 1, 0xab);
  assert.equal(io.read(0x73, 1), 0xab);
  io.write(0x70, 1, 0x8f);
  assert.equal(rtc.nmiMasked, true);
  io.write(0x70, 1, 0x0f);
  assert.deepEqual(masks, [true, false]);
});

test('no sequence of guest accesses throws; state survives save and restore', () => {
  const step = fc.tuple(
    fc.boolean(),
    fc.oneof(fc.nat(0x0e), fc.constantFrom(0x32, 0x7f)),
    fc.nat(255),
    fc.nat(3e9),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const one = setup();
      for (const [write, index, value, ns] of steps) {
        if (write) one.put(index, value);
        else assert.ok(one.get(index) <= 0xff);
        one.clock.advance(ns / 100);
      }
      const two = setup();
      two.clock.advance(one.clock.now());
      two.rtc.restore(one.rtc.save());
      assert.equal(two.irq.level, one.irq.level);
      for (let index = 0; index < 0x34; index++) assert.equal(two.get(index), one.get(index), `${index}`);
    }),
    { numRuns: 150 },
  );
});
