import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { newId } from '../../src/lib/ids.ts';
import {
  type Answer,
  addHost,
  addSystemImage,
  assertProblem,
  type Client,
  clientOf,
  makeTenant,
  startApi,
  withApi,
} from './support.ts';

interface Browser {
  readonly cookie: string;
  readonly csrf: string;
  /** Asks as the page of this session does. */
  readonly call: Client;
}

describe('sessions', () => {
  const { servers, api, anonymous, operator } = withApi();
  let origin: string;

  before(async () => {
    origin = await api.app.listen({ port: 0, host: '127.0.0.1' });
  });

  const signIn = async (key: string): Promise<Browser> => {
    const answer = await anonymous('POST', '/v1/session', { key });
    assert.equal(answer.status, 201, answer.text);
    const cookie = cookieOf(answer);
    const csrf: string = answer.body.csrfToken;
    const call: Client = (method, url, body, headers = {}) =>
      anonymous(method, url, body, { cookie, 'x-csrf-token': csrf, ...headers });
    return { cookie, csrf, call };
  };

  it('begin with a key, in a cookie that no script and no other site sees', async () => {
    const tenant = await makeTenant(api);
    const answer = await anonymous('POST', '/v1/session', { key: tenant.key });
    assert.equal(answer.status, 201, answer.text);
    const set = String(answer.headers['set-cookie']);
    for (const part of ['HttpOnly', 'SameSite=Strict', 'Path=/']) assert.ok(set.includes(part), set);
    assert.ok(!set.includes('Secure'), 'over plain HTTP the cookie would be lost');
    const { principal } = answer.body;
    assert.equal(principal.role, 'tenant');
    assert.equal(principal.tenantId, tenant.id);
    assert.match(principal.tenantName, /^t-/);
    assert.equal(principal.readOnly, false);
    assert.ok(!answer.text.includes(tenant.key));

    const again = await anonymous('GET', '/v1/session', undefined, { cookie: cookieOf(answer) });
    assert.deepEqual(again.body.principal, principal);
    assert.equal(again.body.csrfToken, answer.body.csrfToken);
  });

  it('are for TLS alone where the page came over TLS', async () => {
    const headers = { origin: 'https://teremok.example' };
    const answer = await anonymous('POST', '/v1/session', { key: api.operatorKey }, headers);
    assert.match(String(answer.headers['set-cookie']), /; Secure/);
    assert.equal(answer.body.principal.role, 'operator');
    assert.equal(answer.body.principal.tenantId, null);
  });

  it('stand for the key on /v1', async () => {
    const tenant = await makeTenant(api);
    const browser = await signIn(tenant.key);
    assert.equal((await browser.call('GET', '/v1/vms')).status, 200);
    assertProblem(await browser.call('GET', '/v1/tenants'), 403, 'forbidden');
  });

  it('need their own token for whatever is not a GET', async () => {
    const operator = await signIn(api.operatorKey);
    const other = await signIn(api.operatorKey);
    const body = { name: `t-${newId('ten')}` };
    const post = (headers: Record<string, string>) => anonymous('POST', '/v1/tenants', body, headers);
    assertProblem(await post({ cookie: operator.cookie }), 403, 'csrf_refused');
    assertProblem(await post({ cookie: operator.cookie, 'x-csrf-token': '' }), 403, 'csrf_refused');
    assertProblem(await post({ cookie: operator.cookie, 'x-csrf-token': other.csrf }), 403, 'csrf_refused');
    assert.equal((await post({ cookie: operator.cookie, 'x-csrf-token': operator.csrf })).status, 201);
    assertProblem(
      await anonymous('DELETE', '/v1/session', undefined, { cookie: operator.cookie }),
      403,
      'csrf_refused',
    );
  });

  it('do not weaken a key in the Authorization header', async () => {
    const tenant = await makeTenant(api);
    const { cookie } = await signIn(api.operatorKey);
    const headers = { cookie, authorization: `Bearer ${tenant.key}` };
    assertProblem(await anonymous('GET', '/v1/tenants', undefined, headers), 403, 'forbidden');
  });

  it('end when they are signed out, and with their key', async () => {
    const tenant = await makeTenant(api);
    const first = await signIn(tenant.key);
    const second = await signIn(tenant.key);
    const out = await first.call('DELETE', '/v1/session');
    assert.equal(out.status, 204);
    assert.match(String(out.headers['set-cookie']), /teremok_session=;/);
    assertProblem(await first.call('GET', '/v1/vms'), 401, 'unauthenticated');
    assert.equal((await second.call('GET', '/v1/vms')).status, 200);

    const keys = await operator('GET', `/v1/tenants/${tenant.id}/keys`);
    await operator('DELETE', `/v1/tenants/${tenant.id}/keys/${keys.body.items[0].id}`);
    assertProblem(await second.call('GET', '/v1/vms'), 401, 'unauthenticated');
    assertProblem(await second.call('GET', '/v1/session'), 401, 'unauthenticated');
  });

  it('end 12 hours after their last use, and a use moves that on', async () => {
    const tenant = await makeTenant(api);
    const browser = await signIn(tenant.key);
    const { id: keyId } = await api.db.apiKey.findFirstOrThrow({ where: { tenantId: tenant.id } });
    const leave = (ms: number) =>
      api.db.session.updateMany({ where: { keyId }, data: { expiresAt: new Date(Date.now() + ms) } });
    await leave(60_000);
    const answer = await browser.call('GET', '/v1/session');
    assert.ok(Date.parse(answer.body.expiresAt) > Date.now() + 11 * 3_600_000, answer.text);
    await leave(-1);
    assertProblem(await browser.call('GET', '/v1/session'), 401, 'unauthenticated');
  });

  it('are refused for what is no key, and no cookie is set', async () => {
    for (const key of ['x', `${api.tenantKey.slice(0, -1)}x`, 'tk_']) {
      const answer = await anonymous('POST', '/v1/session', { key });
      assertProblem(answer, 401, 'unauthenticated');
      assert.equal(answer.headers['set-cookie'], undefined);
    }
    for (const cookie of ['teremok_session=x', `teremok_session=tks_${'a'.repeat(43)}`]) {
      assertProblem(await anonymous('GET', '/v1/vms', undefined, { cookie }), 401, 'unauthenticated');
    }
    assertProblem(await anonymous('GET', '/v1/session'), 401, 'unauthenticated');
    assertProblem(await anonymous('POST', '/v1/session', {}), 400, 'invalid_request');
  });

  it('make guessing slow', async (test) => {
    const limited = await startApi(servers, { rateLimitPerMinute: 100 });
    test.after(() => limited.close());
    const guess = () => clientOf(limited.app, null)('POST', '/v1/session', { key: 'tk_guess' });
    for (let tries = 0; tries < 20; tries++) assertProblem(await guess(), 401, 'unauthenticated');
    assertProblem(await guess(), 429, 'rate_limited');
  });

  it('open WebSockets from pages of this address alone', async () => {
    const { cookie } = await signIn(api.tenantKey);
    const open = (headers: Record<string, string>) =>
      statusOf(new WebSocket(`${origin.replace('http', 'ws')}/v1/events`, { headers }));
    assert.equal(await open({ cookie, origin }), 101);
    assert.equal(await open({ cookie, origin: 'https://elsewhere.example' }), 403);
    assert.equal(await open({ cookie, origin: 'null' }), 403);
    assert.equal(await open({ cookie }), 403);
    assert.equal(await open({ authorization: `Bearer ${api.tenantKey}` }), 101);
  });

  it('seal secret answers with the session', async () => {
    const tenant = await makeTenant(api);
    const browser = await signIn(api.operatorKey);
    const other = await signIn(api.operatorKey);
    const make = (by: Client) =>
      by('POST', `/v1/tenants/${tenant.id}/keys`, {}, { 'idempotency-key': `k-${tenant.id}` });
    const made = await make(browser.call);
    assert.equal(made.status, 201, made.text);
    assert.equal((await make(browser.call)).body.key, made.body.key);
    assertProblem(await make(other.call), 422, 'idempotency_key_reused');
  });

  it('of a key that may only read change nothing', async () => {
    const tenant = await makeTenant(api);
    const key = await operator('POST', `/v1/tenants/${tenant.id}/keys`, { scopes: ['read'] });
    const reader = await signIn(key.body.key);
    const session = await reader.call('GET', '/v1/session');
    assert.equal(session.body.principal.readOnly, true);
    assert.deepEqual(session.body.principal.scopes, ['read']);
    assert.equal((await reader.call('GET', '/v1/vms')).status, 200);
    const body = { name: 'a', memoryMiB: 64, image: 'tiny' };
    assertProblem(await reader.call('POST', '/v1/vms', body), 403, 'forbidden');
    assert.equal((await reader.call('DELETE', '/v1/session')).status, 204);
  });
});

describe('what the web console asks for', () => {
  const { api, operator } = withApi();

  before(async () => {
    await addHost(api.db, 4096);
    await addSystemImage(api);
  });

  it('usage against quotas, what uses an image, and what has happened', async () => {
    const tenant = await makeTenant(api);
    const made = await tenant.call('POST', '/v1/vms', { name: 'a', memoryMiB: 64, image: 'tiny' });
    assert.equal(made.status, 202, made.text);
    const vmId: string = made.body.vm.id;

    const usage = await tenant.call('GET', '/v1/usage');
    assert.deepEqual(usage.body.usage, { vms: 1, memoryMiB: 64, imageMiB: 0, diskMiB: 0 });
    assert.equal(usage.body.quotas.vms, 100);
    assert.deepEqual((await operator('GET', `/v1/tenants/${tenant.id}`)).body, usage.body);
    assertProblem(await operator('GET', '/v1/usage'), 400, 'invalid_request');

    const images = await tenant.call('GET', '/v1/images?name=tiny');
    assert.deepEqual(images.body.items[0].usedBy, [{ id: vmId, name: 'a', disks: 0 }]);
    assert.equal(images.body.items[0].users, 1);
    const other = await makeTenant(api);
    const theirs = await other.call('GET', `/v1/images/${images.body.items[0].id}`);
    assert.deepEqual([theirs.body.users, theirs.body.usedBy], [0, []]);

    const first = await tenant.call('GET', `/v1/events/history?vmId=${vmId}&limit=1`);
    const rest = await tenant.call('GET', `/v1/events/history?limit=100&cursor=${first.body.nextCursor}`);
    const all = [...first.body.items, ...rest.body.items];
    assert.ok(all.some(({ type }) => type === 'vm.created'));
    const order = all.map(({ seq }) => BigInt(seq));
    assert.deepEqual(
      order,
      order.toSorted((a, b) => (a < b ? 1 : -1)),
    );
    assert.deepEqual((await other.call('GET', `/v1/events/history?vmId=${vmId}`)).body.items, []);
    assertProblem(await tenant.call('GET', '/v1/events/history?cursor=x'), 400, 'invalid_cursor');

    const hosts = await operator('GET', '/v1/hosts');
    assert.equal(typeof hosts.body.items[0].queue.waiting, 'number', hosts.text);
  });

  it('figures of the last hour', async () => {
    const { call } = await makeTenant(api);
    const made = await call('POST', '/v1/vms', { name: 'a', memoryMiB: 64, image: 'tiny' });
    const vmId: string = made.body.vm.id;
    const url = `/v1/vms/${vmId}/metrics/history`;
    assert.deepEqual((await call('GET', url)).body.points, []);
    const now = Date.now();
    await api.redis.rpush(
      `vm-history:${vmId}`,
      ...[0, 1, 2].map((age) => JSON.stringify([now - age * 10_000, 10 - age, 5e6, 0, 0, 0, 0])),
    );
    const { body } = await call('GET', url);
    assert.equal(body.guestMiB, 64);
    assert.deepEqual(
      body.points.map((point: { cpu: { cores: number } }) => point.cpu.cores),
      [0.1, 0.1],
    );
  });
});

describe('the web console’s files', () => {
  let folder: string;
  const { servers, anonymous: call } = withApi(async () => {
    folder = await mkdtemp(path.join(tmpdir(), 'teremok-console-'));
    await mkdir(path.join(folder, 'assets'));
    await writeFile(path.join(folder, 'index.html'), '<!doctype html><title>Teremok</title>');
    await writeFile(path.join(folder, 'icon.svg'), '<svg/>');
    await writeFile(path.join(folder, 'assets/index-abc.js'), 'plain');
    await writeFile(path.join(folder, 'assets/index-abc.js.br'), 'brotli');
    return { consoleDir: folder };
  });
  after(async () => {
    await rm(folder, { recursive: true, force: true });
  });

  const page = { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' };

  it('are served at / under a strict policy', async () => {
    for (const url of ['/', '/machines/vm_1?tab=screen', '/sign-in']) {
      const answer = await call('GET', url, undefined, page);
      assert.equal(answer.status, 200, url);
      assert.match(answer.text, /<title>Teremok/);
      assert.equal(answer.headers['cache-control'], 'no-store');
      const policy = String(answer.headers['content-security-policy']);
      assert.match(policy, /default-src 'none'; script-src 'self';/);
      assert.match(policy, /frame-ancestors 'none'/);
      assert.equal(answer.headers['cross-origin-opener-policy'], 'same-origin');
      assert.equal(answer.headers['x-content-type-options'], 'nosniff');
      assert.equal(answer.headers['referrer-policy'], 'no-referrer');
    }
  });

  it('are kept for ever where their name says what they hold', async () => {
    const answer = await call('GET', '/assets/index-abc.js', undefined, { 'accept-encoding': 'br' });
    assert.equal(answer.text, 'brotli');
    assert.equal(answer.headers['content-encoding'], 'br');
    assert.match(String(answer.headers['content-type']), /javascript/);
    assert.equal(answer.headers['cache-control'], 'public, max-age=31536000, immutable');
    assert.equal((await call('GET', '/assets/index-abc.js')).text, 'plain');
    assert.equal((await call('GET', '/icon.svg')).status, 200);
  });

  it('stand for no address of the API, nothing of the disk, and no program’s request', async () => {
    for (const url of ['/v1/nothing', '/assets/none.js', '/assets/..%2f..%2fpackage.json', '/docs/nothing']) {
      const answer = await call('GET', url, undefined, page);
      assert.ok(
        answer.status === 404 || answer.status === 401 || answer.status === 403,
        `${url} ${answer.status}`,
      );
    }
    assertProblem(await call('GET', '/nothing'), 404, 'route_not_found');
    assertProblem(await call('POST', '/nothing', {}, page), 404, 'route_not_found');
  });

  it('say so when they have not been built', async (test) => {
    const without = await startApi(servers);
    test.after(() => without.close());
    const answer = await clientOf(without.app, null)('GET', '/', undefined, page);
    assertProblem(answer, 501, 'not_available');
  });
});

function cookieOf(answer: Answer): string {
  return String(answer.headers['set-cookie']).split(';')[0] ?? '';
}

/** With which status a WebSocket is opened or refused. */
async function statusOf(socket: WebSocket): Promise<number> {
  return new Promise((resolve, reject) => {
    socket.once('open', () => {
      socket.close();
      resolve(101);
    });
    socket.once('unexpected-response', (_request, response) => {
      response.resume();
      socket.terminate();
      resolve(response.statusCode ?? 0);
    });
    socket.once('error', reject);
  });
}
