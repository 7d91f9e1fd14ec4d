import { flushCompileCache } from 'node:module';
import { getHeapStatistics } from 'node:v8';
import { type MessagePort, parentPort } from 'node:worker_threads';
import { collectGarbage, trimAllocator } from '../../../lib/memory.ts';
import { type DescribedInterpreter, reviveInterpreter } from '../interpret/generate.ts';
import { RECORD } from '../layout.ts';
import { RegionMaker, type RegionRequest } from './maker.ts';
import type { Answer } from './maker-thread.ts';
import { thisThreadStepsBack } from './priorities.ts';
import { FIRST_SLOT } from './slots.ts';

/** The thread that makes regions beside the processor: see maker-thread.ts. */

export interface MakerSettings {
  readonly memory: WebAssembly.Memory;
  readonly ramBytes: number;
  readonly count: boolean;
  readonly profile: boolean;
  readonly description: DescribedInterpreter;
  readonly port: MessagePort;
}

export interface Asked {
  readonly epoch: number;
  readonly request: RegionRequest;
}

/** Requests that are made into one module. */
const BATCH = 16;
/** Answers after which most of this thread's own code has run, and is worth keeping as it was compiled. */
const KEPT_AFTER = 32;
/**
 * After so long without a request the thread gives back what making took. Milliseconds. Between two jobs of a second each
 * it must not: what comes next then takes a tenth longer, for memory has to be had again.
 */
const REST_AFTER = 2000;
/** And not more often than this. */
const REST_AGAIN = 5_000;
/** Nor unless its heap has grown by so much: a guest at rest asks for a region now and then. */
const WORTH_BYTES = 8 << 20;

thisThreadStepsBack();
// The thread may have been started before there was a machine: see maker-start.ts.
parentPort?.once('message', serve);

/** Makes what is asked for on the settings' port. */
function serve(settings: MakerSettings): void {
  const { memory, port } = settings;
  const interpreter = reviveInterpreter(settings.description, new Uint8Array());
  const maker = new RegionMaker({ ...settings, interpreter });
  const view = new DataView(memory.buffer);
  let epoch = 0;
  let waiting: RegionRequest[] = [];
  /** Records that regions were made for. */
  let made = new Set<number>();
  let scheduled = false;
  let answers = 0;

  port.on('message', (asked: Asked) => {
    if (asked.epoch !== epoch) {
      epoch = asked.epoch;
      waiting = [];
      made = new Set();
    }
    waiting.push(asked.request);
    clearTimeout(rest);
    if (scheduled) return;
    scheduled = true;
    // What else has come by then goes into the same module.
    setImmediate(work);
  });

  function work(): void {
    scheduled = false;
    const requests = waiting.splice(0, BATCH);
    if (waiting.length > 0) {
      scheduled = true;
      setImmediate(work);
    }
    const known = (record: number): boolean =>
      made.has(record) || view.getUint16(record + RECORD.handler, true) >= FIRST_SLOT;
    const answer: Answer = { epoch, made: maker.make(requests, known) };
    for (const { record } of answer.made.made?.regions ?? []) made.add(record);
    port.postMessage(answer);
    answers += 1;
    if (answers === KEPT_AFTER) flushCompileCache();
    if (!scheduled) restSoon();
  }
}

let rest: NodeJS.Timeout | undefined;
let restedAt = Number.NEGATIVE_INFINITY;
/** Of the heap behind the last rest. */
let restingBytes = 0;

/** Gives back what making took, when nothing is asked for; and later what V8's own threads took, which compile on. */
function restSoon(): void {
  clearTimeout(rest);
  const due = Math.max(REST_AFTER, restedAt + REST_AGAIN - performance.now());
  rest = setTimeout(() => {
    if (getHeapStatistics().total_heap_size - restingBytes < WORTH_BYTES) return;
    collectGarbage();
    void trimAllocator();
    rest = setTimeout(() => void trimAllocator(), REST_AGAIN).unref();
    restedAt = performance.now();
    restingBytes = getHeapStatistics().total_heap_size;
  }, due).unref();
}
