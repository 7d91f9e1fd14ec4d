import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { after, before } from 'node:test';
import pg from 'pg';
import { buildApp } from '../../src/app.ts';
import { cacheDirectory } from '../../src/cli/setup/bootstrap.js';
import { startServices } from '../../src/cli/setup/services.ts';
import { temporaryHome } from '../../src/cli/setup/temporary-home.ts';
import { releaseCapacity } from '../../src/infra/capacity.ts';
import { createEventHub } from '../../src/infra/event-hub.ts';
import { applyMigrations } from '../../src/infra/migrations.ts';
import { createDatabase, type Database, type Vm } from '../../src/infra/prisma.ts';
import { createQueues } from '../../src/infra/queues.ts';
import { createRedis, type Redis } from '../../src/infra/redis.ts';
import { newId } from '../../src/lib/ids.ts';
import { createLogger } from '../../src/lib/log.ts';
import { bootstrap } from '../../src/modules/bootstrap/bootstrap.ts';
import type { App } from '../../src/modules/http.ts';

export interface Servers {
  readonly databaseUrl: string;
  readonly redisUrl: string;
  stop(): Promise<void>;
}

/** PostgreSQL with a new, empty database, and Redis: those of the test run, or else some of its own. */
export async function startServers(): Promise<Servers> {
  const given = {
    database: process.env['TEREMOK_TEST_DATABASE_URL'],
    redis: process.env['TEREMOK_TEST_REDIS_URL'],
  };
  if (given.database !== undefined && given.redis !== undefined) {
    const database = await createTestDatabase(given.database);
    return { databaseUrl: database.url, redisUrl: given.redis, stop: database.drop };
  }
  const home = await temporaryHome();
  const services = await startServices({ home, cache: cacheDirectory(), durable: false });
  assert.ok(services.databaseUrl !== undefined && services.redisUrl !== undefined);
  return {
    databaseUrl: services.databaseUrl,
    redisUrl: services.redisUrl,
    stop: async () => {
      await services.stop();
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** A new, empty database beside the one that the URL names. */
async function createTestDatabase(base: string): Promise<{ url: string; drop: () => Promise<void> }> {
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  const run = async (sql: string) => {
    const client = new pg.Client({ connectionString: base });
    await client.connect();
    await client.query(sql);
    await client.end();
  };
  await run(`CREATE DATABASE ${name}`);
  const url = new URL(base);
  url.pathname = `/${name}`;
  return { url: url.href, drop: () => run(`DROP DATABASE ${name} WITH (FORCE)`) };
}

export interface TestApi {
  readonly app: App;
  readonly db: Database;
  readonly redis: Redis;
  readonly home: string;
  readonly tenantKey: string;
  readonly operatorKey: string;
  /** Fires `closing`, as a signal to the process would. */
  beginClosing(): void;
  close(): Promise<void>;
}

export interface TestApiOptions {
  readonly rateLimitPerMinute?: number;
  readonly maxImageMiB?: number;
  /** The built web console; default a folder that is not there. */
  readonly consoleDir?: string;
}

/** The whole API over real servers, ready to be injected into. */
export async function startApi(
  servers: Pick<Servers, 'databaseUrl' | 'redisUrl'>,
  options: TestApiOptions = {},
): Promise<TestApi> {
  const home = await temporaryHome();
  const log = createLogger('test', 'silent');
  await mkdir(path.join(home, 'images'), { recursive: true });
  await applyMigrations({ databaseUrl: servers.databaseUrl, log });
  const db = createDatabase({ url: servers.databaseUrl, log, maxConnections: 12 });
  const redis = createRedis(servers.redisUrl, 'commands', log);
  const subscriber = createRedis(servers.redisUrl, 'subscriber', log);
  const queues = createQueues(redis, log);
  const hub = createEventHub(subscriber, log);
  const closing = new AbortController();
  const imagesDir = path.join(home, 'images');
  await bootstrap({ db, log, home, imagesDir });
  await untilReady(redis);
  const config = {
    consoleDir: options.consoleDir ?? path.join(home, 'console'),
    imagesDir,
    maxImageMiB: options.maxImageMiB ?? 8,
    rateLimitPerMinute: options.rateLimitPerMinute ?? 1_000_000,
  };
  const app = await buildApp({
    config,
    db,
    redis,
    queues,
    hub,
    log,
    closing: closing.signal,
    version: '0.0.0-test',
  });
  const key = async (file: string) => (await readFile(path.join(home, file), 'utf8')).trim();
  return {
    app,
    db,
    redis,
    home,
    tenantKey: await key('default.key'),
    operatorKey: await key('operator.key'),
    beginClosing: () => closing.abort(),
    close: async () => {
      closing.abort();
      await app.close();
      hub.close();
      await queues.close();
      redis.disconnect();
      subscriber.disconnect();
      await db.$disconnect();
      await rm(home, { recursive: true, force: true });
    },
  };
}

async function untilReady(redis: Redis): Promise<void> {
  if (redis.status === 'ready') return;
  await new Promise<void>((resolve) => redis.once('ready', () => resolve()));
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly text: string;
  /** The body, parsed; tests look into it freely. */
  // biome-ignore lint/suspicious/noExplicitAny: what an answer holds is what the tests find out
  readonly body: any;
}

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE' | 'PUT' | 'HEAD' | 'OPTIONS';

export type Client = (
  method: Method,
  url: string,
  body?: unknown,
  headers?: Record<string, string>,
) => Promise<Answer>;

/** Speaks to the API with a key. */
export function clientOf(app: App, key: string | null): Client {
  return async (method, url, body, headers = {}) => {
    const answer = await app.inject({
      method,
      url,
      headers: { ...(key === null ? {} : { authorization: `Bearer ${key}` }), ...headers },
      ...(body === undefined ? {} : { payload: body as string | object | Buffer }),
    });
    const type = String(answer.headers['content-type'] ?? '');
    const isJson = type.includes('json') && answer.payload !== '';
    return {
      status: answer.statusCode,
      headers: answer.headers,
      text: answer.payload,
      body: isJson ? answer.json() : null,
    };
  };
}

/** What the tests of a suite share: the servers and the API over them, and who speaks to it. */
export interface SuiteApi {
  readonly servers: Servers;
  readonly api: TestApi;
  /** With the key of the tenant `default`. */
  readonly call: Client;
  readonly operator: Client;
  readonly anonymous: Client;
}

/**
 * Starts the API before the tests of the suite that this is called in, and ends it after them. What it gives is there
 * from the suite's own `before` on.
 */
export function withApi(options: TestApiOptions | (() => Promise<TestApiOptions>) = {}): SuiteApi {
  // Filled below, before anybody looks into them.
  const servers = {} as Servers;
  const api = {} as TestApi;
  let stop: (() => Promise<void>) | undefined;
  let close: (() => Promise<void>) | undefined;
  before(async () => {
    Object.assign(servers, await startServers());
    stop = servers.stop;
    Object.assign(api, await startApi(servers, typeof options === 'function' ? await options() : options));
    close = api.close;
  });
  after(async () => {
    await close?.();
    await stop?.();
  });
  const speaker =
    (key: () => string | null): Client =>
    (...request) =>
      clientOf(api.app, key())(...request);
  return {
    servers,
    api,
    call: speaker(() => api.tenantKey),
    operator: speaker(() => api.operatorKey),
    anonymous: speaker(() => null),
  };
}

/** Asserts that an answer is a whole problem document with this status and code. */
export function assertProblem(answer: Answer, status: number, code: string): void {
  assert.equal(answer.status, status, answer.text);
  assert.match(String(answer.headers['content-type']), /^application\/problem\+json/);
  assert.equal(answer.body.code, code, answer.text);
  assert.equal(answer.body.status, status);
  assert.equal(answer.body.type, `urn:teremok:problem:${code}`);
  assert.equal(answer.body.requestId, answer.headers['x-request-id']);
  for (const field of ['title', 'detail']) assert.ok(answer.body[field].length > 0, `${field} is empty`);
}

/** A new tenant with a key. */
export async function makeTenant(
  api: TestApi,
  quotas?: object,
): Promise<{ id: string; key: string; call: Client }> {
  const operator = clientOf(api.app, api.operatorKey);
  const body = { name: `t-${randomUUID()}`, ...(quotas === undefined ? {} : { quotas }) };
  const tenant = await operator('POST', '/v1/tenants', body);
  assert.equal(tenant.status, 201, tenant.text);
  const key = await operator('POST', `/v1/tenants/${tenant.body.id}/keys`, {});
  assert.equal(key.status, 201, key.text);
  return { id: tenant.body.id, key: key.body.key, call: clientOf(api.app, key.body.key) };
}

/** A host as its worker would register it. */
export async function addHost(
  db: Database,
  memoryMiB: number,
  vcpus = 1000,
  engines = ['interpret'],
): Promise<string> {
  const id = newId('host');
  await db.host.create({
    data: {
      id,
      name: id,
      state: 'up',
      engines,
      memoryMiBTotal: memoryMiB,
      vcpusTotal: vcpus,
      lastHeartbeatAt: inAnHour(),
    },
  });
  return id;
}

/** A heartbeat that stays fresh for as long as a test may take. */
const inAnHour = () => new Date(Date.now() + 3_600_000);

/** A kernel and a system image made of it, shared by everybody. */
export async function addSystemImage(api: TestApi, name = 'tiny'): Promise<void> {
  const operator = clientOf(api.app, api.operatorKey);
  const kernel = await operator('POST', `/v1/images?name=${name}-kernel&kind=kernel`, elfKernel(), OCTETS);
  assert.equal(kernel.status, 201, kernel.text);
  const image = await operator('POST', '/v1/images', {
    name,
    kind: 'system',
    kernel: `${name}-kernel`,
    cmdline: 'console=ttyS0',
  });
  assert.equal(image.status, 201, image.text);
}

export const OCTETS = { 'content-type': 'application/octet-stream' };

/** A file that begins as an ELF kernel does. */
export function elfKernel(fill = 'kernel'): Buffer {
  return Buffer.concat([Buffer.from('\x7fELF', 'latin1'), Buffer.from(fill)]);
}

/**
 * Does for one VM what the worker of its host would (src/contracts/reconcile.ts): the tests of the API watch what
 * it makes of that.
 */
export async function workerReaches(
  db: Database,
  vmId: string,
  state: 'running' | 'paused' | 'stopped' | 'deleted',
): Promise<void> {
  await db.$transaction(async (tx) => {
    const vm: Vm = await tx.vm.findUniqueOrThrow({ where: { id: vmId } });
    if (state === 'stopped' || state === 'deleted') await releaseCapacity(tx, vmId);
    await tx.operation.updateMany({
      where: {
        vmId,
        state: { in: ['queued', 'running'] },
        target: state,
        generation: { lte: vm.generation },
      },
      data: { state: 'succeeded', progress: 100, finishedAt: new Date() },
    });
    if (state === 'deleted') await tx.vm.delete({ where: { id: vmId } });
    else {
      const rest = state === 'stopped' ? { desired: 'stopped', shutdownRequestedAt: null } : {};
      await tx.vm.update({
        where: { id: vmId },
        data: { state, observedGeneration: vm.generation, ...rest },
      });
    }
  });
}
