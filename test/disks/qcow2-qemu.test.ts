// Disk images against QEMU's own programs, in both directions: what they write we read, what we write they read and
// find sound.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createDisk } from '../../src/hypervisor/backends/create-disk.ts';
import { type DiskBackend, DiskError } from '../../src/hypervisor/backends/disk.ts';
import { openHostFile } from '../../src/hypervisor/backends/host-file.ts';
import { openDisk } from '../../src/hypervisor/backends/open-disk.ts';
import { checkQcow2 } from '../../src/hypervisor/backends/qcow2/check.ts';
import { createQcow2 } from '../../src/hypervisor/backends/qcow2/create.ts';
import { Random } from '../support/memory-file.ts';
import { qemuImg } from '../support/qemu-img.ts';

const qemu = await qemuImg();
const MIB = 1 << 20;
const code =
  (expected: string, says = /./) =>
  (error: unknown) =>
    error instanceof DiskError && error.code === expected && says.test(error.message);

let dir = '';
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'teremok-qcow2-'));
});
after(() => rm(dir, { recursive: true }));

/** Random writes, zeroes and discards, some side by side, on the disk and on a plain buffer. */
async function work(disk: DiskBackend, model: Uint8Array, seed: number, steps: number): Promise<void> {
  const random = new Random(seed);
  const half = model.length / 2;
  for (let step = 0; step < steps; step++) {
    await Promise.all(
      [0, half].map(async (base) => {
        const offset = base + random.next(half / 512) * 512;
        const bytes = Math.min(
          base + half - offset,
          (1 + random.next(random.next(4) === 0 ? 600 : 20)) * 512,
        );
        const kind = random.next(10);
        if (kind < 7) {
          const fill = random.next(256);
          model.fill(fill, offset, offset + bytes);
          await disk.writeAt(offset, new Uint8Array(bytes).fill(fill));
        } else {
          model.fill(0, offset, offset + bytes);
          await disk.writeZeroes(offset, bytes, kind === 7);
          if (kind === 9) await disk.flush();
        }
      }),
    );
  }
}

/** QEMU finds the image sound, and that it holds what the model does; so do we. */
async function judge(path: string, model: Uint8Array): Promise<void> {
  const raw = `${path}.model`;
  await writeFile(raw, model);
  assert.match(await qemu.img('check', '-f', 'qcow2', path), /No errors were found/);
  assert.match(await qemu.img('compare', '-f', 'raw', '-F', 'qcow2', raw, path), /Images are identical/);
  await rm(raw);
  const file = await openHostFile(path, { readOnly: true });
  const report = await checkQcow2(file);
  await file.close();
  assert.deepEqual([report.corruptions, report.leaks], [0, 0], report.messages.join('\n'));
}

async function contents(path: string): Promise<Uint8Array> {
  const disk = await openDisk({ path, format: 'qcow2', readOnly: true });
  const all = new Uint8Array(disk.size);
  await disk.readAt(0, all);
  await disk.close();
  return all;
}

const options: readonly string[] = [
  'cluster_size=512',
  'cluster_size=4096,refcount_bits=1',
  'cluster_size=65536,refcount_bits=8',
  'cluster_size=2097152,refcount_bits=64',
  'compat=0.10',
  'preallocation=metadata',
  'preallocation=falloc,cluster_size=32768',
  'lazy_refcounts=on',
];

for (const option of options) {
  test(`an image of qemu-img create -o ${option} is written and read`, async () => {
    const path = join(dir, `${option.replace(/\W/g, '-')}.qcow2`);
    await qemu.img('create', '-f', 'qcow2', '-o', option, path, '6M');
    await qemu.io(
      path,
      'write -P 0x31 100k 200k',
      'write -z 160k 64k',
      'write -P 0x32 3M 1M',
      'discard 3200k 256k',
    );
    const model = new Uint8Array(6 * MIB);
    assert.deepEqual(await contents(path), Uint8Array.from(await converted(path)));
    model.set(await converted(path));
    const disk = await openDisk({ path });
    await work(disk, model, option.length, 60);
    await disk.close();
    await judge(path, model);
  });
}

/** What QEMU reads from an image. */
async function converted(path: string): Promise<Uint8Array> {
  const raw = `${path}.converted`;
  await qemu.img('convert', '-f', 'qcow2', '-O', 'raw', path, raw);
  const bytes = await readFile(raw);
  await rm(raw);
  return bytes;
}

for (const clusterBits of [9, 12, 16, 18, 21]) {
  test(`our own image with clusters of ${2 ** clusterBits} bytes is QEMU's too`, async () => {
    const path = join(dir, `own-${clusterBits}.qcow2`);
    await createQcow2(path, { size: 5 * MIB, clusterBits, version: clusterBits === 12 ? 2 : 3 });
    assert.match(await qemu.img('check', path), /No errors were found/);
    const model = new Uint8Array(5 * MIB);
    const disk = await openDisk({ path });
    await work(disk, model, clusterBits, 80);
    await disk.close();
    await judge(path, model);
    await qemu.io(path, 'write -P 7 1M 70k', 'read -P 7 1M 70k');
    model.fill(7, MIB, MIB + 70 * 1024);
    assert.deepEqual(await contents(path), model);
  });
}

test('overlays over raw and qcow2, ours and QEMU’s, one over the other', async () => {
  const content = randomBytes(2 * MIB);
  await writeFile(join(dir, 'base.raw'), content);
  await createDisk({
    path: join(dir, 'one.qcow2'),
    backing: { path: 'base.raw', format: 'raw' },
    size: 3 * MIB,
  });
  await qemu.img('create', '-f', 'qcow2', '-b', 'one.qcow2', '-F', 'qcow2', join(dir, 'two.qcow2'), '4M');
  await createDisk({ path: join(dir, 'three.qcow2'), backing: { path: 'two.qcow2', format: 'qcow2' } });
  const model = new Uint8Array(4 * MIB);
  model.set(content);
  for (const name of ['one', 'two', 'three']) {
    const path = join(dir, `${name}.qcow2`);
    const disk = await openDisk({ path, allowedFolder: dir });
    const size = disk.size;
    await work(disk, model.subarray(0, size), size, 25);
    await disk.close();
    await judge(path, model.subarray(0, size));
  }
  assert.match(await qemu.img('info', '--backing-chain', join(dir, 'three.qcow2')), /base\.raw/);
});

for (const type of ['zlib', 'zstd']) {
  test(`clusters compressed by QEMU (${type}), read and written over`, async () => {
    const raw = join(dir, `${type}.raw`);
    const path = join(dir, `${type}.qcow2`);
    const model = Buffer.alloc(4 * MIB);
    // Some of it hardly gets smaller, so that compressed data goes over the ends of host clusters.
    for (let at = 0; at < MIB; at += 16384) randomBytes(8000).copy(model, at);
    for (let at = MIB; at < 3 * MIB; at += 4) model.writeUInt32LE(at >>> 7, at);
    await writeFile(raw, model);
    const how = ['-c', '-f', 'raw', '-O', 'qcow2', '-o', `compression_type=${type},cluster_size=16384`];
    await qemu.img('convert', ...how, raw, path);
    assert.deepEqual(await contents(path), Uint8Array.from(model));
    const disk = await openDisk({ path });
    await work(disk, model, 5, 60);
    await disk.discard(MIB, 100 * 1024);
    model.fill(0, MIB + 0, MIB + 98304);
    await disk.writeZeroes(MIB + 98304, 4096, true);
    model.fill(0, MIB + 98304, MIB + 98304 + 4096);
    await disk.close();
    await judge(path, model);
  });
}

test('internal snapshots of QEMU stay as they were', async () => {
  const path = join(dir, 'snapshots.qcow2');
  await qemu.img('create', '-f', 'qcow2', '-o', 'cluster_size=4096', path, '4M');
  const model = new Uint8Array(4 * MIB);
  const before: Uint8Array[] = [];
  for (let i = 0; i < 3; i++) {
    const disk = await openDisk({ path });
    await work(disk, model, 50 + i, 30);
    await disk.close();
    before.push(model.slice());
    await qemu.img('snapshot', '-c', `s${i}`, path);
  }
  const disk = await openDisk({ path });
  await work(disk, model, 60, 60);
  await disk.close();
  await judge(path, model);
  for (const [i, expected] of before.entries()) {
    const raw = join(dir, 'snapshot.raw');
    await qemu.img('convert', '-f', 'qcow2', '-O', 'raw', '-l', `s${i}`, path, raw);
    assert.deepEqual(Uint8Array.from(await readFile(raw)), expected);
  }
  // Going back and deleting need flags and counts that QEMU can rely on.
  await qemu.img('snapshot', '-a', 's1', path);
  await qemu.img('snapshot', '-d', 's0', path);
  await judge(path, before[1]);
});

test('bitmaps of QEMU: left as they are, and no longer up to date once we wrote', async () => {
  const path = join(dir, 'bitmaps.qcow2');
  await qemu.img('create', '-f', 'qcow2', path, '4M');
  await qemu.img('bitmap', '--add', path, 'b0');
  await qemu.io(path, 'write -P 1 0 1M');
  const file = await openHostFile(path, { readOnly: true });
  assert.deepEqual((({ corruptions, leaks }) => [corruptions, leaks])(await checkQcow2(file)), [0, 0]);
  await file.close();
  const disk = await openDisk({ path });
  await disk.writeAt(MIB, new Uint8Array(MIB).fill(2));
  await disk.close();
  const model = new Uint8Array(4 * MIB).fill(1, 0, MIB).fill(2, MIB, 2 * MIB);
  assert.deepEqual(await contents(path), model);
  assert.match(await qemu.img('check', '-r', 'all', path), /corruptions|No errors|leaked clusters/);
});

test('lazy reference counts that were left behind are made good', async () => {
  const path = join(dir, 'lazy.qcow2');
  await qemu.img('create', '-f', 'qcow2', '-o', 'lazy_refcounts=on', path, '8M');
  // qemu-io dies on the spot, so its counts stay unwritten and the dirty bit set.
  await qemu.io(path, 'write -P 9 1M 3M', 'flush', 'abort').catch(() => {});
  assert.match(await qemu.img('info', '-U', path), /lazy refcounts: true/);
  assert.equal((await readFile(path)).readUInt32BE(76) & 1, 1);
  const disk = await openDisk({ path });
  await disk.writeAt(6 * MIB, new Uint8Array(MIB).fill(8));
  await disk.close();
  await judge(path, new Uint8Array(8 * MIB).fill(9, MIB, 4 * MIB).fill(8, 6 * MIB, 7 * MIB));
});

test('what we do not support is refused by name', async () => {
  const make = async (name: string, ...args: string[]) => {
    const path = join(dir, `${name}.qcow2`);
    await qemu.img('create', '-f', 'qcow2', ...args, path, '4M');
    return openDisk({ path });
  };
  await assert.rejects(
    make('extended', '-o', 'extended_l2=on'),
    code('DISK_UNSUPPORTED', /extended L2 entries/),
  );
  const data = join(dir, 'data.raw');
  await assert.rejects(
    make('external', '-o', `data_file=${data}`),
    code('DISK_UNSUPPORTED', /external data file/),
  );
});

test('damage is found by us where QEMU finds it', async () => {
  const path = join(dir, 'damage.qcow2');
  await createQcow2(path, { size: 4 * MIB, clusterBits: 12 });
  const disk = await openDisk({ path });
  await disk.writeAt(0, new Uint8Array(MIB).fill(1));
  await disk.close();
  const random = new Random(7);
  const whole = await readFile(path);
  let found = 0;
  for (let i = 0; i < 25; i++) {
    const bad = Buffer.from(whole);
    // Refcounts, the L1 table and the first L2 table: clusters 2 to 4.
    for (let changes = 1 + random.next(3); changes > 0; changes--)
      bad[2 * 4096 + random.next(2) * 4096 + random.next(500)] = random.next(256);
    const copy = join(dir, 'damaged.qcow2');
    await writeFile(copy, bad);
    const said = await qemu.img('check', copy).catch((error: { stdout: string }) => error.stdout);
    const file = await openHostFile(copy, { readOnly: true });
    const { corruptions, leaks } = await checkQcow2(file);
    await file.close();
    assert.equal(
      corruptions > 0,
      /ERROR|errors were found on the image/.test(said.replace('No errors', '')),
      said,
    );
    if (corruptions === 0) assert.equal(leaks > 0, /leaked/i.test(said), said);
    found += corruptions > 0 ? 1 : 0;
  }
  assert.ok(found > 3);
});

test('a disk of terabytes costs nothing until it is written', async () => {
  const path = join(dir, 'large.qcow2');
  await createDisk({ path, size: 2 ** 43 });
  const disk = await openDisk({ path });
  await disk.writeAt(2 ** 43 - 4096, new Uint8Array(4096).fill(5));
  await disk.writeAt(2 ** 42, new Uint8Array(512).fill(6));
  await disk.writeZeroes(2 ** 41, 2 ** 30, true);
  await disk.close();
  await qemu.io(
    path,
    `read -P 5 ${2 ** 43 - 4096} 4096`,
    `read -P 6 ${2 ** 42} 512`,
    `read -P 0 ${2 ** 42 + 512} 4096`,
  );
  assert.match(await qemu.img('check', path), /No errors were found/);
  await copyFile(path, `${path}.copy`);
  assert.ok((await readFile(path)).length < 2 * MIB);
});
