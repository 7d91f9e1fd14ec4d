import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

/** BusyBox's prompt in /root, behind which it asks the terminal where the cursor is. */
export const PROMPT = /^~ # /m;

/** Kernel ticks a second in /proc (proc(5), sysconf(_SC_CLK_TCK)); 100 on every Linux that Node runs on. */
const CLOCK_TICKS = 100;

export interface ToShell {
  /** From starting the process to the prompt. */
  readonly seconds: number;
  /** Processor time of the process until then, user and system. */
  readonly cpuSeconds: number;
}

/** Processor time of a live process with all its threads, from fields 14 and 15 of /proc/PID/stat. Seconds. */
export function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name in parentheses may hold blanks; what follows it may not.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS;
}

/** Resolves when `child` has printed the prompt. Rejects when it ends first, or after `limitMs`. */
async function untilPrompt(name: string, child: ChildProcess, limitMs: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let output = '';
  const hear = (text: string): void => {
    output += text;
    if (PROMPT.test(output)) resolve();
  };
  child.stdout?.setEncoding('utf8').on('data', hear);
  child.stderr?.setEncoding('utf8').on('data', hear);
  child.once('error', reject);
  child.once('exit', (code, signal) => {
    reject(
      new Error(`${name} ended with ${signal ?? `status ${code}`} before its shell:\n${output.slice(-2000)}`),
    );
  });
  const timer = setTimeout(() => {
    reject(new Error(`${name}: no shell within ${limitMs / 1000} s:\n${output.slice(-2000)}`));
  }, limitMs);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
  }
}

/** A guest that has come to its prompt, and the process that it runs in. */
export interface AtShell {
  /** From starting the process to the prompt. */
  readonly seconds: number;
  readonly pid: number;
  /** Processor time of the process so far. */
  readonly cpuSeconds: () => number;
}

/**
 * Starts a program that boots the guest on its standard output, waits for the shell's prompt, looks at it with `look`
 * and ends the program.
 */
export async function atShell<T>(
  name: string,
  command: string,
  args: readonly string[],
  limitMs: number,
  look: (shell: AtShell) => T | Promise<T>,
): Promise<T> {
  const before = performance.now();
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  try {
    await untilPrompt(name, child, limitMs);
    const seconds = (performance.now() - before) / 1000;
    const pid = child.pid as number;
    return await look({ seconds, pid, cpuSeconds: () => cpuSecondsOf(pid) });
  } finally {
    await end(child);
  }
}

/** The time to the shell's prompt of a program that boots the guest on its standard output. */
export function bootToShell(
  name: string,
  command: string,
  args: readonly string[],
  limitMs: number,
): Promise<ToShell> {
  return atShell(name, command, args, limitMs, ({ seconds, cpuSeconds }) => ({
    seconds,
    cpuSeconds: cpuSeconds(),
  }));
}

/** Asks a process to end, and makes it when it has not within `limitMs`. */
export async function end(child: ChildProcess, limitMs = 20_000): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), limitMs);
  await exited;
  clearTimeout(timer);
}
