import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findProgram } from '../../src/cli/setup/debian.ts';
import { debianPrograms, type HostProgram } from './debian-programs.ts';

/**
 * The machine's own Chromium or, where there is none, that of Debian's packages, unpacked into the cache with its
 * libraries and a font. It is
 * started with `launch({ executablePath: executable, env, args: ['--no-sandbox'] })` of playwright-core: the sandbox
 * does not go with root.
 *
 * @throws SetupError when Debian's packages cannot be had
 */
export async function chromium(): Promise<HostProgram> {
  const own = await findProgram('chromium');
  if (own !== undefined) return { executable: own, env: process.env };
  const { root, env } = await debianPrograms('chromium', [
    'chromium',
    'chromium-common',
    'fonts-dejavu-core',
  ]);
  return {
    executable: join(root, 'usr/lib/chromium/chromium'),
    env: { ...env, FONTCONFIG_FILE: await fontsConfig(root) },
  };
}

/** Fontconfig's own file names folders of the machine, which may have no fonts. */
async function fontsConfig(root: string): Promise<string> {
  const file = join(root, 'fonts.conf');
  const cache = join(root, 'var/cache/fontconfig');
  await mkdir(cache, { recursive: true });
  const text =
    '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">' +
    `<fontconfig><dir>${join(root, 'usr/share/fonts')}</dir><cachedir>${cache}</cachedir></fontconfig>\n`;
  await writeFile(`${file}.${process.pid}`, text);
  await rename(`${file}.${process.pid}`, file);
  return file;
}
