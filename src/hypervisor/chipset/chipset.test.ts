import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AcpiPm } from './acpi.ts';
import { InterruptBus } from './apicbus.ts';
import { IOAPIC_BASE, IoApic } from './ioapic.ts';
import { LocalApic } from './lapic.ts';
import { fanOut, WiredOr } from './lines.ts';
import { assignResources, HostBridge, IsaBridge, PciRoot } from './pci.ts';
import { DescribedFunction } from './pci-described.ts';
import { PicPair } from './pic.ts';
import { Pit } from './pit.ts';
import { Rtc } from './rtc.ts';
import { SystemControl } from './sysctl.ts';
import { HandClock, HandDoor, ListBus } from './testing.ts';

/** The whole chipset wired as in a PC. */
function machine() {
  const clock = new HandClock();
  const door = new HandDoor(clock, Date.UTC(2026, 0, 1));
  const io = new ListBus();
  const memory = new ListBus();
  const events: string[] = [];
  const bus = new InterruptBus();
  const lapic = new LocalApic({
    id: 0,
    bootstrap: true,
    bus,
    clock,
    tsc: { ticksToNs: (ticks) => Number(ticks), nsToTicks: (ns) => BigInt(ns) },
    onWake: () => events.push('wake'),
  });
  lapic.attach(memory);
  bus.addLocalApic(lapic);
  const ioapic = new IoApic({ bus });
  ioapic.attach(memory);
  bus.addIoApic(ioapic);
  const pic = new PicPair({ output: lapic.lint0, levelIrqs: [9, 10, 11] });
  pic.attach(io);
  bus.connectPic(pic);
  const wires = Array.from(
    { length: 16 },
    (_wire, irq) => new WiredOr(fanOut(pic.line(irq), ioapic.line(irq === 0 ? 2 : irq))),
  );
  const isaIrq = (irq: number) => wires[irq].input();
  const pit = new Pit({ clock, irq0: isaIrq(0) });
  pit.attach(io);
  const rtc = new Rtc({ door, irq: isaIrq(8), ramBytes: 256 * 2 ** 20 });
  rtc.attach(io);
  const system = new SystemControl({ onReset: (kind) => events.push(kind), onA20: () => {} });
  system.attach(io);
  const isa = new IsaBridge({ isaLine: isaIrq });
  const pci = new PciRoot({
    io,
    memory,
    pirq: (index) => isa.pirq(index),
    resetControl: system.resetControl,
  });
  const pm = new AcpiPm({ clock, sci: isaIrq(9), onPowerOff: () => events.push('off') });
  pci.add(0, 0, new HostBridge());
  pci.add(1, 0, isa);
  pci.add(1, 3, pm);
  return { clock, io, memory, events, bus, lapic, ioapic, pic, pit, rtc, isa, pci, pm };
}

function describe(log: number[]) {
  return {
    name: 'disk',
    vendorId: 0x1af4,
    deviceId: 0x1042,
    revision: 1,
    classCode: 0x018000,
    subsystemVendorId: 0x1af4,
    subsystemId: 0x1042,
    interruptPin: 1,
    bars: [{ index: 4, size: 0x4000, device: { read: () => 7, write() {} } }],
    capabilities: [
      { id: 9, body: new Uint8Array([16, 1]) },
      {
        id: 9,
        body: new Uint8Array(18),
        writeMask: new Uint8Array(18).fill(0xff, 2),
        read: (offset: number) => (offset === 16 ? 0xcafe : undefined),
        write: (offset: number, _size: number, value: number) => {
          log.push(offset, value);
        },
      },
    ],
    msix: { vectors: 2, bar: 1 },
  };
}

test('before any firmware: the timer reaches the processor through the 8259 and LINT0', () => {
  const { clock, io, lapic, events } = machine();
  for (const [port, base, cascade] of [
    [0x20, 0x20, 4],
    [0xa0, 0x28, 2],
  ]) {
    for (const [at, value] of [
      [0, 0x11],
      [1, base],
      [1, cascade],
      [1, 1],
    ]) {
      io.write(port + at, 1, value);
    }
  }
  io.write(0x43, 1, 0x34);
  io.write(0x40, 1, 0xa9);
  io.write(0x40, 1, 0x04);
  let ticks = 0;
  for (let ms = 0; ms < 100; ms++) {
    clock.advance(1e6);
    while (lapic.poll() === 'extint') {
      if (lapic.acknowledge() === 0x20) ticks++;
      io.write(0x20, 1, 0x20);
    }
  }
  assert.ok(ticks >= 99 && ticks <= 101, `${ticks}`);
  assert.equal(events.length, ticks);
});

test('with the I/O APIC: the timer on pin 2, the power button as a level on pin 9', () => {
  const { clock, io, memory, lapic, pm } = machine();
  memory.write(0xfee000f0, 4, 0x1ff);
  memory.write(0xfee00350, 4, 0x10000);
  const redirect = (pin: number, low: number): void => {
    memory.write(IOAPIC_BASE, 4, 0x10 + 2 * pin);
    memory.write(IOAPIC_BASE + 0x10, 4, low);
  };
  redirect(2, 0x30);
  redirect(9, 0x8039);
  io.write(0x43, 1, 0x34);
  io.write(0x40, 1, 0);
  io.write(0x40, 1, 0);
  clock.advance(60e6);
  assert.equal(lapic.acknowledge(), 0x30);
  memory.write(0xfee000b0, 4, 0);
  io.write(0xb2, 1, 0xf1);
  io.write(0x602, 2, 0x100);
  pm.pressPowerButton();
  assert.equal(lapic.acknowledge(), 0x39);
  io.write(0x600, 2, 0x100);
  memory.write(0xfee000b0, 4, 0);
  assert.equal(lapic.poll(), 'none');
});

test('a described function: window capability, INTx, then MSI-X', () => {
  const { memory, lapic, pci, bus, ioapic } = machine();
  const log: number[] = [];
  let resets = 0;
  const fn = new DescribedFunction(describe(log), bus, () => {
    resets++;
  });
  pci.add(2, 0, fn);
  assignResources(pci, {
    io: { base: 0xc000, limit: 0x10000 },
    memory: { base: 0xc0000000, limit: 0xfec00000 },
  });
  assert.equal(memory.read(fn.barBase(4) ?? 0, 1), 7);
  const window = fn.configRead(fn.configRead(0x34, 1) + 1, 1);
  assert.equal(fn.configRead(window + 16, 4), 0xcafe);
  fn.configWrite(window + 8, 4, 0x1234);
  assert.deepEqual(log, [8, 0x1234]);
  assert.equal(fn.configRead(window + 8, 4), 0x1234);

  memory.write(0xfee000f0, 4, 0x1ff);
  memory.write(IOAPIC_BASE, 4, 0x10 + 2 * 10);
  memory.write(IOAPIC_BASE + 0x10, 4, 0x8044);
  fn.slot.setIntx(true);
  assert.equal(lapic.poll(), 'fixed', 'slot 2 INTA is PIRQB, IRQ 10');
  assert.equal(lapic.acknowledge(), 0x44);
  fn.slot.setIntx(false);
  memory.write(0xfee000b0, 4, 0);
  const msix = fn.configRead(window + 1, 1);
  assert.equal(fn.configRead(msix, 1), 0x11);
  fn.configWrite(msix + 2, 2, 0x8000);
  assert.equal(fn.slot.msixEnabled, true);
  const table = fn.barBase(1) ?? 0;
  memory.write(table + 16, 4, 0xfee00000);
  memory.write(table + 24, 4, 0x55);
  memory.write(table + 28, 4, 0);
  fn.slot.notify(1);
  assert.equal(lapic.acknowledge(), 0x55);
  assert.equal(ioapic.save().lines & (1 << 10), 0);
  fn.restore(fn.save());
  assert.equal(fn.slot.msixEnabled, true);
  pci.reset();
  assert.equal(resets, 1);
  assert.equal(fn.slot.msixEnabled, false);
  assert.equal(fn.barBase(4), undefined);
});

test('CF9h reaches the reset control through the host bridge, and S5 powers off', () => {
  const { io, events } = machine();
  io.write(0xcf9, 1, 0x06);
  io.write(0x604, 2, 0x2000);
  assert.deepEqual(events, ['hard', 'off']);
});
