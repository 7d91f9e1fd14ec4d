import assert from 'node:assert/strict';
import { afterEach, before, describe, it } from 'node:test';
import { addHost, addSystemImage, assertProblem, makeTenant, withApi, workerReaches } from './support.ts';

describe('capacity', () => {
  const { api, call, operator } = withApi();

  before(async () => {
    await addSystemImage(api);
  });
  afterEach(async () => {
    await api.db.vm.deleteMany();
    await api.db.host.deleteMany();
  });

  const create = (memoryMiB: number, more: object = {}) =>
    call('POST', '/v1/vms', { name: 'a', image: 'tiny', memoryMiB, ...more });

  it('never promises more than a host has, however many ask at once', async () => {
    const hosts = [await addHost(api.db, 1000), await addHost(api.db, 650, 3)];
    const answers = await Promise.all(Array.from({ length: 30 }, () => create(200)));
    const placed = answers.filter((answer) => answer.status === 202);
    // 5 × 200 of 1000 MiB on the first, 3 vCPUs (and 3 × 200 of 650 MiB) on the second.
    assert.equal(placed.length, 8);
    for (const answer of answers.filter((refused) => refused.status !== 202))
      assertProblem(answer, 409, 'no_capacity');
    for (const id of hosts) {
      const host = await api.db.host.findUniqueOrThrow({ where: { id } });
      const held = await api.db.vm.aggregate({
        where: { hostId: id, reserved: true },
        _sum: { memoryMiB: true, vcpus: true },
      });
      assert.deepEqual([host.memoryMiBReserved, host.vcpusReserved], [held._sum.memoryMiB, held._sum.vcpus]);
      assert.ok(host.memoryMiBReserved <= host.memoryMiBTotal && host.vcpusReserved <= host.vcpusTotal);
    }
    assert.equal(await api.db.vm.count(), 8);
  });

  it('gives room back when a VM has stopped, once', async () => {
    const host = await addHost(api.db, 256);
    const first = await create(256);
    assertProblem(await create(16), 409, 'no_capacity');
    const { id } = first.body.vm;
    await call('POST', `/v1/vms/${id}/stop`);
    assertProblem(await create(16), 409, 'no_capacity'); // it still has its memory
    await workerReaches(api.db, id, 'stopped');
    await workerReaches(api.db, id, 'stopped');
    assert.equal((await api.db.host.findUniqueOrThrow({ where: { id: host } })).memoryMiBReserved, 0);
    assert.equal((await create(256)).status, 202);
    assertProblem(await call('POST', `/v1/vms/${id}/start`), 409, 'no_capacity');
  });

  it('starts many stopped VMs at once only as far as there is room', async () => {
    await addHost(api.db, 300);
    const made = await Promise.all(Array.from({ length: 6 }, () => create(100, { start: false })));
    const answers = await Promise.all(
      made.map((answer) => call('POST', `/v1/vms/${answer.body.vm.id}/start`)),
    );
    assert.deepEqual(answers.map((answer) => answer.status).sort(), [202, 202, 202, 409, 409, 409]);
  });

  it('places nothing on a host that is away, draining, or without the engine', async () => {
    const away = await addHost(api.db, 1000);
    await api.db.host.update({
      where: { id: away },
      data: { lastHeartbeatAt: new Date(Date.now() - 60_000) },
    });
    const draining = await addHost(api.db, 1000);
    await api.db.host.update({ where: { id: draining }, data: { state: 'draining' } });
    assertProblem(await create(16), 409, 'no_capacity');
    await addHost(api.db, 1000, 10, ['kvm']);
    assertProblem(await create(16, { engine: 'interpret' }), 409, 'no_capacity');
    assert.equal((await create(16, { engine: 'kvm' })).status, 202);
    const hosts = await operator('GET', '/v1/hosts');
    assert.deepEqual(hosts.body.items.map((host: { state: string }) => host.state).sort(), [
      'down',
      'draining',
      'up',
    ]);
  });

  it('keeps a tenant within its quota, however many ask at once', async () => {
    await addHost(api.db, 100_000);
    const tenant = await makeTenant(api, { vms: 4, memoryMiB: 1000 });
    const ask = (memoryMiB: number) =>
      tenant.call('POST', '/v1/vms', { name: 'a', image: 'tiny', memoryMiB });
    const answers = await Promise.all(Array.from({ length: 12 }, () => ask(200)));
    assert.equal(answers.filter((answer) => answer.status === 202).length, 4);
    for (const answer of answers.filter((refused) => refused.status !== 202))
      assertProblem(answer, 409, 'quota_exceeded');
    const { items } = (await tenant.call('GET', '/v1/vms')).body;
    await workerReaches(api.db, items[0].id, 'stopped');
    assertProblem(
      await tenant.call('PATCH', `/v1/vms/${items[0].id}`, { memoryMiB: 500 }),
      409,
      'quota_exceeded',
    );
    assert.equal((await tenant.call('PATCH', `/v1/vms/${items[0].id}`, { memoryMiB: 400 })).status, 200);
  });
});
