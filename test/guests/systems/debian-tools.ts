import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheDirectory, SetupError, say } from '../../../src/cli/setup/bootstrap.js';
import { DebianPackages, unpack } from '../../../src/cli/setup/debian.ts';
import { debianPackages } from '../../../src/cli/setup/guest/debian-busybox.ts';
import { locked } from '../../../src/cli/setup/lock.ts';

const run = promisify(execFile);

/** Where packages have programs and libraries, oldest layout last. */
const PROGRAMS = ['usr/bin', 'usr/sbin', 'bin', 'sbin'];
const LIBRARIES = ['usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu'];

/**
 * Fetches and unpacks packages into a folder of the cache, once for each cache; nothing is installed and no root is
 * needed.
 * @param name of the folder, below `guests` in the cache
 * @param withLibraries the libraries that their programs need, too
 * @returns the folder
 * @throws SetupError when Debian's packages cannot be had
 */
export async function unpackedPackages(
  name: string,
  packages: readonly string[],
  withLibraries = false,
): Promise<string> {
  const cache = cacheDirectory();
  const recipe = createHash('sha256').update(packages.join(' ')).digest('hex').slice(0, 12);
  const folder = join(cache, 'guests', `${name}-${recipe}`);
  await locked(`${folder}.lock`, async () => {
    if (existsSync(folder)) return;
    if (!(await DebianPackages.available()))
      throw new SetupError(`${name} comes from Debian's packages, and here is no apt-get and dpkg-deb`);
    say(`fetching Debian's packages ${packages.join(', ')}`);
    const work = `${folder}.new.${process.pid}`;
    try {
      await mkdir(work, { recursive: true });
      const debian = debianPackages(cache, 'amd64');
      const libraries = withLibraries ? await debian.libraries([...packages]) : [];
      const wanted = [...new Set([...packages, ...libraries])];
      for (const { file } of await debian.fetch(wanted, join(work, 'files')))
        await unpack(file, join(work, 'root'));
      await rename(join(work, 'root'), folder);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  });
  return folder;
}

/** Programs of Debian's packages, run from where they were unpacked. */
export class DebianTools {
  readonly root: string;
  readonly #env: NodeJS.ProcessEnv;

  private constructor(root: string) {
    this.root = root;
    this.#env = {
      ...process.env,
      LC_ALL: 'C',
      PATH: [...PROGRAMS.map((folder) => join(root, folder)), process.env.PATH].join(':'),
      LD_LIBRARY_PATH: LIBRARIES.map((folder) => join(root, folder)).join(':'),
      MKE2FS_CONFIG: join(root, 'etc/mke2fs.conf'),
      // Where GRUB's programs look for their fonts and modules (grub-core/osdep/unix/config.c).
      pkgdatadir: join(root, 'usr/share/grub'),
      pkglibdir: join(root, 'usr/lib/grub'),
    };
  }

  /**
   * What discs and disks are made with: GRUB for a PC's BIOS, xorriso, mtools, the tools of ext4, and mmdebstrap.
   * @throws SetupError on machines that cannot run them, or where they cannot be had
   */
  static async provide(): Promise<DebianTools> {
    if (process.platform !== 'linux' || process.arch !== 'x64')
      throw new SetupError('the tools that make discs and disks are programs for Linux on x86-64');
    const packages = ['grub-common', 'grub-pc-bin', 'xorriso', 'mtools', 'e2fsprogs', 'mmdebstrap'];
    return new DebianTools(await unpackedPackages('tools', packages, true));
  }

  /** GRUB's modules and images for a PC that starts from its BIOS. */
  get grub(): string {
    return join(this.root, 'usr/lib/grub/i386-pc');
  }

  /**
   * Runs one of them, or a program of the machine.
   * @returns what it said, and its exit status, which is one of `accepted`
   * @throws Error with what it said otherwise
   */
  async run(
    program: string,
    args: readonly string[],
    { accepted = [0] }: { readonly accepted?: readonly number[] } = {},
  ): Promise<{ readonly said: string; readonly status: number }> {
    try {
      const { stdout, stderr } = await run(this.#find(program), args, {
        env: this.#env,
        maxBuffer: 64 << 20,
      });
      return { said: stdout + stderr, status: 0 };
    } catch (error) {
      const {
        code,
        stdout = '',
        stderr = '',
      } = error as { code?: unknown; stdout?: string; stderr?: string };
      if (typeof code === 'number' && accepted.includes(code)) return { said: stdout + stderr, status: code };
      throw new Error(`${program} ${args.join(' ')}: ${code}: ${stdout}${stderr}`);
    }
  }

  #find(program: string): string {
    const own = PROGRAMS.map((folder) => join(this.root, folder, program)).find((path) => existsSync(path));
    return own ?? program;
  }
}
