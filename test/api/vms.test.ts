import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { Queue } from 'bullmq';
import { hostQueueName } from '../../src/contracts/reconcile.ts';
import { createRedis } from '../../src/infra/redis.ts';
import { createLogger } from '../../src/lib/log.ts';
import { failOverdue } from '../../src/modules/housekeeping.ts';
import { addHost, addSystemImage, assertProblem, makeTenant, withApi, workerReaches } from './support.ts';

describe('virtual machines', () => {
  const { servers, api, call, operator } = withApi();
  let hostId: string;

  before(async () => {
    hostId = await addHost(api.db, 100_000, 1000, ['interpret', 'translate']);
    await addSystemImage(api);
  });

  const create = async (body: object = {}) => {
    const answer = await call('POST', '/v1/vms', { name: 'a', image: 'tiny', memoryMiB: 64, ...body });
    assert.equal(answer.status, 202, answer.text);
    return answer.body.vm.id as string;
  };
  const running = async () => {
    const id = await create();
    await workerReaches(api.db, id, 'running');
    return id;
  };
  const act = (id: string, action: string) => call('POST', `/v1/vms/${id}/${action}`);

  it('creates one, reserves its place and wakes the worker of its host', async () => {
    const answer = await call('POST', '/v1/vms', {
      name: 'first',
      image: 'tiny',
      memoryMiB: 256,
      labels: { team: 'red', 'app.kubernetes.io/name': 'x' },
    });
    assert.equal(answer.status, 202, answer.text);
    const { vm, operation } = answer.body;
    assert.equal(answer.headers['location'], `/v1/operations/${operation.id}`);
    assert.match(vm.id, /^vm_[0-9a-f-]{36}$/);
    assert.match(operation.id, /^op_[0-9a-f-]{36}$/);
    assert.deepEqual(
      [vm.name, vm.state, vm.memoryMiB, vm.vcpus, vm.image, vm.desired],
      ['first', 'stopped', 256, 1, 'tiny', 'running'],
    );
    assert.deepEqual(vm.engine, { requested: 'auto', actual: null });
    assert.deepEqual(vm.labels, { team: 'red', 'app.kubernetes.io/name': 'x' });
    assert.deepEqual([operation.kind, operation.state, operation.vmId], ['create', 'queued', vm.id]);
    const host = await api.db.host.findUniqueOrThrow({ where: { id: hostId } });
    assert.ok(host.memoryMiBReserved >= 256);
    const connection = createRedis(servers.redisUrl, 'blocking', createLogger('test', 'silent'));
    const queue = new Queue(hostQueueName(hostId), { connection });
    const jobs = await queue.getJobs(['waiting', 'prioritized', 'delayed', 'active']);
    await queue.close();
    connection.disconnect();
    assert.ok(jobs.some((job) => job.data.kind === 'reconcile' && job.data.vmId === vm.id));
    const shown = await call('GET', `/v1/vms/${vm.id}`);
    assert.deepEqual(shown.body, vm);
  });

  it('does not start one that is created with start: false, and needs no room for it', async () => {
    const answer = await call('POST', '/v1/vms', { name: 'b', image: 'tiny', memoryMiB: 64, start: false });
    assert.equal(answer.body.operation.state, 'succeeded');
    assert.deepEqual(
      [answer.body.vm.state, answer.body.vm.desired, answer.body.vm.hostId],
      ['stopped', 'stopped', null],
    );
  });

  it('goes through start, pause, resume, reset, shutdown and stop', async () => {
    const id = await running();
    const steps = [
      ['pause', 'paused', 'paused'],
      ['resume', 'running', 'running'],
      ['reset', 'running', 'running'],
      ['shutdown', 'running', 'stopped'],
      ['start', 'running', 'running'],
      ['stop', 'stopped', 'stopped'],
    ] as const;
    for (const [action, desired, reached] of steps) {
      const answer = await act(id, action);
      assert.equal(answer.status, 202, `${action}: ${answer.text}`);
      assert.equal(answer.body.vm.desired, desired, action);
      assert.equal(answer.body.operation.kind, action);
      assert.equal(answer.body.operation.state, 'queued');
      await workerReaches(api.db, id, reached);
      const operation = await call('GET', String(answer.headers['location']));
      assert.equal(operation.body.state, 'succeeded', action);
    }
    const vm = await api.db.vm.findUniqueOrThrow({ where: { id } });
    assert.deepEqual([vm.bootEpoch, vm.reserved, vm.shutdownRequestedAt], [1, false, null]);
  });

  it('succeeds at once when it is so already', async () => {
    const id = await running();
    for (const action of ['start', 'resume']) {
      const answer = await act(id, action);
      assert.deepEqual([answer.status, answer.body.operation.state], [202, 'succeeded'], action);
    }
    await act(id, 'stop');
    await workerReaches(api.db, id, 'stopped');
    const again = await act(id, 'stop');
    assert.deepEqual([again.status, again.body.operation.state], [202, 'succeeded']);
  });

  it('refuses what makes no sense, and says what would', async () => {
    const id = await create({ start: false });
    for (const action of ['shutdown', 'reset', 'pause', 'resume'])
      assertProblem(await act(id, action), 409, 'vm_not_running');
    const paused = await running();
    await act(paused, 'pause');
    assertProblem(await act(paused, 'start'), 409, 'vm_paused');
    const leaving = await running();
    await act(leaving, 'shutdown');
    assertProblem(await act(leaving, 'start'), 409, 'vm_shutting_down');
  });

  it('cancels what a later request contradicts', async () => {
    const created = await call('POST', '/v1/vms', { name: 'c', image: 'tiny', memoryMiB: 64 });
    await act(created.body.vm.id, 'stop');
    const operation = await call('GET', String(created.headers['location']));
    assert.deepEqual([operation.body.state, operation.body.error.code], ['cancelled', 'superseded']);
  });

  it('fails an operation that misses its deadline, and lets the power button go', async () => {
    const id = await running();
    const answer = await act(id, 'shutdown');
    const past = new Date(Date.now() - 200_000);
    await api.db.operation.update({ where: { id: answer.body.operation.id }, data: { deadlineAt: past } });
    await api.db.vm.update({ where: { id }, data: { shutdownRequestedAt: past } });
    assert.equal(await failOverdue(api), 1);
    const operation = await call('GET', String(answer.headers['location']));
    assert.deepEqual([operation.body.state, operation.body.error.code], ['failed', 'timeout']);
    assert.equal((await act(id, 'shutdown')).status, 202);
  });

  it('waits for a state, and answers 408 when it is not there in time', async () => {
    const id = await create();
    assertProblem(await call('GET', `/v1/vms/${id}/wait?state=running&timeout=0.05`), 408, 'wait_timeout');
    const waiting = call('GET', `/v1/vms/${id}/wait?state=running&timeout=20`);
    await workerReaches(api.db, id, 'running');
    const answer = await waiting;
    assert.deepEqual([answer.status, answer.body.state], [200, 'running']);
  });

  it('waits for an operation', async () => {
    const created = await call('POST', '/v1/vms', { name: 'd', image: 'tiny', memoryMiB: 64 });
    const url = `${created.headers['location']}/wait`;
    assertProblem(await call('GET', `${url}?timeout=0`), 408, 'wait_timeout');
    const waiting = call('GET', url);
    await workerReaches(api.db, created.body.vm.id, 'running');
    assert.equal((await waiting).body.state, 'succeeded');
  });

  it('ends a wait with 404 when the VM is deleted', async () => {
    const id = await running();
    const waiting = call('GET', `/v1/vms/${id}/wait?state=paused&timeout=20`);
    assert.equal((await call('DELETE', `/v1/vms/${id}?force`)).status, 202);
    await workerReaches(api.db, id, 'deleted');
    assertProblem(await waiting, 404, 'not_found');
  });

  it('deletes a stopped one, and any with force', async () => {
    const idle = await create({ start: false });
    const gone = await call('DELETE', `/v1/vms/${idle}`);
    assert.deepEqual([gone.status, gone.body.operation.state], [202, 'succeeded']);
    assertProblem(await call('GET', `/v1/vms/${idle}`), 404, 'not_found');

    const id = await running();
    assertProblem(await call('DELETE', `/v1/vms/${id}`), 409, 'vm_not_stopped');
    const forced = await call('DELETE', `/v1/vms/${id}?force=true`);
    assert.deepEqual(
      [forced.status, forced.body.operation.state, forced.body.vm.desired],
      [202, 'queued', 'deleted'],
    );
    assert.equal((await call('DELETE', `/v1/vms/${id}`)).body.operation.id, forced.body.operation.id);
    assertProblem(await act(id, 'start'), 409, 'vm_deleting');
    assertProblem(await call('PATCH', `/v1/vms/${id}`, { name: 'x' }), 409, 'vm_deleting');
    await workerReaches(api.db, id, 'deleted');
    assert.equal((await call('GET', String(forced.headers['location']))).body.state, 'succeeded');
  });

  it('deletes with force what is on a host that is away, and gives its room back', async () => {
    const away = await addHost(api.db, 200_000);
    const id = await running();
    assert.equal((await api.db.vm.findUniqueOrThrow({ where: { id } })).hostId, away);
    await api.db.host.update({ where: { id: away }, data: { lastHeartbeatAt: new Date(0) } });
    const forced = await call('DELETE', `/v1/vms/${id}?force=1`);
    assert.equal(forced.body.operation.state, 'succeeded');
    assert.equal((await api.db.host.findUniqueOrThrow({ where: { id: away } })).memoryMiBReserved, 0);
  });

  it('changes what it is called at any time, and what it has while it is stopped', async () => {
    const id = await running();
    const renamed = await call('PATCH', `/v1/vms/${id}`, {
      name: 'new',
      labels: { a: 'b' },
      restartPolicy: 'always',
    });
    assert.deepEqual([renamed.status, renamed.body.name, renamed.body.restartPolicy], [200, 'new', 'always']);
    assertProblem(await call('PATCH', `/v1/vms/${id}`, { memoryMiB: 128 }), 409, 'vm_not_stopped');
    await act(id, 'stop');
    assertProblem(await call('PATCH', `/v1/vms/${id}`, { memoryMiB: 128 }), 409, 'vm_not_stopped');
    await workerReaches(api.db, id, 'stopped');
    const larger = await call('PATCH', `/v1/vms/${id}`, { memoryMiB: 128, engine: 'interpret' });
    assert.deepEqual(
      [larger.status, larger.body.memoryMiB, larger.body.engine.requested],
      [200, 128, 'interpret'],
    );
  });

  it('lists page by page, each once, and by name and state', async () => {
    const tenant = await makeTenant(api);
    const names = Array.from({ length: 7 }, (_, i) => `vm-${i}`);
    for (const name of names)
      await tenant.call('POST', '/v1/vms', { name, image: 'tiny', memoryMiB: 16, start: false });
    const seen: string[] = [];
    let cursor = '';
    do {
      const page = await tenant.call('GET', `/v1/vms?limit=3${cursor && `&cursor=${cursor}`}`);
      assert.ok(page.body.items.length <= 3);
      seen.push(...page.body.items.map((vm: { name: string }) => vm.name));
      cursor = page.body.nextCursor ?? '';
    } while (cursor !== '');
    assert.deepEqual(seen, names);
    assert.equal((await tenant.call('GET', '/v1/vms?name=vm-3')).body.items.length, 1);
    assert.equal((await tenant.call('GET', '/v1/vms?state=running')).body.items.length, 0);
    assert.equal((await tenant.call('GET', '/v1/operations?limit=100')).body.items.length, 7);
  });

  it('keeps tenants apart: another’s VM and operation are 404, in every address', async () => {
    const created = await call('POST', '/v1/vms', { name: 'mine', image: 'tiny', memoryMiB: 64 });
    const { id } = created.body.vm;
    const other = (await makeTenant(api)).call;
    for (const url of [
      '',
      '/wait?state=running&timeout=0',
      '/metrics',
      '/serial',
      '/serial/log',
      '/display',
      '/screenshot',
    ]) {
      assertProblem(await other('GET', `/v1/vms/${id}${url}`), 404, 'not_found');
    }
    for (const action of ['start', 'shutdown', 'stop', 'reset', 'pause', 'resume']) {
      assertProblem(await other('POST', `/v1/vms/${id}/${action}`), 404, 'not_found');
    }
    assertProblem(await other('POST', `/v1/vms/${id}/tickets`, { for: 'serial' }), 404, 'not_found');
    assertProblem(await other('POST', `/v1/vms/${id}/input`, { type: 'text', text: 'x' }), 404, 'not_found');
    assertProblem(await other('PATCH', `/v1/vms/${id}`, { name: 'x' }), 404, 'not_found');
    assertProblem(await other('DELETE', `/v1/vms/${id}?force=true`), 404, 'not_found');
    assertProblem(await other('GET', String(created.headers['location'])), 404, 'not_found');
    assertProblem(await other('GET', `${created.headers['location']}/wait?timeout=0`), 404, 'not_found');
    assert.deepEqual((await other('GET', '/v1/vms')).body.items, []);
    assert.deepEqual((await other('GET', '/v1/operations')).body.items, []);
  });

  it('lets an operator see all, or one tenant by the header Teremok-Tenant', async () => {
    const tenant = await makeTenant(api);
    const made = await tenant.call('POST', '/v1/vms', {
      name: 'theirs',
      image: 'tiny',
      memoryMiB: 64,
      start: false,
    });
    assert.equal((await operator('GET', `/v1/vms/${made.body.vm.id}`)).status, 200);
    const narrowed = await operator('GET', '/v1/vms', undefined, { 'teremok-tenant': tenant.id });
    assert.equal(narrowed.body.items.length, 1);
    const created = await operator(
      'POST',
      '/v1/vms',
      { name: 'for', image: 'tiny', memoryMiB: 64, start: false },
      { 'teremok-tenant': tenant.id },
    );
    assert.equal(created.body.vm.tenantId, tenant.id);
    assertProblem(
      await operator('GET', '/v1/vms', undefined, { 'teremok-tenant': 'nobody' }),
      404,
      'not_found',
    );
    assertProblem(
      await tenant.call('GET', '/v1/vms', undefined, { 'teremok-tenant': 'default' }),
      403,
      'forbidden',
    );
  });

  it('shows figures of a VM; its console and screen are WebSockets', async () => {
    const id = await create({ start: false });
    const figures = await call('GET', `/v1/vms/${id}/metrics`);
    assert.equal(figures.status, 200, figures.text);
    assert.deepEqual([figures.body.vmId, figures.body.state, figures.body.cpu.seconds], [id, 'stopped', 0]);
    for (const what of ['serial', 'display'])
      assertProblem(await call('GET', `/v1/vms/${id}/${what}`), 426, 'upgrade_required');
    assertProblem(await call('GET', `/v1/vms/${id}/screenshot`), 409, 'vm_not_running');
  });

  it('takes a processor profile by its name', async () => {
    const body = { name: 'wide', image: 'tiny', memoryMiB: 64, cpu: 'x86-64-v3' };
    const answer = await call('POST', '/v1/vms', body);
    assert.equal(answer.status, 202, answer.text);
    assert.equal(answer.body.vm.cpu, 'x86-64-v3');
    assert.equal((await call('GET', `/v1/vms/${answer.body.vm.id}`)).body.cpu, 'x86-64-v3');
  });

  it('refuses by name what is not supported yet', async () => {
    const base = { name: 'a', image: 'tiny', memoryMiB: 64 };
    for (const extra of [{ vcpus: 2 }, { cpu: 'skylake' }, { volumes: [{}] }, { networks: [{}] }]) {
      assertProblem(await call('POST', '/v1/vms', { ...base, ...extra }), 422, 'unsupported');
    }
    assertProblem(await call('POST', '/v1/vms', { ...base, engine: 'kvm' }), 422, 'engine_unavailable');
    assertProblem(await call('POST', '/v1/vms', { ...base, image: 'nope' }), 404, 'not_found');
    assertProblem(await call('POST', '/v1/vms', { ...base, image: 'tiny-kernel' }), 400, 'invalid_request');
    assertProblem(
      await call('POST', '/v1/vms', { ...base, boot: { kernel: 'tiny-kernel' } }),
      400,
      'invalid_request',
    );
    assertProblem(await call('POST', '/v1/vms', { name: 'a', memoryMiB: 64 }), 400, 'invalid_request');
    const { image: _image, ...bare } = base;
    assertProblem(
      await call('POST', '/v1/vms', { ...bare, boot: { kernel: '/etc/passwd' } }),
      403,
      'forbidden',
    );
    const booted = await call('POST', '/v1/vms', {
      ...bare,
      boot: { kernel: 'tiny-kernel', cmdline: 'quiet' },
      volumes: [],
    });
    assert.deepEqual(booted.body.vm.boot, {
      kernel: 'tiny-kernel',
      initrd: null,
      cmdline: 'quiet',
      order: [],
    });
  });
});
