import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MemoryFile, Random } from '../../../../test/support/memory-file.ts';
import { Qcow2Editor } from '../../../../test/support/qcow2-editor.ts';
import { emptyImage, openImage, readAll } from '../../../../test/support/qcow2-images.ts';
import { type DiskBackend, DiskError } from '../disk.ts';
import { RawDisk } from '../disk-raw.ts';
import { checkQcow2 } from './check.ts';
import { readU64 } from './format.ts';

const SIZE = 512 * 1024;
const code = (expected: string) => (error: unknown) => error instanceof DiskError && error.code === expected;

function baseDisk(bytes = 300_032): DiskBackend {
  const content = new Uint8Array(bytes);
  for (let i = 0; i < content.length; i++) content[i] = ((i >>> 9) % 251) | 1;
  return new RawDisk(new MemoryFile(content, { readOnly: true }));
}

async function sound(file: MemoryFile, leaks = 0): Promise<void> {
  const report = await checkQcow2(new MemoryFile(file.bytes, { readOnly: true }));
  assert.deepEqual([report.corruptions, report.leaks], [0, leaks], report.messages.join('\n'));
}

/** Slots that requests of one batch have each to themselves, so that their order does not matter. */
const SLOTS = 16;
const step = fc.record({
  kind: fc.constantFrom('write', 'write', 'write', 'zero', 'unmap', 'read', 'flush'),
  offset: fc.nat(SIZE / SLOTS - 1),
  length: fc.nat(40_000),
  fill: fc.nat(255),
});

test('requests side by side, in the same clusters too, come out as on a plain disk', async () => {
  const layout = fc.record({
    clusterBits: fc.constantFrom(9, 12, 16),
    version: fc.constantFrom(2 as const, 3 as const),
    backing: fc.boolean(),
  });
  const batches = fc.array(fc.array(step, { maxLength: SLOTS }), { maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(layout, batches, fc.integer(), async ({ backing, ...rest }, steps, seed) => {
      const base = backing ? baseDisk() : undefined;
      const image = await emptyImage({
        size: SIZE,
        ...rest,
        ...(backing && { backing: { name: 'base', format: 'raw' } }),
      });
      const file = new MemoryFile(image, { random: new Random(seed) });
      const disk = await openImage(file, base);
      const model = new Uint8Array(SIZE);
      if (base) model.set(await readAll(base));
      for (const batch of steps) {
        // Slots lie inside one another's clusters: slot i has every sixteenth stretch.
        await Promise.all(batch.map((each, slot) => apply(disk, model, each, slot)));
      }
      assert.deepEqual(await readAll(disk), model);
      await disk.close();
      await sound(file);
      const again = await openImage(new MemoryFile(file.bytes, { readOnly: true }), base && baseDisk());
      assert.deepEqual(await readAll(again), model);
    }),
    { numRuns: 80 },
  );
});

async function apply(
  disk: DiskBackend,
  model: Uint8Array,
  { kind, offset, length, fill }: { kind: string; offset: number; length: number; fill: number },
  slot: number,
): Promise<void> {
  const begin = slot * (SIZE / SLOTS) + offset;
  const bytes = Math.min(length, (slot + 1) * (SIZE / SLOTS) - begin);
  if (kind === 'flush') return disk.flush();
  if (kind === 'read') {
    const expected = model.slice(begin, begin + bytes);
    const got = new Uint8Array(bytes).fill(0xee);
    await disk.readAt(begin, got);
    return assert.deepEqual(got, expected);
  }
  model.fill(kind === 'write' ? fill : 0, begin, begin + bytes);
  if (kind === 'write') return disk.writeAt(begin, new Uint8Array(bytes).fill(fill));
  return disk.writeZeroes(begin, bytes, kind === 'unmap');
}

test('clusters that lie one after another are read in one call', async () => {
  const file = new MemoryFile(await emptyImage({ size: 8 << 20 }));
  const disk = await openImage(file);
  for (let at = 0; at < 2 << 20; at += 65536) await disk.writeAt(at, new Uint8Array(65536).fill(1));
  await disk.flush();
  const before = file.reads;
  await disk.readAt(4096, new Uint8Array(1 << 20));
  // The L2 table's own cluster lies between the first two.
  assert.ok(file.reads - before <= 2, `${file.reads - before} reads`);
});

test('a flush with nothing new to say about clusters is one flush of the file', async () => {
  const file = new MemoryFile(await emptyImage({ size: 1 << 20 }));
  const disk = await openImage(file);
  await disk.writeAt(0, new Uint8Array(65536));
  await disk.flush();
  const [flushes, writes] = [file.flushes, file.writes];
  await disk.writeAt(4096, new Uint8Array(4096));
  await disk.flush();
  assert.deepEqual([file.flushes - flushes, file.writes - writes], [1, 1]);
});

test('what is discarded or zeroed is free again, and is used again', async () => {
  const file = new MemoryFile(await emptyImage({ size: 8 << 20 }));
  const disk = await openImage(file);
  for (let round = 0; round < 4; round++) {
    await disk.writeAt(0, new Uint8Array(4 << 20).fill(round + 1));
    await disk.flush();
    await (round % 2 === 0 ? disk.discard(0, 4 << 20) : disk.writeZeroes(0, 4 << 20, true));
    await disk.flush();
  }
  assert.ok((await readAll(disk)).every((byte) => byte === 0));
  await disk.close();
  assert.ok(file.length < 6 << 20, `${file.length}`);
  await sound(file);
});

test('a request that is under way keeps its clusters from being used for others', async () => {
  const random = new Random(1);
  const file = new MemoryFile(await emptyImage({ size: 1 << 20, clusterBits: 12 }));
  const disk = await openImage(file);
  await disk.writeAt(0, new Uint8Array(4096).fill(1));
  await disk.flush();
  const held = Promise.withResolvers<void>();
  const write = file.writeAt.bind(file);
  let hold = true;
  file.writeAt = async (offset, bytes) => {
    if (hold && bytes[0] === 2) await held.promise;
    return write(offset, bytes);
  };
  const late = disk.writeAt(0, new Uint8Array(512).fill(2));
  await disk.discard(0, 4096);
  await disk.flush();
  for (let cluster = 1; cluster < 20; cluster++)
    await disk.writeAt(cluster * 4096, new Uint8Array(4096).fill(7 + random.next(2)));
  hold = false;
  held.resolve();
  await late;
  const rest = new Uint8Array(19 * 4096);
  await disk.readAt(4096, rest);
  assert.ok(rest.every((byte) => byte >= 7));
  await disk.close();
  await sound(file);
});

test('a snapshot keeps its bytes whatever is written', async () => {
  const file = new MemoryFile(await emptyImage({ size: SIZE, clusterBits: 12 }));
  const first = await openImage(file);
  await first.writeAt(0, new Uint8Array(SIZE / 2).fill(5));
  await first.close();
  const editor = new Qcow2Editor(file.bytes);
  editor.snapshot();
  const shared = new MemoryFile(editor.bytes);
  await sound(shared);
  const disk = await openImage(shared);
  await disk.writeAt(1000, new Uint8Array(100).fill(6));
  await disk.writeZeroes(8192, 4096, false);
  await disk.discard(16384, 65536);
  const all = await readAll(disk);
  assert.deepEqual([all[999], all[1000], all[1100], all[8192], all[16384]], [5, 6, 5, 0, 0]);
  await disk.close();
  await sound(shared);
  const before = new MemoryFile(new Qcow2Editor(shared.bytes).atSnapshot(), { readOnly: true });
  const old = await readAll(await openImage(before));
  assert.ok(old.subarray(0, SIZE / 2).every((byte) => byte === 5));
});

for (const type of ['deflate', 'zstd'] as const) {
  test(`compressed clusters are read, and replaced when written (${type})`, async () => {
    const file = new MemoryFile(await emptyImage({ size: SIZE, clusterBits: 12 }));
    const first = await openImage(file);
    await first.writeAt(0, new Uint8Array(4096).fill(1));
    await first.close();
    const editor = new Qcow2Editor(file.bytes);
    const content = (i: number) => new Uint8Array(4096).map((_, at) => (at * i) >>> 6);
    for (const i of [2, 3, 4, 9]) editor.compress(i, content(i), type);
    const image = new MemoryFile(editor.bytes);
    await sound(image);
    const disk = await openImage(image);
    for (const i of [2, 3, 4, 9])
      assert.deepEqual((await readAll(disk)).slice(i * 4096, (i + 1) * 4096), content(i));
    await Promise.all([
      disk.writeAt(3 * 4096 + 10, new Uint8Array(10).fill(0xaa)),
      disk.discard(9 * 4096, 4096),
    ]);
    const model = content(3).fill(0xaa, 10, 20);
    assert.deepEqual((await readAll(disk)).slice(3 * 4096, 4 * 4096), model);
    await disk.close();
    await sound(image);
  });
}

test('an image that was left dirty gets its reference counts rebuilt', async () => {
  const file = new MemoryFile(await emptyImage({ size: SIZE, clusterBits: 12 }));
  const first = await openImage(file);
  await first.writeAt(100, new Uint8Array(200_000).fill(3));
  await first.close();
  const editor = new Qcow2Editor(file.bytes);
  for (let cluster = 5; cluster < 40; cluster++) editor.setRefcount(cluster, cluster % 3 === 0 ? 7 : 0);
  editor.view.setUint32(76, 1);
  const dirty = new MemoryFile(editor.bytes);
  assert.equal((await readAll(await openImage(new MemoryFile(editor.bytes, { readOnly: true }))))[100], 3);
  const disk = await openImage(dirty);
  await disk.writeAt(300_000, new Uint8Array(100_000).fill(4));
  const all = await readAll(disk);
  assert.deepEqual([all[99], all[100], all[200_099], all[300_000]], [0, 3, 3, 4]);
  await disk.close();
  await sound(dirty);
});

test('bitmaps that are not kept up to date stop counting at the first write', async () => {
  const editor = new Qcow2Editor(await emptyImage({ size: SIZE }));
  editor.view.setUint32(92, 1 << 5);
  const file = new MemoryFile(editor.bytes);
  const disk = await openImage(file);
  await readAll(disk);
  assert.equal(new DataView(file.bytes.buffer).getUint32(92), 1 << 5);
  await disk.writeAt(0, new Uint8Array(512));
  assert.equal(new DataView(file.bytes.buffer).getUint32(92), 0);
  await disk.close();
});

/** An image with three clusters written, and where their L2 entries are. */
async function written(): Promise<Qcow2Editor> {
  const file = new MemoryFile(await emptyImage({ size: SIZE, clusterBits: 12 }));
  const disk = await openImage(file);
  await disk.writeAt(0, new Uint8Array(3 * 4096).fill(1));
  await disk.close();
  return new Qcow2Editor(file.bytes);
}

test('damage that a request meets fails that request, is said once and marks the image', async () => {
  const wrongs: readonly (readonly [string, bigint])[] = [
    ['outside the file', (1n << 63n) | (1n << 40n)],
    ['into a cluster', (1n << 63n) | 0x3200n],
    ['onto the header', (1n << 63n) | 0x200n],
    ['onto the L1 table', (1n << 63n) | 0x3000n],
    ['reserved bits', (1n << 63n) | (1n << 58n) | 0x6000n],
    ['compressed data outside the file', (1n << 62n) | (1n << 45n)],
  ];
  for (const [what, entry] of wrongs) {
    const editor = await written();
    editor.view.setBigUint64(editor.l2EntryAt(1), entry);
    const file = new MemoryFile(editor.bytes);
    const log: string[] = [];
    const disk = await openImage(file, undefined, log);
    await assert.rejects(disk.readAt(4096, new Uint8Array(512)), code('DISK_CORRUPT'), what);
    await assert.rejects(disk.readAt(4096, new Uint8Array(512)), code('DISK_CORRUPT'), what);
    assert.equal(log.length, 1, what);
    const good = new Uint8Array(512);
    await disk.readAt(8192, good);
    assert.equal(good[0], 1, what);
    await assert.rejects(disk.writeAt(0, new Uint8Array(512)), code('DISK_CORRUPT'), what);
    await disk.close();
    assert.equal(new DataView(file.bytes.buffer).getUint32(76), 2, what);
    await assert.rejects(openImage(new MemoryFile(file.bytes)), code('DISK_CORRUPT'));
    await openImage(new MemoryFile(file.bytes, { readOnly: true }));
  }
});

test('data is written over no metadata that counts as free', async () => {
  const editor = await written();
  editor.setRefcount(readU64(editor.view, 40) / 4096, 0);
  const file = new MemoryFile(editor.bytes);
  const disk = await openImage(file);
  await assert.rejects(disk.writeAt(100_000, new Uint8Array(512)), code('DISK_CORRUPT'));
  await disk.close();
  const all = await readAll(await openImage(new MemoryFile(file.bytes, { readOnly: true })));
  assert.equal(all[0], 1);
});

test('a compressed cluster that cannot be read fails its reads alone', async () => {
  const editor = await written();
  editor.compress(7, new Uint8Array(4096).fill(7));
  editor.bytes.fill(0xff, Number(editor.view.getBigUint64(editor.l2EntryAt(7)) & 0xffffffn));
  const disk = await openImage(new MemoryFile(editor.bytes));
  await assert.rejects(disk.readAt(7 * 4096, new Uint8Array(512)), code('DISK_CORRUPT'));
  await disk.writeAt(0, new Uint8Array(512));
  await disk.close();
});

test('when the host has no room, requests fail and nothing is damaged', async () => {
  for (let failing = 2; failing < 12; failing++) {
    const random = new Random(failing);
    const file = new MemoryFile(await emptyImage({ size: SIZE, clusterBits: 9 }), { random });
    const disk = await openImage(file);
    file.failing = failing;
    const model = new Map<number, Set<number>>();
    for (let i = 1; i < 60; i++) {
      const sector = random.next(SIZE / 512 - 8);
      const wrote = await disk.writeAt(sector * 512, new Uint8Array(512 * 8).fill(i)).then(
        () => true,
        () => false,
      );
      for (let s = sector; s < sector + 8; s++)
        model.set(s, wrote ? new Set([i]) : new Set([...(model.get(s) ?? [0]), i]));
      if (i % 7 === 0) await disk.flush().catch(() => {});
    }
    file.failing = 0;
    const all = await readAll(disk);
    for (const [sector, values] of model)
      assert.ok(values.has(all[sector * 512]), `${failing}: sector ${sector}`);
    await disk.close();
    await sound(file);
  }
});

test('the reference table grows with the image', async () => {
  const file = new MemoryFile(await emptyImage({ size: 16 << 20, clusterBits: 9, refcountOrder: 6 }));
  const disk = await openImage(file);
  for (let at = 0; at < 16 << 20; at += 1 << 20)
    await disk.writeAt(at, new Uint8Array(1 << 20).fill(at >>> 20));
  await disk.close();
  await sound(file);
  const all = await readAll(await openImage(new MemoryFile(file.bytes, { readOnly: true })));
  assert.ok(all.every((byte, at) => byte === at >>> 20));
});

test('read-only, range and size as with other disks', async () => {
  const image = await emptyImage({ size: 1024 });
  const disk = await openImage(new MemoryFile(image, { readOnly: true }));
  assert.deepEqual([disk.size, disk.readOnly], [1024, true]);
  await assert.rejects(disk.writeAt(0, new Uint8Array(512)), code('DISK_READ_ONLY'));
  await assert.rejects(disk.discard(0, 512), code('DISK_READ_ONLY'));
  await assert.rejects(disk.readAt(1024, new Uint8Array(1)), code('DISK_RANGE'));
  await disk.flush();
  await disk.close();
  await disk.close();
  const editor = new Qcow2Editor(image);
  editor.view.setUint32(28, 1000);
  assert.equal((await openImage(new MemoryFile(editor.bytes))).size, 1024);
});
