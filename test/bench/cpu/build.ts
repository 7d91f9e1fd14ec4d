import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { glob, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

export type Bits = 32 | 64;
/** The programs on Linux, or as a kernel of their own. */
export type Host = 'linux' | 'bare';

const here = import.meta.dirname;

const COMMON = [
  ...['-O2', '-ffreestanding', '-fno-stack-protector', '-fno-pic', '-no-pie', '-fcf-protection=none'],
  ...['-fno-asynchronous-unwind-tables', '-ffp-contract=off', '-fno-math-errno', '-fno-strict-aliasing'],
  ...['-mno-red-zone', '-Wall', '-Wextra', '-nostdlib', '-static', '-Wl,--build-id=none,-z,noexecstack'],
];
const WIDTH: Readonly<Record<Bits, readonly string[]>> = {
  64: ['-m64', '-march=x86-64'],
  32: ['-m32', '-march=i686', '-msse2', '-mfpmath=sse'],
};
const HOST: Readonly<Record<Host, readonly string[]>> = {
  linux: ['host/linux.c'],
  bare: ['host/bare.S', 'host/bare.c', '-Wl,-T,host/bare.ld,-z,max-page-size=4096,--no-warn-rwx-segments'],
};

/**
 * Compiles the programs with the machine's C compiler. Nothing else is needed: neither a C library nor, for 32 bits,
 * the compiler's own.
 * @param directory where the programs are kept; they are compiled anew when a source or the compiler changed
 * @returns the path of the program, a static ELF
 * @throws Error when there is no compiler, or with what it says
 */
export async function buildPrograms(directory: string, bits: Bits, host: Host): Promise<string> {
  const compiler = findCompiler();
  if (compiler === undefined)
    throw new Error('the programs of this bench are compiled here, and there is no C compiler: install gcc');
  const sources = await sourcesOf(host);
  const digest = createHash('sha256').update(compiler.version);
  for (const file of [...sources, 'build.ts', 'host/bench.h', 'host/linux.h', 'host/bare.ld'])
    digest.update(await readFile(join(here, file)));
  const name = `${host}${bits}-${digest.digest('hex').slice(0, 16)}`;
  const path = join(directory, name);
  if (existsSync(path)) return path;
  await mkdir(directory, { recursive: true });
  const work = `${path}.new.${process.pid}`;
  try {
    const files = [...HOST[host], 'host/lib.c', ...sources.filter((file) => file.startsWith('programs/'))];
    run(compiler.command, [...COMMON, ...WIDTH[bits], '-o', work, ...files]);
    // A multiboot loader takes 32-bit ELF files only, whatever the code in them.
    if (host === 'bare' && bits === 64) run('objcopy', ['-O', 'elf32-i386', work]);
    await rename(work, path);
  } finally {
    await rm(work, { force: true });
  }
  return path;
}

async function sourcesOf(host: Host): Promise<string[]> {
  const programs: string[] = [];
  for await (const file of glob('programs/*.c', { cwd: here })) {
    if (host === 'linux' || !file.endsWith('/kernel.c')) programs.push(file);
  }
  return ['host/lib.c', ...HOST[host].filter((file) => file.startsWith('host/')), ...programs.sort()];
}

/** The machine's C compiler; undefined when there is none. */
export function findCompiler(): { command: string; version: string } | undefined {
  for (const command of ['cc', 'gcc', 'clang']) {
    const { status, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' });
    if (status === 0) return { command, version: stdout };
  }
  return undefined;
}

function run(command: string, args: readonly string[]): void {
  try {
    execFileSync(command, args, { cwd: here, stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8' });
  } catch (error) {
    const said = error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error);
    throw new Error(`${command} could not build the programs:\n${said.slice(0, 4000)}`);
  }
}
