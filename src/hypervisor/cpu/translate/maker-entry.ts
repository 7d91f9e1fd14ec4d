import { enableCompileCache } from 'node:module';
import { workerData } from 'node:worker_threads';
import type { MakerSettings } from './maker-worker.ts';

// Where a thread begins that makes regions: a cache of compiled modules is its own to ask for, before it loads any.
const { codeFolder } = workerData as MakerSettings; // from startMakerThread
if (codeFolder !== undefined) enableCompileCache(codeFolder);
await import('./maker-worker.ts');
