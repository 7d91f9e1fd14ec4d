import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { createDisk } from './create-disk.ts';
import { DiskError } from './disk.ts';
import { openDisk } from './open-disk.ts';

let dir = '';
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'teremok-open-'));
});
after(() => rm(dir, { recursive: true }));

const MIB = 1 << 20;
const code =
  (expected: string, says = /./) =>
  (error: unknown) =>
    error instanceof DiskError && error.code === expected && says.test(error.message);

async function folder(name: string): Promise<string> {
  const path = join(dir, name);
  await mkdir(path);
  return path;
}

async function readFirst(path: string, options = {}): Promise<number> {
  const disk = await openDisk({ path, readOnly: true, ...options });
  const byte = new Uint8Array(1);
  await disk.readAt(0, byte);
  await disk.close();
  return byte[0];
}

test('the format comes from the name, or is said; what a guest wrote decides nothing', async () => {
  const here = await folder('format');
  const qcow2 = join(here, 'a.qcow2');
  await createDisk({ path: qcow2, size: MIB });
  const bytes = await readFile(qcow2);
  const disk = await openDisk({ path: qcow2 });
  assert.equal(disk.size, MIB);
  await disk.close();
  const plain = join(here, 'a.img');
  await writeFile(plain, bytes);
  await assert.rejects(openDisk({ path: plain }), code('DISK_FORMAT', /say format=qcow2 .* format=raw/));
  assert.equal(await readFirst(plain, { format: 'raw' }), bytes[0]);
  assert.equal(await readFirst(plain, { format: 'qcow2' }), 0);
  assert.equal(await readFirst(plain, { format: 'probe' }), 0);
  const raw = join(here, 'raw.qcow2');
  await writeFile(raw, new Uint8Array(4096).fill(9));
  await assert.rejects(openDisk({ path: raw }), code('DISK_FORMAT', /not a qcow2 image; is it raw/));
  assert.equal(await readFirst(raw, { format: 'raw' }), 9);
  assert.equal(await readFirst(raw, { format: 'probe' }), 9);
});

test('an overlay keeps what is written; its backing file stays as it is', async () => {
  const here = await folder('overlay');
  const base = join(here, 'base.raw');
  const content = randomBytes(300_000 - (300_000 % 512));
  await writeFile(base, content);
  await createDisk({ path: join(here, 'a.qcow2'), backing: { path: 'base.raw', format: 'raw' } });
  await createDisk({ path: join(here, 'b.qcow2'), backing: { path: 'a.qcow2', format: 'qcow2' }, size: MIB });
  const model = new Uint8Array(MIB);
  model.set(content);
  for (const [name, at] of [
    ['a.qcow2', 1000],
    ['b.qcow2', 150_000],
  ] as const) {
    const disk = await openDisk({ path: join(here, name) });
    await disk.writeAt(at, new Uint8Array(3000).fill(at & 255));
    model.fill(at & 255, at, at + 3000);
    await disk.close();
  }
  const disk = await openDisk({ path: join(here, 'b.qcow2') });
  const all = new Uint8Array(MIB);
  await disk.readAt(0, all);
  assert.deepEqual(all, model);
  await assert.rejects(openDisk({ path: base }), code('DISK_IN_USE'));
  await disk.close();
  assert.deepEqual(await readFile(base), content);
  await (await openDisk({ path: base })).close();
});

test('a throw-away overlay leaves no trace', async () => {
  const here = await folder('throw-away');
  const path = join(here, 'a.qcow2');
  await createDisk({ path, size: MIB });
  const before = await readFile(path);
  const disk = await openDisk({ path, overlay: 'throw-away' });
  const other = await openDisk({ path, overlay: 'throw-away' });
  assert.equal(disk.readOnly, false);
  await disk.writeAt(0, new Uint8Array(512).fill(1));
  const byte = new Uint8Array(1);
  await other.readAt(0, byte);
  assert.equal(byte[0], 0);
  await disk.close();
  await other.close();
  assert.deepEqual(await readFile(path), before);
});

test('backing files lie in the allowed folder, whatever their names and links say', async () => {
  const here = await folder('allowed');
  const images = join(here, 'images');
  await mkdir(images);
  await writeFile(join(here, 'secret'), new Uint8Array(512).fill(1));
  await symlink(join(here, 'secret'), join(images, 'link'));
  await writeFile(join(images, 'inside'), new Uint8Array(512).fill(2));
  await symlink(images, join(here, 'alias'));
  const names: readonly (readonly [string, RegExp])[] = [
    ['../secret', /outside the folder/],
    [join(here, 'secret'), /outside the folder/],
    ['link', /outside the folder/],
    ['/etc/passwd', /outside the folder/],
    ['nothing', /cannot be found \(ENOENT\)/],
    ['json:{"file.filename":"inside"}', /not a file/],
    ['nbd://host/inside', /not a file/],
  ];
  const layout = { size: MIB, format: 'raw' as const };
  for (const [i, [name, says]] of names.entries()) {
    const path = join(images, `${i}.qcow2`);
    await createDisk({ path, size: layout.size, backing: { path: name, format: 'raw' } });
    await assert.rejects(openDisk({ path, allowedFolder: images }), code('DISK_BACKING', says), name);
  }
  for (const [i, name] of [
    'inside',
    './inside',
    '../images/inside',
    'file:inside',
    join(here, 'alias/inside'),
  ].entries()) {
    const path = join(images, `good-${i}.qcow2`);
    await createDisk({ path, size: MIB, backing: { path: name, format: 'raw' } });
    assert.equal(await readFirst(path, { allowedFolder: join(here, 'alias') }), 2);
  }
  assert.equal(await readFirst(join(images, '0.qcow2')), 1);
});

test('a backing file without a format is not guessed at', async () => {
  const here = await folder('no-format');
  await writeFile(join(here, 'base'), new Uint8Array(512));
  const path = join(here, 'a.qcow2');
  await createDisk({ path, size: MIB, backing: { path: 'base', format: 'raw' } });
  const bytes = await readFile(path);
  const unnamed = Buffer.from(bytes);
  unnamed.writeUInt32BE(0x12345678, 104);
  await writeFile(path, unnamed);
  await assert.rejects(openDisk({ path }), code('DISK_BACKING', /rebase -u -b "base" -F raw/));
  const other = Buffer.from(bytes);
  other.write('vmd', 112);
  await writeFile(path, other);
  await assert.rejects(openDisk({ path }), code('DISK_BACKING', /"vmd"; raw and qcow2/));
});

test('circles and endless chains of backing files are refused', async () => {
  const here = await folder('circle');
  const make = (name: string, under: string) =>
    createDisk({ path: join(here, name), size: MIB, backing: { path: under, format: 'qcow2' } });
  await make('self.qcow2', 'self.qcow2');
  await assert.rejects(
    openDisk({ path: join(here, 'self.qcow2') }),
    code('DISK_BACKING', /its own backing file/),
  );
  await make('a.qcow2', 'b.qcow2');
  await make('b.qcow2', 'c.qcow2');
  await symlink(join(here, 'a.qcow2'), join(here, 'c.qcow2'));
  await assert.rejects(
    openDisk({ path: join(here, 'a.qcow2') }),
    code('DISK_BACKING', /its own backing file/),
  );
  for (let i = 0; i < 40; i++) await make(`${i}.qcow2`, `${i + 1}.qcow2`);
  await createDisk({ path: join(here, '40.qcow2'), size: MIB });
  await assert.rejects(openDisk({ path: join(here, '0.qcow2') }), code('DISK_BACKING', /32 images/));
  await (await openDisk({ path: join(here, '10.qcow2') })).close();
  // Whatever was opened on the way is closed again.
  await (await openDisk({ path: join(here, '30.qcow2'), readOnly: false })).close();
});

test('a file in use is refused, and free once opening has failed', async () => {
  const here = await folder('locks');
  const path = join(here, 'a.qcow2');
  await createDisk({ path, size: MIB });
  const disk = await openDisk({ path });
  await assert.rejects(openDisk({ path }), code('DISK_IN_USE'));
  await assert.rejects(openDisk({ path, readOnly: true }), code('DISK_IN_USE'));
  await disk.close();
  await writeFile(join(here, 'b.qcow2'), 'no image at all');
  for (let i = 0; i < 2; i++)
    await assert.rejects(openDisk({ path: join(here, 'b.qcow2') }), code('DISK_FORMAT'));
});

test('making a disk: nothing is overwritten, sizes are checked, the file is private', async () => {
  const here = await folder('make');
  const path = join(here, 'a.qcow2');
  await createDisk({ path, size: 512 });
  assert.equal((await stat(path)).mode & 0o777, 0o600);
  await assert.rejects(createDisk({ path, size: 512 }), code('DISK_EXISTS'));
  for (const size of [0, 100, -512, 2 ** 60, Number.NaN])
    await assert.rejects(createDisk({ path: join(here, 'b.qcow2'), size }), code('DISK_FORMAT'));
  await assert.rejects(createDisk({ path: join(here, 'b.qcow2') }), code('DISK_FORMAT'));
  await assert.rejects(createDisk({ path: join(here, 'none/b.qcow2'), size: 512 }), code('DISK_ACCESS'));
  await assert.rejects(stat(join(here, 'b.qcow2')));
});

test('an image moved together with its backing file still finds it', async () => {
  const here = await folder('before');
  await writeFile(join(here, 'base'), new Uint8Array(512).fill(4));
  await createDisk({ path: join(here, 'a.qcow2'), backing: { path: 'base', format: 'raw' } });
  await rename(here, join(dir, 'behind'));
  assert.equal(await readFirst(join(dir, 'behind/a.qcow2')), 4);
});
