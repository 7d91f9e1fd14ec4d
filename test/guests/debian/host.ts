import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Where packages have their libraries, oldest layout first. */
const LIBRARIES = ['lib/x86_64-linux-gnu', 'usr/lib/x86_64-linux-gnu'];

/**
 * glibc picks other variants of sin, exp and their like where the processor has FMA; those may differ in the last bit.
 * With this, the same variant runs everywhere (glibc manual, "Hardware Capability Tunables").
 */
export const SAME_LIBM = 'glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4';

/** Whether programs of the guest can run on this machine's own processor. */
export const hostRunsGuestPrograms = process.platform === 'linux' && process.arch === 'x64';

/**
 * Runs a program of the unpacked packages on this machine's own processor, with its own C library and loader.
 * @returns what it printed
 */
export async function runOnHost(
  root: string,
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<string> {
  const loader = LIBRARIES.map((folder) => join(root, folder, 'ld-linux-x86-64.so.2')).find((path) =>
    existsSync(path),
  );
  if (loader === undefined) throw new Error(`the packages in ${root} hold no loader of programs`);
  const libraries = LIBRARIES.map((folder) => join(root, folder)).join(':');
  const { stdout } = await run(loader, ['--library-path', libraries, join(root, program), ...args], {
    env: { ...env, GLIBC_TUNABLES: SAME_LIBM },
    encoding: 'latin1',
    maxBuffer: 64 << 20,
  });
  return stdout;
}
