import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HandDoor } from '../../../../test/support/machine-parts.ts';
import { type Buffer, VirtioDriver } from '../../../../test/support/virtio-driver.ts';
import type { DiskBackend } from '../../backends/disk.ts';
import { VirtioBlock } from './block.ts';

const IN = 0;
const OUT = 1;
const FLUSH = 4;
const GET_ID = 8;
const DISCARD = 11;
const WRITE_ZEROES = 13;
const F_FLUSH = 1n << 9n;
const F_CONFIG_WCE = 1n << 11n;

/** A disk in memory that writes down what it was asked and can fail or wait. */
class MemoryDisk implements DiskBackend {
  readonly size: number;
  readonly readOnly: boolean;
  readonly bytes: Uint8Array;
  readonly calls: string[] = [];
  failing = false;
  gate: Promise<void> = Promise.resolve();

  constructor(size = 1 << 20, readOnly = false) {
    this.size = size;
    this.readOnly = readOnly;
    this.bytes = new Uint8Array(size);
  }

  async readAt(offset: number, target: Uint8Array): Promise<void> {
    await this.#call(`read ${offset} ${target.length}`);
    target.set(this.bytes.subarray(offset, offset + target.length));
  }

  async writeAt(offset: number, source: Uint8Array): Promise<void> {
    await this.#call(`write ${offset} ${source.length}`);
    this.bytes.set(source, offset);
  }

  flush(): Promise<void> {
    return this.#call('flush');
  }

  discard(offset: number, length: number): Promise<void> {
    return this.#call(`discard ${offset} ${length}`);
  }

  async writeZeroes(offset: number, length: number, mayUnmap: boolean): Promise<void> {
    await this.#call(`zero ${offset} ${length} ${mayUnmap}`);
    this.bytes.fill(0, offset, offset + length);
  }

  async close(): Promise<void> {}

  async #call(what: string): Promise<void> {
    this.calls.push(what);
    await this.gate;
    if (this.failing) throw new Error('the disk is on fire');
  }
}

function header(type: number, sector = 0): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint32(0, type, true);
  view.setBigUint64(8, BigInt(sector), true);
  return new Uint8Array(view.buffer);
}

function range(sector: number, sectors: number, flags = 0): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setBigUint64(0, BigInt(sector), true);
  view.setUint32(8, sectors, true);
  view.setUint32(12, flags, true);
  return new Uint8Array(view.buffer);
}

function build(disk = new MemoryDisk(), features = F_FLUSH | (1n << 28n)) {
  const door = new HandDoor();
  const device = new VirtioBlock({ name: 'disk0', door, disk, serial: 'SERIAL-0123456789-TOO-LONG' });
  const driver = new VirtioDriver(device);
  driver.start(features, 64);
  /** Runs one request to its end; gives its status byte, the used length and the bytes of its buffers. */
  const run = async (buffers: Buffer[]) => {
    const before = driver.usedIndex(0);
    const { places } = driver.add(0, [...buffers, 1], true);
    driver.notify(0);
    await door.settle(() => driver.usedIndex(0) !== before);
    const used = driver.used(0).at(-1);
    const bytes = buffers.map((b, i) =>
      driver.memory.bytes.slice(places[i], places[i] + (typeof b === 'number' ? b : b.length)),
    );
    return { status: driver.memory.readU8(places[buffers.length]), length: used?.length, bytes };
  };
  return { door, device, driver, disk, run };
}

test('what is written is read back, across buffers', async () => {
  const { run, disk } = build();
  const data = Uint8Array.from({ length: 1536 }, (_, i) => i);
  const wrote = await run([header(OUT, 7), data.subarray(0, 512), data.subarray(512)]);
  assert.deepEqual([wrote.status, wrote.length], [0, 1]);
  assert.deepEqual(disk.bytes.subarray(7 * 512, 10 * 512), data);
  const read = await run([header(IN, 7), 1024, 512]);
  assert.deepEqual([read.status, read.length], [0, 1537]);
  assert.deepEqual(Uint8Array.from([...read.bytes[1], ...read.bytes[2]]), data);
});

test('the header and the data may share a buffer (no layout is assumed, § 2.7.4)', async () => {
  const { run, disk } = build();
  const joined = new Uint8Array(16 + 512).fill(9);
  joined.set(header(OUT, 1));
  assert.equal((await run([joined])).status, 0);
  assert.deepEqual(disk.bytes.subarray(512, 1024), new Uint8Array(512).fill(9));
});

test('a request larger than a piece is done piece by piece', async () => {
  const { run, disk } = build(new MemoryDisk(4 << 20));
  disk.bytes.forEach((_, i) => (disk.bytes[i] = i >> 12));
  const { status, bytes } = await run([header(IN, 0), 1_500_160, 1_000_448]);
  assert.equal(status, 0);
  assert.deepEqual(bytes[1], disk.bytes.slice(0, 1_500_160));
  assert.deepEqual(bytes[2], disk.bytes.slice(1_500_160, 2_500_608));
  assert.equal(disk.calls.length, 3);
});

test('traffic: bytes by piece, a request once, of failures and flushes nothing', async () => {
  const { run, device, disk } = build(new MemoryDisk(4 << 20));
  await run([header(OUT, 7), new Uint8Array(1024)]);
  await run([header(IN, 0), 1_500_160, 1_000_448]);
  await run([header(FLUSH)]);
  await run([header(DISCARD), range(0, 8)]);
  const moved = { readBytes: 2_500_608, readOperations: 1, writtenBytes: 1024, writeOperations: 1 };
  assert.deepEqual({ ...device.traffic }, moved);
  disk.failing = true;
  assert.equal((await run([header(IN, 0), 512])).status, 1);
  assert.equal((await run([header(OUT, 0), new Uint8Array(512)])).status, 1);
  assert.deepEqual({ ...device.traffic }, moved);
});

test('configuration: capacity in sectors, limits, write cache', async () => {
  const { driver } = build(new MemoryDisk(512 * 1000));
  assert.equal(driver.config(0, 4), 1000);
  assert.equal(driver.config(4, 4), 0);
  assert.equal(driver.config(12, 4), 254);
  assert.equal(driver.config(20, 4), 512);
  assert.equal(driver.config(32, 1), 1);
  assert.equal(driver.config(56, 1), 1);
  driver.setConfig(32, 1, 0);
  assert.equal(driver.config(32, 1), 1, 'only a driver that took CONFIG_WCE may change it');
});

test('GET_ID, FLUSH and unknown types', async () => {
  const { run, disk } = build();
  const id = await run([header(GET_ID), 20]);
  assert.deepEqual([id.status, new TextDecoder().decode(id.bytes[1])], [0, 'SERIAL-0123456789-TO']);
  assert.equal((await run([header(GET_ID), 10])).status, 1);
  assert.equal((await run([header(FLUSH)])).status, 0);
  assert.deepEqual(disk.calls, ['flush']);
  assert.equal((await run([header(99), 512])).status, 2);
});

test('discard and write zeroes check every range', async () => {
  const { run, disk } = build();
  disk.bytes.fill(7);
  assert.equal((await run([header(WRITE_ZEROES), range(2, 2, 1), range(8, 1)])).status, 0);
  assert.deepEqual(disk.calls, ['zero 1024 1024 true', 'zero 4096 512 false']);
  assert.equal(disk.bytes[1024], 0);
  assert.equal((await run([header(DISCARD), range(0, 4)])).status, 0);
  assert.equal((await run([header(DISCARD), range(0, 4, 1)])).status, 2, 'discard knows no flag');
  assert.equal((await run([header(WRITE_ZEROES), range(0, 4, 2)])).status, 2);
  assert.equal((await run([header(DISCARD), range(2047, 2)])).status, 1);
  assert.equal((await run([header(DISCARD), range(0, 0xffffffff)])).status, 1);
  assert.equal((await run([header(DISCARD)])).status, 1);
  assert.equal((await run([header(DISCARD), new Uint8Array(17 * 16)])).status, 1);
});

test('outside the disk, or no whole sectors: IOERR and no access', async () => {
  const { run, disk } = build();
  assert.equal((await run([header(IN, 2048), 512])).status, 1);
  assert.equal((await run([header(OUT, 2047), new Uint8Array(1024)])).status, 1);
  assert.equal((await run([header(IN, 2 ** 52), 512])).status, 1);
  assert.equal((await run([header(IN, 0), 511])).status, 1);
  assert.deepEqual(disk.calls, []);
});

test('a failing back end is IOERR, and the next request works', async () => {
  const { run, disk, driver } = build();
  disk.failing = true;
  assert.equal((await run([header(IN, 0), 512])).status, 1);
  disk.failing = false;
  assert.equal((await run([header(IN, 0), 512])).status, 0);
  assert.ok(driver.log.lines.some((line) => line.startsWith('host: disk request failed')));
});

test('a read-only disk offers RO and refuses to be written', async () => {
  const { run, driver, disk } = build(new MemoryDisk(1 << 20, true));
  assert.notEqual(driver.offered() & (1n << 5n), 0n);
  assert.equal((await run([header(OUT, 0), new Uint8Array(512)])).status, 1);
  assert.equal((await run([header(WRITE_ZEROES), range(0, 1)])).status, 1);
  assert.deepEqual(disk.calls, []);
});

test('without FLUSH, or with the cache switched off, each write is flushed before it completes', async () => {
  const plain = build(new MemoryDisk(), 1n << 28n);
  await plain.run([header(OUT, 0), new Uint8Array(512)]);
  assert.deepEqual(plain.disk.calls, ['write 0 512', 'flush']);
  const wce = build(new MemoryDisk(), F_FLUSH | F_CONFIG_WCE | (1n << 28n));
  wce.driver.setConfig(32, 1, 0);
  await wce.run([header(OUT, 0), new Uint8Array(512)]);
  assert.deepEqual(wce.disk.calls, ['write 0 512', 'flush']);
});

test('many requests run side by side, and complete once each', async () => {
  const { door, driver, disk, device } = build();
  let open: () => void = () => {};
  disk.gate = new Promise((resolve) => (open = resolve));
  const heads = Array.from({ length: 20 }, (_, i) => driver.add(0, [header(IN, i), 512, 1], true).head);
  driver.notify(0);
  assert.equal(disk.calls.length, 20);
  open();
  await door.settle(() => driver.usedIndex(0) === 20);
  assert.deepEqual(
    driver
      .used(0)
      .map((u) => u.head)
      .sort((a, b) => a - b),
    heads,
  );
  await device.quiesce();
});

test('the bytes in flight are bounded', async () => {
  const { door, driver, disk } = build(new MemoryDisk(8 << 20));
  let open: () => void = () => {};
  disk.gate = new Promise((resolve) => (open = resolve));
  const room = driver.alloc(1 << 20);
  const table = driver.alloc(64 * 48);
  const head = driver.alloc(16);
  driver.memory.bytes.set(header(IN, 0), head);
  for (let i = 0; i < 40; i++) {
    driver.setDescriptor(table + 48 * i, 0, head, 16, 1, 1);
    driver.setDescriptor(table + 48 * i, 1, room, 1 << 20, 3, 2);
    driver.setDescriptor(table + 48 * i, 2, head, 1, 2);
    driver.setDescriptor(driver.rings[0].desc, i, table + 48 * i, 48, 4);
    driver.offer(0, i);
  }
  driver.notify(0);
  assert.equal(disk.calls.length, 16);
  // The status byte of one request lies in the header that all of them share; it stays a read.
  open();
  await door.settle(() => driver.usedIndex(0) === 40);
});

test('a reset drops what is in flight: memory is left alone and later requests wait for it', async () => {
  const { door, driver, disk, device } = build();
  let open: () => void = () => {};
  disk.gate = new Promise((resolve) => (open = resolve));
  disk.bytes.fill(0xaa);
  const { places } = driver.add(0, [header(IN, 0), 512, 1], true);
  driver.notify(0);
  driver.start(F_FLUSH, 64);
  driver.add(0, [header(OUT, 0), new Uint8Array(512), 1]);
  driver.notify(0);
  assert.deepEqual(disk.calls, ['read 0 512']);
  open();
  await door.settle(() => driver.usedIndex(0) === 1);
  assert.deepEqual(disk.calls, ['read 0 512', 'write 0 512']);
  assert.ok(driver.memory.view(places[1], 512)?.every((byte) => byte === 0));
  await device.quiesce();
});

test('requests in flight are begun again after a restore', async () => {
  const a = build();
  a.disk.gate = new Promise(() => {});
  const { places } = a.driver.add(0, [header(IN, 3), 512, 1], true);
  a.driver.notify(0);
  const state = structuredClone(a.driver.pci.save());
  const door = new HandDoor();
  const disk = new MemoryDisk();
  disk.bytes.fill(0x5c);
  const b = new VirtioDriver(new VirtioBlock({ name: 'disk0', door, disk }), a.driver.memory);
  b.pci.restore(state);
  b.rings.push(a.driver.rings[0]);
  await door.settle(() => b.usedIndex(0) === 1);
  assert.ok(b.memory.view(places[1], 512)?.every((byte) => byte === 0x5c));
});

test('a request without header or status breaks the device', () => {
  for (const buffers of [[header(IN)], [new Uint8Array(8), 513]] as Buffer[][]) {
    const { driver } = build();
    driver.add(0, buffers);
    driver.notify(0);
    assert.equal(driver.status & 0x40, 0x40);
  }
});

test('no request throws, whatever its header and buffers are', async () => {
  const buffer: fc.Arbitrary<Buffer> = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 600 }),
    fc.integer({ min: 1, max: 1100 }),
  );
  const type = fc.oneof(fc.constantFrom(IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES), fc.nat(0xffffffff));
  const sector = fc.oneof(fc.nat(4), fc.nat(4000), fc.constant(2 ** 53));
  const requests = fc.array(fc.tuple(type, sector, fc.array(buffer, { maxLength: 4 })), {
    minLength: 1,
    maxLength: 8,
  });
  await fc.assert(
    fc.asyncProperty(requests, async (list) => {
      const { door, driver, device } = build(new MemoryDisk(1 << 18));
      for (const [t, s, buffers] of list) {
        const readable = buffers.filter((b) => typeof b !== 'number');
        const writable = buffers.filter((b) => typeof b === 'number');
        driver.add(0, [header(t, s), ...readable, ...writable], true);
        driver.notify(0);
      }
      let idle = false;
      const quiet = device.quiesce().then(() => {
        idle = true;
      });
      await Promise.race([quiet, Promise.resolve()]);
      await door.settle(() => idle || driver.usedIndex(0) === list.length || (driver.status & 0x40) !== 0);
    }),
    { numRuns: 150 },
  );
});
