import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Writes a file that is worth keeping and can be done without: whole or not at all, in a folder that is made for it.
 * Raises nothing when that fails, on a full disk, say; what was begun is not left behind.
 */
export function keepFile(path: string, bytes: NodeJS.ArrayBufferView): void {
  const work = `${path}.${process.pid}`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(work, bytes);
    renameSync(work, path);
  } catch {
    if (existsSync(work)) rmSync(work, { force: true });
  }
}
