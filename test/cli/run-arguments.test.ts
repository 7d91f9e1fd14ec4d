import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { writeEchoGuest } from '../guests/echo-guest.ts';
import { runCli } from './cli-process.ts';

let directory: string;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'teremok-run-'));
  await writeEchoGuest(join(directory, 'good.elf'));
  await writeFile(join(directory, 'empty'), '');
  await writeFile(
    join(directory, 'text'),
    'a line of text, which is no kernel, and goes on for a while\n'.repeat(50),
  );
  await writeFile(join(directory, 'short'), '\x7fELF');
  await writeFile(join(directory, 'disk'), Buffer.alloc(4096));
  await mkdir(join(directory, 'folder'));
});
after(async () => {
  await chmod(directory, 0o700);
  await rm(directory, { recursive: true, force: true });
});

/** Arguments, where @ stands for the directory of files, and what the line on stderr says. */
const cases: readonly (readonly [args: string, says: RegExp])[] = [
  ['', /needs something to start/],
  ['--append quiet', /--append is a kernel’s/],
  ['--kernel', /--kernel needs a value/],
  ['--kernel @/none', /none does not exist/],
  ['--kernel @/folder', /folder is a directory/],
  ['--kernel @/empty', /empty is empty/],
  ['--kernel @/text', /text/],
  ['--kernel @/short', /short/],
  ['--kernel @/good.elf --initrd @/none', /none does not exist/],
  ['--kernel @/good.elf --initrd @/folder', /folder is a directory/],
  ['--kernel @/good.elf --memory 0', /--memory takes a whole number from 1 to 3072, not ‘0’/],
  ['--kernel @/good.elf --memory 4096', /--memory takes a whole number from 1 to 3072/],
  ['--kernel @/good.elf --memory 1.5', /--memory takes a whole number/],
  ['--kernel @/good.elf --memory -5', /--memory needs a value/],
  ['--kernel @/good.elf --memory=-5', /--memory takes a whole number/],
  ['--kernel @/good.elf --memory 64M', /--memory takes a whole number/],
  ['--kernel @/good.elf --memory 1e3', /--memory takes a whole number/],
  ['--kernel @/good.elf --timeout 0', /--timeout takes a number/],
  ['--kernel @/good.elf --timeout soon', /--timeout takes a number/],
  ['--kernel @/good.elf --engine qemu', /--engine takes auto, interpret, translate, kvm, not ‘qemu’/],
  ['--kernel @/good.elf --engine kvm', /--engine kvm is not available in this version/],
  ['--kernel @/good.elf --icount 0', /--icount takes a whole number from 1 to 1000, not ‘0’/],
  ['--kernel @/good.elf --icount 0.5', /--icount takes a whole number from 1 to 1000/],
  ['--kernel @/good.elf --cpu i486', /no processor profile ‘i486’/],
  ['--cdrom @/disk --display gtk', /--display takes none/],
  ['--cdrom @/disk --display vnc=', /--display takes none, vnc=PORT or vnc=unix:PATH, not ‘vnc=’/],
  ['--cdrom @/disk --display vnc=70000', /--display takes none/],
  ['--firmware @/none', /none does not exist/],
  ['--firmware @/text', /text has 3000 bytes: an image has whole pages of 4096, 64 KiB to 4 MiB/],
  ['--firmware @/text --memory 2', /at least 4 MiB of memory/],
  ['--kernel @/good.elf --firmware @/disk', /--firmware is for a machine that starts from firmware/],
  ['--kernel @/good.elf --cdrom @/none', /the disc .*none does not exist/],
  ['--kernel @/good.elf --cdrom @/folder', /folder is a directory/],
  ['--kernel @/good.elf --boot d', /--boot is for a machine that starts from firmware/],
  ['--cdrom @/disk --boot x', /--boot takes c, d/],
  ['--kernel @/good.elf --disk @/none', /none cannot be written: there is no such file/],
  ['--kernel @/good.elf --disk @/none,readonly', /none does not exist/],
  ['--kernel @/good.elf --disk @/folder', /folder is a directory/],
  ['--kernel @/good.elf --disk ,readonly', /names no file/],
  ['--kernel @/good.elf --disk @/disk,format=qcow2', /disk is not a qcow2 image; is it raw\?/],
  ['--kernel @/good.elf --disk @/disk,bus=scsi', /does not know ‘bus=scsi’/],
  [
    '--kernel @/good.elf --disk @/disk,bus=ide --disk @/disk,bus=ide --disk @/disk,bus=ide --disk @/disk,bus=ide',
    /at most 3 disks on IDE/,
  ],
  ['--kernel @/good.elf --disk @/disk,format=vmdk', /does not know ‘format=vmdk’/],
  ['--kernel @/good.elf --serial @/folder', /folder is a directory/],
  ['--kernel @/good.elf --serial @/no/where', /where cannot be written/],
  ['--kernel @/good.elf --stats @/no/where', /where cannot be written/],
  ['--kernel @/good.elf --stats @/folder', /folder is a directory/],
  ['--kernel @/good.elf --debug-exit=yes', /--debug-exit takes no value/],
  ['--kernel @/good.elf --frobnicate', /no option --frobnicate/],
  ['--kernel @/good.elf extra', /‘extra’ is one argument too many/],
  ['--kernel @/good.elf --json', /no option --json/],
];

for (const [args, says] of cases) {
  test(`run ${args}`, async () => {
    const words = args.split(' ').filter((word) => word !== '');
    const given = words.map((word) => word.replaceAll('@', directory));
    const { status, stdout, stderr } = await runCli(['run', ...given]);
    assert.equal(status, 2, stderr);
    assert.equal(stdout, '');
    assert.match(stderr, says);
    assert.match(stderr, /^teremok: [^\n]+\n$/, 'one line');
  });
}

test('run --append with more than a kernel takes', async () => {
  const kernel = join(directory, 'good.elf');
  const { status, stderr } = await runCli(['run', '--kernel', kernel, '--append', 'x'.repeat(2048)]);
  assert.equal(status, 2);
  assert.match(stderr, /--append is longer than 2047 bytes/);
});
