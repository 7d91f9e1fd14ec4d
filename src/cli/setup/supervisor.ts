import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { projectRoot, SetupError, say } from './bootstrap.js';
import { claimHome } from './home-lock.ts';
import { endLeftover } from './leftover.ts';
import { ManagedProcess } from './managed-process.ts';
import { LineLog, relay } from './output.ts';
import { prepare, wantedServices } from './prepare.ts';
import { startServices } from './services.ts';

/** A program of the project that is kept running. */
export interface Program {
  /** Name of its log file and pid file, and in messages. */
  name: string;
  /** Absolute path of the TypeScript file. */
  file: string;
  /** A line of its output that says that it serves; without one it counts as ready at once. */
  ready?: RegExp;
  /** How long it may take to end in order, in milliseconds. */
  stopTimeoutMs: number;
}

/** What a supervisor runs, and where. */
export interface SupervisorOptions {
  /** TEREMOK_HOME, absolute. */
  home: string;
  /** Folder of fetched programs, absolute. */
  cache: string;
  /** Started first; when it ends before it was ready, everything is given up. */
  api: Program;
  /** Started once the API is ready. */
  worker: Program;
}

/** The project's own API process. It closes its connections in order. */
export const API: Program = {
  name: 'api',
  file: join(projectRoot, 'src/main.ts'),
  ready: /^teremok ready on /,
  stopTimeoutMs: 15_000,
};

/** The project's own worker process. It has guests to end, so it gets longer. */
export const WORKER: Program = {
  name: 'worker',
  file: join(projectRoot, 'workers/main.ts'),
  stopTimeoutMs: 60_000,
};

/** The worker is started after this even when the API has not said that it is ready. */
const WORKER_ANYWAY_AFTER_MS = 10_000;

/**
 * Runs a whole Teremok on this machine: prepares what is missing, starts PostgreSQL and Redis (where the environment
 * names none), the API and the worker, starts again whatever dies, and ends all in order: API, worker, Redis,
 * PostgreSQL.
 */
export class Supervisor {
  readonly #options: SupervisorOptions;
  /** What has been started, in order: it is ended in the opposite order. */
  readonly #started: { stop(): Promise<void> }[] = [];
  #stopping: Promise<void> | undefined;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** Whether `stop()` has been called. */
  get stopping(): boolean {
    return this.#stopping !== undefined;
  }

  /**
   * Starts everything.
   * @returns once the API and the worker run
   * @throws SetupError when something cannot be had or does not come up; call `stop()` then
   */
  async start(): Promise<void> {
    const { home, cache } = this.#options;
    for (const { file } of [this.#options.api, this.#options.worker]) {
      if (!existsSync(file)) throw new SetupError(`${file} is missing; run "git status" to see why`);
    }
    await mkdir(join(home, 'logs'), { recursive: true });
    this.#started.push({ stop: await claimHome(home) });
    await prepare({ home, cache });
    const services = await startServices({ home, cache, ...wantedServices() });
    this.#started.push(services);
    const env: NodeJS.ProcessEnv = { ...process.env, TEREMOK_HOME: home };
    if (services.databaseUrl !== undefined) env.DATABASE_URL = services.databaseUrl;
    if (services.redisUrl !== undefined) env.REDIS_URL = services.redisUrl;
    if (!this.stopping) await this.#startPrograms(env);
  }

  /** Ends everything that was started, the last first. */
  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      for (const part of this.#started.reverse()) await part.stop();
    })();
    return this.#stopping;
  }

  /**
   * The API applies the database's migrations, so the worker waits for it; should the API want to see a worker before
   * it says that it is ready, the worker comes anyway after a while.
   */
  async #startPrograms(env: NodeJS.ProcessEnv): Promise<void> {
    const { home } = this.#options;
    const worker = keepRunning(this.#options.worker, home, env);
    const api = keepRunning(this.#options.api, home, env);
    this.#started.push(worker, api);
    let workerStart: Promise<void> | undefined;
    const startWorker = () => {
      if (!this.stopping) workerStart ??= worker.start();
      return workerStart;
    };
    const timer = setTimeout(() => void startWorker()?.catch(() => {}), WORKER_ANYWAY_AFTER_MS);
    try {
      await api.start();
      await startWorker();
    } catch (error) {
      if (this.stopping) return;
      const log = join(home, 'logs', `${this.#options.api.name}.log`);
      throw new SetupError(`${(error as Error).message}. What it said is above and in ${log}.`);
    } finally {
      clearTimeout(timer);
    }
  }
}

function keepRunning(program: Program, home: string, env: NodeJS.ProcessEnv): ManagedProcess {
  const log = new LineLog(join(home, 'logs', `${program.name}.log`));
  const { ready } = program;
  const pidFile = join(home, 'run', `${program.name}.pid`);
  let sawReady: () => void = () => {};
  return new ManagedProcess(
    {
      name: `the ${program.name}`,
      command: process.execPath,
      args: [program.file],
      cwd: projectRoot,
      env,
      stopSignal: 'SIGTERM',
      stopTimeoutMs: program.stopTimeoutMs,
      pidFile,
      prepare: async () => {
        await endLeftover(pidFile, program.file, 'SIGTERM', program.stopTimeoutMs);
      },
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
