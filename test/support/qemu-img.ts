import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findProgram } from '../../src/cli/setup/debian.ts';
import { debianPrograms } from './debian-programs.ts';

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
 * @throws SetupError when Debian's packages cannot be had
 */
export async function qemuImg(): Promise<QemuImg> {
  const own = await Promise.all(['qemu-img', 'qemu-io'].map((name) => findProgram(name)));
  if (own[0] !== undefined && own[1] !== undefined) return programs(own[0], own[1], process.env);
  const { root, env } = await debianPrograms('qemu-utils', ['qemu-utils']);
  return programs(join(root, 'usr/bin/qemu-img'), join(root, 'usr/bin/qemu-io'), env);
}

function programs(img: string, io: string, environment: NodeJS.ProcessEnv): QemuImg {
  const env = { ...environment, LC_ALL: 'C' };
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
