import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { AccessSize } from '../machine/bus.ts';
import type { AcpiPmOptions } from './acpi.ts';
import { AcpiPm, Pm1 } from './acpi.ts';
import { IsaBridge, PciRoot } from './pci.ts';
import { HandClock, ListBus, Probe } from './testing.ts';

function setup(options: Partial<AcpiPmOptions> = {}) {
  const clock = new HandClock();
  const io = new ListBus();
  const sci = new Probe();
  const events: string[] = [];
  const pm = new AcpiPm({
    clock,
    sci,
    onPowerOff: () => events.push('off'),
    onSuspend: () => events.push('suspend'),
    onWake: () => events.push('wake'),
    ...options,
  });
  const isa = new IsaBridge({ isaLine: () => new Probe() });
  const root = new PciRoot({ io, memory: new ListBus(), pirq: (index) => isa.pirq(index) });
  root.add(1, 0, isa);
  root.add(1, 3, pm);
  return { clock, io, sci, pm, root, events };
}

test('the SMI command port switches ACPI mode, and only then events raise the SCI', () => {
  const { io, sci, pm } = setup();
  io.write(0x602, 2, Pm1.powerButton);
  pm.pressPowerButton();
  assert.equal(io.read(0x600, 2) & Pm1.powerButton, Pm1.powerButton);
  assert.equal(sci.level, false);
  io.write(0xb2, 1, 0xf1);
  assert.equal(io.read(0x604, 2) & 1, 1);
  assert.equal(sci.level, true);
  io.write(0x600, 2, Pm1.powerButton);
  assert.equal(sci.level, false);
  assert.equal(io.read(0x600, 2), 0);
  io.write(0xb2, 1, 0xf0);
  assert.equal(io.read(0x604, 2) & 1, 0);
});

test('SLP_EN with S5 powers off, with S3 suspends, with others does nothing; it reads as zero', () => {
  const { io, events } = setup({ acpiMode: true });
  io.write(0x604, 2, 0x2001);
  assert.deepEqual(events, ['off']);
  assert.equal(io.read(0x604, 2), 1);
  io.write(0x604, 2, 0x3c01);
  assert.deepEqual(events, ['off']);
  io.write(0x604, 2, 0x2401);
  assert.deepEqual(events, ['off', 'suspend']);
  assert.equal(io.read(0x604, 2), 0x0401);
});

test('asleep: what is enabled wakes, once, and tells why; the reset of falling asleep spares it', () => {
  const { io, events, pm, sci } = setup({ acpiMode: true });
  io.write(0x602, 2, Pm1.rtc | Pm1.timer);
  io.write(0x604, 2, 0x2401);
  pm.reset();
  assert.equal(pm.asleep, true);
  assert.equal(io.read(0x602, 2), Pm1.rtc | Pm1.timer);
  pm.pressSleepButton();
  assert.deepEqual(events, ['suspend']);
  pm.rtcAlarm();
  pm.rtcAlarm();
  assert.deepEqual(events, ['suspend', 'wake']);
  assert.equal(io.read(0x600, 2), Pm1.wake | Pm1.rtc | Pm1.sleepButton);
  assert.equal(io.read(0x604, 2), 1);
  assert.equal(sci.level, true);
  // The next reset is an ordinary one.
  pm.reset();
  assert.equal(io.read(0x600, 2), 0);
  assert.equal(io.read(0x602, 2), 0);
});

test('asleep: the power button wakes though nothing is enabled; the PM timer does not and waits for nobody', () => {
  const { io, events, pm, clock } = setup({ acpiMode: true });
  io.write(0x602, 2, Pm1.timer);
  io.write(0x604, 2, 0x2401);
  pm.reset();
  assert.ok(clock.timers.every(({ deadline }) => deadline === undefined));
  clock.advance(100e9);
  assert.deepEqual(events, ['suspend']);
  pm.pressPowerButton();
  assert.deepEqual(events, ['suspend', 'wake']);
  assert.equal(io.read(0x600, 2), Pm1.wake | Pm1.powerButton);
});

test('an enabled event that is there already ends the sleep at once', () => {
  const { io, events, pm } = setup({ acpiMode: true });
  pm.rtcAlarm();
  io.write(0x602, 2, Pm1.rtc);
  io.write(0x604, 2, 0x2401);
  assert.deepEqual(events, ['suspend', 'wake']);
  pm.reset();
  assert.equal(io.read(0x600, 2), Pm1.wake | Pm1.rtc);
});

test('PM timer: 3.579545 MHz, 24 bits, TMR_STS and SCI when the highest bit changes', () => {
  const { clock, io, sci } = setup({ acpiMode: true });
  clock.advance(1e9);
  assert.equal(io.read(0x608, 4), 3_579_545);
  io.write(0x602, 2, Pm1.timer);
  const half = 2 ** 23 / 3_579_545;
  clock.advance((half - 1) * 1e9 - 1000);
  assert.equal(sci.level, false);
  clock.advance(2000);
  assert.equal(sci.level, true);
  assert.equal(io.read(0x600, 2) & 1, 1);
  io.write(0x600, 2, 1);
  assert.equal(sci.level, false);
  clock.advance(half * 1e9);
  assert.equal(sci.level, true);
  assert.ok(io.read(0x608, 4) < 2 ** 24);
  const wide = setup({ timerBits: 32 });
  wide.clock.advance(10e9);
  assert.equal(wide.io.read(0x608, 4), 35_795_450);
  assert.equal(wide.io.read(0x60a, 2), 35_795_450 >>> 16);
});

test('GPE0 status, enable and SCI', () => {
  const { io, sci, pm } = setup({ acpiMode: true });
  pm.raiseGpe(3);
  assert.equal(io.read(0x620, 2), 8);
  io.write(0x622, 2, 8);
  assert.equal(sci.level, true);
  io.write(0x620, 2, 8);
  assert.equal(sci.level, false);
});

test('PMBASE and PMREGMISC move and hide the registers', () => {
  const { io, root } = setup();
  const config = (register: number, size: AccessSize, value: number): void => {
    io.write(0xcf8, 4, 0x80000b00 | register);
    io.write(0xcfc, size, value);
  };
  assert.equal(root.functions().at(-1)?.fn.configRead(0, 4), 0x71138086);
  config(0x40, 4, 0xb001);
  assert.equal(io.read(0x604, 2), 0xffff);
  assert.equal(io.read(0xb004, 2), 0);
  config(0x80, 1, 0);
  assert.equal(io.read(0xb004, 2), 0xffff);
  root.reset();
  assert.equal(io.read(0x604, 2), 0);
});

test('no sequence of guest accesses throws; state survives save and restore', () => {
  const size = fc.constantFrom<AccessSize>(1, 2, 4);
  const step = fc.tuple(fc.nat(3), fc.nat(0x3f), size, fc.integer({ min: 0, max: 0xffffffff }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const one = setup();
      for (const [what, offset, width, value] of steps) {
        if (what === 0) one.io.write(0x600 + offset, width, value);
        else if (what === 1) assert.ok(one.io.read(0x600 + offset, width) >= 0);
        else if (what === 2) one.io.write(0xb2 + (offset & 1), 1, value & 0xff);
        else one.clock.advance(value);
      }
      const two = setup();
      two.clock.advance(one.clock.now());
      two.pm.restore(one.pm.save());
      assert.deepEqual(two.pm.save(), one.pm.save());
      assert.equal(two.sci.level, one.sci.level);
    }),
    { numRuns: 150 },
  );
});
