import { chmod, mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Makes a home for a test run: its path is short, because sockets go below it, and others may pass through it, because
 * the databases run as another user when the tests run as root.
 * @returns an absolute path; the caller removes it
 */
export async function temporaryHome(): Promise<string> {
  const home = await mkdtemp(join('/tmp', 'teremok-'));
  await chmod(home, 0o711);
  return home;
}
