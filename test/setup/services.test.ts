import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Redis } from 'ioredis';
import pg from 'pg';
import { reachableFolder, serviceAccount } from '../../src/cli/setup/account.ts';
import { cacheDirectory, processExists } from '../../src/cli/setup/bootstrap.js';
import { commandLine } from '../../src/cli/setup/leftover.ts';
import { type Services, startServices } from '../../src/cli/setup/services.ts';
import { temporaryHome } from '../../src/cli/setup/temporary-home.ts';
import { until } from './until.ts';

describe('embedded PostgreSQL and Redis', { timeout: 120_000 }, () => {
  let home: string;
  let services: Services;

  const start = () => startServices({ home, cache: cacheDirectory() });
  const query = async (text: string) => {
    const client = new pg.Client({ connectionString: services.databaseUrl as string });
    client.on('error', () => {});
    await client.connect();
    try {
      return (await client.query(text)).rows;
    } finally {
      await client.end();
    }
  };
  const withRedis = async <T>(use: (redis: Redis) => Promise<T>): Promise<T> => {
    const redis = new Redis(services.redisUrl as string, { lazyConnect: true, retryStrategy: () => null });
    redis.on('error', () => {});
    try {
      await redis.connect();
      return await use(redis);
    } finally {
      redis.disconnect();
    }
  };
  const pids = () => [services.pid('postgres') as number, services.pid('redis') as number] as const;

  before(async () => {
    home = await temporaryHome();
    services = await start();
  });

  after(async () => {
    await services.stop();
    await rm(home, { recursive: true, force: true });
  });

  it('serves SQL, and keeps queues as BullMQ demands', async () => {
    await query('CREATE TABLE kept (value text)');
    await query("INSERT INTO kept VALUES ('row')");
    const policy = await withRedis(async (redis) => {
      await redis.set('kept', 'key');
      return redis.config('GET', 'maxmemory-policy');
    });
    assert.deepEqual(policy, ['maxmemory-policy', 'noeviction']);
  });

  it('lets nobody in without the password', async () => {
    const { port } = new URL(services.databaseUrl as string);
    const client = new pg.Client({
      connectionString: `postgresql://teremok:wrong@127.0.0.1:${port}/teremok`,
    });
    await assert.rejects(client.connect(), { code: '28P01' });
    const redis = new Redis({ port: Number(new URL(services.redisUrl as string).port), lazyConnect: true });
    redis.on('error', () => {});
    await assert.rejects(redis.get('kept'), /NOAUTH/);
    redis.disconnect();
  });

  it('writes process ids where scripts find them', async () => {
    const [postgres, redis] = pids();
    assert.equal(Number(await readFile(join(home, 'run/postgres.pid'), 'utf8')), postgres);
    assert.equal(Number(await readFile(join(home, 'run/redis.pid'), 'utf8')), redis);
  });

  it('brings both back with their data, on the same ports, after kill -9', async () => {
    const [postgres, redis] = pids();
    process.kill(postgres, 'SIGKILL');
    process.kill(redis, 'SIGKILL');
    assert.deepEqual(await until(() => query('SELECT value FROM kept')), [{ value: 'row' }]);
    assert.equal(await until(() => withRedis((client) => client.get('kept'))), 'key');
    assert.notEqual(services.pid('postgres'), postgres);
    assert.notEqual(services.pid('redis'), redis);
  });

  it('ends in order and starts again with the same addresses and data', async () => {
    const [postgres, redis] = pids();
    const { databaseUrl, redisUrl } = services;
    await services.stop();
    assert.equal(await commandLine(postgres), undefined);
    assert.equal(await commandLine(redis), undefined);
    services = await start();
    assert.deepEqual([services.databaseUrl, services.redisUrl], [databaseUrl, redisUrl]);
    assert.deepEqual(await query('SELECT value FROM kept'), [{ value: 'row' }]);
    assert.equal(await withRedis((client) => client.get('kept')), 'key');
  });

  it('leaves a foreign process alone whose number stands in a stale lock file', async () => {
    await services.stop();
    const foreign = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'], { stdio: 'ignore' });
    try {
      const data = join(await reachableFolder(home, serviceAccount()), 'data/postgres');
      await writeFile(join(data, 'postmaster.pid'), `${foreign.pid}\n${data}\n`);
      services = await start();
      assert.deepEqual(await query('SELECT value FROM kept'), [{ value: 'row' }]);
      assert.equal(processExists(foreign.pid as number), true);
      assert.equal(foreign.exitCode, null);
    } finally {
      foreign.kill('SIGKILL');
    }
  });

  it('takes over from a supervisor that was killed', async () => {
    await services.stop();
    const script = `
      import { startServices } from ${JSON.stringify(join(import.meta.dirname, '../../src/cli/setup/services.ts'))};
      await startServices(${JSON.stringify({ home, cache: cacheDirectory() })});
      process.kill(process.pid, 'SIGKILL');`;
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
      stdio: 'ignore',
    });
    const signal = await new Promise((resolve) => child.once('exit', (_code, by) => resolve(by)));
    assert.equal(signal, 'SIGKILL');
    services = await start();
    assert.deepEqual(await query('SELECT value FROM kept'), [{ value: 'row' }]);
    assert.equal(await withRedis((client) => client.get('kept')), 'key');
  });
});
