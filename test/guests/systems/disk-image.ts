import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, copyFile, cp, mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory, SetupError, say } from '../../../src/cli/setup/bootstrap.js';
import { locked } from '../../../src/cli/setup/lock.ts';
import { DebianTools } from './debian-tools.ts';

const here = import.meta.dirname;
const MIB = 1 << 20;
const SECTOR = 512;

const SUITE = 'bookworm';
/** Beside what Debian calls essential: its kernel, systemd as init with its logins, and what they need. */
const PACKAGES = [
  'linux-image-cloud-amd64',
  'initramfs-tools',
  'systemd-sysv',
  'udev',
  'dbus',
  'libpam-systemd',
  'kmod',
  'e2fsprogs',
];
/** Nobody reads these there. */
const LEFT_OUT = ['/usr/share/doc/*', '/usr/share/man/*', '/usr/share/locale/*'];

/** The disk: one partition, from its second MiB on, with ext4. */
export const DISK = { mib: 1280, partitionAt: MIB, label: 'teremok-root' } as const;

/** In GRUB's menu, the keys that start an entry at once. */
export const MENU_KEY = { writes: 'w' } as const;

/** What GRUB's core image has inside: what it takes to find its other modules. */
const CORE_MODULES = ['biosdisk', 'part_msdos', 'ext2'];

const menu = (version: string): string => {
  const entry = (title: string, options: string, rest: string): string => `menuentry "${title}"${options} {
  linux /boot/vmlinuz-${version} root=LABEL=${DISK.label} console=tty0 console=ttyS0 ${rest}
  initrd /boot/initrd.img-${version}
}
`;
  return `set timeout=3
${entry('Debian', '', 'ro')}
${entry('Debian, writing until the plug is pulled', ` --hotkey=${MENU_KEY.writes}`, 'rw quiet init=/usr/local/sbin/writes')}
`;
};

/**
 * A disk with Debian as debootstrap makes it, its own kernel, and GRUB in the master boot record. Made once for each
 * cache.
 * @returns path of the raw image
 * @throws SetupError where that cannot be done: without root, or where the packages cannot be had
 */
export async function debianDisk(): Promise<string> {
  const hash = createHash('sha256')
    .update(JSON.stringify([treeName(), DISK, CORE_MODULES]))
    .update(menu(''));
  hash.update(await readFile(join(here, 'writes.sh')));
  const disk = join(cacheDirectory(), 'guests', `debian-disk-${hash.digest('hex').slice(0, 12)}.raw`);
  await locked(`${disk}.lock`, async () => {
    if (existsSync(disk)) return;
    const tools = await DebianTools.provide();
    const root = await debianTree(tools);
    const work = `${disk}.new.${process.pid}`;
    try {
      await mkdir(work, { recursive: true });
      await configure(tools, root);
      const image = join(work, 'disk.raw');
      await format(tools, root, image);
      await installGrub(tools, work, image);
      await rename(image, disk);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  });
  return disk;
}

const treeName = (): string => {
  const recipe = createHash('sha256').update(JSON.stringify([SUITE, PACKAGES, LEFT_OUT]));
  return `debian-tree-${recipe.digest('hex').slice(0, 12)}`;
};

/** What is on the disk, as a folder, since making it takes longest. */
async function debianTree(tools: DebianTools): Promise<string> {
  const root = join(cacheDirectory(), 'guests', treeName());
  if (existsSync(root)) return root;
  if (process.getuid?.() !== 0)
    throw new SetupError('packages are configured in a chroot, which takes root: run this as root');
  say(`making a Debian ${SUITE} (mmdebstrap); it takes some minutes`);
  const work = `${root}.new.${process.pid}`;
  try {
    await bootstrap(tools, work);
    await rename(work, root);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return root;
}

/** The machine's own sources of packages. */
async function sources(): Promise<string[]> {
  const folder = '/etc/apt/sources.list.d';
  const parts = existsSync(folder) ? (await readdir(folder)).map((name) => join(folder, name)) : [];
  return ['/etc/apt/sources.list', ...parts.filter((path) => /\.(list|sources)$/.test(path))].filter(
    existsSync,
  );
}

async function bootstrap(tools: DebianTools, root: string): Promise<void> {
  await tools.run('perl', [
    join(tools.root, 'usr/bin/mmdebstrap'),
    '--mode=root',
    '--variant=minbase',
    `--include=${PACKAGES.join(',')}`,
    ...LEFT_OUT.map((path) => `--dpkgopt=path-exclude=${path}`),
    '--aptopt=APT::Install-Recommends "false"',
    '--aptopt=Acquire::Languages "none"',
    SUITE,
    root,
    ...(await sources()),
  ]);
}

async function configure(tools: DebianTools, root: string): Promise<void> {
  const kernel = (await readdir(join(root, 'boot'))).find((name) => name.startsWith('vmlinuz-'));
  if (kernel === undefined) throw new Error('mmdebstrap brought no kernel');
  await writeFile(join(root, 'etc/hostname'), 'debian-disk\n');
  await writeFile(join(root, 'etc/fstab'), `LABEL=${DISK.label} / ext4 errors=remount-ro 0 1\n`);
  await mkdir(join(root, 'boot/grub'), { recursive: true });
  await writeFile(join(root, 'boot/grub/grub.cfg'), menu(kernel.replace('vmlinuz-', '')));
  await cp(tools.grub, join(root, 'boot/grub/i386-pc'), { recursive: true });
  const writes = join(root, 'usr/local/sbin/writes');
  await copyFile(join(here, 'writes.sh'), writes);
  await chmod(writes, 0o755);
}

async function format(tools: DebianTools, root: string, image: string): Promise<void> {
  const file = await open(image, 'w');
  await file.truncate(DISK.mib * MIB);
  await file.close();
  const blocks = (DISK.mib * MIB - DISK.partitionAt) / 4096;
  await tools.run('mke2fs', [
    ...['-q', '-t', 'ext4', '-b', '4096', '-L', DISK.label],
    // GRUB 2.06 reads no file systems with these.
    ...['-O', '^metadata_csum_seed,^orphan_file'],
    ...['-E', `offset=${DISK.partitionAt}`, '-d', root, image, String(blocks)],
  ]);
}

/**
 * GRUB into the master boot record and the gap behind it, as grub-bios-setup does it, which would want a block device
 * (GRUB's boot.S and diskboot.S: the sector that the first loads, and where the second finds the rest).
 */
async function installGrub(tools: DebianTools, work: string, image: string): Promise<void> {
  const core = join(work, 'core.img');
  const prefix = '(hd0,msdos1)/boot/grub';
  await tools.run('grub-mkimage', [
    ...['-O', 'i386-pc', '-d', tools.grub, '-p', prefix, '-o', core],
    ...CORE_MODULES,
  ]);
  const boot = await readFile(join(tools.grub, 'boot.img'));
  const rest = await readFile(core);
  if (rest.length > DISK.partitionAt - SECTOR) throw new Error('no room for GRUB before the partition');
  boot.writeBigUInt64LE(1n, 0x5c);
  // Where it asks for the drive's number it goes on with the one that firmware gave: the jump becomes two NOPs.
  boot.writeUInt16LE(0x9090, 0x66);
  // The image has code for floppies where a disk has its four entries.
  boot.fill(0, 0x1be, 0x1fe);
  boot.set(partition(), 0x1be);
  boot.writeUInt16LE(0xaa55, 0x1fe);
  rest.writeBigUInt64LE(2n, 0x1f4);
  rest.writeUInt16LE(Math.ceil(rest.length / SECTOR) - 1, 0x1fc);
  const file = await open(image, 'r+');
  try {
    await file.write(boot, 0, SECTOR, 0);
    await file.write(rest, 0, rest.length, SECTOR);
  } finally {
    await file.close();
  }
}

/** The first entry of the partition table: active, Linux, by sector numbers alone. */
function partition(): Buffer {
  const entry = Buffer.alloc(16);
  entry.set([0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff]);
  entry.writeUInt32LE(DISK.partitionAt / SECTOR, 8);
  entry.writeUInt32LE((DISK.mib * MIB - DISK.partitionAt) / SECTOR, 12);
  return entry;
}
