import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { DiskBackend } from '../backends/disk.ts';
import { openRawDisk } from '../backends/disk-raw.ts';
import { InstructionClock } from './instruction-clock.ts';
import { MachineDoor } from './machine-door.ts';
import { PacedIo } from './paced-io.ts';

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'teremok-paced-'));
});
after(() => rm(directory, { recursive: true }));

/** A machine's time without a machine, and a disk in it on which `turns` of the event loop pass before a read. */
async function setUp(turns: number): Promise<{
  readonly door: MachineDoor;
  readonly io: PacedIo;
  readonly disk: DiskBackend;
  run(ticks: number): Promise<void>;
}> {
  let ticks = 0;
  const clock = new InstructionClock(10, () => ticks);
  const door = new MachineDoor(clock);
  const io = new PacedIo(door.clock);
  door.resume();
  const path = join(directory, 'disk');
  await writeFile(path, Buffer.alloc(4096, 7));
  const raw = await openRawDisk(path);
  const late: DiskBackend = {
    size: raw.size,
    readOnly: raw.readOnly,
    readAt: async (offset, target) => {
      for (let n = 0; n < turns; n++) await new Promise<void>((resolve) => setImmediate(resolve));
      await raw.readAt(offset, target);
    },
    writeAt: (offset, source) => raw.writeAt(offset, source),
    flush: () => raw.flush(),
    discard: (offset, length) => raw.discard(offset, length),
    writeZeroes: (offset, length, mayUnmap) => raw.writeZeroes(offset, length, mayUnmap),
    close: () => raw.close(),
  };
  const run = async (by: number): Promise<void> => {
    ticks += by;
    door.pump();
    if (io.due) await io.settle();
  };
  return { door, io, disk: io.disk(late), run };
}

test('a request ends 100 µs later, whether the host is early or late', async () => {
  for (const turns of [0, 30]) {
    const { door, disk, run } = await setUp(turns);
    const ended: [string, number][] = [];
    const target = new Uint8Array(16);
    const note = (what: string) => (): void => {
      ended.push([what, door.clock.now()]);
    };
    const all = [disk.readAt(0, target).then(note('read')), disk.flush().then(note('flush'))];
    await run(5_000);
    all.push(disk.writeAt(512, new Uint8Array(16)).then(note('write')));
    await run(4_999);
    assert.deepEqual(ended, []);
    await run(1);
    assert.deepEqual(ended, [
      ['read', 100_000],
      ['flush', 100_000],
    ]);
    assert.ok(target.every((byte) => byte === 7));
    await run(5_000);
    await Promise.all(all);
    assert.deepEqual(ended[2], ['write', 150_000]);
    await disk.close();
  }
});

test('what a device asks for behind a request takes its own time', async () => {
  const { door, disk, run } = await setUp(3);
  let ended = 0;
  const chain = disk
    .readAt(0, new Uint8Array(8))
    .then(() => disk.readAt(8, new Uint8Array(8)))
    .then(() => {
      ended = door.clock.now();
    });
  await run(10_000);
  assert.equal(ended, 0);
  await run(10_000);
  await chain;
  assert.equal(ended, 200_000);
  await disk.close();
});

test('the host’s errors come at that time too; a released machine waits for nothing', async () => {
  const { io, disk, run } = await setUp(0);
  const wrong = assert.rejects(disk.readAt(1 << 20, new Uint8Array(16)));
  await run(10_000);
  await wrong;
  const left = disk.readAt(0, new Uint8Array(16));
  io.release();
  await left;
  await disk.readAt(0, new Uint8Array(16));
  await disk.close();
});

test('a full stream stops the machine and not the device', async () => {
  const { io } = await setUp(0);
  let press: (full: boolean) => void = () => {};
  const sink = io.sink({
    write: () => {},
    onPressure: (listener) => {
      press = listener;
    },
  });
  let room = 0;
  io.onRoom(() => {
    room += 1;
  });
  assert.equal(sink.onPressure, undefined);
  press(true);
  assert.equal(io.full, true);
  press(false);
  assert.deepEqual([io.full, room], [false, 1]);
});

test('time, calendar and random numbers come from nowhere else', () => {
  let ticks = 0;
  const make = (): InstructionClock => new InstructionClock(3, () => ticks);
  const clock = make();
  assert.deepEqual(
    [clock.monotonic(), new Date(clock.calendar()).toISOString()],
    [0, '2026-01-01T00:00:00.000Z'],
  );
  ticks = 1_000_000;
  clock.skip(7);
  clock.skip(-7);
  assert.equal(clock.monotonic(), 3_000_007);
  assert.deepEqual([clock.ticksIn(-5), clock.ticksIn(1), clock.ticksIn(3), clock.ticksIn(4)], [1, 1, 1, 2]);
  const draw = (from: InstructionClock): string => {
    const bytes = new Uint8Array(77);
    from.random(bytes);
    return Buffer.from(bytes).toString('hex');
  };
  const first = draw(clock);
  assert.equal(first, draw(make()));
  assert.notEqual(first, draw(clock));
});
