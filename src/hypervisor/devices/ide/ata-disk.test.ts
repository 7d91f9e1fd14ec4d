import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DRQ, ERR, IdeDriver, READY } from '../../../../test/support/ide-driver.ts';
import { MemoryDisk } from '../../../../test/support/memory-disk.ts';
import type { AccessSize } from '../../machine/bus.ts';
import { AtaDisk } from './ata-disk.ts';

const SECTOR = 512;
const ABORT = 0x04;
const NOT_FOUND = 0x10;
const UNCORRECTABLE = 0x40;
const FAULT = 0x20;

function build(disk = MemoryDisk.numbered(8 << 20)) {
  let drive: AtaDisk | undefined;
  const driver = new IdeDriver((options) => [
    (drive = new AtaDisk({ ...options('disk0'), disk, serial: 'S-1' })),
  ]);
  assert.ok(drive);
  return { driver, disk, drive };
}

const sectors = (disk: MemoryDisk, lba: number, count: number): Uint8Array =>
  disk.bytes.slice(lba * SECTOR, (lba + count) * SECTOR);
const pattern = (bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => (i * 7) ^ (i >> 8));

async function identify(driver: IdeDriver): Promise<Uint16Array> {
  const bytes = await driver.read(0xec);
  assert.equal(bytes.length, SECTOR);
  return new Uint16Array(bytes.buffer);
}

const text = (words: Uint16Array): string =>
  [...words].map((word) => String.fromCharCode(word >> 8, word & 0xff)).join('');

describe('IDENTIFY DEVICE', () => {
  test('names, size and features', async () => {
    const { driver } = build();
    const words = await identify(driver);
    assert.equal(text(words.subarray(10, 20)).trim(), 'S-1');
    assert.equal(text(words.subarray(27, 47)).trim(), 'TEREMOK HARDDISK');
    assert.equal(words[60] | (words[61] << 16), 16384);
    assert.equal(words[100], 16384);
    assert.ok(words[49] & 0x300, 'DMA and LBA');
    assert.ok(words[83] & 0x400, '48 bits');
    assert.equal(words[82] & 1, 0, 'no SMART');
    assert.equal(words[63] & 0x0f07, 0x0407, 'multiword DMA 2 is selected');
    assert.deepEqual([words[54], words[55], words[56]], [16, 16, 63]);
  });

  test('a disk beyond 28 bits tells all of its sectors in words 100 to 103 only', async () => {
    const disk = new MemoryDisk(0);
    Object.defineProperty(disk, 'size', { value: 3 * 2 ** 40 });
    const { driver } = build(disk);
    const words = await identify(driver);
    assert.equal(words[60] | (words[61] << 16), 0x0fffffff);
    assert.equal(words[100] + words[101] * 2 ** 16 + words[102] * 2 ** 32, (3 * 2 ** 40) / SECTOR);
    assert.equal(words[1], 16383);
    assert.equal(await driver.run(0xf8), READY);
    assert.equal(driver.address().lba, 0x0ffffffe);
    assert.equal(await driver.run(0x27), READY);
    assert.equal(driver.address(true).lba, (3 * 2 ** 40) / SECTOR - 1);
  });
});

describe('reading and writing through the data port', () => {
  for (const size of [1, 2, 4] as AccessSize[]) {
    test(`accesses of ${8 * size} bits`, async () => {
      const { driver, disk } = build();
      assert.deepEqual(await driver.read(0x20, { lba: 5, count: 3 }, size), sectors(disk, 5, 3));
      const data = pattern(2 * SECTOR);
      assert.equal(await driver.write(0x30, { lba: 9, count: 2 }, data, size), READY);
      assert.deepEqual(sectors(disk, 9, 2), data);
      assert.deepEqual(disk.calls, ['read 2560 1536', 'write 4608 1024']);
    });
  }

  test('READ SECTORS interrupts for each sector and not behind the last', async () => {
    const { driver } = build();
    driver.start(0x20, { lba: 0, count: 2 });
    assert.equal(driver.alternate, 0x80);
    await driver.settled();
    assert.equal(driver.irq.edges, 1);
    for (let i = 0; i < 256; i++) driver.in(0, 2);
    assert.equal(driver.irq.level, true);
    assert.equal(driver.status, READY | DRQ);
    assert.equal(driver.irq.level, false, 'reading the status takes the interrupt away');
    for (let i = 0; i < 256; i++) driver.in(0, 2);
    assert.equal(driver.irq.level, false);
    assert.equal(driver.status, READY);
    assert.equal(driver.irq.edges, 2);
  });

  test('WRITE SECTORS asks for the first sector without an interrupt, and interrupts behind each', async () => {
    const { driver, disk } = build();
    driver.start(0x30, { lba: 0, count: 2 });
    assert.equal(driver.alternate, READY | DRQ);
    assert.equal(driver.irq.edges, 0);
    for (let i = 0; i < 256; i++) driver.out(0, i, 2);
    assert.equal(driver.irq.edges, 1);
    assert.equal(driver.status, READY | DRQ);
    for (let i = 0; i < 256; i++) driver.out(0, i, 2);
    assert.equal(driver.alternate, 0x80, 'busy until the back end has it');
    await driver.settled();
    assert.equal(driver.irq.edges, 2);
    assert.equal(disk.bytes[2], 1);
  });

  test('a sector count of 0 is 256, with 48 bits 65536', async () => {
    const { driver, disk } = build(MemoryDisk.numbered(33 << 20));
    assert.equal((await driver.read(0x20, { lba: 1 })).length, 256 * SECTOR);
    driver.table([{ address: 0, bytes: 0 }]);
    const { status, master } = await new Promise<{ status: number; master: number }>((resolve) => {
      // All 32 MiB into the same 64 KiB: a table of 512 entries.
      driver.table(Array.from({ length: 512 }, () => ({ address: 0x20000, bytes: 0 })));
      resolve(driver.dma(0x25, { lba: 0, extended: true }, true));
    });
    assert.deepEqual([status, master & 7], [READY, 4]);
    assert.deepEqual(driver.memory.bytes.slice(0x20000, 0x30000), sectors(disk, 65536 - 128, 128));
    assert.equal(disk.calls.length, 1 + 32, 'in pieces of 1 MiB');
  });

  test('traffic: a command of many sectors or pieces is one request', async () => {
    const { driver, disk, drive } = build(MemoryDisk.numbered(8 << 20));
    await driver.read(0x20, { lba: 5, count: 3 });
    await driver.write(0x30, { lba: 9, count: 2 }, pattern(2 * SECTOR));
    // 3 MiB, as three pieces, all into the same 64 KiB.
    driver.table(Array.from({ length: 48 }, () => ({ address: 0x20000, bytes: 0 })));
    await driver.dma(0x25, { lba: 0, count: 6144, extended: true }, true);
    // READ VERIFY moves nothing, nor does what fails.
    await driver.run(0x40, { lba: 0, count: 8 });
    disk.failing = () => true;
    assert.equal(await driver.run(0x20, { lba: 0, count: 1 }), READY | ERR);
    assert.deepEqual(
      { ...drive.traffic },
      { readBytes: 3 * SECTOR + (3 << 20), readOperations: 2, writtenBytes: 2 * SECTOR, writeOperations: 1 },
    );
  });

  test('EXT commands take the second byte of each register', async () => {
    const { driver, disk } = build(MemoryDisk.numbered(1 << 20));
    assert.deepEqual(
      await driver.read(0x24, { lba: 0x7f0, count: 0x10, extended: true }),
      sectors(disk, 0x7f0, 16),
    );
    assert.equal(await driver.write(0x34, { lba: 3, count: 1, extended: true }, pattern(SECTOR)), READY);
    assert.deepEqual(sectors(disk, 3, 1), pattern(SECTOR));
    assert.equal(await driver.run(0x24, { lba: 2 ** 28 + 1, count: 1, extended: true }), READY | ERR);
    assert.equal(driver.error, NOT_FOUND);
  });

  test('READ and WRITE MULTIPLE move blocks; without SET MULTIPLE MODE they abort', async () => {
    const { driver, disk } = build();
    assert.equal(await driver.run(0xc4, { count: 1 }), READY | ERR);
    assert.equal(driver.error, ABORT);
    assert.equal(await driver.run(0xc6, { count: 3 }), READY | ERR, 'no power of two');
    assert.equal(await driver.run(0xc6, { count: 32 }), READY | ERR, 'more than there may be');
    assert.equal(await driver.run(0xc6, { count: 8 }), READY);
    assert.equal((await identify(driver))[59], 0x108);
    const edges = driver.irq.edges;
    assert.deepEqual(await driver.read(0xc4, { lba: 4, count: 20 }, 2, 8 * SECTOR), sectors(disk, 4, 20));
    assert.equal(driver.irq.edges - edges, 3, 'blocks of 8, 8 and 4');
    driver.start(0xc5, { lba: 100, count: 9 });
    for (let i = 0; i < (9 * SECTOR) / 2; i++) driver.out(0, i, 2);
    assert.equal(await driver.settled(), READY);
    assert.equal(new Uint16Array(sectors(disk, 108, 1).buffer)[255], 9 * 256 - 1);
    assert.deepEqual(
      await driver.read(0x29, { lba: 1, count: 8, extended: true }, 4, 8 * SECTOR),
      sectors(disk, 1, 8),
    );
  });

  test('a block of READ MULTIPLE never lies in two pieces', async () => {
    const { driver, disk } = build();
    await driver.run(0xc6, { count: 16 });
    const got = await driver.read(0x29, { lba: 0, count: 2056, extended: true }, 4, 16 * SECTOR);
    assert.deepEqual(got, sectors(disk, 0, 2056));
  });
});

describe('addresses', () => {
  test('cylinder, head and sector, by the default geometry and by another one', async () => {
    const { driver, disk } = build();
    assert.deepEqual(
      await driver.read(0x20, { count: 1, chs: [2, 3, 4] }),
      sectors(disk, (2 * 16 + 3) * 63 + 3, 1),
    );
    driver.out(6, 0xa7);
    driver.out(2, 32);
    driver.out(7, 0x91);
    assert.equal(await driver.settled(), READY);
    const words = await identify(driver);
    assert.deepEqual([...words.subarray(54, 57)], [64, 8, 32]);
    assert.deepEqual([words[3], words[6]], [16, 63], 'the default is told as before');
    assert.deepEqual(await driver.read(0x20, { count: 1, chs: [1, 7, 32] }), sectors(disk, 15 * 32 + 31, 1));
  });

  test('what is not there is IDNF', async () => {
    const { driver } = build();
    for (const chs of [
      [0, 0, 0],
      [0, 0, 64],
      [16, 0, 1],
    ] as const) {
      assert.equal(await driver.run(0x20, { count: 1, chs }), READY | ERR, String(chs));
      assert.equal(driver.error, NOT_FOUND);
    }
    assert.equal(await driver.run(0x20, { lba: 16384, count: 1 }), READY | ERR);
    assert.equal(driver.error, NOT_FOUND);
    assert.equal(await driver.run(0x30, { lba: 16383, count: 2 }), READY | ERR);
    assert.equal(driver.address().lba, 16384, 'the first sector that is not there');
    assert.equal(await driver.run(0x70, { lba: 16384 }), READY | ERR);
    assert.equal(await driver.run(0x70, { lba: 16383 }), READY);
  });

  test('behind a transfer the registers have its last sector, and nothing is left to do', async () => {
    const { driver } = build();
    await driver.read(0x20, { lba: 10, count: 5 });
    assert.deepEqual(driver.address(), { count: 0, lba: 14 });
    await driver.read(0x24, { lba: 10, count: 5, extended: true });
    assert.deepEqual(driver.address(true), { count: 0, lba: 14 });
    assert.equal(driver.in(3), 14, 'a write to device control without HOB shows the last bytes again');
  });

  test('HOB shows what the registers held before, until one is written', () => {
    const { driver } = build();
    driver.out(3, 0x11);
    driver.out(3, 0x22);
    assert.equal(driver.in(3), 0x22);
    driver.control(0x80);
    assert.equal(driver.in(3), 0x11);
    driver.out(4, 0);
    assert.equal(driver.in(3), 0x22);
  });
});

describe('when things go wrong', () => {
  test('a failing read is UNC with the address', async () => {
    const { driver, disk } = build();
    disk.failing = (offset) => offset >= 100 * SECTOR;
    assert.equal(await driver.run(0x20, { lba: 120, count: 2 }), READY | ERR);
    assert.equal(driver.error, UNCORRECTABLE);
    assert.equal(driver.address().lba, 120);
    assert.equal(driver.irq.edges, 1);
    assert.equal(await driver.run(0x42, { lba: 130, count: 1, extended: true }), READY | ERR, 'VERIFY too');
    assert.equal(driver.address(true).lba, 130);
    assert.deepEqual(await driver.read(0x20, { lba: 5, count: 1 }), sectors(disk, 5, 1), 'and it goes on');
    assert.match(driver.log.lines[0], /disk request failed.*disk0/);
  });

  test('failing writes and flushes are a device fault', async () => {
    const { driver, disk } = build();
    disk.failing = () => true;
    assert.equal(await driver.write(0x30, { count: 1 }, pattern(SECTOR)), READY | FAULT | ERR);
    assert.equal(driver.error, ABORT);
    assert.equal(await driver.run(0xe7), READY | FAULT | ERR);
  });

  test('a read-only disk aborts writes and reads as ever', async () => {
    const { driver, disk } = build(MemoryDisk.numbered(1 << 20, true));
    for (const command of [0x30, 0x34, 0xca, 0x35, 0x3d]) {
      assert.equal(await driver.run(command, { count: 1 }), READY | ERR);
      assert.equal(driver.error, ABORT);
    }
    assert.deepEqual(await driver.read(0x20, { count: 1 }), sectors(disk, 0, 1));
  });

  test('unknown commands, SMART, NOP and what packet devices have abort', async () => {
    const { driver } = build();
    for (const command of [0x00, 0x08, 0xa0, 0xa1, 0xb0, 0xf1, 0xf9, 0xde, 0xff]) {
      assert.equal(await driver.run(command), READY | ERR, command.toString(16));
      assert.equal(driver.error, ABORT);
    }
  });
});

describe('cache and settings', () => {
  test('FLUSH CACHE waits for the back end; without a write cache each write does', async () => {
    const { driver, disk } = build();
    assert.equal(await driver.run(0xe7), READY);
    assert.equal(await driver.run(0xea), READY);
    assert.deepEqual(disk.calls.splice(0), ['flush', 'flush']);
    assert.equal(await driver.run(0xef, { feature: 0x82 }), READY);
    assert.equal((await identify(driver))[85] & 0x20, 0);
    await driver.write(0x30, { count: 1 }, pattern(SECTOR));
    assert.deepEqual(disk.calls.splice(0), ['flush', 'write 0 512', 'flush']);
    assert.equal(await driver.run(0xef, { feature: 0x02 }), READY);
    await driver.write(0x30, { count: 1 }, pattern(SECTOR));
    assert.deepEqual(disk.calls.splice(0), ['write 0 512']);
  });

  test('WRITE DMA FUA EXT is on the disk when it ends', async () => {
    const { driver, disk } = build();
    driver.table([{ address: 0x20000, bytes: SECTOR }]);
    const { status } = await driver.dma(0x3d, { lba: 1, count: 1, extended: true }, false);
    assert.equal(status, READY);
    assert.deepEqual(disk.calls, ['write 512 512', 'flush']);
  });

  test('SET FEATURES: transfer modes, look-ahead, and what it does not know', async () => {
    const { driver } = build();
    const set = (feature: number, count = 0): Promise<number> => driver.run(0xef, { feature, count });
    assert.equal(await set(0x03, 0x45), READY);
    let words = await identify(driver);
    assert.deepEqual([words[63] >> 8, words[88] >> 8], [0, 0x20]);
    assert.equal(await set(0x03, 0x21), READY);
    words = await identify(driver);
    assert.deepEqual([words[63] >> 8, words[88] >> 8], [2, 0]);
    for (const mode of [0x02, 0x0d, 0x10, 0x23, 0x46, 0x80]) assert.equal(await set(0x03, mode), READY | ERR);
    assert.equal(await set(0x0c), READY | ERR);
    assert.equal(await set(0x55), READY);
    assert.equal((await identify(driver))[85] & 0x40, 0);
    assert.equal(await set(0xaa), READY);
    assert.equal(await set(0x99), READY | ERR);
  });

  test('a software reset brings settings back unless 66h says otherwise', async () => {
    const { driver } = build();
    await driver.run(0xc6, { count: 4 });
    driver.softwareReset();
    assert.equal((await identify(driver))[59], 0);
    await driver.run(0xc6, { count: 4 });
    await driver.run(0xef, { feature: 0x66 });
    driver.softwareReset();
    assert.equal((await identify(driver))[59], 0x104);
  });

  test('power management says what it is in', async () => {
    const { driver } = build();
    const mode = async (): Promise<number> => {
      assert.equal(await driver.run(0xe5), READY);
      return driver.address().count;
    };
    assert.equal(await mode(), 0xff);
    for (const standby of [0xe0, 0xe2, 0x94]) {
      assert.equal(await driver.run(standby, { count: 1 }), READY);
      assert.equal(await mode(), 0);
      assert.equal(await driver.run(0xe1), READY);
      assert.equal(await mode(), 0xff);
    }
    await driver.run(0xe6);
    await driver.read(0x20, { count: 1 });
    assert.equal(await mode(), 0xff, 'reading spins it up');
    assert.equal(await driver.run(0x10), READY, 'RECALIBRATE');
  });
});

describe('resets', () => {
  test('a software reset breaks off a read; what comes after waits for the call under way', async () => {
    const { driver, disk } = build();
    const { promise, resolve } = Promise.withResolvers<void>();
    disk.gate = promise;
    driver.start(0x30, { lba: 7, count: 1 });
    for (let i = 0; i < 256; i++) driver.out(0, 0xaaaa, 2);
    assert.equal(driver.alternate, 0x80);
    driver.softwareReset();
    assert.equal(driver.status, READY);
    assert.deepEqual([driver.error, driver.in(2), driver.in(3), driver.in(4), driver.in(5)], [1, 1, 1, 0, 0]);
    const read = driver.read(0x20, { lba: 7, count: 1 });
    assert.equal(disk.calls.length, 1, 'the read is held back');
    resolve();
    assert.deepEqual(await read, new Uint8Array(SECTOR).fill(0xaa));
    assert.equal(driver.irq.edges, 1);
  });

  test('while SRST is held the drive is busy and deaf', async () => {
    const { driver } = build();
    driver.control(4);
    assert.equal(driver.alternate, 0x80);
    driver.out(7, 0xec);
    driver.control(0);
    assert.equal(driver.alternate, READY);
    assert.equal((await identify(driver))[0], 0x40);
  });

  test('EXECUTE DEVICE DIAGNOSTIC: signature, code 01h and an interrupt', async () => {
    const { driver } = build();
    driver.out(3, 0x55);
    assert.equal(await driver.run(0x90), READY);
    assert.deepEqual([driver.error, driver.in(2), driver.in(3), driver.in(4), driver.in(5)], [1, 1, 1, 0, 0]);
    assert.equal(driver.irq.edges, 1);
  });
});

describe('state', () => {
  test('a transfer through the port goes on where it was', async () => {
    const { driver, disk } = build();
    driver.start(0x20, { lba: 3, count: 3 });
    await driver.settled();
    for (let i = 0; i < 300; i++) driver.in(0, 2);
    const state = driver.controller.save();
    const other = build(disk).driver;
    other.controller.restore(state);
    assert.equal(other.irq.level, true);
    const rest: number[] = [];
    for (let i = 0; i < 256 * 3 - 300; i++) rest.push(other.in(0, 2));
    const words = new Uint16Array(sectors(disk, 3, 3).buffer);
    assert.deepEqual(rest, [...words.subarray(300)]);
    assert.equal(other.status, READY);
  });

  test('a call of the back end that was under way is begun again', async () => {
    const { driver } = build();
    driver.start(0x30, { lba: 2, count: 1 });
    for (let i = 0; i < 256; i++) driver.out(0, 0x1234, 2);
    const state = driver.controller.save();
    const disk2 = new MemoryDisk(8 << 20);
    const other = build(disk2).driver;
    other.controller.restore(state);
    assert.equal(await other.settled(), READY);
    assert.deepEqual(disk2.calls, ['write 1024 512']);
    assert.equal(disk2.bytes[1024], 0x34);
  });

  test('settings are kept', async () => {
    const { driver } = build();
    await driver.run(0xc6, { count: 2 });
    await driver.run(0xef, { feature: 0x03, count: 0x42 });
    const words = await identify(driver);
    const other = build().driver;
    other.controller.restore(driver.controller.save());
    assert.deepEqual(await identify(other), words);
  });
});
