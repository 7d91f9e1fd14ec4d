import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SetupError, say } from '../bootstrap.js';
import { DebianPackages, unpack } from '../debian.ts';
import { locked } from '../lock.ts';
import { debianPackages } from './debian-busybox.ts';

/** Files of Debian's packages that a PC uses as they are. */
export interface DebianFiles {
  /** Of the folder they are kept in, below the cache. */
  readonly name: string;
  /** For messages: `the firmware`. */
  readonly what: string;
  readonly packages: readonly string[];
  /** Where each of them is in its package, without the first slash, by the name it gets. */
  readonly files: Readonly<Record<string, string>>;
}

/** SeaBIOS with the BIOS of its video adapter. */
export const FIRMWARE: DebianFiles = {
  name: 'firmware',
  what: 'the firmware',
  packages: ['seabios'],
  files: {
    'bios-256k.bin': 'usr/share/seabios/bios-256k.bin',
    'vgabios-stdvga.bin': 'usr/share/seabios/vgabios-stdvga.bin',
  },
};

/** CDs that start from firmware: for tests and benchmarks. */
export const RESCUE_DISCS: DebianFiles = {
  name: 'discs',
  what: 'discs that start from firmware',
  packages: ['grub-rescue-pc', 'ipxe', 'memtest86+'],
  files: {
    'grub-rescue.iso': 'usr/lib/grub-rescue/grub-rescue-cdrom.iso',
    'ipxe.iso': 'usr/lib/ipxe/ipxe.iso',
    'memtest86+.iso': 'usr/lib/memtest86+/memtest86+x64.iso',
  },
};

const DESCRIPTION = 'packages.json';

/**
 * Fetches the packages and keeps the files, once for each cache. Nothing needs root.
 * @param cache folder of fetched programs
 * @returns the folder with the files
 * @throws SetupError when Debian's packages cannot be had
 */
export async function provideDebianFiles(wanted: DebianFiles, cache: string): Promise<string> {
  const folder = join(cache, wanted.name);
  const recipe = createHash('sha256').update(JSON.stringify(wanted)).digest('hex');
  if (await isCurrent(folder, recipe)) return folder;
  await locked(`${folder}.lock`, async () => {
    if (!(await isCurrent(folder, recipe))) await fetchFiles(wanted, folder, cache, recipe);
  });
  return folder;
}

async function isCurrent(folder: string, recipe: string): Promise<boolean> {
  try {
    const known = JSON.parse(await readFile(join(folder, DESCRIPTION), 'utf8')) as { recipe?: unknown };
    return known.recipe === recipe;
  } catch {
    return false;
  }
}

async function fetchFiles(
  { what, packages, files }: DebianFiles,
  folder: string,
  cache: string,
  recipe: string,
): Promise<void> {
  if (!(await DebianPackages.available())) {
    throw new SetupError(
      `${what} comes from Debian's packages (${packages.join(', ')}), and this machine has no apt-get and ` +
        `dpkg-deb. Copy the folder ${folder} from a machine that has them.`,
    );
  }
  say(`fetching ${what} (${packages.join(', ')})`);
  const work = `${folder}.new.${process.pid}`;
  const root = join(work, 'root');
  const made = join(work, 'made');
  try {
    await mkdir(made, { recursive: true });
    const fetched = await debianPackages(cache, 'amd64').fetch([...packages], join(work, 'packages'));
    for (const { file } of fetched) await unpack(file, root);
    for (const [name, source] of Object.entries(files))
      await copyFile(join(root, source), join(made, name)).catch(() => {
        throw new SetupError(`Debian's packages ${packages.join(', ')} hold no ${source} here`);
      });
    const versions = Object.fromEntries(fetched.map(({ name, version }) => [name, version]));
    await writeFile(join(made, DESCRIPTION), `${JSON.stringify({ packages: versions, recipe }, null, 2)}\n`);
    await mkdir(dirname(folder), { recursive: true });
    await rm(folder, { recursive: true, force: true });
    await rename(made, folder);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
