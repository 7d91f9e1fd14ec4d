import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SetupError } from './bootstrap.js';
import { commandLine } from './leftover.ts';

/**
 * Claims a home for this process, so that two supervisors never run the same databases. A claim whose process is
 * gone, or whose number now belongs to something else, is taken over.
 * @param home TEREMOK_HOME, absolute
 * @returns what gives the claim up
 * @throws SetupError when another supervisor runs there
 */
export async function claimHome(home: string): Promise<() => Promise<void>> {
  const path = join(home, 'run/supervisor.pid');
  await mkdir(dirname(path), { recursive: true });
  for (;;) {
    try {
      await writeFile(path, `${process.pid}\n`, { flag: 'wx' });
      return () => rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const pid = Number.parseInt(await readFile(path, 'utf8').catch(() => ''), 10);
    const command = pid === process.pid ? undefined : await commandLine(pid);
    if (command?.some((word) => word.includes('cli/setup/'))) {
      throw new SetupError(
        `process ${pid} already runs Teremok in ${home}. Stop it, or set TEREMOK_HOME and PORT to run a second one.`,
      );
    }
    await rm(path, { force: true });
  }
}
