import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readAml } from '../../../../test/support/aml-reader.ts';
import { FlatMemory } from '../../../../test/support/machine-parts.ts';
import { HPET_BASE, HPET_BLOCK_ID } from '../../chipset/hpet.ts';
import * as aml from './aml.ts';
import type { AcpiPlatform } from './platform.ts';
import { buildAcpi, installAcpi } from './tables.ts';

const sum = (bytes: Uint8Array): number => bytes.reduce((n, byte) => (n + byte) & 0xff, 0);

/** Follows the pointers as a guest does; every table by its signature. */
function tables(platform: Partial<AcpiPlatform> = {}) {
  const memory = new FlatMemory(2 << 20);
  const { rsdp, facs } = installAcpi(memory, platform);
  const bytes = (gpa: number, length: number): Uint8Array => memory.bytes.slice(gpa, gpa + length);
  const signature = (gpa: number): string => String.fromCharCode(...bytes(gpa, 4));
  assert.equal(rsdp % 16, 0);
  assert.equal(String.fromCharCode(...bytes(rsdp, 8)), 'RSD PTR ');
  assert.equal(sum(bytes(rsdp, 20)), 0);
  assert.equal(sum(bytes(rsdp, 36)), 0);
  const found = new Map<string, Uint8Array>();
  const take = (gpa: number): Uint8Array => {
    const table = bytes(gpa, memory.readU32(gpa + 4));
    if (signature(gpa) !== 'FACS') assert.equal(sum(table), 0, `checksum of ${signature(gpa)}`);
    found.set(signature(gpa), table);
    return table;
  };
  const list = (gpa: number, width: number): number[] => {
    const table = take(gpa);
    const view = new DataView(table.buffer);
    return Array.from({ length: (table.length - 36) / width }, (_, i) =>
      width === 4 ? view.getUint32(36 + 4 * i, true) : Number(view.getBigUint64(36 + 8 * i, true)),
    );
  };
  const xsdt = list(Number(memory.readU64(rsdp + 24)), 8);
  assert.deepEqual(list(memory.readU32(rsdp + 16), 4), xsdt);
  for (const gpa of xsdt) take(gpa);
  const fadt = new DataView(found.get('FACP')?.buffer ?? new ArrayBuffer(0));
  take(fadt.getUint32(40, true));
  assert.equal(fadt.getUint32(36, true) % 64, 0);
  assert.equal(fadt.getUint32(36, true), facs);
  take(facs);
  const dsdt = found.get('DSDT') ?? new Uint8Array();
  return { found, fadt, names: readAml(dsdt.subarray(36)) };
}

test('every table is reachable from the RSDP, and sums to zero', () => {
  assert.deepEqual([...tables().found.keys()].sort(), [
    'APIC',
    'DSDT',
    'FACP',
    'FACS',
    'HPET',
    'RSDT',
    'WAET',
    'XSDT',
  ]);
});

test('the FADT names the platform: power management block, reset register, SCI', () => {
  const { fadt } = tables();
  assert.equal(fadt.byteLength, 244);
  assert.equal(fadt.getUint16(46, true), 9);
  assert.deepEqual(
    [56, 64, 76, 80].map((at) => fadt.getUint32(at, true)),
    [0x600, 0x604, 0x608, 0x620],
  );
  assert.deepEqual(
    [88, 89, 91, 92].map((at) => fadt.getUint8(at)),
    [4, 2, 4, 4],
  );
  assert.deepEqual([fadt.getUint8(116), fadt.getUint32(120, true), fadt.getUint8(128)], [1, 0xcf9, 6]);
  assert.deepEqual([fadt.getUint32(48, true), fadt.getUint8(52), fadt.getUint8(53)], [0xb2, 0xf1, 0xf0]);
  assert.equal(fadt.getUint8(108), 0x32);
  const flags = fadt.getUint32(112, true);
  assert.equal(flags & (1 << 4), 0, 'the power button is a fixed feature');
  assert.notEqual(flags & (1 << 10), 0, 'the reset register works');
  assert.equal(flags & (1 << 6), 0, 'the RTC wakes as a fixed event');
  assert.equal(flags & (1 << 8), 0, 'the timer has 24 bits');
  assert.equal(fadt.getUint16(109, true), 0b101, 'no 8042, no VGA');
});

test('what the machine has is what the tables say', () => {
  const { fadt, names } = tables({ keyboard: true, vga: true });
  assert.equal(fadt.getUint16(109, true), 0b011);
  assert.ok(names.devices.includes('\\_SB.PCI0.ISA0.KBD0'));
  assert.ok(!tables().names.devices.includes('\\_SB.PCI0.ISA0.KBD0'));
});

test('the MADT: processors, I/O APIC, overrides of the timer and the level interrupts, NMI', () => {
  const madt = tables({ apicIds: [0, 1, 4] }).found.get('APIC') ?? new Uint8Array();
  const view = new DataView(madt.buffer);
  assert.equal(view.getUint32(36, true), 0xfee00000);
  assert.equal(view.getUint32(40, true), 1);
  const entries: string[] = [];
  for (let at = 44; at < madt.length; at += madt[at + 1])
    entries.push([...madt.subarray(at, at + madt[at + 1])].join(' '));
  assert.deepEqual(entries, [
    '0 8 0 0 1 0 0 0',
    '0 8 1 1 1 0 0 0',
    '0 8 2 4 1 0 0 0',
    '1 12 0 0 0 0 192 254 0 0 0 0',
    '2 10 0 0 2 0 0 0 0 0',
    '2 10 0 9 9 0 0 0 13 0',
    '2 10 0 10 10 0 0 0 13 0',
    '2 10 0 11 11 0 0 0 13 0',
    '4 6 255 0 0 1',
  ]);
});

test('the DSDT: bus windows, routing by swizzle over links, serial port, RTC, S5, S3', () => {
  const { names, methods, devices } = tables({ apicIds: [0, 1] }).names;
  assert.equal(names.get('\\_SB.PCI0._HID'), 0x030ad041);
  assert.deepEqual(names.get('\\_S5'), [0, 0, 0, 0]);
  assert.deepEqual(names.get('\\_S3'), [1, 1, 0, 0]);
  assert.ok(devices.includes('\\_SB.C001'));

  const routes = names.get('\\_SB.PCI0._PRT') as [number, number, { ref: string }, number][];
  assert.equal(routes.length, 31 * 4);
  for (const [address, pin, link, index] of routes) {
    assert.equal(address & 0xffff, 0xffff);
    assert.equal(link.ref, `LNK${'ABCD'[((address >>> 16) + pin - 1) & 3]}`);
    assert.equal(index, 0);
  }
  const links = ['LNKA', 'LNKB', 'LNKC', 'LNKD'].map((link) => {
    assert.equal(methods.get(`\\_SB.${link}._SRS`)?.args, 1);
    return [...(names.get(`\\_SB.${link}._CRS`) as Uint8Array)];
  });
  // Extended interrupt: consumer, level, active high, shared.
  assert.deepEqual(
    links.map((l) => l.slice(0, 9)),
    [10, 10, 11, 11].map((irq) => [0x89, 6, 0, 0x09, 1, irq, 0, 0, 0]),
  );

  const crs = names.get('\\_SB.PCI0._CRS') as Uint8Array;
  const view = new DataView(crs.buffer);
  const windows: [number, number, number][] = [];
  for (let at = 0; crs[at] !== 0x79; ) {
    const large = (crs[at] & 0x80) !== 0;
    if (crs[at] === 0x88) {
      const [first, last, length] = [6, 8, 12].map((o) => view.getUint16(at + 2 + o, true));
      assert.equal(length, (last - first + 1) & 0xffff);
      windows.push([crs[at + 3], first, last]);
    }
    if (crs[at] === 0x87) {
      const [first, last, length] = [8, 12, 20].map((o) => view.getUint32(at + 2 + o, true));
      assert.equal(length, last - first + 1);
      windows.push([crs[at + 3], first, last]);
    }
    at += large ? 3 + view.getUint16(at + 1, true) : 1 + (crs[at] & 7);
  }
  assert.deepEqual(windows, [
    [2, 0, 0xff],
    [1, 0, 0xcf7],
    [1, 0xd00, 0xffff],
    [0, 0xa0000, 0xbffff],
    [0, 0xc0000000, 0xfebfffff],
  ]);
  assert.deepEqual(
    [...(names.get('\\_SB.PCI0.ISA0.COM1._CRS') as Uint8Array)],
    [0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8, 0x22, 0x10, 0, 0x79, 0],
  );
  assert.equal(names.get('\\_SB.PCI0.ISA0.COM1._HID'), 0x0105d041);
  assert.ok(devices.includes('\\_SB.PCI0.ISA0.RTC0'));
});

test('255 processors fit; the tables never reach into what lies behind them', () => {
  const image = buildAcpi({ apicIds: Array.from({ length: 255 }, (_, i) => i) });
  assert.ok(image.base + image.bytes.length < 0xfff00);
});

test('integers, names and package lengths have the forms of the specification', () => {
  assert.deepEqual(
    [0, 1, 2, 255, 256, 65536, 2 ** 32].map((n) => aml.integer(n)[0]),
    [0, 1, 10, 10, 11, 12, 14],
  );
  assert.deepEqual(aml.name('\\_SB.PCI0'), [0x5c, 0x2e, ...Buffer.from('_SB_PCI0')]);
  assert.deepEqual(aml.name('A.B.C'), [0x2f, 3, ...Buffer.from('A___B___C___')]);
  for (const length of [0, 57, 58, 59, 60, 4085, 4090, 70_000]) {
    const inner = aml.define('DATA', aml.buffer(new Array<number>(length).fill(7)));
    const { names } = readAml(Uint8Array.from(aml.scope('\\_SB', inner)));
    assert.equal((names.get('\\_SB.DATA') as Uint8Array).length, length);
  }
});

test('the HPET table is what the timer says of itself', () => {
  const hpet = tables().found.get('HPET') ?? new Uint8Array();
  const view = new DataView(hpet.buffer);
  assert.equal(hpet.length, 56);
  assert.equal(view.getUint32(36, true), HPET_BLOCK_ID);
  assert.deepEqual([...hpet.subarray(40, 44)], [0, 64, 0, 0]);
  assert.equal(Number(view.getBigUint64(44, true)), HPET_BASE);
  assert.deepEqual([...hpet.subarray(52)], [0, 2000 & 0xff, 2000 >> 8, 0]);
});
