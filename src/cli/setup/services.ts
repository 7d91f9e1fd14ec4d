import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { reachableFolder, serviceAccount } from './account.ts';
import { say } from './bootstrap.js';
import type { ManagedProcess } from './managed-process.ts';
import { freePort } from './port.ts';
import { postgresUrl, providePostgres, startPostgres } from './postgres.ts';
import { provideRedis, redisUrl, startRedis } from './redis.ts';

/** Which embedded databases to run, and where. */
export interface ServicesOptions {
  /** TEREMOK_HOME, absolute. */
  home: string;
  /** Folder of fetched programs; may be shared by several homes. */
  cache: string;
  postgres?: boolean;
  redis?: boolean;
  /** False gives up safety against power loss for speed: for tests. */
  durable?: boolean;
}

/** The running databases. */
export interface Services {
  /** Set when PostgreSQL was asked for. */
  databaseUrl?: string;
  /** Set when Redis was asked for. */
  redisUrl?: string;
  /** The current process of each, for tests that kill it. */
  pid(service: 'postgres' | 'redis'): number | undefined;
  /** Ends Redis, then PostgreSQL, in order. */
  stop(): Promise<void>;
}

interface Credentials {
  port: number;
  password: string;
}

/** What one home remembers of its databases, so that ports and passwords stay the same from start to start. */
interface Registry {
  postgres: Credentials;
  redis: Credentials;
}

/**
 * Fetches and prepares the programs of the databases asked for.
 * @returns the folder in use: `cache`, or another when the database's user cannot reach that
 * @throws SetupError when they cannot be had
 */
export async function provideServices(options: Pick<ServicesOptions, 'cache' | 'postgres' | 'redis'>) {
  const cache = await reachableFolder(options.cache, serviceAccount());
  const [postgres, redis] = await Promise.all([
    options.postgres === false ? undefined : providePostgres(cache),
    options.redis === false ? undefined : provideRedis(cache),
  ]);
  return { postgres, redis };
}

/**
 * Starts the embedded PostgreSQL and Redis, real servers on loopback ports of their own, protected by passwords of
 * their own, with their data under the home. Each is started again whenever it dies, until `stop()`. To be called
 * from a process's main thread, for one home at a time by one process.
 * @throws SetupError when one does not come up; none is left running then
 */
export async function startServices(options: ServicesOptions): Promise<Services> {
  const account = serviceAccount();
  const base = await reachableFolder(options.home, account);
  if (base !== options.home)
    say(`the databases' user cannot reach ${options.home}; their data is in ${base}`);
  const programs = await provideServices(options);
  for (const folder of ['logs', 'run']) await mkdir(join(options.home, folder), { recursive: true });
  const registry = await readRegistry(join(options.home, 'services.json'));
  const running: Partial<Record<'postgres' | 'redis', ManagedProcess>> = {};
  const common = (name: 'postgres' | 'redis') => ({
    data: join(base, 'data', name),
    ...registry[name],
    account,
    logFile: join(options.home, 'logs', `${name}.log`),
    pidFile: join(options.home, 'run', `${name}.pid`),
  });
  const stop = async () => {
    await running.redis?.stop();
    await running.postgres?.stop();
  };
  const starts = await Promise.allSettled([
    programs.redis && startRedis({ ...common('redis'), program: programs.redis }),
    programs.postgres &&
      startPostgres({
        ...common('postgres'),
        programs: programs.postgres,
        durable: options.durable !== false,
      }),
  ]);
  const [redis, postgres] = starts.map((start) => (start.status === 'fulfilled' ? start.value : undefined));
  if (redis) running.redis = redis;
  if (postgres) running.postgres = postgres;
  const failure = starts.find((start) => start.status === 'rejected');
  if (failure !== undefined) {
    await stop();
    throw failure.reason;
  }
  return {
    ...(postgres ? { databaseUrl: postgresUrl(registry.postgres) } : {}),
    ...(redis ? { redisUrl: redisUrl(registry.redis) } : {}),
    pid: (service) => running[service]?.pid,
    stop,
  };
}

/** Reads the ports and passwords of a home, or makes them; a port that somebody else took meanwhile is replaced. */
async function readRegistry(path: string): Promise<Registry> {
  const known = JSON.parse(await readFile(path, 'utf8').catch(() => '{}')) as Partial<Registry>;
  const entry = async (name: keyof Registry): Promise<Credentials> => ({
    port: await freePort(known[name]?.port),
    password: known[name]?.password ?? randomBytes(24).toString('hex'),
  });
  const registry = { postgres: await entry('postgres'), redis: await entry('redis') };
  await writeFile(path, `${JSON.stringify(registry, null, 2)}\n`, { mode: 0o600 });
  return registry;
}
