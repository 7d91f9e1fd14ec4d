import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { chmod, chown, lstat, mkdir, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SetupError } from './bootstrap.js';

/** The unprivileged user that the databases run as when Teremok itself runs as root: PostgreSQL refuses root. */
export interface Account {
  name: string;
  uid: number;
  gid: number;
}

/**
 * The account for the databases.
 * @returns undefined when this process is not root and they simply run as its own user
 * @throws SetupError when the machine has no such account
 */
export function serviceAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const passwd = readFileSync('/etc/passwd', 'utf8');
  const fields = /^nobody:.*$/m.exec(passwd)?.[0].split(':');
  const [name, , uid, gid] = fields ?? [];
  if (name === undefined || !Number(uid)) {
    throw new SetupError(
      'PostgreSQL does not run as root and this machine has no user "nobody" to run it as. ' +
        'Run Teremok as an ordinary user, or set DATABASE_URL and REDIS_URL.',
    );
  }
  return { name, uid: Number(uid), gid: Number(gid) };
}

/**
 * Picks a folder that the account can reach. A home below a closed folder, such as /root, cannot be: then a folder
 * under /var/lib stands in, named after the one wanted.
 * @param wanted an absolute path, which need not exist
 * @param account undefined means this process's own user, who can reach what it made
 */
export async function reachableFolder(wanted: string, account: Account | undefined): Promise<string> {
  if (account === undefined || (await isReachable(wanted))) return wanted;
  const name = createHash('sha256').update(wanted).digest('hex').slice(0, 12);
  return join('/var/lib/teremok', name);
}

/** Whether every existing folder on the way lets others pass. */
async function isReachable(path: string): Promise<boolean> {
  for (let folder = path; ; folder = dirname(folder)) {
    const found = await stat(folder).catch(() => undefined);
    if (found !== undefined && (found.mode & 0o001) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}

/**
 * Makes a folder that only the account may read.
 * @param path absolute
 */
export async function privateFolder(path: string, account: Account | undefined): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  await mkdir(path, { recursive: true, mode: 0o700 });
  if (account !== undefined) await chown(path, account.uid, account.gid);
}

/**
 * Lets every user read a tree of programs, whatever the umask was when it was made.
 * @param path a folder
 */
export async function makeReadable(path: string): Promise<void> {
  const info = await lstat(path);
  if (info.isSymbolicLink()) return;
  const executable = info.isDirectory() || (info.mode & 0o100) !== 0;
  await chmod(path, executable ? 0o755 : 0o644);
  if (!info.isDirectory()) return;
  for (const name of await readdir(path)) await makeReadable(join(path, name));
}
