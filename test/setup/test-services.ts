import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { Redis } from 'ioredis';
import pg from 'pg';
import { cacheDirectory } from '../../src/cli/setup/bootstrap.js';
import { startServices } from '../../src/cli/setup/services.ts';
import { temporaryHome } from '../../src/cli/setup/temporary-home.ts';

/** A PostgreSQL database and a Redis database that one test file has for itself, both empty. */
export interface TestServices {
  databaseUrl: string;
  redisUrl: string;
  /** An empty TEREMOK_HOME. */
  home: string;
  /** Removes all of it; call it in `after`. */
  stop(): Promise<void>;
}

/**
 * Gives a test file real servers: databases of its own on those that `npm test` runs, or, when the file is run alone,
 * servers of its own.
 */
export async function testServices(): Promise<TestServices> {
  const shared = process.env.TEREMOK_TEST_DATABASE_URL;
  const sharedRedis = process.env.TEREMOK_TEST_REDIS_URL;
  if (!shared || !sharedRedis) return ownServices();
  const home = await temporaryHome();
  const name = `test_${randomBytes(8).toString('hex')}`;
  await execute(shared, `CREATE DATABASE ${name}`);
  const redisUrl = await emptyRedisDatabase(sharedRedis);
  return {
    databaseUrl: shared.replace(/\/[^/]*$/, `/${name}`),
    redisUrl,
    home,
    stop: async () => {
      await execute(shared, `DROP DATABASE ${name} WITH (FORCE)`);
      await rm(home, { recursive: true, force: true });
    },
  };
}

async function ownServices(): Promise<TestServices> {
  const home = await temporaryHome();
  const services = await startServices({ home, cache: cacheDirectory(), durable: false });
  return {
    databaseUrl: services.databaseUrl as string,
    redisUrl: services.redisUrl as string,
    home,
    stop: async () => {
      await services.stop();
      await rm(home, { recursive: true, force: true });
    },
  };
}

async function execute(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

/** Redis has sixteen databases; number 0 counts who got which of the others. */
async function emptyRedisDatabase(url: string): Promise<string> {
  const redis = new Redis(url);
  try {
    const number = ((await redis.incr('teremok-test:databases')) - 1) % 15;
    await redis.select(number + 1);
    await redis.flushdb();
    return `${url}/${number + 1}`;
  } finally {
    redis.disconnect();
  }
}
