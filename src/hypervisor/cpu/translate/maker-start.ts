import { getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Worker } from 'node:worker_threads';

/**
 * Settings of V8's, for the whole process. What is translated is hot already, so the optimizing compiler gets it early;
 * peeled and unrolled loops cost more time to compile than they save, and `matrix` ran slower by half with them. Young
 * garbage is collected by the thread whose it is: others, which step back behind the guest (priorities.ts), would be
 * waited for. What V8 compiled quickly stays when garbage is collected, or the guest would wait for it to be compiled
 * again. Threads that are started from now on begin with a young generation of 8 MiB, which fits what making a module of
 * regions takes: with V8's 1 MiB it is copied about more often; and with an old one of 64 MiB, for in a boot it was
 * collected ten times before it had grown to that. They collect no garbage on suspicion while nothing
 * happens: the thread that makes regions does so when it pays (maker-worker.ts).
 */
const V8_FLAGS = [
  '--wasm-tiering-budget=1000000',
  '--no-wasm-loop-peeling',
  '--no-wasm-loop-unrolling',
  '--no-parallel-scavenge',
  '--no-flush-liftoff-code',
  '--min-semi-space-size=8',
  '--initial-old-space-size=64',
  '--no-memory-reducer',
];

export function setV8Flags(): void {
  for (const flag of V8_FLAGS) setFlagsFromString(flag);
}

/** Of the thread's heap, so that many machines fit on a host. */
const HEAP_MIB = { young: 32, old: 128 } as const;

/** The process's compile cache, for the thread: without one it would compile its TypeScript anew, and need the compiler for that. */
function compileCache(): NodeJS.ProcessEnv {
  const folder = getCompileCacheDir();
  // Node appends a folder of its version to what it is given.
  return folder === undefined ? {} : { NODE_COMPILE_CACHE: dirname(folder) };
}

function start(): Worker {
  setV8Flags();
  const worker = new Worker(new URL('./maker-worker.ts', import.meta.url), {
    env: compileCache(),
    execArgv: ['--import', new URL('../../../lib/own-imports.ts', import.meta.url).href],
    resourceLimits: { maxYoungGenerationSizeMb: HEAP_MIB.young, maxOldGenerationSizeMb: HEAP_MIB.old },
    // Its messages are the machine's business, not the terminal's.
    stderr: true,
    stdout: true,
  });
  worker.unref();
  return worker;
}

let ahead: Worker | undefined;

/**
 * Starts the thread that makes regions of translated code before there is a machine: it loads while everything else
 * does, and the guest's first hot loop does not wait for it. Loads nothing but Node's own modules.
 */
export function startMakerAhead(): void {
  ahead ??= start();
  // Without a machine it ends with the process; what it says then is nobody's business.
  ahead.on('error', forget);
}

function forget(): void {
  ahead = undefined;
}

/** A thread that has been given nothing to do yet: see MakerSettings. */
export function makerWorker(): Worker {
  const worker = ahead ?? start();
  worker.off('error', forget);
  ahead = undefined;
  return worker;
}
