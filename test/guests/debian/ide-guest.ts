import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory, homeDirectory } from '../../../src/cli/setup/bootstrap.js';
import { unpack } from '../../../src/cli/setup/debian.ts';
import { type CpioEntry, writeCpio } from '../../../src/cli/setup/guest/cpio.ts';
import {
  buildDebianBusybox,
  DEBIAN_CLOUD,
  debianPackages,
  IMAGE_NAME,
} from '../../../src/cli/setup/guest/debian-busybox.ts';
import { loadOrder } from '../../../src/cli/setup/guest/modules.ts';
import { locked } from '../../../src/cli/setup/lock.ts';

/** The drivers of PIIX's IDE, of disks and CD-ROM drives, and the file system of discs. */
const MODULES = ['ata_piix', 'sd_mod', 'sr_mod', 'isofs'];

/** Loads them, with parameters for libata. */
export const loadIde = (libata = ''): string =>
  `for m in $(cat /lib/ide/order); do a=; [ $m = libata ] && a="${libata}"; insmod /lib/ide/$m.ko $a; done`;

/**
 * The built-in image with its kernel's modules for IDE in /lib/ide, fetched once for each cache.
 * @returns the folder that has `vmlinuz` and `initrd`
 * @throws SetupError when Debian's packages cannot be had
 */
export async function ideGuest(): Promise<string> {
  const cache = cacheDirectory();
  const image = join(homeDirectory(), 'images', IMAGE_NAME);
  const { packages } = await buildDebianBusybox(image, cache);
  const name = Object.keys(packages).find((found) => DEBIAN_CLOUD.kernelPackage.test(found));
  if (name === undefined) throw new Error('the built-in image does not say which kernel it has');
  const folder = join(cache, 'guests', `ide-${name}-${packages[name]?.replace(/[^\w.-]/g, '_')}`);
  await locked(`${folder}.lock`, async () => {
    if (existsSync(folder)) return;
    const work = `${folder}.new.${process.pid}`;
    try {
      await mkdir(work, { recursive: true });
      const [kernel] = await debianPackages(cache, 'amd64').fetch([name], join(work, 'files'));
      if (kernel === undefined) throw new Error(`no package ${name}`);
      const root = join(work, 'root');
      await unpack(kernel.file, root);
      const added = writeCpio(await moduleEntries(root));
      const base = await readFile(join(image, 'initrd'));
      const made = join(work, 'guest');
      await mkdir(made);
      // Linux unpacks one archive after the other.
      await writeFile(join(made, 'initrd'), Buffer.concat([base, Buffer.alloc(-base.length & 511), added]));
      await writeFile(join(made, 'vmlinuz'), await readFile(join(image, 'vmlinuz')));
      await rename(made, folder);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  });
  return folder;
}

async function moduleEntries(root: string): Promise<CpioEntry[]> {
  const files = new Map<string, string>();
  for (const path of await readdir(root, { recursive: true })) {
    const name = /([^/]+)\.ko$/.exec(path)?.[1];
    if (name !== undefined) files.set(name.replaceAll('-', '_'), join(root, path));
  }
  const contents = new Map<string, Uint8Array>();
  for (const [name, path] of files) contents.set(name, await readFile(path));
  const modules = loadOrder(MODULES, (name) => contents.get(name));
  return [
    { type: 'directory', path: 'lib/ide', permissions: 0o755 },
    {
      type: 'file',
      path: 'lib/ide/order',
      permissions: 0o644,
      data: Buffer.from(modules.map(({ name }) => `${name}\n`).join('')),
    },
    ...modules.map(
      ({ name, file }): CpioEntry => ({
        type: 'file',
        path: `lib/ide/${name}.ko`,
        permissions: 0o644,
        data: file,
      }),
    ),
  ];
}
