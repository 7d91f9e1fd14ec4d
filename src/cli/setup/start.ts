// `npm start`: prepares what is missing, starts the databases, the API and the worker, keeps them running, and ends
// them in order.
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory, homeDirectory, projectRoot, SetupError, say } from './bootstrap.js';
import { claimHome } from './home-lock.ts';
import { ManagedProcess } from './managed-process.ts';
import { LineLog, relay } from './output.ts';
import { prepare, wantedServices } from './prepare.ts';
import { runProgram } from './program.ts';
import { startServices } from './services.ts';

const READY = /^teremok ready on /;

/** A program of the project that is kept running. */
interface Program {
  name: 'api' | 'worker';
  /** Relative to the checkout. */
  file: string;
  /** A line of output that says that it serves; without one it counts as ready at once. */
  ready?: RegExp;
  stopTimeoutMs: number;
}

const API: Program = { name: 'api', file: 'src/main.ts', ready: READY, stopTimeoutMs: 15_000 };
/** The worker has guests to end, so it gets longer. */
const WORKER: Program = { name: 'worker', file: 'workers/main.ts', stopTimeoutMs: 60_000 };

/** What has been started, in order: it is ended in the opposite order. */
const started: { stop(): Promise<void> }[] = [];
let shuttingDown: Promise<void> | undefined;

async function start(): Promise<void> {
  const home = homeDirectory();
  const cache = cacheDirectory();
  await mkdir(join(home, 'logs'), { recursive: true });
  const release = await claimHome(home);
  started.push({ stop: release });
  await prepare({ home, cache });
  const wanted = wantedServices();
  const services = await startServices({ home, cache, ...wanted });
  started.push(services);
  const env: NodeJS.ProcessEnv = { ...process.env, TEREMOK_HOME: home };
  if (services.databaseUrl !== undefined) env.DATABASE_URL = services.databaseUrl;
  if (services.redisUrl !== undefined) env.REDIS_URL = services.redisUrl;

  const worker = createProgram(WORKER, home, env);
  const api = createProgram(API, home, env);
  started.push(worker, api);
  // The API applies the database's migrations, and it may say that it is ready only once there is a worker: the
  // worker follows it as soon as it serves, or after a while.
  const workerAnyway = setTimeout(() => void startWorker(), 10_000);
  const startWorker = async () => {
    clearTimeout(workerAnyway);
    if (worker.pid === undefined && shuttingDown === undefined) await worker.start();
  };
  try {
    await api.start();
  } catch (error) {
    if (shuttingDown !== undefined) return;
    throw new SetupError(`${(error as Error).message}. What it said is above and in ${join(home, 'logs/api.log')}.`);
  } finally {
    clearTimeout(workerAnyway);
  }
  await startWorker();
}

function createProgram(program: Program, home: string, env: NodeJS.ProcessEnv): ManagedProcess {
  const file = join(projectRoot, program.file);
  if (!existsSync(file)) throw new SetupError(`${program.file} is missing from this checkout; run "git status"`);
  const log = new LineLog(join(home, 'logs', `${program.name}.log`));
  const { ready } = program;
  let sawReady: () => void = () => {};
  return new ManagedProcess(
    {
      name: program.name === 'api' ? 'the API' : 'the worker',
      command: process.execPath,
      args: [file],
      cwd: projectRoot,
      env,
      stopSignal: 'SIGTERM',
      stopTimeoutMs: program.stopTimeoutMs,
      pidFile: join(home, 'run', `${program.name}.pid`),
      onSpawn: (child) => {
        relay(program.name, child.stdout, log, process.stdout, (line) => {
          if (ready?.test(line)) sawReady();
        });
        relay(program.name, child.stderr, log, process.stderr);
      },
      ...(ready === undefined
        ? {}
        : {
            ready: () =>
              new Promise<void>((resolve) => {
                sawReady = resolve;
              }),
          }),
    },
    say,
  );
}

/** Ends everything that was started, the last first. */
function shutDown(): Promise<void> {
  shuttingDown ??= (async () => {
    for (const part of started.reverse()) await part.stop();
  })();
  return shuttingDown;
}

function onSignal(signal: NodeJS.Signals): void {
  if (shuttingDown !== undefined) {
    // Asked twice: whatever still runs gets its signal from the kernel when this process ends.
    process.exit(130);
  }
  say(`${signal}: shutting down`);
  void shutDown().then(() => process.exit(0));
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
await runProgram(async () => {
  try {
    await start();
  } catch (error) {
    await shutDown();
    throw error;
  }
});
