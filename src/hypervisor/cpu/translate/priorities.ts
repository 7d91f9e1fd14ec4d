import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { constants, getPriority, setPriority } from 'node:os';

/** Niceness above the guest's: of what makes regions, and of what compiles and optimizes them. */
const STEPS = { makes: 10, compiles: 10 } as const;

/**
 * Lets the guest go first where there are fewer processors than threads: V8's
 * own, which compile, step back behind this one. Linux has a niceness for each
 * thread; elsewhere nothing happens.
 */
export function compilersStepBack(): void {
  try {
    for (const thread of readdirSync('/proc/self/task'))
      if (readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').trim() === 'node-V8Worker')
        stepBack(Number(thread), STEPS.compiles);
  } catch {
    // Not there to read: they stay as they are.
  }
}

/** The same for the thread that calls. */
export function thisThreadStepsBack(): void {
  try {
    stepBack(Number(readlinkSync('/proc/thread-self').split('/').at(-1)), STEPS.makes);
  } catch {
    // As above.
  }
}

function stepBack(thread: number, step: number): void {
  const niceness = Math.min(constants.priority.PRIORITY_LOW, getPriority(0) + step);
  if (Number.isInteger(thread) && thread > 0 && getPriority(thread) < niceness) setPriority(thread, niceness);
}
