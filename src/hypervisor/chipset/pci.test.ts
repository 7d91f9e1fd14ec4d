import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { AccessSize, BusDevice } from '../machine/bus.ts';
import { Msix } from './msix.ts';
import type { PamSegment } from './pci.ts';
import { assignResources, HostBridge, IsaBridge, PciRoot } from './pci.ts';
import { PciFunction } from './pci-function.ts';
import { ListBus, Probe } from './testing.ts';

class Scratch implements BusDevice {
  last = 0;

  read(offset: number, _size: AccessSize): number {
    return offset + 0x40;
  }

  write(_offset: number, _size: AccessSize, value: number): void {
    this.last = value;
  }
}

const WINDOWS = {
  io: { base: 0xc000, limit: 0x10000 },
  memory: { base: 0xc0000000, limit: 0xfec00000 },
};

function setup() {
  const io = new ListBus();
  const memory = new ListBus();
  const irqs = Array.from({ length: 16 }, () => new Probe());
  const isa = new IsaBridge({ isaLine: (irq) => irqs[irq] });
  const resets: number[] = [];
  const root = new PciRoot({
    io,
    memory,
    pirq: (index) => isa.pirq(index),
    resetControl: { read: () => 0x06, write: (_offset, _size, value) => resets.push(value) },
  });
  const pam: (readonly PamSegment[])[] = [];
  const host = new HostBridge({ onPam: (segments) => pam.push(segments) });
  root.add(0, 0, host);
  root.add(1, 0, isa);
  const fn = new PciFunction({
    name: 'test',
    vendorId: 0x1af4,
    deviceId: 0x1042,
    revision: 1,
    classCode: 0x018000,
    subsystemVendorId: 0x1af4,
    subsystemId: 0x1100,
    interruptPin: 1,
  });
  const scratch = new Scratch();
  fn.addBar(0, { kind: 'io', size: 64, device: scratch });
  fn.addBar(2, { kind: 'mem64', size: 0x4000, prefetchable: true, device: scratch });
  const sent: [number, number][] = [];
  const msix = new Msix({ fn, bar: 1, vectors: 3, sink: { send: (a, d) => sent.push([a, d]) } });
  const vendor = fn.addCapability(0x09, [6, 1, 2, 3], [0, 0xff, 0x0f]);
  root.add(3, 0, fn);
  const address = (slot: number, index: number, register: number): number =>
    (0x80000000 | (slot << 11) | (index << 8) | (register & 0xfc)) >>> 0;
  const get = (slot: number, register: number, size: AccessSize = 4): number => {
    io.write(0xcf8, 4, address(slot, 0, register));
    return io.read(0xcfc + (register & 3), size);
  };
  const put = (slot: number, register: number, size: AccessSize, value: number): void => {
    io.write(0xcf8, 4, address(slot, 0, register));
    io.write(0xcfc + (register & 3), size, value);
  };
  return { io, memory, irqs, isa, root, host, pam, fn, scratch, msix, sent, vendor, get, put, resets };
}

test('configuration mechanism 1: sizes, absent functions, CF9h in between', () => {
  const { io, get, resets } = setup();
  assert.equal(get(0, 0), 0x12378086);
  assert.equal(get(1, 0), 0x70008086);
  assert.equal(get(1, 0x0e, 1), 0x80);
  assert.equal(get(3, 2, 2), 0x1042);
  assert.equal(get(3, 0x0b, 1), 0x01);
  assert.equal(get(3, 0x2c), 0x11001af4);
  assert.equal(get(9, 0), 0xffffffff);
  io.write(0xcf8, 4, 0x80010000);
  assert.equal(io.read(0xcfc, 4), 0xffffffff, 'bus 1 is not there');
  assert.equal(io.read(0xcf8, 4), 0x80010000);
  io.write(0xcf8, 4, 0);
  assert.equal(io.read(0xcfc, 4), 0xffffffff, 'enable bit clear');
  io.write(0xcf9, 1, 0x06);
  assert.deepEqual(resets, [6]);
  assert.equal(io.read(0xcf9, 1), 6);
  assert.equal(io.read(0xcf8, 4), 0);
});

test('BARs: sizing, placement by the command register, moving', () => {
  const { io, memory, fn, get, put, scratch } = setup();
  put(3, 0x10, 4, 0xffffffff);
  assert.equal(get(3, 0x10), 0xffffffc1);
  put(3, 0x18, 4, 0xffffffff);
  put(3, 0x1c, 4, 0xffffffff);
  assert.equal(get(3, 0x18), 0xffffc00c);
  assert.equal(get(3, 0x1c), 0xffffffff);
  put(3, 0x04, 2, 0x0003);
  assert.equal(fn.barBase(2), undefined, 'all ones decode nowhere');
  assert.equal(fn.barBase(0), undefined);
  put(3, 0x10, 4, 0xc001);
  put(3, 0x18, 4, 0xe0000000);
  put(3, 0x1c, 4, 0);
  assert.equal(io.read(0xc004, 1), 0x44);
  assert.equal(memory.read(0xe0000008, 4), 0x48);
  put(3, 0x1c, 4, 1);
  assert.equal(fn.barBase(2), 0x1e0000000);
  memory.write(0x1e0000000, 4, 77);
  assert.equal(scratch.last, 77);
  put(3, 0x04, 2, 0x0002);
  assert.equal(io.read(0xc004, 1), 0xff);
});

test('capabilities form a list and keep to their write masks', () => {
  const { get, put, vendor } = setup();
  assert.equal(get(3, 0x06, 2) & 0x10, 0x10);
  const first = get(3, 0x34, 1);
  assert.equal(get(3, first, 1), 0x11);
  assert.equal(get(3, first + 1, 1), vendor);
  assert.equal(get(3, vendor, 1), 0x09);
  assert.equal(get(3, vendor + 1, 1), 0);
  put(3, vendor + 2, 1, 0xff);
  put(3, vendor + 3, 1, 0xff);
  put(3, vendor + 4, 1, 0xff);
  assert.deepEqual(
    [2, 3, 4, 5].map((at) => get(3, vendor + at, 1)),
    [6, 0xff, 0x0f, 3],
  );
  put(3, 0, 4, 0x12345678);
  assert.equal(get(3, 0), 0x10421af4);
});

test('INTx: swizzled to a PIRQ, routed, shared, gated by the command register', () => {
  const { irqs, isa, fn, get, put, root } = setup();
  fn.interrupt.set(true);
  assert.equal(irqs[11].level, true, 'slot 3 INTA is PIRQC, IRQ 11');
  assert.equal(get(3, 0x06, 2) & 8, 8);
  put(3, 0x04, 2, 0x400);
  assert.equal(irqs[11].level, false);
  assert.equal(get(3, 0x06, 2) & 8, 8);
  put(3, 0x04, 2, 0);
  const other = new PciFunction({ name: 'other', vendorId: 1, deviceId: 2, classCode: 0, interruptPin: 4 });
  root.add(4, 0, other);
  other.interrupt.set(true);
  fn.interrupt.set(false);
  assert.equal(irqs[11].level, true, 'wired-or');
  put(1, 0x62, 1, 5);
  assert.equal(irqs[11].level, false);
  assert.equal(irqs[5].level, true);
  put(1, 0x62, 1, 0x80);
  assert.equal(irqs[5].level, false);
  assert.equal(isa.route(2), undefined);
  put(1, 0x60, 4, 0x0b0b0b0b);
  assert.equal(irqs[11].level, true);
});

test('PAM registers are reported', () => {
  const { pam, put, host } = setup();
  put(0, 0x59, 1, 0x30);
  put(0, 0x5a, 1, 0x21);
  const last = pam.at(-1);
  assert.deepEqual(last, host.pam);
  assert.deepEqual(last?.[0], { start: 0xc0000, length: 0x4000, readDram: true, writeDram: false });
  assert.deepEqual(last?.[1], { start: 0xc4000, length: 0x4000, readDram: false, writeDram: true });
  assert.deepEqual(last?.[12], { start: 0xf0000, length: 0x10000, readDram: true, writeDram: true });
});

test('resources are assigned inside the windows, without overlap', () => {
  const { root, fn, get } = setup();
  assignResources(root, WINDOWS);
  assert.equal(fn.barBase(0), 0xc000);
  assert.equal(fn.barBase(2), 0xc0000000);
  assert.equal(fn.barBase(1), 0xc0004000);
  assert.equal(get(3, 0x04, 2), 7);
  assert.equal(fn.busMaster, true);
  assert.equal(get(3, 0x3c, 1), 11);
  assert.throws(
    () => assignResources(root, { ...WINDOWS, io: { base: 0xfff0, limit: 0x10000 } }),
    RangeError,
  );
});

test('MSI-X: masked messages stay pending, INTx is off, tables are the guest s to fill', () => {
  const { root, memory, fn, msix, sent, get, put, irqs } = setup();
  assignResources(root, WINDOWS);
  const table = fn.barBase(1) ?? 0;
  const control = get(3, 0x34, 1) + 2;
  assert.equal(get(3, control, 2), 2);
  assert.equal(get(3, control + 2), 1, 'table at offset 0 of BAR 1');
  assert.equal(get(3, control + 6), 0x31);
  assert.equal(msix.notify(0), false);
  fn.interrupt.set(true);
  assert.equal(irqs[11].level, true);
  put(3, control, 2, 0x8000);
  assert.equal(irqs[11].level, false);
  memory.write(table + 16, 4, 0xfee00000);
  memory.write(table + 24, 4, 0x51);
  assert.equal(memory.read(table + 28, 4), 1, 'masked at reset');
  assert.equal(msix.notify(1), true);
  assert.deepEqual(sent, []);
  assert.equal(memory.read(table + 0x30, 4), 2);
  memory.write(table + 28, 4, 0);
  assert.deepEqual(sent, [[0xfee00000, 0x51]]);
  assert.equal(memory.read(table + 0x30, 4), 0);
  put(3, control, 2, 0xc000);
  msix.notify(1);
  msix.notify(1);
  assert.equal(sent.length, 1);
  put(3, control, 2, 0x8000);
  assert.equal(sent.length, 2);
  assert.equal(msix.notify(3), false);
  put(3, control, 2, 0);
  assert.equal(irqs[11].level, true);
});

test('reset and restore bring configuration space, BARs and the wire back', () => {
  const one = setup();
  assignResources(one.root, WINDOWS);
  one.fn.interrupt.set(true);
  const two = setup();
  two.fn.restore(one.fn.save());
  two.isa.restore(one.isa.save());
  two.root.restore(one.root.save());
  assert.equal(two.fn.barBase(2), 0xc0000000);
  assert.equal(two.irqs[11].level, true);
  two.root.reset();
  assert.equal(two.fn.barBase(2), undefined);
  assert.equal(two.irqs[11].level, false);
  assert.equal(two.get(3, 0x18), 0x0000000c);
});

test('no sequence of guest accesses throws', () => {
  const size = fc.constantFrom<AccessSize>(1, 2, 4);
  const step = fc.tuple(fc.nat(3), fc.nat(255), size, fc.integer({ min: 0, max: 0xffffffff }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { io, memory, get, put, fn, msix } = setup();
      for (const [what, register, width, value] of steps) {
        const slot = [0, 1, 3][value % 3];
        if (what === 0) put(slot, register, width, value);
        else if (what === 1) assert.ok(get(slot, register, width) >= 0);
        else if (what === 2) io.write(0xcf8 + (register & 7), width, value);
        else {
          memory.write((fn.barBase(1) ?? 0) + (register & 0x3f), width, value);
          msix.notify(value & 3);
        }
      }
      assert.equal(get(3, 0), 0x10421af4);
      const other = setup();
      other.fn.restore(fn.save());
      assert.deepEqual(
        fn.bars.map((bar) => other.fn.barBase(bar.index)),
        fn.bars.map((bar) => fn.barBase(bar.index)),
      );
    }),
    { numRuns: 200 },
  );
});
