import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory, SetupError, say } from '../../src/cli/setup/bootstrap.js';
import { DebianPackages, unpack } from '../../src/cli/setup/debian.ts';
import { locked } from '../../src/cli/setup/lock.ts';

/** A program, and the environment that it is started with. */
export interface HostProgram {
  readonly executable: string;
  readonly env: NodeJS.ProcessEnv;
}

/** Programs of Debian's packages where the cache has them. */
export interface DebianPrograms {
  /** Holds the packages' files. */
  readonly root: string;
  /** What the programs are started with: it has them find their libraries. */
  readonly env: NodeJS.ProcessEnv;
}

/**
 * Fetches packages with the libraries that they need and unpacks them, once for each cache; nothing is installed. For
 * tests that need a program which this machine has not got.
 *
 * @param name of the folder they are kept in
 * @param packages with what they need beside libraries
 * @throws SetupError when Debian's packages cannot be had
 */
export async function debianPrograms(name: string, packages: readonly string[]): Promise<DebianPrograms> {
  const folder = join(cacheDirectory(), 'tools', name);
  await locked(`${folder}.lock`, () => provide(folder, packages));
  return { root: folder, env: { ...process.env, LD_LIBRARY_PATH: (await libraryFolders(folder)).join(':') } };
}

async function provide(folder: string, packages: readonly string[]): Promise<void> {
  if (existsSync(folder)) return;
  if (!(await DebianPackages.available())) {
    throw new SetupError(
      `the tests take ${packages.join(', ')} from Debian's packages, and this machine has no apt-get and dpkg-deb`,
    );
  }
  say(`fetching Debian's packages for the tests: ${packages.join(', ')}`);
  const work = `${folder}.new.${process.pid}`;
  try {
    await mkdir(work, { recursive: true });
    const debian = new DebianPackages(join(cacheDirectory(), 'apt'));
    const names = new Set([...packages, ...(await debian.libraries([...packages]))]);
    for (const { file } of await debian.fetch([...names], join(work, 'files')))
      await unpack(file, join(work, 'root'));
    await rename(join(work, 'root'), folder);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Debian's folders of an architecture's libraries: which have its triplet in their name. */
async function libraryFolders(root: string): Promise<string[]> {
  const found: string[] = [];
  for (const above of ['usr/lib', 'lib']) {
    const names = await readdir(join(root, above)).catch(() => []);
    for (const name of names.filter((one) => /-linux-/.test(one))) found.push(join(root, above, name));
  }
  return found;
}
