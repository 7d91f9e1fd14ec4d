import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { describeInterpreter } from '../interpret/generate.ts';
import type { Made, RegionMakerOptions, RegionRequest } from './maker.ts';
import { makerWorker } from './maker-start.ts';
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
  const worker = makerWorker();
  worker.postMessage(settings, [theirs]);
  let dead = false;
  worker.on('error', () => {
    dead = true;
  });
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
