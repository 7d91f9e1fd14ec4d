import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { DiskError } from './disk.ts';
import { OverlayDisk } from './disk-overlay.ts';
import { openRawDisk } from './disk-raw.ts';
import { diskCalls } from './libc.ts';

let dir = '';
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'teremok-disk-'));
});
after(() => rm(dir, { recursive: true }));

async function image(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(dir, name);
  await writeFile(path, bytes);
  return path;
}

const code = (expected: string) => (error: unknown) => error instanceof DiskError && error.code === expected;

test('reads, writes, flushes; the file has the bytes', async () => {
  const path = await image('plain', new Uint8Array(4096).fill(1));
  const disk = await openRawDisk(path);
  assert.deepEqual([disk.size, disk.readOnly], [4096, false]);
  await disk.writeAt(512, new Uint8Array(512).fill(2));
  await disk.flush();
  const got = new Uint8Array(1024);
  await disk.readAt(256, got);
  assert.deepEqual([got[255], got[256], got[767], got[768]], [1, 2, 2, 1]);
  await disk.close();
  await disk.close();
  const file = await readFile(path);
  assert.deepEqual([file.length, file[512]], [4096, 2]);
});

test('memory shared between threads, as guest RAM is, can be written from', async () => {
  const disk = await openRawDisk(await image('shared', new Uint8Array(1024)));
  const shared = new Uint8Array(new SharedArrayBuffer(512)).fill(9);
  await disk.writeAt(512, shared);
  const got = new Uint8Array(512);
  await disk.readAt(512, got);
  assert.ok(got.every((byte) => byte === 9));
  await disk.close();
});

test('a size that is no multiple of 512: the tail reads as zero and may be written', async () => {
  const path = await image('odd', new Uint8Array(1000).fill(5));
  const disk = await openRawDisk(path);
  assert.equal(disk.size, 1024);
  const got = new Uint8Array(512).fill(0xff);
  await disk.readAt(512, got);
  assert.deepEqual([got[487], got[488], got[511]], [5, 0, 0]);
  await disk.writeAt(512, new Uint8Array(512).fill(6));
  await disk.close();
  assert.equal((await stat(path)).size, 1024);
});

test('outside the disk is refused', async () => {
  const disk = await openRawDisk(await image('range', new Uint8Array(1024)));
  await assert.rejects(disk.readAt(1000, new Uint8Array(100)), code('DISK_RANGE'));
  await assert.rejects(disk.writeAt(-1, new Uint8Array(1)), code('DISK_RANGE'));
  await assert.rejects(disk.discard(1024, 1), code('DISK_RANGE'));
  await disk.close();
});

test('read-only refuses to be written; many may read', async () => {
  const path = await image('ro', new Uint8Array(1024));
  const a = await openRawDisk(path, { readOnly: true });
  const b = await openRawDisk(path, { readOnly: true });
  await assert.rejects(a.writeAt(0, new Uint8Array(512)), code('DISK_READ_ONLY'));
  await assert.rejects(a.writeZeroes(0, 512, true), code('DISK_READ_ONLY'));
  await assert.rejects(openRawDisk(path), code('DISK_IN_USE'));
  await a.close();
  await assert.rejects(openRawDisk(path), code('DISK_IN_USE'));
  await b.close();
  await (await openRawDisk(path)).close();
});

test('one writer at a time, under any name', async () => {
  const path = await image('busy', new Uint8Array(1024));
  const link = join(dir, 'busy-link');
  await symlink(path, link);
  const disk = await openRawDisk(path);
  await assert.rejects(openRawDisk(link), code('DISK_IN_USE'));
  await assert.rejects(openRawDisk(link, { readOnly: true }), code('DISK_IN_USE'));
  await disk.close();
  await (await openRawDisk(link)).close();
});

test('another process that has the file open is noticed', async (t) => {
  if ((await diskCalls()) === undefined) return t.skip('no flock(2) on this host');
  const path = await image('other', new Uint8Array(1024));
  const disk = await openRawDisk(path);
  const script = `
    import { openRawDisk } from ${JSON.stringify(new URL('./disk-raw.ts', import.meta.url).href)};
    openRawDisk(${JSON.stringify(path)}).then(() => console.log('open'), (e) => console.log(e.code));`;
  const run = () => spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  assert.equal(run().stdout.trim(), 'DISK_IN_USE');
  await disk.close();
  assert.equal(run().stdout.trim(), 'open');
});

test('write zeroes and discard: with holes and without, the bytes are zero', async () => {
  const path = await image('zero', randomBytes(1 << 20));
  const disk = await openRawDisk(path);
  await disk.writeZeroes(4096, 65536, true);
  await disk.writeZeroes(100, 10, false);
  await disk.discard(200_000, 8192);
  await disk.discard(0, 0);
  await disk.close();
  const file = await readFile(path);
  assert.equal(file.length, 1 << 20);
  assert.ok(file.subarray(4096, 4096 + 65536).every((byte) => byte === 0));
  assert.ok(file.subarray(100, 110).every((byte) => byte === 0));
});

test('clear errors for what cannot be opened', async () => {
  await assert.rejects(openRawDisk(join(dir, 'nothing')), code('DISK_NOT_FOUND'));
  await assert.rejects(openRawDisk(dir), code('DISK_KIND'));
  await assert.rejects(openRawDisk(dir, { readOnly: true }), code('DISK_KIND'));
  await assert.rejects(openRawDisk(await image('empty', new Uint8Array())), code('DISK_EMPTY'));
  await assert.rejects(openRawDisk('/dev/null'), code('DISK_KIND'));
});

test('an overlay keeps writes to itself and reads like a disk, whatever is done to it', async () => {
  const size = 5 * 4096 + 512;
  const original = randomBytes(size);
  const path = await image('base', original);
  const op = fc.record({
    kind: fc.constantFrom('write', 'zero', 'read'),
    offset: fc.nat(size - 1),
    length: fc.nat(9000),
    fill: fc.nat(255),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(op, { maxLength: 30 }), async (ops) => {
      const overlay = new OverlayDisk(await openRawDisk(path, { readOnly: true }));
      const model = Uint8Array.from(original);
      for (const { kind, offset, length: wanted, fill } of ops) {
        const length = Math.min(wanted, size - offset);
        if (kind === 'write') {
          await overlay.writeAt(offset, new Uint8Array(length).fill(fill));
          model.fill(fill, offset, offset + length);
        } else if (kind === 'zero') {
          await overlay.writeZeroes(offset, length);
          model.fill(0, offset, offset + length);
        } else {
          const got = new Uint8Array(length);
          await overlay.readAt(offset, got);
          assert.deepEqual(got, model.slice(offset, offset + length));
        }
      }
      const all = new Uint8Array(size);
      await overlay.readAt(0, all);
      assert.deepEqual(all, model);
      await overlay.close();
    }),
    { numRuns: 40 },
  );
  assert.deepEqual(new Uint8Array(await readFile(path)), new Uint8Array(original));
});

test('writes to one block of an overlay at the same time are all kept', async () => {
  const path = await image('race', new Uint8Array(8192).fill(1));
  const overlay = new OverlayDisk(await openRawDisk(path, { readOnly: true }));
  await Promise.all(
    Array.from({ length: 8 }, (_, i) => overlay.writeAt(i * 512, new Uint8Array(512).fill(10 + i))),
  );
  const got = new Uint8Array(4096);
  await overlay.readAt(0, got);
  for (let i = 0; i < 8; i++) assert.equal(got[i * 512], 10 + i);
  assert.equal(overlay.heldBytes, 4096);
  await overlay.close();
});

test('an overlay has a limit', async () => {
  const path = await image('limit', new Uint8Array(1 << 16));
  const overlay = new OverlayDisk(await openRawDisk(path, { readOnly: true }), { maxBytes: 8192 });
  await overlay.writeAt(0, new Uint8Array(8192));
  await assert.rejects(overlay.writeAt(8192, new Uint8Array(512)), code('DISK_FULL'));
  await assert.rejects(overlay.writeZeroes(8192, 4096), code('DISK_FULL'));
  await overlay.writeAt(0, new Uint8Array(512));
  await overlay.close();
});
