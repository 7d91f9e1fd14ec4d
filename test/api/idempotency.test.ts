import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { before, describe, it } from 'node:test';
import { addHost, addSystemImage, assertProblem, elfKernel, makeTenant, OCTETS, withApi } from './support.ts';

describe('Idempotency-Key', () => {
  const { api, call, operator } = withApi();

  before(async () => {
    await addHost(api.db, 100_000);
    await addSystemImage(api);
  });

  const body = { name: 'a', image: 'tiny', memoryMiB: 64 };
  const key = () => ({ 'idempotency-key': randomUUID() });

  it('answers a repeated request as before, and does its work once', async () => {
    const headers = key();
    const first = await call('POST', '/v1/vms', body, headers);
    const again = await call('POST', '/v1/vms', body, headers);
    assert.equal(first.status, 202, first.text);
    assert.deepEqual(
      [again.status, again.text, again.headers['location']],
      [first.status, first.text, first.headers['location']],
    );
    assert.equal(again.headers['idempotency-replayed'], 'true');
    assert.equal(await api.db.operation.count({ where: { vmId: first.body.vm.id } }), 1);
  });

  it('refuses the key for another body, address or method of asking', async () => {
    const headers = key();
    await call('POST', '/v1/vms', body, headers);
    assertProblem(
      await call('POST', '/v1/vms', { ...body, name: 'b' }, headers),
      422,
      'idempotency_key_reused',
    );
    const { items } = (await call('GET', '/v1/vms')).body;
    assertProblem(
      await call('POST', `/v1/vms/${items[0].id}/stop`, undefined, headers),
      422,
      'idempotency_key_reused',
    );
  });

  it('makes one VM of many requests at once', async () => {
    const tenant = await makeTenant(api);
    const headers = key();
    const answers = await Promise.all(
      Array.from({ length: 12 }, () => tenant.call('POST', '/v1/vms', body, headers)),
    );
    assert.deepEqual(
      answers.map((answer) => answer.status),
      answers.map(() => 202),
    );
    assert.equal(new Set(answers.map((answer) => answer.body.vm.id)).size, 1);
    assert.equal(await api.db.vm.count({ where: { tenantId: tenant.id } }), 1);
  });

  it('is a tenant’s own: the same key of another tenant is another', async () => {
    const headers = key();
    const one = await (await makeTenant(api)).call('POST', '/v1/vms', body, headers);
    const two = await (await makeTenant(api)).call('POST', '/v1/vms', body, headers);
    assert.equal(two.status, 202);
    assert.notEqual(one.body.vm.id, two.body.vm.id);
  });

  it('frees the key of a request that failed, since it changed nothing', async () => {
    const tenant = await makeTenant(api, { vms: 0 });
    const headers = key();
    assertProblem(await tenant.call('POST', '/v1/vms', body, headers), 409, 'quota_exceeded');
    assert.equal((await operator('PATCH', `/v1/tenants/${tenant.id}`, { quotas: { vms: 1 } })).status, 200);
    assert.equal((await tenant.call('POST', '/v1/vms', body, headers)).status, 202);
  });

  it('takes over from a request that died without an answer', async () => {
    const tenant = await makeTenant(api);
    const headers = key();
    const first = await tenant.call('POST', '/v1/vms', body, headers);
    const where = { owner_key: { owner: tenant.id, key: headers['idempotency-key'] } };
    await api.db.idempotencyKey.update({
      where,
      data: { answer: null, status: null, lockedUntil: new Date(0) },
    });
    const again = await tenant.call('POST', '/v1/vms', body, headers);
    assert.equal(again.status, 202);
    assert.notEqual(again.body.vm.id, first.body.vm.id);
  });

  it('forgets after its time', async () => {
    const tenant = await makeTenant(api);
    const headers = key();
    const first = await tenant.call('POST', '/v1/vms', body, headers);
    await api.db.idempotencyKey.updateMany({ where: { owner: tenant.id }, data: { expiresAt: new Date(0) } });
    const again = await tenant.call('POST', '/v1/vms', { ...body, name: 'other' }, headers);
    assert.notEqual(again.body.vm.id, first.body.vm.id);
  });

  it('shows a new key again to the key that asked, and keeps it from readers of the database', async () => {
    const tenant = await makeTenant(api);
    const headers = key();
    const url = `/v1/tenants/${tenant.id}/keys`;
    const first = await operator('POST', url, { name: 'ci' }, headers);
    const again = await operator('POST', url, { name: 'ci' }, headers);
    assert.equal(first.status, 201, first.text);
    assert.equal(again.body.key, first.body.key);
    const rows = await api.db.idempotencyKey.findMany({ where: { key: headers['idempotency-key'] } });
    assert.equal(rows.length, 1);
    assert.ok(!Buffer.from(rows[0]?.answer ?? []).includes(first.body.key));
  });

  it('tells a repeated upload from another file', async () => {
    const headers = { ...key(), ...OCTETS };
    const url = '/v1/images?name=twice&kind=kernel';
    const first = await call('POST', url, elfKernel('one'), headers);
    const again = await call('POST', url, elfKernel('one'), headers);
    assert.equal(first.status, 201, first.text);
    assert.deepEqual([again.status, again.body.id], [201, first.body.id]);
    assertProblem(await call('POST', url, elfKernel('two'), headers), 422, 'idempotency_key_reused');
  });

  it('covers tickets, tenants and composed images as well', async () => {
    const { items } = (await call('GET', '/v1/vms')).body;
    const requests = [
      [call, `/v1/vms/${items[0].id}/tickets`, { for: 'serial' }, 'ticket'],
      [operator, '/v1/tenants', { name: `t-${randomUUID()}` }, 'id'],
      [operator, '/v1/images', { name: 'copy', kind: 'system', kernel: 'tiny-kernel' }, 'id'],
    ] as const;
    for (const [caller, url, payload, field] of requests) {
      const headers = key();
      const first = await caller('POST', url, payload, headers);
      const again = await caller('POST', url, payload, headers);
      assert.equal(first.status, 201, first.text);
      assert.equal(again.body[field], first.body[field], url);
    }
  });

  it('refuses a key that is none', async () => {
    for (const bad of ['', 'a b', 'x'.repeat(256), 'ключ']) {
      assertProblem(
        await call('POST', '/v1/vms', body, { 'idempotency-key': bad }),
        400,
        'invalid_idempotency_key',
      );
    }
  });
});
