import { getCompileCacheDir } from 'node:module';
import { dirname } from 'node:path';
import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { describeInterpreter } from '../interpret/generate.ts';
import type { Made, RegionMakerOptions, RegionRequest } from './maker.ts';
import type { Asked, MakerSettings } from './maker-worker.ts';
import { compilersStepBack } from './priorities.ts';

/** What the thread has made, and the number that its requests came with. */
export interface Answer {
  readonly epoch: number;
  readonly made: Made;
}

/** A thread that makes regions; it does not keep the process up. */
export interface MakerThread {
  /** What is asked for with another `epoch` than before makes everything before it void. */
  ask(epoch: number, request: RegionRequest): void;
  /** The next answer that has come. */
  take(): Answer | undefined;
  /** It has died, out of memory, say, with all that was asked for. */
  readonly dead: boolean;
  end(): Promise<void>;
}

/** Of the thread's heap, so that many machines fit on a host. */
const HEAP_MIB = { young: 16, old: 128 } as const;

/** The process's compile cache, for the thread: without one it would compile its TypeScript anew, and need the compiler for that. */
function compileCache(): NodeJS.ProcessEnv {
  const folder = getCompileCacheDir();
  // Node appends a folder of its version to what it is given.
  return folder === undefined ? {} : { NODE_COMPILE_CACHE: dirname(folder) };
}

export function startMakerThread(options: RegionMakerOptions): MakerThread {
  const { memory, ramBytes, interpreter, count, profile } = options;
  compilersStepBack();
  const { port1: port, port2: theirs } = new MessageChannel();
  const description = describeInterpreter(interpreter);
  const settings: MakerSettings = {
    memory,
    ramBytes,
    count,
    profile,
    description,
    port: theirs,
  };
  const worker = new Worker(new URL('./maker-worker.ts', import.meta.url), {
    workerData: settings,
    env: compileCache(),
    transferList: [theirs],
    resourceLimits: { maxYoungGenerationSizeMb: HEAP_MIB.young, maxOldGenerationSizeMb: HEAP_MIB.old },
    // Its messages are the machine's business, not the terminal's.
    stderr: true,
    stdout: true,
  });
  let dead = false;
  worker.on('error', () => {
    dead = true;
  });
  worker.unref();
  port.unref();
  return {
    get dead() {
      return dead;
    },
    ask: (epoch, request) => {
      const asked: Asked = { epoch, request };
      port.postMessage(asked);
    },
    take: () => receiveMessageOnPort(port)?.message as Answer | undefined, // only our worker writes there
    end: async () => {
      port.close();
      await worker.terminate();
    },
  };
}
