import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { createDisk } from './create-disk.ts';
import { openDisk } from './open-disk.ts';
import { probeImage } from './probe-image.ts';

let dir = '';
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'teremok-probe-'));
});
after(() => rm(dir, { recursive: true }));

const MIB = 1 << 20;

async function file(name: string, bytes: Uint8Array): Promise<string> {
  const path = join(dir, name);
  await writeFile(path, bytes);
  return path;
}

/** Volume descriptors and a boot catalogue, as ECMA-119 and El Torito have them. */
function isoImage(sectors = 64): Buffer {
  const iso = Buffer.alloc(sectors * 2048);
  const descriptor = (sector: number, type: number) => {
    iso[sector * 2048] = type;
    iso.write('CD001\x01', sector * 2048 + 1, 'latin1');
    return iso.subarray(sector * 2048, (sector + 1) * 2048);
  };
  const primary = descriptor(16, 1);
  primary.write('TEREMOK TEST'.padEnd(32), 40);
  primary.writeUInt32LE(sectors, 80);
  primary.writeUInt16LE(2048, 128);
  const boot = descriptor(17, 0);
  boot.write('EL TORITO SPECIFICATION', 7);
  boot.writeUInt32LE(20, 71);
  descriptor(18, 255);
  const catalogue = iso.subarray(20 * 2048);
  catalogue[0] = 1;
  catalogue.writeUInt16BE(0x55aa, 30);
  catalogue.writeUInt16LE(0x10000 - 1 - 0xaa55, 28);
  catalogue[32] = 0x88;
  catalogue[64] = 0x91;
  catalogue[65] = 0xef;
  catalogue[96] = 0x88;
  return iso;
}

test('a raw disk, an empty file, one that is not there', async () => {
  const raw = await probeImage(await file('raw', new Uint8Array(1000)));
  assert.deepEqual([raw.format, raw.fileBytes, raw.virtualSize, raw.problems], ['raw', 1000, 1024, []]);
  assert.match((await probeImage(await file('empty', new Uint8Array()))).problems[0], /is empty/);
  assert.match((await probeImage(join(dir, 'nothing'))).problems[0], /does not exist/);
  assert.match((await probeImage(dir)).problems[0], /directory|neither a file/);
});

test('a qcow2 image and what it stands on', async () => {
  await file('base', new Uint8Array(4096));
  const one = join(dir, 'one.qcow2');
  const two = join(dir, 'two.qcow2');
  await createDisk({ path: one, size: MIB, backing: { path: 'base', format: 'raw' } });
  await createDisk({ path: two, size: 2 * MIB, backing: { path: 'one.qcow2', format: 'qcow2' } });
  const found = await probeImage(two, { allowedFolder: dir, check: true });
  assert.deepEqual([found.format, found.virtualSize, found.problems], ['qcow2', 2 * MIB, []]);
  assert.deepEqual(found.backingChain, [
    { name: 'one.qcow2', format: 'qcow2' },
    { name: 'base', format: 'raw' },
  ]);
  // Also while a machine uses it.
  const disk = await openDisk({ path: two });
  assert.equal((await probeImage(two)).format, 'qcow2');
  await disk.close();
  const circle = join(dir, 'circle.qcow2');
  await createDisk({ path: circle, size: MIB, backing: { path: 'circle.qcow2', format: 'qcow2' } });
  assert.match((await probeImage(circle)).problems[0], /its own backing file/);
  const outside = join(dir, 'outside.qcow2');
  await createDisk({ path: outside, size: MIB, backing: { path: '/etc/passwd', format: 'raw' } });
  assert.match((await probeImage(outside, { allowedFolder: dir })).problems[0], /outside the folder/);
});

test('damage in a qcow2 image is told', async () => {
  const path = join(dir, 'damaged.qcow2');
  await createDisk({ path, size: MIB });
  const bytes = await readFile(path);
  bytes.writeBigUInt64BE(0x8000_0000_0000_0200n, 3 * 65536);
  await writeFile(path, bytes);
  assert.deepEqual((await probeImage(path)).problems, []);
  assert.match((await probeImage(path, { check: true })).problems[0], /damaged in \d+ places/);
  bytes.writeUInt32BE(2, 76);
  await writeFile(path, bytes);
  assert.match((await probeImage(path)).problems[0], /marked as damaged/);
  bytes.writeUInt32BE(16, 76);
  await writeFile(path, bytes);
  const extended = await probeImage(path);
  assert.equal(extended.format, undefined);
  assert.match(extended.problems[0], /extended L2/);
});

test('an ISO file: its name, and what it boots', async () => {
  const path = await file('a.iso', isoImage());
  const found = await probeImage(path);
  assert.deepEqual([found.format, found.virtualSize, found.problems], ['iso9660', 64 * 2048, []]);
  assert.deepEqual(found.iso, { volume: 'TEREMOK TEST', bytes: 64 * 2048, bootsBios: true, bootsUefi: true });
  await truncate(path, 40 * 2048);
  assert.match((await probeImage(path)).problems[0], /ends early: 81920 of 131072/);
  await truncate(path, 20 * 2048);
  const short = await probeImage(path);
  assert.equal(short.iso?.bootsBios, false);
  assert.match(short.problems[1], /boot catalogue lies outside/);
});

test('files sent by mistake are named', async () => {
  assert.match((await probeImage(await file('gz', gzipSync('x')))).problems[0], /compressed by gzip/);
  assert.match((await probeImage(await file('vmdk', Buffer.from('KDMV....')))).problems[0], /a VMDK image/);
  const vdi = Buffer.alloc(512);
  vdi.write('7f10dabe', 0x40, 'hex');
  assert.match((await probeImage(await file('vdi', vdi))).problems[0], /a VDI image/);
});

test('whatever a file holds, there is an answer', async () => {
  const start = join(dir, 'start.qcow2');
  await createDisk({ path: start, size: MIB });
  const images = [isoImage(40), await readFile(start)];
  const change = fc.tuple(fc.nat(1), fc.nat(400), fc.nat(255));
  const changes = fc.array(change, { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(fc.nat(1), changes, fc.option(fc.nat(90_000)), async (which, edits, cut) => {
      const image = Buffer.from(images[which]);
      // In the descriptors or the catalogue; in the header or the L1 table.
      const places = which === 0 ? [16 * 2048, 20 * 2048] : [0, 3 * 65536];
      for (const [place, at, value] of edits) {
        const where = places[place] + at * (place === 0 && which === 0 ? 15 : 1);
        if (where < image.length) image[where] = value;
      }
      const path = await file('hostile', cut === null ? image : image.subarray(0, cut));
      const found = await probeImage(path, { allowedFolder: dir, check: true });
      assert.ok(found.format !== undefined || found.problems.length > 0);
    }),
    { numRuns: 200 },
  );
});
