import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { type CpioEntry, writeCpio } from '../../../src/cli/setup/guest/cpio.ts';

const here = import.meta.dirname;
export const JOBS = join(here, 'jobs');

/**
 * Writes an initial RAM disk: that of a guest image, and behind it, which the kernel unpacks over it, the programs, the
 * jobs and the first process that runs them (`rdinit=/bench/init`).
 * @param image the image's initrd, which has BusyBox
 * @param program the programs for Linux, of the image's width
 * @param path where it goes
 */
export async function writeInitrd(image: string, program: string, path: string): Promise<void> {
  const file = (name: string, source: string): CpioEntry => ({
    type: 'file',
    path: name,
    permissions: 0o755,
    data: readFileSync(source),
  });
  const jobs = readdirSync(JOBS).sort();
  const added = writeCpio([
    { type: 'directory', path: 'bench', permissions: 0o755 },
    { type: 'directory', path: 'bench/jobs', permissions: 0o755 },
    { type: 'character', path: 'dev/zero', permissions: 0o666, major: 1, minor: 5 },
    file('bench/init', join(here, 'host/init.sh')),
    file('bench/bench', program),
    ...jobs.map((name) => file(`bench/jobs/${name}`, join(JOBS, name))),
  ]);
  const first = await readFile(image);
  await mkdir(dirname(path), { recursive: true });
  const work = `${path}.new.${process.pid}`;
  // Archives follow one another at multiples of four bytes.
  await writeFile(work, Buffer.concat([first, Buffer.alloc(-first.length & 3), added]));
  await rename(work, path);
}

/**
 * BusyBox out of a guest image's initrd.
 * @throws Error when the archive holds none
 */
export function busyboxOf(image: string): Uint8Array {
  const archive = gunzipSync(readFileSync(image));
  for (let at = 0; archive.toString('latin1', at, at + 6) === '070701'; ) {
    const field = (index: number): number =>
      Number.parseInt(archive.toString('latin1', at + 6 + index * 8, at + 14 + index * 8), 16);
    const name = archive.toString('latin1', at + 110, at + 110 + field(11) - 1);
    const data = (at + 110 + field(11) + 3) & ~3;
    if (name === 'bin/busybox') return archive.subarray(data, data + field(6));
    at = (data + field(6) + 3) & ~3;
  }
  throw new Error(`${image} holds no bin/busybox`);
}
