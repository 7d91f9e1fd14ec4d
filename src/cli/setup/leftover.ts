import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { processExists } from './bootstrap.js';

/**
 * The command line of a process.
 * @returns its words, or undefined when there is no such process or it has ended and only waits to be noticed
 */
export async function commandLine(pid: number): Promise<string[] | undefined> {
  if (!processExists(pid)) return undefined;
  const words = await readFile(`/proc/${pid}/cmdline`, 'utf8').then(
    (text) => text.split('\0').filter((word) => word !== ''),
    async () => {
      const answer = await promisify(execFile)('ps', ['-o', 'command=', '-p', String(pid)]).catch(
        () => undefined,
      );
      return answer?.stdout.trim().split(' ') ?? [];
    },
  );
  return words.length === 0 ? undefined : words;
}

/**
 * Ends a process that outlived its supervisor (which was killed). Only one whose command line has a path of ours in it
 * is touched: after a reboot the number in an old pid file may be anybody's.
 * @param pidFile a file of ours whose first line is the process id; it need not exist
 * @param path a word that the command line must have: a server's data folder, a program's file
 * @param signal what ends that process in order
 * @param patienceMs how long it may take to do so before it is killed, in milliseconds
 * @returns once no such process runs: false when there was none
 */
export async function endLeftover(
  pidFile: string,
  path: string,
  signal: NodeJS.Signals,
  patienceMs: number,
): Promise<boolean> {
  const pid = Number.parseInt(await readFile(pidFile, 'utf8').catch(() => ''), 10);
  const isOurs = async () => (await commandLine(pid))?.includes(path) === true;
  if (!(await isOurs())) return false;
  send(pid, signal);
  const patience = Date.now() + patienceMs;
  while (await isOurs()) {
    if (Date.now() > patience) send(pid, 'SIGKILL');
    await sleep(50);
  }
  return true;
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // It ended by itself meanwhile.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
