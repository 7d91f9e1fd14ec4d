import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { Account } from './account.ts';

/** How to run a process that is kept alive. */
export interface ProcessSpec {
  /** For messages and for the pid file: "redis". */
  name: string;
  command: string;
  args: string[];
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  account?: Account | undefined;
  /** Where its output goes; without one the output is piped, for `onSpawn` to read. */
  logFile?: string;
  /** What asks it to end in order. */
  stopSignal: NodeJS.Signals;
  /** How long it may take to end before it is killed, in milliseconds. */
  stopTimeoutMs: number;
  /** Where its process id is written while it runs. */
  pidFile: string;
  /** Makes what a crash left behind harmless; runs before every start. */
  prepare?: () => Promise<void>;
  /** Resolves once it serves. */
  ready?: (child: ChildProcess, signal: AbortSignal) => Promise<void>;
  /** Called with each new process, before it is ready. */
  onSpawn?: (child: ChildProcess) => void;
}

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 10_000;
/** After this long a process counts as healthy, and the next failure starts again with the shortest delay. */
const HEALTHY_AFTER_MS = 10_000;

/**
 * A process that is started again, with growing delays, whenever it ends without being asked to. It runs in a
 * session of its own, so that Ctrl-C in the terminal reaches only the supervisor, which ends things in order; where
 * the machine has setpriv it also gets its stop signal from the kernel should the supervisor be killed.
 */
export class ManagedProcess {
  readonly #spec: ProcessSpec;
  readonly #say: (message: string) => void;
  #child: ChildProcess | undefined;
  #stopping = false;
  #stop = new AbortController();
  #delay = FIRST_DELAY_MS;
  #loop: Promise<void> | undefined;

  constructor(spec: ProcessSpec, say: (message: string) => void) {
    this.#spec = spec;
    this.#say = say;
  }

  /** The running process's id. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /**
   * Starts the process and keeps it running from then on.
   * @returns once it is ready for the first time
   * @throws when it ends before that: it is not started again then
   */
  async start(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#loop = this.#keepRunning(resolve, reject);
    await promise;
  }

  /** Ends the process in order, or kills it when that takes too long; it is not started again. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#stop.abort();
    const child = this.#child;
    if (child !== undefined) {
      child.kill(this.#spec.stopSignal);
      const timer = setTimeout(() => {
        this.#say(`${this.#spec.name} did not end within ${this.#spec.stopTimeoutMs / 1000} s and is killed`);
        child.kill('SIGKILL');
      }, this.#spec.stopTimeoutMs);
      await this.#loop;
      clearTimeout(timer);
    }
    await this.#loop;
  }

  async #keepRunning(started: () => void, failed: (error: Error) => void): Promise<void> {
    let wasReady = false;
    while (!this.#stopping) {
      const begin = Date.now();
      const ending = await this.#runOnce(() => {
        wasReady = true;
        started();
      });
      if (this.#stopping) break;
      if (!wasReady) {
        failed(new Error(`${this.#spec.name} ended before it was ready (${ending})`));
        return;
      }
      if (Date.now() - begin > HEALTHY_AFTER_MS) this.#delay = FIRST_DELAY_MS;
      this.#say(`${this.#spec.name} ended (${ending}); starting it again in ${this.#delay / 1000} s`);
      await pause(this.#delay, this.#stop.signal);
      this.#delay = Math.min(this.#delay * 2, LONGEST_DELAY_MS);
    }
    failed(new Error(`${this.#spec.name} was stopped before it was ready`));
  }

  /** One life of the process. @returns how it ended, in words */
  async #runOnce(onReady: () => void): Promise<string> {
    const spec = this.#spec;
    try {
      await spec.prepare?.();
    } catch (error) {
      return String((error as Error).message);
    }
    if (this.#stopping) return 'stopped';
    const [command, args] = boundToParent(spec);
    const log = spec.logFile === undefined ? undefined : openLog(spec.logFile);
    const child = spawn(command, args, {
      cwd: spec.cwd,
      env: spec.env ?? process.env,
      stdio: ['ignore', log ?? 'pipe', log ?? 'pipe'],
      detached: true,
      ...(spec.account === undefined ? {} : { uid: spec.account.uid, gid: spec.account.gid }),
    });
    if (log !== undefined) closeSync(log);
    const ended = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('exit', (code, signal) => resolve(signal ?? `exit status ${code}`));
    });
    this.#child = child;
    if (child.pid !== undefined) writeFileSync(spec.pidFile, `${child.pid}\n`);
    spec.onSpawn?.(child);
    const gone = new AbortController();
    void Promise.resolve(spec.ready?.(child, gone.signal)).then(
      () => {
        if (!gone.signal.aborted) onReady();
      },
      (error: Error) => {
        if (!gone.signal.aborted) this.#say(`${spec.name} is not ready: ${error.message}`);
      },
    );
    const ending = await ended;
    gone.abort();
    this.#child = undefined;
    rmSync(spec.pidFile, { force: true });
    return ending;
  }
}

/** A log longer than this is put aside, as `.1`, when it is next opened. */
export const LONGEST_LOG_BYTES = 16 * 1024 * 1024;

/**
 * Opens a log file for appending.
 * @returns its descriptor
 */
export function openLog(path: string): number {
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > LONGEST_LOG_BYTES)
    renameSync(path, `${path}.1`);
  return openSync(path, 'a', 0o600);
}

let setprivWorks: boolean | undefined;

/** The command line that makes the kernel end the process when this one dies. */
function boundToParent(spec: ProcessSpec): [string, string[]] {
  setprivWorks ??= spawnSync('setpriv', ['--pdeathsig', 'TERM', 'true'], { stdio: 'ignore' }).status === 0;
  if (!setprivWorks) return [spec.command, spec.args];
  const signal = spec.stopSignal.replace(/^SIG/, '');
  return ['setpriv', ['--pdeathsig', signal, '--', spec.command, ...spec.args]];
}

/** Waits, at most until the signal. */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener('abort', end);
  });
}
