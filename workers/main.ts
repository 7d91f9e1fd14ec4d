import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'bullmq';
import type { Config } from '../src/config/index.ts';
import { ConfigError, loadConfig } from '../src/config/index.ts';
import type { WorkerConfig } from '../src/config/worker.ts';
import { loadWorkerConfig } from '../src/config/worker.ts';
import type { ReconcileJob } from '../src/contracts/reconcile.ts';
import { hostQueueName } from '../src/contracts/reconcile.ts';
import type { Database } from '../src/infra/prisma.ts';
import { createDatabase, isDatabaseOutage } from '../src/infra/prisma.ts';
import { createRedis } from '../src/infra/redis.ts';
import type { Logger } from '../src/lib/log.ts';
import { createLogger } from '../src/lib/log.ts';
import { withTimeout } from '../src/lib/time.ts';
import { Agent } from './agent/agent.ts';
import { AttachServer } from './agent/attach-server.ts';
import { HostRow, lockHome, readHostId, WorkerLockError } from './agent/host.ts';
import { VmRecords } from './agent/vm-records.ts';

/** The worker process: config → lock → host row → agent → ordered shutdown. */

const REGISTER_RETRY_MS = 1000;
const JOBS_AT_ONCE = 32;
/** The engines of this version of the hypervisor. */
const ENGINES = ['interpret', 'translate'];

function readVersion(): string {
  const text = readFileSync(join(import.meta.dirname, '..', 'package.json'), 'utf8');
  const { version } = JSON.parse(text) as { version: string };
  return version;
}

/** Registers, waiting for a database that is not there yet; any other error is final. */
async function register(host: HostRow, log: Logger, stopping: AbortSignal): Promise<void> {
  while (!stopping.aborted) {
    try {
      return await host.register();
    } catch (error) {
      if (!isDatabaseOutage(error)) throw error;
      log.warn('PostgreSQL is away: this host will register when it is back');
      await delay(REGISTER_RETRY_MS, undefined, { signal: stopping }).catch(() => {});
    }
  }
}

/** Reports an end that failed, and goes on with the others. */
async function attempt(log: Logger, what: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await withTimeout(work(), 5_000, what);
  } catch (error) {
    log.warn({ err: error instanceof Error ? error.message : String(error) }, `${what}: not done in order`);
  }
}

async function serve(
  config: Config,
  settings: WorkerConfig,
  log: Logger,
  stopping: AbortSignal,
): Promise<void> {
  const lock = await lockHome(config.home);
  const database: Database = createDatabase({ url: config.databaseUrl, log });
  const redis = createRedis(config.redisUrl, 'commands', log);
  const blocking = createRedis(config.redisUrl, 'blocking', log);
  const hostId = readHostId(config.home);
  const runDir = join(config.home, 'run', 'vms');
  const { host, attach } = await openHost(config, settings, hostId, runDir, database);
  await register(host, log, stopping);
  const agent = new Agent({
    host,
    records: new VmRecords(database, redis, hostId),
    redis,
    runDir,
    imagesDir: config.imagesDir,
    firmwareDir: settings.firmwareDir,
    engine: config.engine,
    orphanSeconds: settings.orphanSeconds,
    cacheFolder: join(config.cacheDir, 'hypervisor'),
    historyDir: join(config.home, 'code-history'),
    log,
  });
  const jobs = new Worker<ReconcileJob>(
    hostQueueName(hostId),
    async (job) => {
      // A job says where to look; how long the look takes is not the queue's business.
      void agent.look(job.data.vmId);
    },
    { connection: blocking, concurrency: JOBS_AT_ONCE, skipWaitingForReady: true },
  );
  jobs.on('error', (error) => log.debug({ err: error.message }, 'queue'));
  redis.on('ready', () => void agent.sweep().catch(() => {}));
  await agent.start();
  log.info({ hostId, pid: process.pid }, 'worker ready');

  if (!stopping.aborted)
    await new Promise((resolve) => stopping.addEventListener('abort', resolve, { once: true }));
  log.info({ vms: settings.onShutdown }, 'worker is shutting down');
  await attempt(log, 'closing the queue', () => jobs.close(true));
  await agent.close(settings.onShutdown);
  attach.close();
  await attempt(log, 'taking the host out of service', () => host.leave());
  await attempt(log, 'closing the database', () => database.$disconnect());
  redis.disconnect();
  blocking.disconnect();
  lock.close();
  log.info('worker ended');
}

async function openHost(
  config: Config,
  settings: WorkerConfig,
  hostId: string,
  runDir: string,
  database: Database,
): Promise<{ host: HostRow; attach: AttachServer }> {
  const secret = HostRow.makeSecret();
  const attach = new AttachServer(runDir, secret);
  const endpoint = await attach.listen(settings.channelHost);
  const facts = {
    id: hostId,
    name: config.hostName,
    endpoint,
    channelSecret: secret,
    engines: ENGINES,
    ...config.capacity,
    version: readVersion(),
  };
  return { host: new HostRow(database, facts), attach };
}

async function main(): Promise<void> {
  let config: Config;
  let settings: WorkerConfig;
  try {
    config = loadConfig();
    settings = loadWorkerConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`teremok worker: ${error.message}\n`);
    process.exit(2);
  }
  const log = createLogger('worker', config.logLevel);
  const stopping = new AbortController();
  process.on('SIGTERM', () => stopping.abort());
  process.on('SIGINT', () => stopping.abort());
  process.on('unhandledRejection', (error) => {
    // The VMs live on without this process, and the next worker takes them over.
    log.fatal({ err: error }, 'worker failed');
    process.exit(70);
  });
  try {
    await serve(config, settings, log, stopping.signal);
    process.exit(0);
  } catch (error) {
    if (error instanceof WorkerLockError) process.stderr.write(`teremok worker: ${error.message}\n`);
    else log.fatal({ err: error }, 'worker failed');
    process.exit(error instanceof WorkerLockError ? 3 : 70);
  }
}

await main();
