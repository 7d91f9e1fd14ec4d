import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { processExists } from './bootstrap.js';

/**
 * The command line of a process.
 * @returns its words joined by blanks, or undefined when there is no such process
 */
export async function commandLine(pid: number): Promise<string | undefined> {
  if (!processExists(pid)) return undefined;
  try {
    return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).replaceAll('\0', ' ').trim();
  } catch {
    const answer = await promisify(execFile)('ps', ['-o', 'command=', '-p', String(pid)]).catch(
      () => undefined,
    );
    return answer?.stdout.trim();
  }
}

/**
 * Ends a database server that outlived its supervisor (which was killed). Only a process whose command line names
 * our own data folder is touched: after a reboot the number in an old pid file may be anybody's.
 * @param pid as a pid file of ours gives it
 * @param folder the data folder that the command line must name
 * @param signal what ends that server in order
 * @returns once no such process runs: false when there was none
 */
export async function endLeftover(pid: number, folder: string, signal: NodeJS.Signals): Promise<boolean> {
  const isOurs = async () => (await commandLine(pid))?.split(' ').includes(folder) === true;
  if (!(await isOurs())) return false;
  process.kill(pid, signal);
  const patience = Date.now() + 15_000;
  while (await isOurs()) {
    if (Date.now() > patience) process.kill(pid, 'SIGKILL');
    await sleep(50);
  }
  return true;
}
