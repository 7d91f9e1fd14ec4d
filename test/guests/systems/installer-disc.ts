import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { link, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory, say } from '../../../src/cli/setup/bootstrap.js';
import { locked } from '../../../src/cli/setup/lock.ts';
import { DebianTools, unpackedPackages } from './debian-tools.ts';

const PACKAGE = 'debian-installer-12-netboot-amd64';
const FILES = ['linux', 'initrd.gz'];

/**
 * Without `nomodeset` the installer's kernel loads the driver of our video adapter, and its console is a picture;
 * with `vga=788` (800×600, 16 bits) the boot loader sets a mode before there is a driver.
 */
const MENU = `set timeout=30
menuentry "Debian installer, text" {
  linux /text/linux vga=normal nomodeset ---
  initrd /text/initrd.gz
}
menuentry "Debian installer, graphical" {
  linux /gtk/linux vga=788 ---
  initrd /gtk/initrd.gz
}
`;

/**
 * Debian's installer on a disc that starts from firmware: kernel and initial RAM disk of Debian's package, the disc
 * made by grub-mkrescue. Made once for each cache.
 * @returns its path
 * @throws SetupError when the packages cannot be had
 */
export async function installerDisc(): Promise<string> {
  const recipe = createHash('sha256').update(PACKAGE).update(MENU).digest('hex').slice(0, 12);
  const disc = join(cacheDirectory(), 'guests', `debian-installer-${recipe}.iso`);
  await locked(`${disc}.lock`, async () => {
    if (existsSync(disc)) return;
    const tools = await DebianTools.provide();
    const images = await unpackedPackages('debian-installer', [PACKAGE]);
    say('making a disc of the installer (grub-mkrescue)');
    const work = `${disc}.new.${process.pid}`;
    try {
      const tree = join(work, 'tree');
      await mkdir(join(tree, 'boot/grub'), { recursive: true });
      await writeFile(join(tree, 'boot/grub/grub.cfg'), MENU);
      for (const kind of ['text', 'gtk']) {
        const from = join(images, 'usr/lib/debian-installer/images/12/amd64', kind, 'debian-installer/amd64');
        await mkdir(join(tree, kind));
        for (const file of FILES) await link(join(from, file), join(tree, kind, file));
      }
      const made = join(work, 'disc.iso');
      await tools.run('grub-mkrescue', ['-d', tools.grub, '-o', made, tree]);
      await rename(made, disc);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  });
  return disc;
}
