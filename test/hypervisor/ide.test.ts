/** Debian's drivers on the IDE controller of a machine of ours: a disk and discs, by DMA and through the data port. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openRawDisk } from '../../src/hypervisor/backends/disk-raw.ts';
import { ideGuest, loadIde } from '../guests/debian/ide-guest.ts';
import { writeIso } from '../support/iso.ts';
import { GuestShell } from './guest-shell.ts';

const MIB = 1 << 20;
const LIMIT_MS = 300_000;
const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex');

describe('Debian on IDE', { timeout: LIMIT_MS }, () => {
  let directory: string;
  let disk: string;
  let shell: GuestShell;
  const big = randomBytes(3 * MIB + 123);
  const disc = (name: string): string => join(directory, `${name}.iso`);

  before(
    async () => {
      directory = await mkdtemp(join(tmpdir(), 'teremok-ide-'));
      disk = join(directory, 'disk.img');
      await writeFile(disk, randomBytes(8 * MIB));
      await writeFile(disc('one'), writeIso('ONE', { 'BIG.BIN': big, 'README.TXT': Buffer.from('one\n') }));
      await writeFile(disc('two'), writeIso('TWO', { 'README.TXT': Buffer.from('two\n') }));
      shell = await GuestShell.boot({
        folder: await ideGuest(),
        disks: [{ path: disk, bus: 'ide' }],
        cdrom: disc('one'),
      });
      await shell.run(loadIde());
      await shell.run('until [ -b /dev/sda ] && [ -b /dev/sr0 ]; do sleep 0.1; done');
    },
    { timeout: LIMIT_MS },
  );
  after(async () => {
    await shell?.machine.dispose();
    await rm(directory, { recursive: true, force: true });
  });

  /** A disk read and written, a disc mounted and read. */
  async function useBoth(): Promise<void> {
    assert.equal(await shell.run('md5sum </dev/sda'), `${md5(await readFile(disk))}  -\n`);
    await shell.run(
      'dd if=/dev/urandom of=/tmp/data bs=64k count=33 && dd if=/tmp/data of=/dev/sda bs=64k seek=7',
    );
    await shell.run('sync && echo 3 >/proc/sys/vm/drop_caches');
    const written = await shell.run('md5sum </tmp/data');
    const part = (await readFile(disk)).subarray(7 * 65536, 40 * 65536);
    assert.equal(written, `${md5(part)}  -\n`);
    assert.equal(await shell.run('dd if=/dev/sda bs=64k skip=7 count=33 2>/dev/null | md5sum'), written);
    await shell.run('mkdir -p /mnt && mount -t iso9660 -o ro /dev/sr0 /mnt');
    assert.equal(await shell.run('cat /mnt/readme.txt'), 'one\n');
    assert.equal(await shell.run('md5sum </mnt/big.bin'), `${md5(big)}  -\n`);
    await shell.run('umount /mnt');
  }

  test('by DMA', async () => {
    assert.match(
      await shell.run('dmesg'),
      /ata1\.00: configured for MWDMA2|ata1\.00: ATA-6: TEREMOK HARDDISK/,
    );
    await useBoth();
  });

  test('the host changes the disc, but not while the guest has it mounted', async () => {
    const { tray } = shell.machine;
    assert.ok(tray);
    await shell.run('mount -t iso9660 -o ro /dev/sr0 /mnt');
    assert.equal(tray.locked, true, 'a mounted disc is locked in');
    assert.deepEqual(await tray.change(undefined), { done: false, removed: undefined });
    await shell.run('umount /mnt');
    const { done, removed } = await tray.change(await openRawDisk(disc('two'), { readOnly: true }));
    assert.equal(done, true);
    await removed?.close();
    await shell.run('mount -t iso9660 -o ro /dev/sr0 /mnt');
    assert.equal(await shell.run('cat /mnt/readme.txt; umount /mnt'), 'two\n');
    const back = await tray.change(await openRawDisk(disc('one'), { readOnly: true }));
    await back.removed?.close();
    await shell.run('dd if=/dev/sr0 of=/dev/null count=1 2>/dev/null; true');
  });

  test('through the data port', async () => {
    await shell.run('rmmod isofs sr_mod sd_mod ata_piix libata');
    // scsi_mod and cdrom are there still.
    await shell.try(loadIde('dma=0'));
    await shell.run('until [ -b /dev/sda ] && [ -b /dev/sr0 ]; do sleep 0.1; done');
    await useBoth();
  });

  test('the kernel saw no error on the way', async () => {
    const bad = (await shell.run('dmesg'))
      .split('\n')
      .filter((line) => /failed command|exception Emask|soft reset|I\/O error|WARNING|BUG:|Oops/i.test(line));
    assert.deepEqual(bad, []);
  });
});
