import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { cacheDirectory } from '../../src/cli/setup/bootstrap.js';
import { findProgram } from '../../src/cli/setup/debian.ts';
import { buildDebianBusybox, type ImageDescription } from '../../src/cli/setup/guest/debian-busybox.ts';
import { temporaryHome } from '../../src/cli/setup/temporary-home.ts';

const qemu = await findProgram('qemu-system-x86_64');

describe('the built-in guest image', { timeout: 120_000 }, () => {
  let folder: string;
  let image: ImageDescription;

  before(async () => {
    folder = join(await temporaryHome(), 'images/debian-busybox');
    image = await buildDebianBusybox(folder, cacheDirectory());
  });

  after(() => rm(join(folder, '../..'), { recursive: true, force: true }));

  it('says what it consists of', async () => {
    assert.equal(image.name, 'debian-busybox');
    assert.match(image.cmdline, /console=ttyS0/);
    assert.deepEqual(
      Object.keys(image.packages).map((name) => name.replace(/[\d.-]+/g, ' ')),
      ['linux image cloud amd ', 'busybox static'],
    );
    for (const [file, digest] of Object.entries(image.sha256)) {
      assert.equal(
        createHash('sha256')
          .update(await readFile(join(folder, file)))
          .digest('hex'),
        digest,
      );
    }
  });

  it('has an unmodified bzImage as its kernel', async () => {
    const kernel = await readFile(join(folder, image.kernel));
    // Linux boot protocol: boot_flag at 0x1fe, header "HdrS" at 0x202.
    assert.equal(kernel.readUInt16LE(0x1fe), 0xaa55);
    assert.equal(kernel.toString('ascii', 0x202, 0x206), 'HdrS');
  });

  it('is not made again while it is current', async () => {
    const before = await stat(join(folder, image.initrd));
    await buildDebianBusybox(folder, cacheDirectory());
    assert.equal((await stat(join(folder, image.initrd))).ino, before.ino);
  });

  it('comes to a shell and powers off in another machine', {
    skip: qemu === undefined && 'no QEMU here',
  }, async () => {
    const files = ['-kernel', join(folder, image.kernel), '-initrd', join(folder, image.initrd)];
    const machine = ['-nographic', '-nodefaults', '-serial', 'stdio', '-no-reboot', '-m', '256'];
    const child = spawn(qemu as string, [...machine, ...files, '-append', image.cmdline]);
    const typed = ['uname -a\n', 'cat /proc/cpuinfo\n', 'poweroff -f\n'];
    let seen = '';
    let unanswered = '';
    child.stdout.setEncoding('utf8');
    child.stdout.on('data', (text: string) => {
      seen += text;
      unanswered += text;
      if (!unanswered.includes('~ # ')) return;
      unanswered = '';
      child.stdin.write(typed.shift() ?? '');
    });
    const code = await new Promise((resolve) => child.once('exit', resolve));
    assert.equal(code, 0, seen);
    assert.match(seen, /Linux teremok [\d.-]+-cloud-amd64 .* x86_64 GNU\/Linux/);
    assert.match(seen, /vendor_id\s*:/);
    assert.match(seen, /Power down/);
  });
});
