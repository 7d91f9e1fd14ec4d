import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { processExists } from './bootstrap.js';

/** Who waits for what in this process. */
const waiting = new Map<string, Promise<unknown>>();

/**
 * Runs a step while nobody else, in this process or another, runs one under the same lock. A lock whose process is
 * gone is taken over.
 * @param path the lock file
 */
export function locked<T>(path: string, step: () => Promise<T>): Promise<T> {
  const previous = waiting.get(path) ?? Promise.resolve();
  const mine = previous.then(
    () => lockedAmongProcesses(path, step),
    () => lockedAmongProcesses(path, step),
  );
  waiting.set(path, mine);
  return mine;
}

async function lockedAmongProcesses<T>(path: string, step: () => Promise<T>): Promise<T> {
  await mkdir(dirname(path), { recursive: true });
  while (!(await take(path))) await sleep(100);
  try {
    return await step();
  } finally {
    await rm(path, { force: true });
  }
}

async function take(path: string): Promise<boolean> {
  try {
    await writeFile(path, String(process.pid), { flag: 'wx', mode: 0o600 });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  const text = await readFile(path, 'utf8').catch(() => '');
  const pid = Number(text);
  // An empty file is a lock that is just being written.
  if (text !== '' && (!processExists(pid) || pid === process.pid)) await rm(path, { force: true });
  return false;
}
