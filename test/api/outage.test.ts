import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { cacheDirectory } from '../../src/cli/setup/bootstrap.js';
import { type Services, startServices } from '../../src/cli/setup/services.ts';
import { temporaryHome } from '../../src/cli/setup/temporary-home.ts';
import {
  addHost,
  addSystemImage,
  assertProblem,
  type Client,
  clientOf,
  startApi,
  type TestApi,
  workerReaches,
} from './support.ts';

/** Each of the two servers for itself, so that one can be away while the other stays. */
describe('outages', () => {
  const homes: string[] = [];
  let postgres: Services;
  let redis: Services;
  let api: TestApi;
  let call: Client;
  const rejections: unknown[] = [];
  const note = (reason: unknown) => rejections.push(reason);

  const start = async (which: 'postgres' | 'redis', home: string) =>
    startServices({
      home,
      cache: cacheDirectory(),
      durable: false,
      postgres: which === 'postgres',
      redis: which === 'redis',
    });

  before(async () => {
    process.on('unhandledRejection', note);
    homes.push(await temporaryHome(), await temporaryHome());
    postgres = await start('postgres', homes[0] ?? '');
    redis = await start('redis', homes[1] ?? '');
    api = await startApi({ databaseUrl: postgres.databaseUrl ?? '', redisUrl: redis.redisUrl ?? '' });
    call = clientOf(api.app, api.tenantKey);
    await addHost(api.db, 100_000);
    await addSystemImage(api);
  });
  after(async () => {
    await api?.close();
    await redis?.stop();
    await postgres?.stop();
    for (const home of homes) await rm(home, { recursive: true, force: true });
    process.off('unhandledRejection', note);
  });

  const create = () => call('POST', '/v1/vms', { name: 'a', image: 'tiny', memoryMiB: 64 });
  const untilReady = async () => {
    while ((await call('GET', '/readyz')).status !== 200)
      await new Promise((resolve) => setTimeout(resolve, 50));
  };
  const missing = async (part: string) => {
    const answer = await call('GET', '/readyz');
    assertProblem(answer, 503, 'unavailable');
    assert.deepEqual(
      answer.body.errors.map((error: { path: string }) => error.path),
      [part],
    );
    assert.equal((await call('GET', '/healthz')).status, 200);
    assert.equal((await call('GET', '/metrics')).status, 200);
  };

  it('without Redis: VMs are still created, what needs it is 503, and waits go on', async () => {
    const before = (await create()).body.vm.id;
    const waiting = call('GET', `/v1/vms/${before}/wait?state=running&timeout=60`);
    await redis.stop();
    await missing('redis');
    const created = await create();
    assert.equal(created.status, 202, created.text);
    const { id } = created.body.vm;
    assertProblem(await call('POST', `/v1/vms/${id}/tickets`, { for: 'serial' }), 503, 'unavailable');
    assertProblem(await call('GET', `/v1/vms/${id}/metrics`), 503, 'unavailable');
    await workerReaches(api.db, before, 'running');
    assert.equal((await waiting).status, 200);
    redis = await start('redis', homes[1] ?? '');
    await untilReady();
    assert.equal((await call('POST', `/v1/vms/${id}/tickets`, { for: 'serial' })).status, 201);
  });

  it('without PostgreSQL: every request is 503, and what was sealed is answered again afterwards', async () => {
    const headers = { 'idempotency-key': 'over-an-outage' };
    const body = { name: 'a', image: 'tiny', memoryMiB: 64 };
    const first = await call('POST', '/v1/vms', body, headers);
    await postgres.stop();
    await missing('database');
    for (const [method, url] of [
      ['GET', '/v1/vms'],
      ['POST', '/v1/vms'],
      ['GET', '/v1/events'],
      ['GET', '/v1/hosts'],
    ] as const) {
      const answer = await call(
        method,
        url,
        method === 'POST' ? body : undefined,
        method === 'POST' ? headers : {},
      );
      assertProblem(answer, 503, 'unavailable');
      assert.match(answer.body.detail, /PostgreSQL/);
      assert.ok(answer.headers['retry-after']);
    }
    postgres = await start('postgres', homes[0] ?? '');
    await untilReady();
    assert.equal((await call('POST', '/v1/vms', body, headers)).text, first.text);
  });

  it('a PostgreSQL that dies under load and comes back loses no room and no request halfway', async () => {
    const requests = Array.from({ length: 40 }, async (_, i) => {
      if (i === 20) process.kill(postgres.pid('postgres') ?? assert.fail('no PostgreSQL'), 'SIGKILL');
      return create();
    });
    for (const answer of await Promise.all(requests)) {
      if (answer.status !== 202) assertProblem(answer, 503, 'unavailable');
    }
    await untilReady();
    const hosts = await api.db.host.aggregate({ _sum: { memoryMiBReserved: true } });
    const held = await api.db.vm.aggregate({ where: { reserved: true }, _sum: { memoryMiB: true } });
    assert.equal(hosts._sum.memoryMiBReserved, held._sum.memoryMiB);
    const operations = await api.db.operation.count({ where: { kind: 'create' } });
    assert.equal(operations, await api.db.vm.count());
    assert.equal((await create()).status, 202);
  });

  it('leaves no rejection that nobody handled', () => {
    assert.deepEqual(rejections, []);
  });
});
