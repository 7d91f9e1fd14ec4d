import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { lstat, mkdir, readdir, readFile, readlink, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory, homeDirectory, SetupError, say } from '../../../src/cli/setup/bootstrap.js';
import { DebianPackages, unpack } from '../../../src/cli/setup/debian.ts';
import { type CpioEntry, writeCpio } from '../../../src/cli/setup/guest/cpio.ts';
import {
  buildDebianBusybox,
  debianPackages,
  IMAGE_NAME,
} from '../../../src/cli/setup/guest/debian-busybox.ts';
import { locked } from '../../../src/cli/setup/lock.ts';

/** Programs of Debian that are added to the built-in image. */
export interface PackageSet {
  readonly name: string;
  /** Metapackages whose versioned package is meant, and what that one's name looks like. */
  readonly versioned?: readonly { readonly meta: string; readonly pattern: RegExp }[];
  /** Names of packages; `$0`, `$1` … stand for the version, such as 3.11, in the versioned ones' names. */
  readonly packages: readonly string[];
}

/** What a guest of packages boots from. */
export interface PackageGuest {
  readonly kernel: string;
  readonly initrd: string;
  /** Folder with the unpacked packages. */
  readonly root: string;
  /** With their versions. */
  readonly packages: Readonly<Record<string, string>>;
}

/** What programs need of what they depend on: libraries and themselves, not what configures a Debian system. */
const NEEDED = /^(lib|zlib1g|python3|perl|openssl)/;
const NOT_NEEDED = /^(libpam|libdebconf)/;

/** Folders of packages that no program reads here. */
const LEFT_OUT = /^usr\/share\/(doc|man|lintian|bug|info|locale|doc-base)$/;

/** Of this file's work; another number makes what is cached anew. */
const VERSION = 1;

/**
 * Fetches Debian's packages for a 64-bit guest and unpacks them, once for each cache; then makes the initial RAM file
 * system: the built-in image's, with their files and those of `files` behind it. Linux unpacks one archive after the
 * other (Documentation/driver-api/early-userspace/buffer-format.rst).
 * @param files what is added at /checks, by name; executable
 * @throws SetupError when Debian's packages cannot be had
 */
export async function packageGuest(
  set: PackageSet,
  files: Readonly<Record<string, Uint8Array>>,
): Promise<PackageGuest> {
  const cache = cacheDirectory();
  const image = join(homeDirectory(), 'images', IMAGE_NAME);
  await buildDebianBusybox(image, cache);
  const folder = join(cache, 'guests', set.name);
  const packages = await locked(`${folder}.lock`, () => providePackages(set, folder, cache));
  const root = join(folder, 'root');
  const base = await readFile(join(image, 'initrd'));
  const initrd = join(folder, 'initrd');
  const entries = [...(await treeEntries(root)), ...checkEntries(files)];
  const half = `${initrd}.${process.pid}`;
  await writeFile(half, Buffer.concat([base, Buffer.alloc(-base.length & 511), writeCpio(entries)]));
  await rename(half, initrd);
  return { kernel: join(image, 'vmlinuz'), initrd, root, packages };
}

async function providePackages(set: PackageSet, folder: string, cache: string) {
  const list = join(folder, 'packages.json');
  const recipe = createHash('sha256')
    .update(JSON.stringify([VERSION, set, set.versioned?.map(({ pattern }) => pattern.source)]))
    .digest('hex');
  const present = await readFile(list, 'utf8').then(
    (text) => JSON.parse(text) as { recipe: string; packages: Record<string, string> },
    () => undefined,
  );
  if (present?.recipe === recipe) return present.packages;
  if (!(await DebianPackages.available()))
    throw new SetupError(
      `the guest ${set.name} is made from Debian's packages, and this machine has no apt-get and dpkg-deb`,
    );
  say(`fetching Debian's packages for the guest ${set.name}`);
  const work = `${folder}.new.${process.pid}`;
  try {
    await mkdir(work, { recursive: true });
    const debian = debianPackages(cache, 'amd64');
    const names = await packageNames(debian, set);
    const fetched = await debian.fetch(names, join(work, 'files'));
    for (const { file } of fetched) await unpack(file, join(work, 'root'));
    await rm(join(work, 'files'), { recursive: true });
    const packages = Object.fromEntries(fetched.map(({ name, version }) => [name, version]));
    await writeFile(join(work, 'packages.json'), JSON.stringify({ recipe, packages }, null, 2));
    await rm(folder, { recursive: true, force: true });
    await rename(work, folder);
    return packages;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function packageNames(debian: DebianPackages, set: PackageSet): Promise<string[]> {
  const versions: string[] = [];
  for (const { meta, pattern } of set.versioned ?? [])
    versions.push(/\d+(\.\d+)+/.exec(await debian.resolve(meta, pattern))?.[0] ?? '');
  const first = set.packages.map((name) => name.replace(/\$(\d)/g, (_, index) => versions[index] ?? ''));
  const needed = await debian.needed(first, (name) => NEEDED.test(name) && !NOT_NEEDED.test(name));
  return [...new Set([...first, ...needed])];
}

/** A folder's files, with what is below it, as an archive's entries. */
async function treeEntries(root: string): Promise<CpioEntry[]> {
  const entries: CpioEntry[] = [];
  const visit = async (folder: string): Promise<void> => {
    for (const name of (await readdir(join(root, folder))).sort()) {
      const path = folder === '' ? name : `${folder}/${name}`;
      const file = join(root, path);
      const found = await lstat(file);
      const permissions = found.mode & 0o7777;
      if (found.isSymbolicLink()) entries.push({ type: 'link', path, target: await readlink(file) });
      else if (found.isFile()) entries.push({ type: 'file', path, permissions, data: await readFile(file) });
      else if (found.isDirectory() && !LEFT_OUT.test(path)) {
        entries.push({ type: 'directory', path, permissions });
        await visit(path);
      }
    }
  };
  await visit('');
  // Later releases have /lib64 only as a link that no package of these holds.
  if (!existsSync(join(root, 'lib64')) && existsSync(join(root, 'usr/lib64')))
    entries.push({ type: 'link', path: 'lib64', target: 'usr/lib64' });
  return entries;
}

function checkEntries(files: Readonly<Record<string, Uint8Array>>): CpioEntry[] {
  return [
    { type: 'directory', path: 'checks', permissions: 0o755 },
    ...Object.entries(files).map(
      ([name, data]): CpioEntry => ({ type: 'file', path: `checks/${name}`, permissions: 0o755, data }),
    ),
  ];
}
