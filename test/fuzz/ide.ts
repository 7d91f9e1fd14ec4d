/**
 * The IDE controller under a guest that means harm. `node test/fuzz/ide.ts --seed N --count M` runs M cases from seed
 * N on, each with a seed of its own, until one fails or the count is reached; without --count it goes on for ever.
 */
import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import type { DiskBackend } from '../../src/hypervisor/backends/disk.ts';
import { AtaDisk } from '../../src/hypervisor/devices/ide/ata-disk.ts';
import { Cdrom } from '../../src/hypervisor/devices/ide/cdrom.ts';
import { PIECE_BYTES } from '../../src/hypervisor/devices/ide/drive.ts';
import type { AccessSize } from '../../src/hypervisor/machine/bus.ts';
import { Random } from '../native/random.ts';
import { BUSY, IdeDriver } from '../support/ide-driver.ts';
import { FlatMemory } from '../support/machine-parts.ts';
import { MemoryDisk } from '../support/memory-disk.ts';

const SIZES: readonly AccessSize[] = [1, 2, 4];
/** Packets that mean something come more often than chance would have it. */
const PACKETS = [
  ...[0x00, 0x03, 0x12, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2b, 0x42, 0x43, 0x46, 0x4a, 0x51, 0x52, 0x5a],
  ...[0xa8, 0xad, 0xbb, 0xbd, 0xbe],
];
const COMMANDS = [
  ...[0x08, 0x20, 0x24, 0x25, 0x27, 0x29, 0x30, 0x34, 0x35, 0x39, 0x3d, 0x40, 0x42, 0x90, 0x91, 0xa0, 0xa1],
  ...[0xc4, 0xc5, 0xc6, 0xc8, 0xca, 0xce, 0xe5, 0xe7, 0xea, 0xec, 0xef, 0xf8],
];
/** A case's accesses. */
const STEPS = 400;

interface Bed {
  readonly driver: IdeDriver;
  readonly cdrom: Cdrom;
  readonly disks: readonly MemoryDisk[];
}

/** Not a whole number of blocks. */
const makeDisc = (): MemoryDisk => new MemoryDisk(5 * 512 * 301, true);

function makeBed(dice: Random, disc: DiskBackend | undefined): Bed {
  const disk = new MemoryDisk(1 << 20);
  const locked = new MemoryDisk(512 * 1000, true);
  if (dice.chance(1 / 4)) disk.failing = (offset) => offset % 3 === 0;
  let cdrom: Cdrom | undefined;
  const driver = new IdeDriver(
    (options) => [
      new AtaDisk({ ...options('disk0'), disk }),
      undefined,
      (cdrom = new Cdrom({ ...options('cd0'), medium: disc })),
      new AtaDisk({ ...options('disk1'), disk: locked }),
    ],
    new FlatMemory(1 << 20),
  );
  assert.ok(cdrom);
  return { driver, cdrom, disks: [disk, locked] };
}

/** Lets the back end do what it was asked to. */
async function rest({ driver }: Bed): Promise<void> {
  for (let idle = 0; idle < 2; ) {
    await new Promise((resolve) => setImmediate(resolve));
    idle = driver.door.pump() > 0 ? 0 : idle + 1;
  }
}

/** What must hold whatever the guest did. */
function check({ driver, disks }: Bed): void {
  for (const { channel } of driver.controller.save().channels) {
    for (const drive of channel.drives) {
      if (drive === null) continue;
      assert.ok(drive.buffer.length <= PIECE_BYTES, 'a buffer is larger than a piece');
      assert.ok(drive.position <= drive.buffer.length && drive.end <= drive.buffer.length);
      const waits = drive.phase !== 'idle' && drive.phase !== 'host';
      assert.equal((drive.status & 0x08) !== 0, waits, `DRQ in phase ${drive.phase}`);
    }
  }
  const beyond = driver.log.lines.find((line) => line.includes('beyond the disk'));
  assert.equal(beyond, undefined);
  for (const disk of disks) {
    assert.ok(
      !disk.readOnly || !disk.calls.some((call) => call.startsWith('write')),
      'a read-only disk is written',
    );
    disk.calls.length = 0;
  }
}

/** Brings another controller to the same state and compares. */
function checkState({ driver, cdrom }: Bed, dice: Random): void {
  const state = driver.controller.save();
  const other = makeBed(dice, cdrom.tray.disc).driver.controller;
  other.restore(state);
  assert.deepEqual(other.save(), state);
}

function anyAccess({ driver, cdrom }: Bed, dice: Random): void {
  const size = dice.pick(SIZES);
  const port =
    dice.pick([0x1f0, 0x1f1, 0x1f2, 0x1f3, 0x1f4, 0x1f5, 0x1f6, 0x1f7, 0x3f6]) -
    (dice.chance(1 / 2) ? 0x80 : 0);
  switch (dice.below(12)) {
    case 0:
    case 1: {
      const value = driver.pio.read(port, size);
      assert.ok(
        Number.isInteger(value) && value >= 0 && value < 2 ** (8 * size),
        `${value} from ${port.toString(16)}`,
      );
      return;
    }
    case 2:
    case 3:
    case 4:
      return driver.pio.write(port, size, dice.below(2 ** 32 - 1));
    case 5:
    case 6:
      // Small numbers, so that some addresses are on the disk.
      return driver.pio.write(port, 1, dice.below(8));
    case 7:
    case 8:
      return driver.pio.write(
        (port & 0xff0) | 7,
        1,
        dice.chance(1 / 4) ? dice.below(256) : dice.pick(COMMANDS),
      );
    case 9: {
      // Much of a data phase at once.
      const data = port & 0xff0;
      const words = dice.below(2000);
      const reads = dice.chance(1 / 2);
      for (let i = 0; i < words; i++) {
        if (reads) driver.pio.read(data, size);
        else driver.pio.write(data, size, dice.below(256));
      }
      return;
    }
    case 10: {
      const at = 0x1000 + 8 * dice.below(64);
      driver.memory.writeU32(at, dice.below(4) === 0 ? dice.below(2 ** 32 - 1) : dice.below(1 << 20));
      driver.memory.writeU32(at + 4, dice.below(2 ** 32 - 1));
      return driver.pio.write(
        0xc000 + 8 * dice.below(2) + 4,
        4,
        dice.chance(1 / 8) ? dice.below(2 ** 32 - 1) : at,
      );
    }
    default:
      if (dice.chance(1 / 10))
        void cdrom.tray.change(
          dice.chance(1 / 2) ? new MemoryDisk(2048 * 9, true) : undefined,
          dice.chance(1 / 2),
        );
      else driver.pio.write(0xc000 + dice.below(16), size, dice.chance(1 / 2) ? 9 : dice.below(256));
  }
}

/** Accesses of any kind to any register. */
export async function fuzzRegisters(seed: number): Promise<void> {
  const dice = new Random(seed);
  const bed = makeBed(dice, makeDisc());
  for (let step = 0; step < STEPS; step++) {
    anyAccess(bed, dice);
    if (dice.chance(1 / 8)) await rest(bed);
    if (dice.chance(1 / 16)) check(bed);
  }
  checkState(bed, dice);
  await rest(bed);
  check(bed);
}

/** Packets of any kind, their data taken by any way; every one of them ends. */
export async function fuzzPackets(seed: number): Promise<void> {
  const dice = new Random(seed);
  const bed = makeBed(dice, makeDisc());
  const { driver } = bed;
  driver.use(1, 0);
  for (let n = 0; n < 20; n++) {
    const packet = Array.from({ length: 12 }, () => (dice.chance(1 / 2) ? dice.below(4) : dice.below(256)));
    packet[0] = dice.chance(1 / 6) ? dice.below(256) : dice.pick(PACKETS);
    const dma = dice.chance(1 / 3);
    driver.table([{ address: 0x20000, bytes: dice.below(0x10000) }], 0x1000, dice.chance(1 / 4));
    driver.out(1, dma ? 1 : 0);
    driver.out(4, dice.below(256));
    driver.out(5, dice.chance(1 / 4) ? 0 : dice.below(256));
    driver.out(7, 0xa0);
    for (let i = 0; i < 12; i += 2) driver.out(0, (packet[i] ?? 0) | ((packet[i + 1] ?? 0) << 8), 2);
    if (dma) driver.startMaster(true);
    await rest(bed);
    // What is left for the port, up to the longest that a disc of this size has.
    for (let words = 0; driver.alternate & 0x08 && !dma; words++) {
      assert.ok(words < 1 << 20, 'a packet that never ends');
      driver.in(0, 2);
      if (driver.alternate & BUSY) await rest(bed);
    }
    if (dma && driver.alternate & 0x08) driver.out(7, 0x08);
    assert.equal(driver.alternate & (BUSY | 0x08), 0, `packet ${packet} goes on`);
    check(bed);
  }
}

/** Runs cases and tells which one failed. */
export async function fuzzIde(seed: number, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    for (const fuzz of [fuzzRegisters, fuzzPackets]) {
      try {
        await fuzz(seed + i);
      } catch (error) {
        throw new Error(`${fuzz.name} fails: node test/fuzz/ide.ts --seed ${seed + i} --count 1`, {
          cause: error,
        });
      }
    }
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { seed: { type: 'string' }, count: { type: 'string' } } });
  const seed = Number(values.seed ?? Date.now() % 1e9);
  const count = Number(values.count ?? Number.POSITIVE_INFINITY);
  process.stdout.write(`IDE: seed ${seed}\n`);
  const BATCH = 100;
  for (let done = 0; done < count; done += BATCH) {
    await fuzzIde(seed + done, Math.min(BATCH, count - done));
    process.stdout.write(`${Math.min(done + BATCH, count)} cases\n`);
  }
}
