import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DRQ, IdeDriver, READY } from '../../../../test/support/ide-driver.ts';
import { MemoryDisk } from '../../../../test/support/memory-disk.ts';
import { AtaDisk } from './ata-disk.ts';

const SECTOR = 512;
const ACTIVE = 1;
const ERROR = 2;
const INTERRUPT = 4;
const READ = 0xc8;
const WRITE = 0xca;

function build() {
  const disk = MemoryDisk.numbered(4 << 20);
  const driver = new IdeDriver((options) => [
    new AtaDisk({ ...options('disk0'), disk }),
    undefined,
    new AtaDisk({ ...options('disk1'), disk }),
  ]);
  /** Turns of the event loop in which everything that can come has come. */
  const rest = async (): Promise<void> => {
    for (let i = 0; i < 5; i++) {
      await new Promise((resolve) => setImmediate(resolve));
      driver.door.pump();
    }
  };
  return { driver, disk, memory: driver.memory, rest };
}

describe('the table of regions', () => {
  test('data are scattered over regions of odd places and sizes', async () => {
    const { driver, disk, memory } = build();
    const regions = [
      { address: 0x20002, bytes: 2 },
      { address: 0x21ffe, bytes: 510 },
      { address: 0x30000, bytes: 1022 },
      { address: 0x40000, bytes: 2 },
    ];
    driver.table(regions);
    const { status, master } = await driver.dma(READ, { lba: 1, count: 3 }, true);
    assert.deepEqual([status, master], [READY, INTERRUPT]);
    let at = SECTOR;
    for (const { address, bytes } of regions) {
      assert.deepEqual(memory.bytes.slice(address, address + bytes), disk.bytes.slice(at, at + bytes));
      at += bytes;
    }
    assert.equal(memory.bytes[0x40002], 0);
    assert.deepEqual(disk.calls, ['read 512 1536']);
  });

  test('data are gathered for a write', async () => {
    const { driver, disk, memory } = build();
    memory.bytes.fill(1, 0x20000, 0x20100);
    memory.bytes.fill(2, 0x30000, 0x30300);
    driver.table([
      { address: 0x20000, bytes: 0x100 },
      { address: 0x30000, bytes: 0x300 },
    ]);
    const { status, master } = await driver.dma(WRITE, { lba: 8, count: 2 }, false);
    assert.deepEqual([status, master], [READY, INTERRUPT]);
    assert.deepEqual(disk.bytes.slice(4096, 4096 + 0x100), new Uint8Array(0x100).fill(1));
    assert.deepEqual(disk.bytes.slice(4096 + 0x100, 4096 + 0x400), new Uint8Array(0x300).fill(2));
  });

  test('a count of 0 is 64 KiB, and bit 0 of address and count is none', async () => {
    const { driver, disk, memory } = build();
    driver.table([
      { address: 0x100001, bytes: 0 },
      { address: 0x120000, bytes: 0xfe01 },
      { address: 0x130000, bytes: 0x200 },
    ]);
    const { master } = await driver.dma(READ, { count: 0 }, true);
    assert.equal(master, INTERRUPT);
    assert.deepEqual(memory.bytes.slice(0x100000, 0x110000), disk.bytes.slice(0, 0x10000));
    assert.deepEqual(memory.bytes.slice(0x120000, 0x12fe00), disk.bytes.slice(0x10000, 0x1fe00));
    assert.deepEqual(memory.bytes.slice(0x130000, 0x130200), disk.bytes.slice(0x1fe00, 0x20000));
  });

  test('a table that is longer than the transfer: interrupt, and still active', async () => {
    const { driver } = build();
    driver.table([{ address: 0x20000, bytes: 4096 }]);
    const { status, master } = await driver.dma(READ, { count: 1 }, true);
    assert.deepEqual([status, master], [READY, INTERRUPT | ACTIVE]);
    assert.equal(driver.masterStatus, INTERRUPT, 'stopping ends it');
  });

  test('a table that is too short: not active, no interrupt; another one goes on', async () => {
    const { driver, disk, memory, rest } = build();
    driver.table([{ address: 0x20000, bytes: 512 }]);
    driver.start(READ, { count: 2 });
    driver.startMaster(true);
    await rest();
    assert.equal(driver.masterStatus, 0);
    assert.equal(driver.irq.level, false);
    assert.ok(driver.alternate & DRQ, 'the drive waits');
    driver.stopMaster();
    driver.table([{ address: 0x30000, bytes: 512 }]);
    driver.startMaster(true);
    assert.equal(driver.irq.level, true);
    assert.equal(driver.stopMaster(), INTERRUPT);
    assert.deepEqual(memory.bytes.slice(0x30000, 0x30200), disk.bytes.slice(512, 1024));
  });

  test('a table without an end ends with its 64 KiB', async () => {
    const { driver, memory, rest } = build();
    for (let i = 0; i < 16384; i++) {
      memory.writeU32(0x10000 + 8 * i, 0x80000);
      memory.writeU32(0x10004 + 8 * i, 2);
    }
    driver.table([], 0x1fff0, true);
    driver.start(READ, { count: 1 });
    driver.startMaster(true);
    await rest();
    assert.equal(driver.masterStatus, 0);
    assert.equal(driver.irq.level, false);
    driver.softwareReset();
    assert.equal(driver.status, READY);
  });

  test('regions and tables outside of RAM are an error, without an interrupt', async () => {
    const { driver, rest } = build();
    for (const regions of [
      [{ address: 0xfff00000, bytes: 512 }],
      [{ address: (4 << 20) - 256, bytes: 512 }],
    ]) {
      driver.table(regions);
      driver.start(READ, { count: 1 });
      driver.startMaster(true);
      await rest();
      assert.equal(driver.stopMaster(), ERROR);
      assert.equal(driver.irq.level, false);
      driver.softwareReset();
    }
    driver.table([], 0xf0000000);
    driver.start(READ, { count: 1 });
    driver.startMaster(true);
    await rest();
    assert.equal(driver.stopMaster(), ERROR);
    assert.match(driver.log.lines.join(), /ide0: DMA through a table that is no memory/);
  });
});

describe('registers', () => {
  test('the start bit may come before the data, or long after', async () => {
    const { driver, disk, memory, rest } = build();
    driver.table([{ address: 0x20000, bytes: 512 }]);
    driver.startMaster(true);
    assert.equal(driver.masterStatus, ACTIVE);
    driver.start(READ, { lba: 3, count: 1 });
    await rest();
    assert.equal(driver.stopMaster(), INTERRUPT);
    assert.deepEqual(memory.bytes.slice(0x20000, 0x20200), disk.bytes.slice(1536, 2048));
    driver.start(READ, { lba: 4, count: 1 });
    await rest();
    assert.equal(driver.irq.edges, 1);
    driver.startMaster(true);
    assert.equal(driver.irq.level, true);
  });

  test('the wrong direction moves nothing', async () => {
    const { driver, memory, rest } = build();
    driver.table([{ address: 0x20000, bytes: 512 }]);
    driver.start(READ, { count: 1 });
    driver.startMaster(false);
    await rest();
    assert.equal(driver.masterStatus, ACTIVE);
    assert.deepEqual(memory.told, []);
  });

  test('without bus mastering in the command register nothing moves', async () => {
    const { driver, rest } = build();
    driver.fn.configWrite(4, 2, 1);
    driver.table([{ address: 0x20000, bytes: 512 }]);
    driver.start(READ, { count: 1 });
    driver.startMaster(true);
    await rest();
    assert.equal(driver.irq.level, false);
  });

  test("status: error and interrupt are cleared by ones, the drives' bits are kept, the rest is not writable", () => {
    const { driver } = build();
    driver.pio.write(0xc002, 1, 0xff);
    assert.equal(driver.masterStatus, 0x60);
    driver.pio.write(0xc002, 1, 0);
    assert.equal(driver.masterStatus, 0);
    driver.pio.write(0xc004, 4, 0x12345677);
    assert.equal(driver.pio.read(0xc004, 4), 0x12345674);
    driver.pio.write(0xc005, 1, 0xff);
    assert.equal(driver.pio.read(0xc004, 4), 0x1234ff74);
    assert.equal(driver.pio.read(0xc00c, 4), 0, 'the other channel has its own');
    driver.pio.write(0xc000, 1, 0xfe);
    assert.equal(driver.pio.read(0xc000, 2), 8);
  });

  test('interrupts of data through the port show in the status too; nIEN keeps them away', async () => {
    const { driver } = build();
    await driver.run(0xe7);
    assert.equal(driver.masterStatus, INTERRUPT);
    driver.pio.write(0xc002, 1, INTERRUPT);
    driver.control(2);
    await driver.run(0xe7);
    assert.equal(driver.masterStatus, 0);
    assert.equal(driver.irq.edges, 1);
  });

  test('both channels at once', async () => {
    const { driver, disk, memory, rest } = build();
    driver.table([{ address: 0x20000, bytes: 512 }]);
    driver.start(READ, { lba: 1, count: 1 });
    driver.startMaster(true);
    driver.use(1, 0);
    driver.table([{ address: 0x30000, bytes: 512 }], 0x2000);
    driver.start(READ, { lba: 2, count: 1 });
    driver.startMaster(true);
    await rest();
    assert.deepEqual([driver.irqs[0].level, driver.irqs[1].level], [true, true]);
    assert.deepEqual(memory.bytes.slice(0x20000, 0x20200), disk.bytes.slice(512, 1024));
    assert.deepEqual(memory.bytes.slice(0x30000, 0x30200), disk.bytes.slice(1024, 1536));
  });

  test('state: a transfer of two pieces goes on in another machine', async () => {
    const { driver, disk } = build();
    const regions = Array.from({ length: 32 }, () => ({ address: 0x20000, bytes: 0 }));
    driver.table(regions);
    driver.start(0x25, { count: 4096, extended: true });
    driver.startMaster(true);
    await driver.door.settle(() => disk.calls.length === 2);
    const state = driver.controller.save();
    const other = build();
    other.memory.bytes.set(driver.memory.bytes);
    other.driver.controller.restore(state);
    await other.driver.door.settle(() => other.driver.irq.level);
    assert.equal(other.driver.stopMaster(), INTERRUPT);
    assert.deepEqual(other.disk.calls, ['read 1048576 1048576']);
    assert.deepEqual(
      other.memory.bytes.slice(0x20000, 0x30000),
      disk.bytes.slice((2 << 20) - 0x10000, 2 << 20),
    );
  });
});
