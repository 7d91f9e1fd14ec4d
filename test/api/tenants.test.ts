import assert from 'node:assert/strict';
import { readFile, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { describe, it } from 'node:test';
import { createLogger } from '../../src/lib/log.ts';
import { bootstrap } from '../../src/modules/bootstrap/bootstrap.ts';
import {
  addSystemImage,
  assertProblem,
  clientOf,
  makeTenant,
  startApi,
  startServers,
  withApi,
} from './support.ts';

describe('tenants and keys', () => {
  const { api, operator } = withApi();

  it('makes, shows, changes and deletes a tenant', async () => {
    const made = await operator('POST', '/v1/tenants', { name: 'red', quotas: { vms: 3 } });
    assert.equal(made.status, 201, made.text);
    const { id } = made.body;
    assert.match(id, /^ten_/);
    assert.deepEqual(made.body.quotas, { vms: 3, memoryMiB: 65_536, imageMiB: 10_240, diskMiB: 204_800 });
    assertProblem(await operator('POST', '/v1/tenants', { name: 'red' }), 409, 'name_taken');
    const changed = await operator('PATCH', `/v1/tenants/${id}`, { name: 'blue', quotas: { memoryMiB: 1 } });
    assert.deepEqual(
      [changed.body.name, changed.body.quotas],
      ['blue', { vms: 3, memoryMiB: 1, imageMiB: 10_240, diskMiB: 204_800 }],
    );
    assertProblem(await operator('PATCH', `/v1/tenants/${id}`, { name: 'default' }), 409, 'name_taken');
    assert.equal((await operator('DELETE', `/v1/tenants/${id}`)).status, 204);
    assertProblem(await operator('GET', `/v1/tenants/${id}`), 404, 'not_found');
    assertProblem(await operator('DELETE', `/v1/tenants/${id}`), 404, 'not_found');
  });

  it('keeps a tenant that has VMs', async () => {
    await addSystemImage(api);
    const tenant = await makeTenant(api);
    await tenant.call('POST', '/v1/vms', { name: 'a', image: 'tiny', memoryMiB: 64, start: false });
    assertProblem(await operator('DELETE', `/v1/tenants/${tenant.id}`), 409, 'tenant_in_use');
  });

  it('shows a key once, stores only its hash, and revokes it at once', async () => {
    const tenant = await makeTenant(api);
    const made = await operator('POST', `/v1/tenants/${tenant.id}/keys`, { name: 'ci' });
    const { id, key } = made.body;
    assert.match(key, /^tk_[0-9a-f]{32}_[0-9a-f]{64}$/);
    const rows = JSON.stringify(await api.db.apiKey.findMany());
    assert.ok(!rows.includes(key.split('_')[2]));
    const listed = await operator('GET', `/v1/tenants/${tenant.id}/keys`);
    assert.deepEqual(listed.body.items.map((item: { name: string }) => item.name).sort(), ['ci', 'key']);
    assert.ok(!listed.text.includes(key));
    const call = clientOf(api.app, key);
    assert.equal((await call('GET', '/v1/vms')).status, 200);
    assert.equal((await operator('DELETE', `/v1/tenants/${tenant.id}/keys/${id}`)).status, 204);
    assertProblem(await call('GET', '/v1/vms'), 401, 'unauthenticated');
    assert.equal((await operator('DELETE', `/v1/tenants/${tenant.id}/keys/${id}`)).status, 204);
    const other = await makeTenant(api);
    assertProblem(await operator('DELETE', `/v1/tenants/${other.id}/keys/${id}`), 404, 'not_found');
  });

  it('lets operators replace their own keys', async () => {
    const made = await operator('POST', '/v1/keys', { name: 'second' });
    assert.equal(made.status, 201, made.text);
    const second = clientOf(api.app, made.body.key);
    const listed = await second('GET', '/v1/keys');
    assert.deepEqual(
      listed.body.items.map((item: { name: string }) => item.name),
      ['operator.key', 'second'],
    );
    assert.equal((await operator('DELETE', `/v1/keys/${made.body.id}`)).status, 204);
    assertProblem(await second('GET', '/v1/keys'), 401, 'unauthenticated');
    const [tenants] = await api.db.apiKey.findMany({ where: { role: 'tenant' } });
    assertProblem(await operator('DELETE', `/v1/keys/${tenants?.id}`), 404, 'not_found');
  });

  it('takes no key after its time', async () => {
    const tenant = await makeTenant(api);
    const made = await operator('POST', `/v1/tenants/${tenant.id}/keys`, {
      expiresAt: '2020-01-01T00:00:00Z',
    });
    assertProblem(await clientOf(api.app, made.body.key)('GET', '/v1/vms'), 401, 'unauthenticated');
    for (const expiresAt of ['tomorrow', '2020-13-01T00:00:00Z', 1, null]) {
      assertProblem(
        await operator('POST', `/v1/tenants/${tenant.id}/keys`, { expiresAt }),
        400,
        'invalid_request',
      );
    }
  });

  it('writes key files that only their owner reads, keeps them, and makes lost ones anew', async () => {
    const options = {
      db: api.db,
      log: createLogger('test', 'silent'),
      home: api.home,
      imagesDir: path.join(api.home, 'images'),
    };
    const file = path.join(api.home, 'default.key');
    assert.equal((await stat(file)).mode & 0o777, 0o600);
    await Promise.all([bootstrap(options), bootstrap(options)]);
    assert.equal((await readFile(file, 'utf8')).trim(), api.tenantKey);
    await rm(file);
    await bootstrap(options);
    const fresh = (await readFile(file, 'utf8')).trim();
    assert.notEqual(fresh, api.tenantKey);
    assert.equal((await clientOf(api.app, fresh)('GET', '/v1/vms')).status, 200);
  });
});

describe('rate limits', () => {
  it('hold for each key, and for guesses from one address', async () => {
    const servers = await startServers();
    const api = await startApi(servers, { rateLimitPerMinute: 5 });
    try {
      const call = clientOf(api.app, api.tenantKey);
      for (let i = 0; i < 5; i++) {
        const answer = await call('GET', '/v1/vms');
        assert.equal(answer.status, 200, answer.text);
      }
      const limited = await call('GET', '/v1/vms');
      assertProblem(limited, 429, 'rate_limited');
      assert.ok(Number(limited.headers['retry-after']) > 0);
      assert.equal((await clientOf(api.app, api.operatorKey)('GET', '/v1/vms')).status, 200);
      const guess = clientOf(api.app, 'tk_wrong');
      const statuses = new Set<number>();
      for (let i = 0; i < 25; i++) statuses.add((await guess('GET', '/v1/vms')).status);
      assert.deepEqual([...statuses], [401, 429]);
    } finally {
      await api.close();
      await servers.stop();
    }
  });
});
