import { readFileSync } from 'node:fs';

/** Names one process for ever: a pid is used again, a pid with its start time is not. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks from boot to its start: field 22 of /proc/PID/stat (proc(5)). */
  readonly startTicks: string;
}

/**
 * The start time of a live process, or undefined when there is none with this
 * pid. A zombie counts as dead: nothing of it runs any more.
 */
export function startTicksOf(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // The command's name stands in parentheses and may hold anything, so fields are counted after the last one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state] = fields;
  const startTicks = fields[19];
  return state === 'Z' || state === 'X' || startTicks === undefined ? undefined : startTicks;
}

/** This process's own identity. Throws where there is no /proc. */
export function ownIdentity(): ProcessIdentity {
  const startTicks = startTicksOf(process.pid);
  if (startTicks === undefined) throw new Error('this system has no /proc/PID/stat');
  return { pid: process.pid, startTicks };
}

/** Whether exactly this process, not a later one with its pid, is alive. */
export function isAlive(identity: ProcessIdentity): boolean {
  return startTicksOf(identity.pid) === identity.startTicks;
}

/** Sends a signal to exactly this process; false when it is gone already. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    return process.kill(identity.pid, signal);
  } catch {
    return false;
  }
}
