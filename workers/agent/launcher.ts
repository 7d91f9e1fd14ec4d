import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { VmProcessConfig } from '../../src/contracts/vm-process.ts';
import { READY_DESCRIPTOR } from '../../src/contracts/vm-process.ts';
import { ENTRY_FLAG } from '../../src/lib/entry-flag.js';
import { poolFlags } from '../../src/lib/pool-flags.js';
import { startTicksOf } from '../../src/lib/process-identity.ts';
import { withTimeout } from '../../src/lib/time.ts';
import type { VmDirectory } from './vm-directory.ts';
import { VmHandle } from './vm-handle.ts';

const VM_MAIN = join(import.meta.dirname, '..', 'vm', 'main.ts');
const OWN_IMPORTS = join(import.meta.dirname, '..', '..', 'src', 'lib', 'own-imports.ts');
/** The JavaScript heap of a VM process; guest RAM lies outside it. */
const HEAP_MIB = 512;
/** From spawning a process to its socket; a loaded host may take seconds. */
const READY_TIMEOUT_MS = 60_000;

/** A VM process could not be started; nothing of it is left. */
export class LaunchError extends Error {
  override readonly name = 'LaunchError';
}

/**
 * Starts a VM process in a session of its own, so that it outlives this worker
 * if it must, and with nothing in its environment that was in this one's, so that it holds no credentials.
 * Rejects with a LaunchError.
 */
export async function launch(directory: VmDirectory, config: VmProcessConfig): Promise<VmHandle> {
  await directory.prepare();
  const log = await open(directory.logPath, 'w', 0o600);
  let child: ChildProcess;
  try {
    child = spawn(
      process.execPath,
      [
        `--max-old-space-size=${HEAP_MIB}`,
        '--disable-warning=ExperimentalWarning',
        ENTRY_FLAG,
        ...poolFlags(),
        '--import',
        OWN_IMPORTS,
        VM_MAIN,
      ],
      {
        cwd: directory.path,
        env: { NODE_COMPILE_CACHE: join(config.cacheFolder, 'code') },
        detached: true,
        stdio: ['pipe', log.fd, log.fd, 'pipe'],
      },
    );
  } finally {
    await log.close();
  }
  try {
    await withTimeout(greet(child, config), READY_TIMEOUT_MS, 'the VM process’s start');
    const { pid } = child;
    const startTicks = pid === undefined ? undefined : startTicksOf(pid);
    if (pid === undefined || startTicks === undefined) throw new Error('it ended at once');
    const { vmId, launchId } = config;
    const handle = await VmHandle.take(directory, { vmId, launchId, pid, startTicks });
    child.once('exit', (code, signal) => handle.report(signal, code));
    child.unref();
    return handle;
  } catch (error) {
    child.kill('SIGKILL');
    const reason = error instanceof Error ? error.message : String(error);
    throw new LaunchError(`the VM process did not start: ${reason}${await lastLine(directory)}`);
  }
}

/** Hands over the configuration and waits until the socket listens. Rejects when the process ends first. */
async function greet(child: ChildProcess, config: VmProcessConfig): Promise<void> {
  const { stdin } = child;
  const ready = child.stdio[READY_DESCRIPTOR];
  if (stdin === null || !(ready instanceof Readable)) throw new Error('it has no pipes');
  const failed = Promise.withResolvers<never>();
  child.once('error', failed.reject);
  child.once('exit', (code, signal) =>
    failed.reject(new Error(`it ended with ${signal ?? `status ${code}`}`)),
  );
  // A process that ends early breaks the pipe; its exit is what is reported.
  stdin.on('error', () => {});
  stdin.end(JSON.stringify(config));
  const listening = new Promise<void>((resolve) => {
    ready.once('data', () => resolve());
  });
  try {
    await Promise.race([listening, failed.promise]);
  } finally {
    failed.promise.catch(() => {});
    ready.destroy();
  }
}

async function lastLine(directory: VmDirectory): Promise<string> {
  try {
    const lines = (await readFile(directory.logPath, 'utf8')).trimEnd().split('\n');
    const last = lines.at(-1) ?? '';
    return last === '' ? '' : ` (${last.slice(0, 500)})`;
  } catch {
    return '';
  }
}
