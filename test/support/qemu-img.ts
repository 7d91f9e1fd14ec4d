import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheDirectory, say } from '../../src/cli/setup/bootstrap.js';
import { DebianPackages, findProgram, unpack } from '../../src/cli/setup/debian.ts';
import { locked } from '../../src/cli/setup/lock.ts';

const run = promisify(execFile);

/** QEMU's programs for disk images, as an oracle. */
export interface QemuImg {
  /** Runs qemu-img. @returns what it says; @throws when it fails */
  img(...args: string[]): Promise<string>;
  /** Runs commands of qemu-io on an image. @throws when one fails */
  io(path: string, ...commands: string[]): Promise<string>;
}

/**
 * The machine's own qemu-img and qemu-io or, where there are none, those of
 * Debian's package qemu-utils, fetched into the cache without installing them.
 *
 * @returns undefined where neither can be had
 */
export async function qemuImg(): Promise<QemuImg | undefined> {
  const own = await Promise.all(['qemu-img', 'qemu-io'].map((name) => findProgram(name)));
  if (own[0] !== undefined && own[1] !== undefined) return programs(own[0], own[1], undefined);
  if (!(await DebianPackages.available())) return undefined;
  const root = await provide();
  const libraries = join(
    root,
    'usr/lib',
    (await readdir(join(root, 'usr/lib'))).find((name) => /-linux-/.test(name)) ?? '',
  );
  return programs(join(root, 'usr/bin/qemu-img'), join(root, 'usr/bin/qemu-io'), libraries);
}

async function provide(): Promise<string> {
  const cache = cacheDirectory();
  const folder = join(cache, 'tools', 'qemu-utils');
  return locked(`${folder}.lock`, async () => {
    if (existsSync(folder)) return folder;
    say("fetching Debian's package qemu-utils for the tests of disk images");
    const work = `${folder}.new.${process.pid}`;
    try {
      await mkdir(work, { recursive: true });
      const debian = new DebianPackages(join(cache, 'apt'));
      const names = ['qemu-utils', ...(await debian.libraries(['qemu-utils']))];
      for (const { file } of await debian.fetch(names, join(work, 'files')))
        await unpack(file, join(work, 'root'));
      await rename(join(work, 'root'), folder);
      return folder;
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  });
}

function programs(img: string, io: string, libraries: string | undefined): QemuImg {
  const env = { ...process.env, LC_ALL: 'C', ...(libraries !== undefined && { LD_LIBRARY_PATH: libraries }) };
  const call = async (program: string, args: string[]): Promise<string> => {
    const { stdout, stderr } = await run(program, args, { env, maxBuffer: 16 << 20 });
    return stdout + stderr;
  };
  return {
    img: (...args) => call(img, args),
    io: async (path, ...commands) => {
      const said = await call(io, [path, ...commands.flatMap((command) => ['-c', command])]);
      if (/verification failed|failed:/i.test(said)) throw new Error(said);
      return said;
    },
  };
}
