import assert from 'node:assert/strict';
import { once } from 'node:events';
import { before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { CONSOLE_CLOSE } from '../../src/contracts/console.ts';
import {
  type Answer,
  addHost,
  addSystemImage,
  assertProblem,
  type Client,
  makeTenant,
  withApi,
} from './support.ts';

/** Of consoles and screens, which need a worker: test/worker/screen.test.ts. */
describe('an event stream ends with what opened it', () => {
  const { api, operator, anonymous } = withApi();
  let origin: string;

  before(async () => {
    origin = await api.app.listen({ port: 0, host: '127.0.0.1' });
  });

  const open = async (headers: Record<string, string>): Promise<WebSocket> => {
    const socket = new WebSocket(`${origin.replace('http', 'ws')}/v1/events`, { headers });
    await once(socket, 'open');
    return socket;
  };
  const withKey = (key: string) => open({ authorization: `Bearer ${key}` });
  const signIn = async (key: string) => {
    const answer = await anonymous('POST', '/v1/session', { key });
    assert.equal(answer.status, 201, answer.text);
    const cookie = String(answer.headers['set-cookie']).split(';')[0] ?? '';
    const headers = { cookie, 'x-csrf-token': answer.body.csrfToken as string };
    const signOut = () => anonymous('DELETE', '/v1/session', undefined, headers);
    return { headers, signOut, stream: () => open({ cookie, origin }) };
  };
  const closeOf = async (socket: WebSocket): Promise<[number, string]> => {
    const [code, reason] = await once(socket, 'close');
    return [code, String(reason)];
  };
  const KEY_GONE = [CONSOLE_CLOSE.unauthorized, 'the key was revoked or has expired'];
  const SESSION_OVER = [CONSOLE_CLOSE.unauthorized, 'the session is over'];
  const staysOpen = async (socket: WebSocket): Promise<void> => {
    socket.ping();
    await once(socket, 'pong');
    assert.equal(socket.readyState, WebSocket.OPEN);
  };

  it('when the key is revoked: also of browsers that are signed in with it, and of no other key', async () => {
    const tenant = await makeTenant(api);
    const second = await operator('POST', `/v1/tenants/${tenant.id}/keys`, {});
    const browser = await signIn(tenant.key);
    const sockets = [await withKey(tenant.key), await browser.stream()];
    const others = [await withKey(second.body.key), await (await signIn(second.body.key)).stream()];
    const closed = Promise.all(sockets.map(closeOf));
    const keys = await operator('GET', `/v1/tenants/${tenant.id}/keys`);
    const [first] = keys.body.items;
    assert.equal((await operator('DELETE', `/v1/tenants/${tenant.id}/keys/${first.id}`)).status, 204);
    assert.deepEqual(await closed, [KEY_GONE, KEY_GONE]);
    for (const socket of others) {
      await staysOpen(socket);
      socket.close();
    }
  });

  it('when the browser signs out, and not those of another browser with the same key', async () => {
    const tenant = await makeTenant(api);
    const [leaving, staying] = [await signIn(tenant.key), await signIn(tenant.key)];
    const streams = [await leaving.stream(), await leaving.stream()];
    const other = await staying.stream();
    const program = await withKey(tenant.key);
    const closed = Promise.all(streams.map(closeOf));
    assert.equal((await leaving.signOut()).status, 204);
    assert.deepEqual(await closed, [SESSION_OVER, SESSION_OVER]);
    for (const socket of [other, program]) {
      await staysOpen(socket);
      socket.close();
    }
  });

  it('when the key or the session expires, or another process ends it', async () => {
    const tenant = await makeTenant(api);
    const expiresAt = new Date(Date.now() + 1500).toISOString();
    const brief = await operator('POST', `/v1/tenants/${tenant.id}/keys`, { expiresAt });
    const withBrief = closeOf(await withKey(brief.body.key));
    const browser = await signIn(tenant.key);
    const inBrowser = closeOf(await browser.stream());
    const elsewhere = closeOf(await withKey(tenant.key));
    const { keyId } = await api.db.session.findFirstOrThrow({ where: { key: { tenantId: tenant.id } } });
    await api.db.session.updateMany({ where: { keyId }, data: { expiresAt: new Date(Date.now() + 300) } });
    assert.deepEqual(await inBrowser, SESSION_OVER);
    assert.deepEqual(await withBrief, KEY_GONE);
    // As an API beside this one does.
    await api.db.apiKey.update({ where: { id: keyId }, data: { revokedAt: new Date() } });
    assert.deepEqual(await elsewhere, KEY_GONE);
  });

  it('when the tenant is deleted', async () => {
    const tenant = await makeTenant(api);
    const closed = closeOf(await withKey(tenant.key));
    assert.equal((await operator('DELETE', `/v1/tenants/${tenant.id}`)).status, 204);
    assert.deepEqual(await closed, KEY_GONE);
  });

  it('and tickets that were made before are no good any more', async () => {
    await addHost(api.db, 4096);
    await addSystemImage(api);
    const tenant = await makeTenant(api);
    const made = await tenant.call('POST', '/v1/vms', { name: 'a', memoryMiB: 64, image: 'tiny' });
    const url = `/v1/vms/${made.body.vm.id}`;
    const browser = await signIn(tenant.key);
    const asPage = (method: 'POST', path: string, body: object) =>
      anonymous(method, path, body, browser.headers);
    const ofSession = await asPage('POST', `${url}/tickets`, { for: 'serial' });
    const ofKey = await tenant.call('POST', `${url}/tickets`, { for: 'serial' });
    const redeem = (ticket: string) => anonymous('GET', `${url}/serial?ticket=${ticket}`);
    await browser.signOut();
    assertProblem(await redeem(ofSession.body.ticket), 401, 'invalid_ticket');
    const { id } = await api.db.apiKey.findFirstOrThrow({ where: { tenantId: tenant.id } });
    await operator('DELETE', `/v1/tenants/${tenant.id}/keys/${id}`);
    assertProblem(await redeem(ofKey.body.ticket), 401, 'invalid_ticket');
  });
});

/** How soon a wait may end at the latest: what a look takes, on a busy machine. Milliseconds. */
const SOON_MS = 10_000;
/** What requests are given to be let in. Milliseconds. */
const LET_IN_MS = 2_000;

/** With a guest that says nothing: test/worker/screen.test.ts. */
describe('a request that waits ends with what it came by', () => {
  const { api, operator, anonymous } = withApi();

  before(async () => {
    await addHost(api.db, 100_000);
    await addSystemImage(api);
  });

  /** A tenant whose VM no worker starts: whatever is waited for does not come. */
  const waiter = async () => {
    const tenant = await makeTenant(api);
    const made = await tenant.call('POST', '/v1/vms', { name: 'a', memoryMiB: 64, image: 'tiny' });
    assert.equal(made.status, 202, made.text);
    const keys = await operator('GET', `/v1/tenants/${tenant.id}/keys`);
    const keyId: string = keys.body.items[0].id;
    const vm = `/v1/vms/${made.body.vm.id}`;
    const waits = (call: Client, headers?: Record<string, string>) => [
      call('GET', `/v1/operations/${made.body.operation.id}/wait?timeout=300`, undefined, headers),
      call('GET', `${vm}/wait?state=running&timeout=300`, undefined, headers),
      call('POST', `${vm}/expect`, { on: 'serial', pattern: 'never', timeoutSeconds: 300 }, headers),
    ];
    return { ...tenant, keyId, keyPath: `/v1/tenants/${tenant.id}/keys/${keyId}`, waits };
  };
  /** Sees to it that all were let in and none has an answer. One that came late is refused in other words. */
  const settle = async (waits: readonly Promise<Answer>[]) => {
    const first = await Promise.race([...waits, delay(LET_IN_MS, 'waiting')]);
    assert.equal(first, 'waiting');
  };
  const refused = async (waits: readonly Promise<Answer>[], why: RegExp) => {
    const began = performance.now();
    for (const answer of await Promise.all(waits)) {
      assertProblem(answer, 401, 'unauthenticated');
      assert.match(answer.body.detail, why);
    }
    const took = performance.now() - began;
    assert.ok(took < SOON_MS, `they waited for another ${took} ms`);
  };

  it('when the key is revoked, and others’ waits go on', async () => {
    const [one, other] = [await waiter(), await waiter()];
    const [waits, others] = [one.waits(one.call), other.waits(other.call)];
    await settle([...waits, ...others]);
    assert.equal((await operator('DELETE', one.keyPath)).status, 204);
    await refused(waits, /^the key was revoked or has expired while this request waited$/);
    await settle(others);
    await operator('DELETE', other.keyPath);
    await refused(others, /^the key was revoked or has expired while/);
  });

  it('when another process revokes the key, or its time is over', async () => {
    for (const change of [{ revokedAt: new Date() }, { expiresAt: new Date() }]) {
      const one = await waiter();
      const waits = one.waits(one.call);
      await settle(waits);
      await api.db.apiKey.update({ where: { id: one.keyId }, data: change });
      await refused(waits, /^the key was revoked or has expired while/);
    }
  });

  it('when the browser signs out', async () => {
    const one = await waiter();
    const signedIn = await anonymous('POST', '/v1/session', { key: one.key });
    const cookie = String(signedIn.headers['set-cookie']).split(';')[0] ?? '';
    const headers = { cookie, 'x-csrf-token': signedIn.body.csrfToken as string };
    const waits = one.waits(anonymous, headers);
    const byKey = one.waits(one.call);
    await settle([...waits, ...byKey]);
    assert.equal((await anonymous('DELETE', '/v1/session', undefined, headers)).status, 204);
    await refused(waits, /^the session is over while this request waited$/);
    await settle(byKey);
    await operator('DELETE', one.keyPath);
    await refused(byKey, /^the key was revoked or has expired while/);
  });
});
