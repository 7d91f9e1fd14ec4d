import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ERR, IdeDriver, type PacketOptions, READY } from '../../../../test/support/ide-driver.ts';
import { MemoryDisk } from '../../../../test/support/memory-disk.ts';
import type { DiskBackend } from '../../backends/disk.ts';
import { Cdrom } from './cdrom.ts';

const BLOCK = 2048;
const NO_MEDIUM = [2, 0x3a, 1];
const TRAY_OPEN = [2, 0x3a, 2];
const INVALID_FIELD = [5, 0x24, 0];
const OUT_OF_RANGE = [5, 0x21, 0];
const LOCKED = [5, 0x53, 2];
const CHANGED = [6, 0x28, 0];
const POWERED_ON = [6, 0x29, 0];

const TEST_UNIT_READY = [0x00];
const GET_EVENTS = [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8];
const read10 = (lba: number, blocks: number): number[] => [
  0x28,
  0,
  ...be32(lba),
  0,
  blocks >> 8,
  blocks & 0xff,
];
const be32 = (n: number): number[] => [n >>> 24, (n >> 16) & 0xff, (n >> 8) & 0xff, n & 0xff];
const load = (bits: number): number[] => [0x1b, 0, 0, 0, bits];
const lock = (on: boolean): number[] => [0x1e, 0, 0, 0, on ? 1 : 0];

/** A drive that has told of its power-on, with a disc of 1 MiB unless another one, or null, is given. */
async function build(disc: DiskBackend | null = MemoryDisk.numbered(1 << 20, true)) {
  let cdrom: Cdrom | undefined;
  const driver = new IdeDriver((options) => [
    undefined,
    undefined,
    (cdrom = new Cdrom({ ...options('cd0'), medium: disc ?? undefined })),
  ]);
  driver.use(1, 0);
  await driver.packet(TEST_UNIT_READY);
  assert.ok(cdrom);
  const { tray } = cdrom;
  /** A packet that ends well; what it gives. */
  const ask = async (packet: readonly number[], options?: PacketOptions): Promise<Uint8Array> => {
    const { status, data } = await driver.packet(packet, options);
    assert.equal(status, READY, `packet ${packet}`);
    return data;
  };
  /** A packet that fails; its sense. */
  const fails = async (packet: readonly number[], options?: PacketOptions): Promise<readonly number[]> => {
    const { status, error } = await driver.packet(packet, options);
    assert.equal(status, READY | ERR, `packet ${packet}`);
    const sense = await driver.sense();
    assert.equal(error, (sense[0] << 4) | 4);
    return sense;
  };
  /** What the host does, to its end. */
  const change = async (medium?: DiskBackend, force?: boolean) => {
    const changed = tray.change(medium, force);
    driver.door.pump();
    return changed;
  };
  return { driver, tray, ask, fails, change, cdrom, disc: disc as MemoryDisk };
}

describe('the drive at the channel', () => {
  test('IDENTIFY PACKET DEVICE tells what it is; what is for disks aborts with the signature', async () => {
    const { driver } = await build();
    const words = new Uint16Array((await driver.read(0xa1)).buffer);
    assert.equal(words[0], 0x85c0);
    assert.ok(words[49] & 0x300);
    for (const command of [0xec, 0x20]) {
      driver.out(4, 0);
      assert.equal(await driver.run(command), READY | ERR);
      assert.deepEqual([driver.error, driver.in(4), driver.in(5)], [4, 0x14, 0xeb]);
    }
    for (const command of [0x00, 0x30, 0xc8, 0xe7, 0xb0])
      assert.equal(await driver.run(command), READY | ERR);
    assert.equal(await driver.run(0xef, { feature: 3, count: 0x22 }), READY);
    assert.equal(await driver.run(0xef, { feature: 2 }), READY | ERR);
    assert.equal(await driver.run(0xe0), READY);
    assert.equal(await driver.run(0xe5), READY);
    assert.equal(driver.in(2), 0);
    assert.equal(await driver.run(0xe1), READY);
  });

  test('traffic: blocks that the disc gave, also when it is changed for another', async () => {
    const { ask, fails, change, cdrom } = await build();
    await ask(read10(3, 2));
    await change(MemoryDisk.numbered(1 << 20, true), true);
    await fails(TEST_UNIT_READY);
    await ask(read10(0, 5));
    assert.deepEqual(await fails(read10(10_000, 1)), OUT_OF_RANGE);
    assert.deepEqual(
      { ...cdrom.traffic },
      { readBytes: 7 * BLOCK, readOperations: 2, writtenBytes: 0, writeOperations: 0 },
    );
  });

  test('the first thing it tells is that the power came', async () => {
    const driver = new IdeDriver((options) => [new Cdrom(options('cd0'))]);
    driver.use(0, 0);
    assert.equal(driver.alternate, 0, 'no DRDY before the first command');
    assert.equal((await driver.packet([0x12, 0, 0, 0, 36])).status, READY, 'INQUIRY comes before that');
    assert.equal((await driver.packet(TEST_UNIT_READY)).status, READY | ERR);
    assert.deepEqual(await driver.sense(), POWERED_ON);
    assert.equal((await driver.packet(TEST_UNIT_READY)).status, READY | ERR);
    assert.deepEqual(await driver.sense(), NO_MEDIUM);
    assert.deepEqual(await driver.sense(), [0, 0, 0], 'it is told once');
  });

  test('DEVICE RESET breaks off a command and raises no interrupt', async () => {
    const { driver, disc } = await build();
    const { promise, resolve } = Promise.withResolvers<void>();
    disc.gate = promise;
    const edges = driver.irq.edges;
    driver.out(1, 0);
    driver.out(5, 8);
    driver.out(7, 0xa0);
    for (const word of [0x0028, 0, 0, 0, 0x0001, 0]) driver.out(0, word, 2);
    assert.equal(driver.alternate, 0x80);
    driver.out(7, 0x08);
    assert.deepEqual([driver.alternate, driver.in(4), driver.in(5), driver.error], [0, 0x14, 0xeb, 1]);
    resolve();
    await driver.door.settle(() => true);
    assert.equal(driver.irq.edges, edges);
    assert.equal((await driver.packet(read10(0, 1))).status, READY);
  });

  test('a guest that leaves no room for data, or wants overlapped commands, is refused', async () => {
    const { driver } = await build();
    const { status, error } = await driver.packet([0x12, 0, 0, 0, 36], { limit: 0 });
    assert.deepEqual([status, error], [READY | ERR, 4]);
    assert.equal(
      (await driver.packet(TEST_UNIT_READY, { limit: 0 })).status,
      READY,
      'without data it needs none',
    );
    driver.out(1, 2);
    driver.out(7, 0xa0);
    assert.equal(driver.status, READY | ERR);
  });
});

describe('reading', () => {
  test('READ(10) and READ(12) through the port, in blocks of the byte count limit', async () => {
    const { driver, disc } = await build();
    for (const [limit, expected] of [
      [0x0800, [2048, 2048, 2048]],
      [0x1001, [4096, 2048]],
      [0xffff, [6144]],
    ] as const) {
      const { data, blocks, status } = await driver.packet(read10(3, 3), { limit });
      assert.equal(status, READY);
      assert.deepEqual([...blocks], [...expected]);
      assert.deepEqual(data, disc.bytes.slice(3 * BLOCK, 6 * BLOCK));
    }
    const twelve = await driver.packet([0xa8, 0, ...be32(5), ...be32(2)], { size: 4 });
    assert.deepEqual(twelve.data, disc.bytes.slice(5 * BLOCK, 7 * BLOCK));
  });

  test('by DMA', async () => {
    const { driver, disc } = await build();
    const { data, status } = await driver.packet(read10(8, 4), { dma: true });
    assert.equal(status, READY);
    assert.deepEqual(data.subarray(0, 4 * BLOCK), disc.bytes.subarray(8 * BLOCK, 12 * BLOCK));
    const inquiry = await driver.packet([0x12, 0, 0, 0, 36], { dma: true });
    assert.equal(inquiry.data[0], 5);
  });

  test('more than a piece', async () => {
    const disc = MemoryDisk.numbered(3 << 20, true);
    const { ask } = await build(disc);
    assert.deepEqual(await ask(read10(0, 1200), { size: 4 }), disc.bytes.slice(0, 1200 * BLOCK));
    assert.deepEqual(disc.calls, ['read 0 1048576', 'read 1048576 1048576', 'read 2097152 360448']);
  });

  test('what is not on the disc is out of range; nothing is nothing', async () => {
    const { ask, fails, disc } = await build();
    assert.deepEqual(await fails(read10(512, 1)), OUT_OF_RANGE);
    assert.deepEqual(await fails(read10(511, 2)), OUT_OF_RANGE);
    assert.deepEqual(await fails([0xa8, 0, ...be32(0xffffffff), ...be32(0xffffffff)]), OUT_OF_RANGE);
    assert.equal((await ask(read10(511, 1))).length, BLOCK);
    assert.equal((await ask(read10(3, 0))).length, 0);
    assert.deepEqual(await fails([0x2b, 0, ...be32(512)]), OUT_OF_RANGE);
    assert.equal((await ask([0x2b, 0, ...be32(511)])).length, 0);
    assert.equal(disc.calls.length, 1);
  });

  test('a truncated image: the last block ends in zeroes', async () => {
    const disc = MemoryDisk.numbered(5 * 512, true);
    const { ask } = await build(disc);
    assert.deepEqual([...(await ask([0x25]))], [...be32(1), ...be32(BLOCK)]);
    const block = await ask(read10(1, 1));
    assert.deepEqual(block.subarray(0, 512), disc.bytes.subarray(4 * 512));
    assert.ok(block.subarray(512).every((byte) => byte === 0));
  });

  test('a failing back end is an unrecovered read error', async () => {
    const { fails, ask, disc } = await build();
    disc.failing = (offset) => offset === 4 * BLOCK;
    assert.deepEqual(await fails(read10(4, 1)), [3, 0x11, 0]);
    assert.equal((await ask(read10(5, 1))).length, BLOCK);
  });

  test('READ CD: user data, whole sectors, nothing; other fields and types are refused', async () => {
    const { ask, fails, disc } = await build();
    const readCd = (fields: number, type = 0, subchannel = 0): number[] => [
      ...[0xbe, type << 2, ...be32(16), 0, 0, 2],
      ...[fields, subchannel, 0],
    ];
    assert.deepEqual(await ask(readCd(0x10)), disc.bytes.slice(16 * BLOCK, 18 * BLOCK));
    assert.deepEqual(await ask(readCd(0x10, 2)), disc.bytes.slice(16 * BLOCK, 18 * BLOCK));
    const raw = await ask(readCd(0xf8));
    assert.equal(raw.length, 2 * 2352);
    // Sync, then 00:02:16, mode 1.
    assert.deepEqual([...raw.subarray(0, 16)], [0, ...Array(10).fill(0xff), 0, 0x00, 0x02, 0x16, 1]);
    assert.deepEqual(raw.slice(2352 + 16, 2352 + 16 + BLOCK), disc.bytes.slice(17 * BLOCK, 18 * BLOCK));
    assert.equal((await ask(readCd(0))).length, 0);
    assert.deepEqual(await fails(readCd(0x18)), INVALID_FIELD);
    assert.deepEqual(await fails(readCd(0x10, 0, 1)), INVALID_FIELD);
    assert.deepEqual(await fails(readCd(0x10, 1)), [5, 0x64, 0]);
  });
});

describe('what the drive tells', () => {
  test('INQUIRY, cut to the allocation length', async () => {
    const { ask, fails, driver } = await build();
    const inquiry = await ask([0x12, 0, 0, 0, 36]);
    assert.deepEqual([...inquiry.subarray(0, 5)], [5, 0x80, 0, 0x21, 31]);
    assert.equal(Buffer.from(inquiry.subarray(8)).toString(), 'TEREMOK DVD-ROM         1.0 ');
    const { data, blocks } = await driver.packet([0x12, 0, 0, 0, 5]);
    assert.deepEqual([data.length, blocks], [5, [5]]);
    assert.equal((await ask([0x12, 0, 0, 0, 0])).length, 0);
    assert.deepEqual(await fails([0x12, 1, 0, 0, 36]), INVALID_FIELD);
  });

  test('READ TOC: tracks, sessions, the lead-in; addresses as blocks and as times', async () => {
    const { ask, fails } = await build();
    const toc = (format: number, first: number, msf = 0): number[] => [
      0x43,
      msf,
      format,
      0,
      0,
      0,
      first,
      3,
      0x20,
    ];
    assert.deepEqual(
      [...(await ask(toc(0, 0)))],
      [0, 18, 1, 1, 0, 0x14, 1, 0, ...be32(0), 0, 0x14, 0xaa, 0, ...be32(512)],
    );
    assert.deepEqual(
      [...(await ask(toc(0, 0xaa, 2)))],
      [0, 10, 1, 1, 0, 0x14, 0xaa, 0, 0, 0, (512 + 150) / 75, (512 + 150) % 75].map(Math.floor),
    );
    assert.deepEqual(await fails(toc(0, 2)), INVALID_FIELD);
    assert.deepEqual([...(await ask(toc(1, 0)))], [0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0]);
    const full = await ask(toc(2, 0));
    assert.equal(full.length, 4 + 4 * 11);
    assert.deepEqual([...full.subarray(0, 4)], [0, 46, 1, 1]);
    assert.deepEqual([full[7], full[18], full[29], full[40]], [0xa0, 0xa1, 0xa2, 1]);
    assert.deepEqual([...full.subarray(34, 37)], [0, 8, 62]);
    assert.deepEqual(await fails(toc(3, 0)), INVALID_FIELD);
    // SFF-8020i: the format in the last byte.
    assert.equal((await ask([0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0x40])).length, 12);
    const { data } = await (await build()).driver.packet([0x43, 0, 0, 0, 0, 0, 0, 0, 4]);
    assert.equal(data.length, 4);
  });

  test('capacity, disc and track', async () => {
    const { ask, fails } = await build();
    assert.deepEqual([...(await ask([0x25]))], [...be32(511), ...be32(BLOCK)]);
    const disc = await ask([0x51, 0, 0, 0, 0, 0, 0, 0, 34]);
    assert.deepEqual([...disc.subarray(0, 7)], [0, 32, 0x0e, 1, 1, 1, 1]);
    const track = (type: number, where: number): number[] => [0x52, type, ...be32(where), 0, 0, 36];
    for (const packet of [track(1, 1), track(0, 511), track(2, 1)]) {
      const bytes = await ask(packet);
      assert.deepEqual([...bytes.subarray(24, 28)], be32(512));
    }
    for (const packet of [track(1, 2), track(0, 512), track(3, 1)])
      assert.deepEqual(await fails(packet), INVALID_FIELD);
    assert.deepEqual([...(await ask([0x42, 2, 0, 0, 0, 0, 0, 0, 4]))], [0, 0x15, 0, 0]);
  });

  test('MODE SENSE (6) and (10): pages, one or all; what can be changed is nothing', async () => {
    const { ask, fails } = await build();
    const ten = (page: number): number[] => [0x5a, 0, page, 0, 0, 0, 0, 1, 0];
    const capabilities = await ask(ten(0x2a));
    assert.deepEqual([...capabilities.subarray(0, 12)], [0, 26, 0, 0, 0, 0, 0, 0, 0x2a, 18, 0x0b, 0]);
    assert.equal(capabilities[14], 0x29);
    await ask(lock(true));
    assert.equal((await ask(ten(0x2a)))[14], 0x2b);
    const all = await ask(ten(0x3f));
    assert.equal((all[0] << 8) | all[1], all.length - 2);
    assert.ok((await ask(ten(0x6a))).subarray(10).every((byte) => byte === 0));
    const six = await ask([0x1a, 0, 0x01, 0, 12]);
    assert.deepEqual([...six], [11, 0, 0, 0, 1, 6, 0, 5, 0, 0, 0, 0]);
    assert.deepEqual(await fails(ten(0x08)), INVALID_FIELD);
    assert.deepEqual(await fails(ten(0xea)), [5, 0x39, 0]);
  });

  test('GET CONFIGURATION: profile and features, all, current or one', async () => {
    const { ask, fails } = await build();
    const get = (which: number, first: number): number[] => [
      0x46,
      which,
      first >> 8,
      first & 0xff,
      0,
      0,
      0,
      1,
      0,
    ];
    const codes = (bytes: Uint8Array): number[] => {
      const found: number[] = [];
      for (let at = 8; at < bytes.length; at += 4 + bytes[at + 3])
        found.push((bytes[at] << 8) | bytes[at + 1]);
      return found;
    };
    const all = await ask(get(0, 0));
    assert.deepEqual([...all.subarray(0, 8)], [...be32(all.length - 4), 0, 0, 0, 8]);
    assert.deepEqual(codes(all), [0, 1, 2, 3, 0x10, 0x1d, 0x1e, 0x1f, 0x100, 0x105]);
    assert.deepEqual(codes(await ask(get(1, 0x10))), [0x10, 0x1d, 0x1e, 0x100, 0x105]);
    assert.deepEqual(codes(await ask(get(2, 0x3))), [3]);
    assert.deepEqual(codes(await ask(get(2, 0x4))), []);
    assert.deepEqual(await fails(get(3, 0)), INVALID_FIELD);
    const none = await build(null);
    assert.equal((await none.ask(get(0, 0)))[7], 0);
  });

  test('a disc larger than a CD is a DVD', async () => {
    const disc = new MemoryDisk(0, true);
    Object.defineProperty(disc, 'size', { value: 4_700_000_000 - (4_700_000_000 % BLOCK) });
    const { ask, fails } = await build(disc);
    assert.equal((await ask([0x46, 0, 0, 0, 0, 0, 0, 0, 8]))[7], 0x10);
    const structure = (format: number): number[] => [0xad, 0, 0, 0, 0, 0, 0, format, 0x10, 0];
    const physical = await ask(structure(0));
    assert.deepEqual([...physical.subarray(0, 12)], [8, 2, 0, 0, 1, 0x0f, 1, 0, 0, 3, 0, 0]);
    assert.equal((await ask(structure(1))).length, 8);
    assert.equal((await ask(structure(4))).length, 2052);
    assert.deepEqual(await fails(structure(9)), INVALID_FIELD);
    const cd = await build();
    assert.deepEqual(await cd.fails(structure(0)), INVALID_FIELD);
  });

  test('mechanism, speed, and what is unknown', async () => {
    const { ask, fails } = await build();
    assert.equal((await ask([0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8])).length, 8);
    assert.equal((await ask([0xbb, 0, 0xff, 0xff])).length, 0);
    for (const code of [0x04, 0x2a, 0x55, 0xa1, 0xff]) assert.deepEqual(await fails([code]), [5, 0x20, 0]);
  });
});

describe('the tray', () => {
  test('without a disc: not ready, with the tray closed and open', async () => {
    const { fails, ask } = await build(null);
    for (const packet of [TEST_UNIT_READY, read10(0, 1), [0x25], [0x43], [0x51], [0x2b]])
      assert.deepEqual(await fails(packet), NO_MEDIUM);
    await ask(load(2));
    assert.deepEqual(await fails(TEST_UNIT_READY), TRAY_OPEN);
    assert.deepEqual([...(await ask(GET_EVENTS))], [0, 6, 4, 0x10, 0, 1, 0, 0]);
    await ask(load(3));
    assert.deepEqual(await fails(TEST_UNIT_READY), NO_MEDIUM);
  });

  test('the host puts a disc in: an event, and a unit attention before anything else', async () => {
    const { fails, ask, change } = await build(null);
    const disc = MemoryDisk.numbered(BLOCK * 10, true);
    assert.deepEqual(await change(disc), { done: true, removed: undefined });
    assert.deepEqual([...(await ask(GET_EVENTS))], [0, 6, 4, 0x10, 2, 2, 0, 0], 'new medium');
    assert.deepEqual([...(await ask(GET_EVENTS))], [0, 6, 4, 0x10, 0, 2, 0, 0]);
    assert.equal((await ask([0x12, 0, 0, 0, 36])).length, 36);
    assert.deepEqual(await fails(read10(0, 1)), CHANGED);
    assert.deepEqual(await ask(read10(9, 1)), disc.bytes.slice(9 * BLOCK));
  });

  test('the host takes the disc out, or puts another in its place', async () => {
    const { fails, ask, change, disc } = await build();
    const other = MemoryDisk.numbered(BLOCK, true);
    assert.deepEqual(await change(other), { done: true, removed: disc });
    assert.deepEqual(await fails([0x25]), CHANGED);
    assert.deepEqual([...(await ask([0x25]))], [...be32(0), ...be32(BLOCK)]);
    assert.deepEqual(await change(undefined), { done: true, removed: other });
    assert.deepEqual([...(await ask(GET_EVENTS))], [0, 6, 4, 0x10, 3, 0, 0, 0], 'removal');
    assert.deepEqual(await fails(TEST_UNIT_READY), NO_MEDIUM);
  });

  test('a locked tray: the host asks by an event, the guest may refuse; force is the pin hole', async () => {
    const { ask, fails, change, tray, disc } = await build();
    await ask(lock(true));
    assert.equal(tray.locked, true);
    assert.deepEqual(await fails(load(2)), LOCKED);
    assert.deepEqual(await change(undefined), { done: false, removed: undefined });
    assert.deepEqual([...(await ask(GET_EVENTS))], [0, 6, 4, 0x10, 1, 2, 0, 0], 'eject request');
    assert.equal((await ask(read10(0, 1))).length, BLOCK);
    assert.deepEqual(await change(undefined, true), { done: true, removed: disc });
    await ask(lock(false));
    await ask(load(2));
    assert.equal(tray.open, true);
  });

  test('a disc that the guest ejects comes back when it closes the tray', async () => {
    const { ask, fails, tray, disc } = await build();
    await ask(load(2));
    assert.deepEqual([tray.open, tray.medium, tray.disc], [true, undefined, disc]);
    assert.deepEqual(await fails(read10(0, 1)), TRAY_OPEN);
    assert.equal((await ask([0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8]))[1], 0x10);
    await ask(load(3));
    assert.deepEqual(await fails(TEST_UNIT_READY), CHANGED);
    assert.equal((await ask(read10(0, 1))).length, BLOCK);
    await ask(load(0));
    await ask(load(1));
  });

  test('a change while the disc is read ends the read; the old disc is let go of only then', async () => {
    const { driver, tray, disc } = await build();
    const { promise, resolve } = Promise.withResolvers<void>();
    disc.gate = promise;
    const read = driver.packet(read10(0, 4));
    const changed = tray.change(MemoryDisk.numbered(BLOCK, true));
    let free = false;
    void changed.then(() => (free = true));
    await new Promise((done) => setImmediate(done));
    driver.door.pump();
    await new Promise((done) => setImmediate(done));
    assert.equal(free, false, 'a read is under way on it');
    resolve();
    assert.equal((await read).status, READY | ERR);
    assert.deepEqual(await driver.sense(), CHANGED);
    assert.deepEqual(await changed, { done: true, removed: disc });
  });

  test('RST# unlocks it', async () => {
    const { driver, ask, tray } = await build();
    await ask(lock(true));
    driver.softwareReset();
    assert.equal(tray.locked, true, 'SRST does not');
    driver.fn.reset();
    driver.enable();
    assert.equal(tray.locked, false);
  });
});

describe('state', () => {
  test('a read through the port goes on in another machine with the same disc', async () => {
    const { driver, disc } = await build();
    driver.out(5, 8);
    driver.out(7, 0xa0);
    for (const word of [0x0028, 0, 0, 0, 0x0002, 0]) driver.out(0, word, 2);
    await driver.settled();
    for (let i = 0; i < 100; i++) driver.in(0, 2);
    const other = await build(disc);
    other.driver.controller.restore(driver.controller.save());
    const words = new Uint16Array(disc.bytes.slice(0, 2 * BLOCK).buffer);
    for (let i = 100; i < 2048; i++) assert.equal(other.driver.in(0, 2), words[i]);
    assert.equal(await other.driver.settled(), READY);
  });

  test('lock, open tray, sense and what is yet to be told are kept; a missing disc is noticed', async () => {
    const { driver, ask } = await build();
    await driver.packet([0xff]);
    await driver.packet(lock(true));
    await driver.packet([0xff]);
    const other = await build(null);
    other.driver.controller.restore(driver.controller.save());
    assert.deepEqual(await other.driver.sense(), [5, 0x20, 0]);
    assert.equal(other.tray.locked, true);
    assert.deepEqual([...(await other.ask(GET_EVENTS))], [0, 6, 4, 0x10, 3, 0, 0, 0]);
    await ask(lock(false));
    await ask(load(2));
    const third = await build();
    third.driver.controller.restore(driver.controller.save());
    assert.deepEqual(await third.fails(TEST_UNIT_READY), TRAY_OPEN);
  });
});
