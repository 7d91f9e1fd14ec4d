import assert from 'node:assert/strict';
import { once } from 'node:events';
import { before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { eventChannel } from '../../src/contracts/events.ts';
import { newId } from '../../src/lib/ids.ts';
import {
  addHost,
  addSystemImage,
  assertProblem,
  makeTenant,
  startApi,
  withApi,
  workerReaches,
} from './support.ts';

interface SeenEvent {
  readonly seq: string;
  readonly type: string;
  readonly tenantId: string;
  readonly vmId: string;
}

describe('events and tickets', () => {
  const { servers, api, call, anonymous } = withApi();
  let address: string;

  before(async () => {
    await addHost(api.db, 100_000);
    await addSystemImage(api);
    address = (await api.app.listen({ host: '127.0.0.1', port: 0 })).replace('http', 'ws');
  });

  const open = async (url: string, key: string | null = api.tenantKey) => {
    const socket = new WebSocket(
      `${address}${url}`,
      key === null ? {} : { headers: { authorization: `Bearer ${key}` } },
    );
    const seen: SeenEvent[] = [];
    socket.on('message', (data) => seen.push(JSON.parse(String(data))));
    await once(socket, 'open');
    const until = async (wanted: (event: SeenEvent) => boolean) => {
      while (!seen.some(wanted)) await once(socket, 'message');
    };
    return { socket, seen, until };
  };
  /** The status and code with which an upgrade is refused. */
  const refusal = async (url: string, key: string | null = api.tenantKey): Promise<[number, string]> => {
    const socket = new WebSocket(
      `${address}${url}`,
      key === null ? {} : { headers: { authorization: `Bearer ${key}` } },
    );
    socket.on('error', () => {});
    const [, response] = await once(socket, 'unexpected-response');
    let text = '';
    for await (const chunk of response) text += String(chunk);
    socket.terminate();
    return [response.statusCode, JSON.parse(text).code];
  };
  const create = async (caller = call) =>
    (await caller('POST', '/v1/vms', { name: 'a', image: 'tiny', memoryMiB: 64 })).body.vm.id as string;

  it('tells of a tenant’s VMs as they change, and of nobody else’s', async () => {
    const other = await makeTenant(api);
    const viewer = await open('/v1/events');
    const theirs = await create(other.call);
    const id = await create();
    await viewer.until((event) => event.vmId === id && event.type === 'operation.updated');
    await call('POST', `/v1/vms/${id}/stop`);
    await viewer.until((event) => event.vmId === id && event.type === 'vm.updated');
    assert.ok(viewer.seen.some((event) => event.type === 'vm.created' && event.vmId === id));
    assert.ok(viewer.seen.every((event) => event.vmId !== theirs));
    viewer.socket.close();
  });

  it('goes on after the last event seen, without a gap and without a repeat', async () => {
    const viewer = await open('/v1/events');
    const ids = [await create(), await create(), await create()];
    await viewer.until((event) => event.vmId === ids[2] && event.type === 'operation.updated');
    viewer.socket.close();
    const place = viewer.seen.findIndex(
      (event) => event.vmId === ids[0] && event.type === 'operation.updated',
    );
    const again = await open(`/v1/events?since=${viewer.seen[place]?.seq}`);
    await again.until((event) => event.vmId === ids[2] && event.type === 'operation.updated');
    again.socket.close();
    assert.deepEqual(
      again.seen.map(({ seq }) => seq),
      viewer.seen.slice(place + 1).map(({ seq }) => seq),
    );
  });

  it('finds what Redis did not tell of, and what was committed late', async () => {
    const viewer = await open('/v1/events');
    const tenant = await api.db.tenant.findUniqueOrThrow({ where: { name: 'default' } });
    const data = { tenantId: tenant.id, vmId: newId('vm'), type: 'vm.state', data: {} };
    const first = await api.db.event.create({ data });
    await viewer.until((event) => event.seq === String(first.seq));
    await api.db.$transaction(async (tx) => {
      const late = await tx.event.create({ data });
      const early = await api.db.event.create({ data }); // committed before the one with the smaller number
      await viewer.until((event) => event.seq === String(early.seq));
      assert.ok(late.seq < early.seq);
      Object.assign(data, { late: undefined, expected: late.seq });
    });
    const expected = String(Reflect.get(data, 'expected'));
    await viewer.until((event) => event.seq === expected);
    assert.equal(viewer.seen.filter((event) => event.seq === expected).length, 1);
    viewer.socket.close();
  });

  it('shows an operator everybody’s events', async () => {
    const other = await makeTenant(api);
    const viewer = await open('/v1/events', api.operatorKey);
    const theirs = await create(other.call);
    await viewer.until((event) => event.vmId === theirs);
    viewer.socket.close();
  });

  it('refuses before the upgrade what it does not take', async () => {
    assert.deepEqual(await refusal('/v1/events', null), [401, 'unauthenticated']);
    assert.deepEqual(await refusal('/v1/events?since=x'), [400, 'invalid_request']);
    assert.deepEqual(await refusal('/v1/nothing'), [404, 'route_not_found']);
    assertProblem(await call('GET', '/v1/events'), 426, 'upgrade_required');
  });

  it('refuses the console of a stopped VM, with or without a ticket', async () => {
    const id = await create();
    await workerReaches(api.db, id, 'stopped');
    assert.deepEqual(await refusal(`/v1/vms/${id}/serial`), [409, 'vm_not_running']);
    assert.deepEqual(await refusal(`/v1/vms/${newId('vm')}/serial`), [404, 'not_found']);
    const ticket = await call('POST', `/v1/vms/${id}/tickets`, { for: 'serial' });
    assert.equal(ticket.status, 201, ticket.text);
    const left = Date.parse(ticket.body.expiresAt) - Date.now();
    assert.ok(left > 50_000 && left <= 60_000);
    assert.deepEqual(await refusal(`/v1/vms/${id}/serial?ticket=${ticket.body.ticket}`, null), [
      409,
      'vm_not_running',
    ]);
  });

  it('takes a ticket once, for its own VM and purpose', async () => {
    const [one, two] = [await create(), await create()];
    for (const id of [one, two]) await workerReaches(api.db, id, 'stopped');
    const issue = async () =>
      (await call('POST', `/v1/vms/${one}/tickets`, { for: 'serial' })).body.ticket as string;
    const ticket = await issue();
    assert.deepEqual(await refusal(`/v1/vms/${one}/serial?ticket=${ticket}`, null), [409, 'vm_not_running']);
    assert.deepEqual(await refusal(`/v1/vms/${one}/serial?ticket=${ticket}`, null), [401, 'invalid_ticket']);
    assert.deepEqual(await refusal(`/v1/vms/${two}/serial?ticket=${await issue()}`, null), [
      401,
      'invalid_ticket',
    ]);
    assert.deepEqual(await refusal(`/v1/events?ticket=${await issue()}`, null), [401, 'unauthenticated']);
    for (const bad of ['', 'x', 'tkt_', '%00', 'x'.repeat(201)]) {
      const [status] = await refusal(`/v1/vms/${one}/serial?ticket=${bad}`, null);
      assert.ok(status === 401 || status === 400, bad);
    }
    assertProblem(await anonymous('GET', `/v1/vms/${one}?ticket=${await issue()}`), 401, 'unauthenticated');
  });

  it('says good-bye when the service goes', async () => {
    const other = await startApi(servers);
    const at = (await other.app.listen({ host: '127.0.0.1', port: 0 })).replace('http', 'ws');
    const socket = new WebSocket(`${at}/v1/events`, {
      headers: { authorization: `Bearer ${other.operatorKey}` },
    });
    await once(socket, 'open');
    const tenant = await makeTenant(other);
    const id = await create(tenant.call);
    const waiting = tenant.call('GET', `/v1/vms/${id}/wait?state=paused&timeout=60`);
    const channel = eventChannel(tenant.id);
    while ((await api.redis.pubsub('NUMSUB', channel))[1] === 0) await call('GET', '/healthz'); // until the wait has begun
    const closed = once(socket, 'close');
    other.beginClosing();
    assertProblem(await waiting, 503, 'shutting_down');
    assert.equal((await closed)[0], 1012);
    assertProblem(await tenant.call('GET', '/v1/vms'), 503, 'shutting_down');
    await other.close();
  });
});
