import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { access, constants, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { SetupError, say } from './bootstrap.js';
import { locked } from './lock.ts';

const run = promisify(execFile);

/** A package file fetched from Debian. */
export interface DebianPackage {
  name: string;
  version: string;
  /** Path of the .deb file. */
  file: string;
}

interface AptIndex {
  /** Options for every apt command: which package lists to use. */
  options: string[];
}

/** Folders whose package lists this process has fetched. */
const updated = new Set<string>();

/**
 * Debian's package client, used without installing anything: packages are looked up, fetched and unpacked into
 * folders of ours. The machine's own package lists serve where they know the package; where they are missing or
 * out of date, lists of our own are fetched under `folder`, so neither root nor a change to the machine is needed.
 */
export class DebianPackages {
  readonly #folder: string;
  readonly #architecture: string | undefined;
  #private: AptIndex | undefined;

  /**
   * @param folder where private package lists are kept
   * @param architecture Debian's name of the architecture to fetch for; by default the machine's own
   */
  constructor(folder: string, architecture?: string) {
    this.#folder = folder;
    this.#architecture = architecture;
  }

  /** Whether this machine has Debian's package client. */
  static async available(): Promise<boolean> {
    const programs = await Promise.all(['apt-get', 'apt-cache', 'dpkg-deb'].map((name) => findProgram(name)));
    return programs.every((path) => path !== undefined);
  }

  /**
   * Fetches packages into a folder.
   * @param names package names
   * @param into where the .deb files go
   * @returns one entry a name, in the same order
   * @throws SetupError when a package cannot be had
   */
  async fetch(names: string[], into: string): Promise<DebianPackage[]> {
    return this.#withIndex((index) => this.#fetchWith(index, names, into));
  }

  /**
   * Names the version-carrying package behind a metapackage.
   * @param name the metapackage, such as linux-image-cloud-amd64
   * @param pattern what the real package's name looks like
   * @throws SetupError when the metapackage is unknown or depends on no such package
   */
  async resolve(name: string, pattern: RegExp): Promise<string> {
    return this.#withIndex(async (index) => {
      const found = (await this.#dependencies(index, [name])).find((dependency) => pattern.test(dependency));
      if (found === undefined) throw new Error(`the package ${name} depends on no package like ${pattern}`);
      return found;
    });
  }

  /**
   * Names the shared-library packages that packages need, all the way down; the C library is left out, since that
   * must be the machine's own.
   * @param names where to begin; they are not in the answer unless they are libraries that others need
   */
  async libraries(names: string[]): Promise<string[]> {
    return this.needed(
      names,
      (name) => /^lib/.test(name) && !/^lib(c6|gcc-s1|crypt1|pam|perl|elogind)/.test(name),
    );
  }

  /**
   * Names the packages that packages depend on, all the way down.
   * @param names where to begin; they are not in the answer unless others need them
   * @param wanted which of them; what is refused is not looked into either
   */
  async needed(names: string[], wanted: (name: string) => boolean): Promise<string[]> {
    return this.#withIndex(async (index) => {
      const found = new Set<string>();
      for (let level = names; level.length > 0; ) {
        const next = (await this.#dependencies(index, level)).filter(
          (name) => wanted(name) && !found.has(name),
        );
        for (const name of next) found.add(name);
        level = [...new Set(next)];
      }
      return [...found].sort();
    });
  }

  /** Tries with the machine's own package lists first, then with private, fresh ones. */
  async #withIndex<T>(step: (index: AptIndex) => Promise<T>): Promise<T> {
    // APT::Architectures too: of the machine's other architectures nothing is to be looked up or fetched.
    const common =
      this.#architecture === undefined
        ? []
        : ['APT::Architecture', 'APT::Architectures'].flatMap((name) => [
            '-o',
            `${name}=${this.#architecture}`,
          ]);
    try {
      if (this.#private === undefined) return await step({ options: common });
    } catch {
      // Unknown there, or gone from the mirror since the lists were made: fresh lists may know better.
    }
    try {
      this.#private ??= await this.#updatePrivate(common);
      return await step(this.#private);
    } catch (error) {
      throw new SetupError(
        `Debian's package client could not provide what set-up needs: ${describe(error)}\n` +
          'Check that "apt-get update" works on this machine, then try again.',
      );
    }
  }

  async #updatePrivate(common: string[]): Promise<AptIndex> {
    const state = join(this.#folder, 'state');
    await mkdir(join(state, 'lists/partial'), { recursive: true });
    await mkdir(join(this.#folder, 'archives/partial'), { recursive: true });
    const options = [
      ...common,
      ...['-o', `Dir::State::lists=${join(state, 'lists')}`],
      ...['-o', `Dir::Cache=${this.#folder}`],
      ...['-o', `Dir::Cache::archives=${join(this.#folder, 'archives')}`],
      ...['-o', 'Acquire::Languages=none'],
    ];
    await locked(join(this.#folder, 'lock'), async () => {
      if (updated.has(this.#folder)) return;
      say('fetching package lists (apt-get update, into a folder of its own)');
      try {
        await apt('apt-get', [...options, '-q', 'update']);
      } catch (error) {
        // One source out of several may be broken, such as a mirror in the middle of its update.
        const lists = await readdir(join(state, 'lists'));
        if (!lists.some((name) => /_Packages(\.\w+)?$/.test(name))) throw error;
        say(`some package lists are missing: ${describe(error).split('\n')[0]}`);
      }
      updated.add(this.#folder);
    });
    return { options };
  }

  async #dependencies(index: AptIndex, names: string[]): Promise<string[]> {
    const { stdout } = await apt('apt-cache', [...index.options, 'depends', '--important', ...names]);
    return [...stdout.matchAll(/^ +(?:Pre)?Depends: (\S+)$/gm)].map(
      (match) => (match[1] as string).split(':')[0] as string,
    );
  }

  async #fetchWith(index: AptIndex, names: string[], into: string): Promise<DebianPackage[]> {
    await rm(into, { recursive: true, force: true });
    await mkdir(into, { recursive: true });
    await apt('apt-get', [...index.options, '-q', 'download', ...names], into);
    const files = (await readdir(into)).filter((file) => file.endsWith('.deb'));
    const packages = files.map((file) => {
      const [name = '', version = ''] = file.split('_');
      return { name, version: decodeURIComponent(version), file: join(into, file) };
    });
    return names.map((name) => {
      const found = packages.find((candidate) => candidate.name === name);
      if (found === undefined) throw new Error(`apt-get fetched no file for ${name}`);
      return found;
    });
  }
}

/**
 * Unpacks a package's files, running none of its scripts.
 * @param file the .deb
 * @param into an existing or new folder
 */
export async function unpack(file: string, into: string): Promise<void> {
  await mkdir(into, { recursive: true });
  await run('dpkg-deb', ['-x', file, into]);
}

/**
 * Finds a program on PATH.
 * @returns its path, or undefined
 */
export async function findProgram(name: string, path = process.env.PATH ?? ''): Promise<string | undefined> {
  for (const folder of path.split(':')) {
    const candidate = join(folder, name);
    if (folder !== '' && existsSync(candidate)) {
      const usable = await access(candidate, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (usable) return candidate;
    }
  }
  return undefined;
}

async function apt(program: string, args: string[], cwd?: string): Promise<{ stdout: string }> {
  // As root, apt fetches as its own user, who may not write to our folders.
  const sandbox = process.getuid?.() === 0 ? ['-o', 'APT::Sandbox::User=root'] : [];
  return run(program, [...sandbox, ...args], {
    env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
    maxBuffer: 64 * 1024 * 1024,
    ...(cwd === undefined ? {} : { cwd }),
  });
}

function describe(error: unknown): string {
  const stderr = (error as { stderr?: string }).stderr?.trim();
  return stderr !== undefined && stderr !== '' ? stderr : String((error as Error).message);
}
