import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeCpio } from '../../../src/cli/setup/guest/cpio.ts';
import { ideGuest } from '../../guests/debian/ide-guest.ts';
import { findCompiler } from '../cpu/build.ts';

const here = import.meta.dirname;
const FLAGS = [
  ...['-O2', '-ffreestanding', '-fno-stack-protector', '-fno-pic', '-no-pie', '-fcf-protection=none'],
  ...['-fno-asynchronous-unwind-tables', '-fno-strict-aliasing', '-mno-red-zone', '-m64', '-march=x86-64'],
  ...['-Wall', '-Wextra', '-nostdlib', '-static', '-Wl,--build-id=none,-z,noexecstack'],
];

/**
 * Debian's kernel, and an initial RAM disk whose first process runs the jobs of the kernel's command line on a disk.
 * @param directory where what is made is kept
 */
export async function diskGuest(directory: string): Promise<{ kernel: string; initrd: string }> {
  const image = await ideGuest();
  const program = await readFile(buildProgram(directory, await sourcesDigest()));
  const initrd = join(directory, 'disk-initrd');
  const added = writeCpio([
    { type: 'directory', path: 'bench', permissions: 0o755 },
    { type: 'file', path: 'bench/init', permissions: 0o755, data: await readFile(join(here, 'init.sh')) },
    { type: 'file', path: 'bench/disk', permissions: 0o755, data: program },
  ]);
  const base = await readFile(join(image, 'initrd'));
  await mkdir(directory, { recursive: true });
  const work = `${initrd}.new.${process.pid}`;
  await writeFile(work, Buffer.concat([base, Buffer.alloc(-base.length & 511), added]));
  await rename(work, initrd);
  return { kernel: join(image, 'vmlinuz'), initrd };
}

async function sourcesDigest(): Promise<string> {
  const digest = createHash('sha256').update(findCompiler()?.version ?? '');
  for (const file of ['disk.c', 'guest.ts', '../cpu/host/bench.h', '../cpu/host/linux.h'])
    digest.update(await readFile(join(here, file)));
  return digest.digest('hex').slice(0, 16);
}

/** @throws Error when there is no compiler, or with what it says */
function buildProgram(directory: string, digest: string): string {
  const path = join(directory, `disk-${digest}`);
  if (existsSync(path)) return path;
  const compiler = findCompiler();
  if (compiler === undefined)
    throw new Error('the program of this bench is compiled here, and there is no C compiler: install gcc');
  mkdirSync(directory, { recursive: true });
  const work = `${path}.new.${process.pid}`;
  execFileSync(compiler.command, [...FLAGS, '-o', work, 'disk.c'], {
    cwd: here,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  renameSync(work, path);
  return path;
}
