import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { IdeDriver, READY } from '../../../../test/support/ide-driver.ts';
import { MemoryDisk } from '../../../../test/support/memory-disk.ts';
import { AtaDisk } from './ata-disk.ts';
import { Cdrom } from './cdrom.ts';

function build() {
  const disks = [MemoryDisk.numbered(1 << 20), MemoryDisk.numbered(2 << 20)];
  const driver = new IdeDriver((options) => [
    new AtaDisk({ ...options('disk0'), disk: disks[0] }),
    new AtaDisk({ ...options('disk1'), disk: disks[1] }),
    undefined,
    new Cdrom(options('cd0')),
  ]);
  return { driver, disks };
}

describe('two drives on a channel', () => {
  test('each answers when it is selected', async () => {
    const { driver, disks } = build();
    assert.deepEqual(await driver.read(0x20, { lba: 1, count: 1 }), disks[0].bytes.slice(512, 1024));
    driver.use(0, 1);
    assert.equal(driver.in(6), 0xb0);
    assert.deepEqual(
      await driver.read(0x20, { lba: 3000, count: 1 }),
      disks[1].bytes.slice(3000 * 512, 3001 * 512),
    );
    assert.deepEqual([disks[0].calls.length, disks[1].calls.length], [1, 1]);
  });

  test('parameters reach both, and a command the selected one alone', async () => {
    const { driver, disks } = build();
    driver.out(3, 0x77);
    driver.use(0, 1);
    assert.equal(driver.in(3), 0x77);
    await driver.run(0xe7);
    assert.deepEqual([disks[0].calls.length, disks[1].calls.length], [0, 1]);
  });

  test('the interrupt of a drive that is not selected waits until it is', async () => {
    const { driver } = build();
    driver.start(0xe7);
    driver.door.pump();
    assert.equal(driver.irq.level, false);
    await driver.door.settle(() => driver.irq.level);
    driver.use(0, 1);
    assert.equal(driver.irq.level, false);
    driver.use(0, 0);
    assert.equal(driver.irq.level, true);
    assert.equal(driver.alternate, READY);
    assert.equal(driver.irq.level, true, 'the alternate status takes nothing away');
    assert.equal(driver.status, READY);
    assert.equal(driver.irq.level, false);
  });

  test('SRST and the diagnostic command reset both and select device 0', () => {
    for (const reset of [
      (driver: IdeDriver) => driver.softwareReset(),
      (driver: IdeDriver) => driver.out(7, 0x90),
    ]) {
      const { driver } = build();
      driver.use(0, 1);
      driver.out(2, 0x99);
      reset(driver);
      assert.equal(driver.in(6), 0xa0);
      driver.use(0, 0);
      assert.deepEqual([driver.in(2), driver.error], [1, 1]);
      driver.use(0, 1);
      assert.deepEqual([driver.in(2), driver.error], [1, 1]);
    }
  });

  test('parameters and commands for a busy drive are lost', async () => {
    const { driver, disks } = build();
    driver.start(0x20, { lba: 5, count: 1 });
    driver.out(3, 0x11);
    driver.out(7, 0xe7);
    assert.equal(driver.alternate, 0x80);
    await driver.settled();
    assert.equal(driver.in(3), 5);
    assert.deepEqual(disks[0].calls, ['read 2560 512']);
  });
});

describe('drives that are not there', () => {
  test('read as zero, take no command and raise no interrupt', () => {
    const { driver } = build();
    driver.use(1, 0);
    driver.out(2, 0x55);
    driver.out(3, 0xaa);
    driver.out(7, 0xec);
    assert.deepEqual(
      [0, 1, 2, 3, 4, 5, 6, 7].map((register) => driver.in(register)),
      Array(8).fill(0),
    );
    assert.equal(driver.in(0, 4), 0);
    assert.equal(driver.alternate, 0);
    assert.equal(driver.irq.level, false);
    driver.softwareReset();
    assert.equal(driver.status, 0);
  });

  test('a CD-ROM drive beside nothing is found by its signature', () => {
    const { driver } = build();
    driver.use(1, 1);
    driver.softwareReset();
    driver.use(1, 1);
    assert.deepEqual([driver.in(4), driver.in(5), driver.status], [0x14, 0xeb, 0]);
  });
});

test('interrupts stay away while nIEN is set, and come with its end', async () => {
  const { driver } = build();
  driver.control(2);
  await driver.door.settle(() => true);
  driver.start(0xe7);
  await driver.door.settle(() => driver.alternate === READY);
  assert.equal(driver.irq.level, false);
  driver.control(0);
  assert.equal(driver.irq.level, true);
});

test('a guest that polls a drive which waits for the host is told of; another is not', async () => {
  const { driver } = build();
  driver.start(0x20, { count: 1 });
  void driver.status;
  void driver.alternate;
  assert.equal(driver.polls, 2);
  await driver.settled();
  const polls = driver.polls;
  void driver.status;
  assert.equal(driver.polls, polls);
});

test('wide accesses to registers are as many narrow ones', () => {
  const { driver } = build();
  driver.out(2, 0x44332211, 4);
  assert.deepEqual([driver.in(2), driver.in(3), driver.in(4), driver.in(5)], [0x11, 0x22, 0x33, 0x44]);
  assert.equal(driver.in(2, 4), 0x44332211);
});
