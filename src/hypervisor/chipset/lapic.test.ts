import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { InterruptBus } from './apicbus.ts';
import { Block, Pending } from './cpu-interrupts.ts';
import { IOAPIC_BASE, IoApic } from './ioapic.ts';
import type { LocalApicOptions } from './lapic.ts';
import { LAPIC_BASE, LocalApic } from './lapic.ts';
import { fanOut } from './lines.ts';
import { PicPair } from './pic.ts';
import { HandClock, ListBus } from './testing.ts';

/** TSC at 2 GHz, so that ticks and nanoseconds cannot be mistaken for each other. */
const tsc = {
  ticksToNs: (ticks: bigint): number => Number((ticks + 1n) / 2n),
  nsToTicks: (ns: number): bigint => BigInt(ns) * 2n,
};

function setup(cpus = 1, options: Partial<LocalApicOptions> = {}) {
  const clock = new HandClock();
  const bus = new InterruptBus();
  const wakes: number[] = [];
  const apics: LocalApic[] = [];
  const spaces: ListBus[] = [];
  for (let id = 0; id < cpus; id++) {
    wakes[id] = 0;
    const apic = new LocalApic({
      id,
      bootstrap: id === 0,
      bus,
      clock,
      tsc,
      onWake: () => {
        wakes[id]++;
      },
      ...options,
    });
    bus.addLocalApic(apic);
    const space = new ListBus();
    apic.attach(space);
    apics.push(apic);
    spaces.push(space);
  }
  const ioapic = new IoApic({ bus });
  bus.addIoApic(ioapic);
  ioapic.attach(spaces[0]);
  const write = (register: number, value: number, cpu = 0): void =>
    spaces[cpu].write(LAPIC_BASE + register, 4, value);
  const read = (register: number, cpu = 0): number => spaces[cpu].read(LAPIC_BASE + register, 4);
  for (let cpu = 0; cpu < cpus; cpu++) write(0xf0, 0x1ff, cpu);
  const redirect = (pin: number, low: number, high = 0): void => {
    for (const [index, value] of [
      [0x11 + 2 * pin, high],
      [0x10 + 2 * pin, low],
    ]) {
      spaces[0].write(IOAPIC_BASE, 4, index);
      spaces[0].write(IOAPIC_BASE + 0x10, 4, value);
    }
  };
  const entry = (pin: number): number => {
    spaces[0].write(IOAPIC_BASE, 1, 0x10 + 2 * pin);
    return spaces[0].read(IOAPIC_BASE + 0x10, 4);
  };
  return { clock, bus, wakes, apics, apic: apics[0], spaces, ioapic, write, read, redirect, entry };
}

test('reset state: version, spurious vector, virtual wire on the bootstrap processor', () => {
  const { apics } = setup(2);
  for (const [cpu, apic] of apics.entries()) {
    apic.reset();
    assert.equal(apic.device.read(0x30, 4), 0x01060014);
    assert.equal(apic.device.read(0xf0, 4), 0xff);
    assert.equal(apic.device.read(0xe0, 4), 0xffffffff);
    assert.equal(apic.device.read(0x350, 4), cpu === 0 ? 0x700 : 0x10000);
    assert.equal(apic.readMsr(0x1b), cpu === 0 ? 0xfee00900n : 0xfee00800n);
    assert.equal(apic.device.read(0x20, 4), cpu << 24);
  }
});

test('priorities: TPR and the vector in service hold lower classes back', () => {
  const { apic, write, read, wakes } = setup();
  write(0x300, 0x44055);
  assert.equal(wakes[0], 1);
  write(0x300, 0x44061);
  assert.equal(apic.poll(), 'fixed');
  assert.equal(apic.poll(Block.maskable), 'none');
  assert.equal(apic.acknowledge(), 0x61);
  assert.equal(read(0xa0), 0x60);
  assert.equal(apic.poll(), 'none');
  write(0x300, 0x44068);
  assert.equal(apic.poll(), 'none', 'same class as the one in service');
  write(0xb0, 0);
  assert.equal(apic.acknowledge(), 0x68);
  write(0xb0, 0);
  apic.cr8 = 5;
  assert.equal(read(0x80), 0x50);
  assert.equal(apic.poll(), 'none');
  assert.equal(apic.acknowledge('fixed'), 0xff, 'gone meanwhile: the spurious vector');
  apic.cr8 = 4;
  assert.equal(apic.acknowledge(), 0x55);
  assert.equal(read(0x100 + 0x20), 1 << 0x15);
});

test('timer: one-shot, periodic, divider, and mode changes keep the count', () => {
  const { apic, clock, write, read } = setup();
  write(0x3e0, 0x0b);
  write(0x320, 0x40);
  write(0x380, 1000);
  clock.advance(400);
  assert.equal(read(0x390), 600);
  clock.advance(600);
  assert.equal(read(0x390), 0);
  assert.equal(apic.acknowledge(), 0x40);
  write(0xb0, 0);
  write(0x320, 0x20040);
  assert.equal(read(0x390), 0, 'an expired timer stays at zero when it becomes periodic');
  write(0x380, 100_000);
  clock.advance(250_000);
  assert.equal(read(0x390), 50_000);
  assert.equal(apic.acknowledge(), 0x40);
  write(0xb0, 0);
  write(0x320, 0x40);
  assert.equal(read(0x390), 50_000);
  clock.advance(50_000);
  assert.equal(apic.acknowledge(), 0x40);
  clock.advance(1e9);
  assert.equal(apic.poll(), 'none');
  write(0xb0, 0);
  write(0x3e0, 0x00);
  write(0x380, 1000);
  clock.advance(1999);
  assert.equal(apic.poll(), 'none');
  clock.advance(1);
  assert.equal(apic.poll(), 'fixed');
});

test('timer: a masked one counts silently; a tiny period does not storm', () => {
  const { apic, clock, write, wakes } = setup();
  write(0x3e0, 0x0b);
  write(0x320, 0x30040);
  write(0x380, 1);
  clock.advance(1e6);
  assert.equal(wakes[0], 0);
  write(0x320, 0x20040);
  let taken = 0;
  for (let i = 0; i < 1000; i++) {
    clock.advance(1000);
    if (apic.poll() !== 'fixed') continue;
    apic.acknowledge();
    write(0xb0, 0);
    taken++;
  }
  assert.ok(taken >= 40 && taken <= 52, `${taken}`);
});

test('TSC deadline fires at its tick, reads 0 afterwards, and is ignored in other modes', () => {
  const { apic, clock, write } = setup();
  assert.ok(apic.writeMsr(0x6e0, 5000n));
  assert.equal(apic.readMsr(0x6e0), 0n);
  write(0x320, 0x40040);
  apic.writeMsr(0x6e0, 5000n);
  assert.equal(apic.readMsr(0x6e0), 5000n);
  clock.advance(2499);
  assert.equal(apic.poll(), 'none');
  clock.advance(1);
  assert.equal(apic.acknowledge(), 0x40);
  assert.equal(apic.readMsr(0x6e0), 0n);
  write(0xb0, 0);
  apic.writeMsr(0x6e0, 1n);
  assert.equal(apic.poll(), 'fixed', 'a deadline in the past fires at once');
  apic.acknowledge();
  write(0xb0, 0);
  apic.writeMsr(0x6e0, 0xffffffffffffffffn);
  clock.advance(1e9);
  assert.equal(apic.poll(), 'none');
});

test('IPIs: destinations, shorthands, INIT and startup', () => {
  const { apics, write } = setup(3);
  const [one, two, three] = apics;
  write(0x310, 1 << 24);
  write(0x300, 0x4500);
  assert.equal(two.poll(), 'init');
  two.acknowledge();
  assert.equal(two.waitingForSipi, true);
  write(0x300, 0x4699);
  assert.equal(two.poll(), 'sipi');
  assert.equal(two.acknowledge(), 0x99);
  assert.equal(two.waitingForSipi, false);
  write(0x300, 0x4699);
  assert.equal(two.poll(), 'none', 'a running processor ignores a startup message');
  three.acknowledge('sipi');
  write(0x300, 0xc0400 | 0x4000);
  assert.deepEqual(
    apics.map((apic) => apic.poll()),
    ['none', 'nmi', 'nmi'],
  );
  assert.equal(three.acknowledge(), 2);
  assert.equal(three.poll(), 'none');
  two.acknowledge();
  two.device.write(0xf0, 4, 0x1ff);
  write(0x300, 0x80041);
  assert.deepEqual(
    apics.map((apic) => apic.acknowledge()),
    [0x41, 0x41, 0x41],
  );
  one.device.write(0xd0, 4, 0x01000000);
  two.device.write(0xd0, 4, 0x02000000);
  write(0x310, 0x02 << 24);
  write(0x300, 0x4851);
  assert.equal(one.poll(), 'none');
  assert.equal(two.poll(), 'fixed');
});

test('lowest priority goes to the least busy, in turns among equals', () => {
  const { apics, bus } = setup(3);
  for (const apic of apics) apic.acknowledge('sipi');
  apics[0].cr8 = 2;
  const winners: number[] = [];
  for (let i = 0; i < 4; i++) {
    bus.deliver({ vector: 0x80 + i, mode: 1, logical: false, destination: 0xffffffff, level: false });
    winners.push(apics.findIndex((apic) => apic.poll() === 'fixed'));
    apics[winners[i]].acknowledge();
    apics[winners[i]].device.write(0xb0, 4, 0);
  }
  assert.deepEqual(winners, [1, 2, 1, 2]);
});

test('error status: illegal vectors and registers, reported once until ESR is written', () => {
  const { apic, write, read } = setup();
  write(0x370, 0x45);
  write(0x300, 0x44005);
  assert.equal(read(0x280), 0);
  assert.equal(apic.acknowledge(), 0x45);
  write(0xb0, 0);
  write(0x280, 0);
  assert.equal(read(0x280), 0x20);
  read(0x40);
  write(0x280, 0);
  assert.equal(read(0x280), 0x80);
  write(0x280, 0);
  assert.equal(read(0x280), 0);
});

test('software disable masks the LVT and refuses to unmask it', () => {
  const { apic, bus, write, read } = setup();
  write(0x320, 0x40);
  write(0xf0, 0xff);
  assert.equal(read(0x320), 0x10040);
  write(0x320, 0x40);
  assert.equal(read(0x320), 0x10040);
  bus.send(0xfee00000, 0x50);
  assert.equal(apic.poll(), 'none');
  bus.send(0xfee00000, 0x400);
  assert.equal(apic.poll(), 'nmi');
});

test('IA32_APIC_BASE: transitions, relocation, x2APIC registers', () => {
  const { apic, spaces, read } = setup();
  const base = 0xfee00900n;
  assert.equal(apic.readMsr(0x802), undefined);
  assert.equal(apic.writeMsr(0x1b, base | 1n), false);
  assert.equal(apic.writeMsr(0x1b, base | (1n << 40n)), false);
  assert.ok(apic.writeMsr(0x1b, 0xd0000900n));
  assert.equal(spaces[0].read(0xd0000030, 4), 0x01060014);
  assert.equal(read(0x30), 0xffffffff);
  assert.ok(apic.writeMsr(0x1b, base));
  assert.ok(apic.writeMsr(0x1b, base | 0x400n));
  assert.equal(read(0x30), 0xffffffff, 'no MMIO in x2APIC mode');
  assert.equal(apic.writeMsr(0x1b, base), false, 'x2APIC to xAPIC does not exist');
  assert.equal(apic.readMsr(0x802), 0n);
  assert.equal(apic.readMsr(0x80d), 1n);
  assert.equal(apic.readMsr(0x80e), undefined);
  assert.equal(apic.readMsr(0x80b), undefined);
  assert.equal(apic.writeMsr(0x80b, 1n), false);
  assert.equal(apic.writeMsr(0x803, 0n), false);
  assert.equal(apic.writeMsr(0x808, 0x100n), false);
  assert.ok(apic.writeMsr(0x83f, 0x77n));
  assert.equal(apic.acknowledge(), 0x77);
  assert.ok(apic.writeMsr(0x80b, 0n));
  assert.ok(apic.writeMsr(0x830, 0xffffffff00000078n));
  assert.equal(apic.acknowledge(), 0x78);
  assert.ok(apic.writeMsr(0x1b, 0xfee00100n));
  assert.equal(apic.enabled, false);
  assert.equal(apic.writeMsr(0x1b, base | 0x400n), false, 'disabled to x2APIC does not exist');
  assert.ok(apic.writeMsr(0x1b, base));
  assert.equal(read(0xf0), 0xff);
});

test('virtual wire: the 8259 interrupts through LINT0, before and after the APIC is enabled', () => {
  const clock = new HandClock();
  const bus = new InterruptBus();
  let wakes = 0;
  const apic = new LocalApic({ id: 0, bootstrap: true, bus, clock, tsc, onWake: () => wakes++ });
  const pic = new PicPair({ output: apic.lint0 });
  bus.addLocalApic(apic);
  bus.connectPic(pic);
  pic.first.write(0, 1, 0x11);
  pic.first.write(1, 1, 0x20);
  pic.first.write(1, 1, 0x04);
  pic.first.write(1, 1, 0x03);
  pic.line(0).set(true);
  assert.equal(wakes, 1);
  assert.equal(apic.poll(), 'extint');
  assert.equal(apic.acknowledge(), 0x20);
  assert.equal(apic.pending, 0);
  apic.device.write(0xf0, 4, 0x1ff);
  apic.device.write(0x350, 4, 0x10700);
  pic.line(4).set(true);
  assert.equal(apic.poll(), 'none');
  apic.device.write(0x350, 4, 0x700);
  assert.equal(apic.pending, Pending.extint);
  apic.writeMsr(0x1b, 0xfee00100n);
  assert.equal(apic.poll(), 'extint', 'with the APIC disabled LINT0 is INTR');
  apic.lint1.set(true);
  assert.equal(apic.poll(), 'nmi');
});

test('I/O APIC: edges, masks, and an edge on a masked pin is lost', () => {
  const { apic, ioapic, redirect, write, spaces } = setup();
  spaces[0].write(IOAPIC_BASE, 4, 1);
  assert.equal(spaces[0].read(IOAPIC_BASE + 0x10, 4), 0x00170020);
  const line = ioapic.line(14);
  redirect(14, 0x10082);
  line.set(true);
  line.set(false);
  redirect(14, 0x82);
  assert.equal(apic.poll(), 'none');
  line.set(true);
  assert.equal(apic.acknowledge(), 0x82);
  write(0xb0, 0);
  assert.equal(apic.poll(), 'none', 'one interrupt an edge');
});

test('I/O APIC: level, remote IRR, EOI by the local APIC, by register, and with broadcasts suppressed', () => {
  const { apic, ioapic, redirect, entry, write, spaces, read } = setup();
  const line = ioapic.line(11);
  redirect(11, 0x1a084);
  line.set(true);
  assert.equal(apic.poll(), 'none');
  redirect(11, 0xa084);
  assert.equal(entry(11), 0xe084);
  assert.equal(apic.acknowledge(), 0x84);
  assert.equal(read(0x180 + 0x40), 1 << 4);
  write(0xb0, 0);
  assert.equal(apic.acknowledge(), 0x84, 'still asserted: asks again');
  line.set(false);
  write(0xb0, 0);
  assert.equal(entry(11), 0xa084);
  assert.equal(apic.poll(), 'none');
  write(0xf0, 0x11ff);
  line.set(true);
  apic.acknowledge();
  line.set(false);
  write(0xb0, 0);
  assert.equal(entry(11), 0xe084, 'the broadcast is suppressed');
  spaces[0].write(IOAPIC_BASE + 0x40, 4, 0x84);
  assert.equal(entry(11), 0xa084);
  line.set(true);
  redirect(11, 0x2084);
  assert.equal(entry(11) & 0x4000, 0, 'edge trigger clears remote IRR');
});

test('I/O APIC: NMI, ExtINT and logical destinations', () => {
  const { apics, ioapic, redirect, bus } = setup(2);
  apics[1].acknowledge('sipi');
  bus.connectPic({ acknowledge: () => 0x33 });
  redirect(0, 0x700);
  ioapic.line(0).set(true);
  assert.equal(apics[0].poll(), 'extint');
  assert.equal(apics[0].acknowledge(), 0x33);
  assert.equal(apics[0].poll(), 'none');
  redirect(3, 0x400, 1 << 24);
  ioapic.line(3).set(true);
  assert.equal(apics[1].poll(), 'nmi');
  apics[1].acknowledge();
  apics[0].device.write(0xd0, 4, 0x01000000);
  apics[1].device.write(0xd0, 4, 0x02000000);
  redirect(5, 0x890, 0x03 << 24);
  fanOut(ioapic.line(5)).set(true);
  assert.deepEqual(
    apics.map((apic) => apic.acknowledge()),
    [0x90, 0x90],
  );
});

test('MSI reaches the addressed local APIC and nothing outside FEExxxxxh', () => {
  const { apics, bus } = setup(2);
  apics[1].acknowledge('sipi');
  bus.send(0xfee01000, 0x4061);
  assert.equal(apics[0].poll(), 'none');
  assert.equal(apics[1].acknowledge(), 0x61);
  bus.send(0x1000, 0x61);
  bus.send(0xfee00000, 0x8061);
  assert.equal(apics[0].poll(), 'none');
});

test('no sequence of guest accesses throws; pending agrees with poll; state survives', () => {
  const registers = fc.integer({ min: 0, max: 0x3f }).map((register) => register * 16);
  const value = fc.oneof(fc.nat(0xffff), fc.nat(0x7ffff), fc.integer({ min: 0, max: 0xffffffff }));
  const step = fc.tuple(fc.nat(9), registers, value);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const one = setup(2);
      for (const [what, register, data] of steps) {
        const cpu = data & 1;
        if (what < 3) one.spaces[cpu].write(LAPIC_BASE + register, 4, data);
        else if (what === 3) one.spaces[cpu].read(LAPIC_BASE + register + (data & 3), 1);
        else if (what === 4) one.apics[cpu].writeMsr(0x800 + (register >> 4), BigInt(data));
        else if (what === 5) one.apics[cpu].writeMsr(0x1b, 0xfee00000n | BigInt(data & 0xd00));
        else if (what === 6) one.redirect(data % 24, data, register << 20);
        else if (what === 7) one.ioapic.line(data % 24).set((register & 16) !== 0);
        else if (what === 8) assert.ok(one.apics[cpu].acknowledge() <= 0xff);
        else one.clock.advance(data);
        for (const apic of one.apics) assert.equal(apic.poll() !== 'none', apic.pending !== 0);
      }
      const two = setup(2);
      two.clock.advance(one.clock.now());
      two.ioapic.restore(one.ioapic.save());
      assert.deepEqual(two.ioapic.save(), one.ioapic.save());
      for (const [cpu, apic] of one.apics.entries()) {
        two.apics[cpu].restore(apic.save());
        assert.deepEqual(two.apics[cpu].save(), apic.save());
        assert.equal(two.apics[cpu].poll(), apic.poll());
      }
    }),
    { numRuns: 200 },
  );
});
