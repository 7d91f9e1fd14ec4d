import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { before, describe, it } from 'node:test';
import { makeApiKey } from '../../src/lib/api-keys.ts';
import { newId } from '../../src/lib/ids.ts';
import {
  addHost,
  addSystemImage,
  assertProblem,
  clientOf,
  makeTenant,
  OCTETS,
  type TestApi,
  withApi,
} from './support.ts';

interface Operation {
  readonly parameters?: readonly { readonly in: string; readonly name: string }[];
  readonly requestBody?: { readonly content: Record<string, unknown> };
  readonly responses: Record<string, unknown>;
  readonly security?: readonly object[];
  readonly summary?: string;
}

interface Endpoint {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly operation: Operation;
}

/** What the contract promises: each must be described, so that the walk below meets it. */
const CONTRACT = [
  'POST /v1/vms',
  'GET /v1/vms',
  'GET /v1/vms/{id}',
  'PATCH /v1/vms/{id}',
  'DELETE /v1/vms/{id}',
  'POST /v1/vms/{id}/start',
  'POST /v1/vms/{id}/shutdown',
  'POST /v1/vms/{id}/stop',
  'POST /v1/vms/{id}/reset',
  'POST /v1/vms/{id}/pause',
  'POST /v1/vms/{id}/resume',
  'GET /v1/vms/{id}/wait',
  'GET /v1/operations/{id}',
  'GET /v1/operations/{id}/wait',
  'GET /v1/vms/{id}/serial',
  'GET /v1/vms/{id}/serial/log',
  'GET /v1/vms/{id}/display',
  'GET /v1/vms/{id}/screenshot',
  'GET /v1/vms/{id}/screen/text',
  'POST /v1/vms/{id}/expect',
  'POST /v1/vms/{id}/cdrom',
  'POST /v1/vms/{id}/input',
  'POST /v1/vms/{id}/tickets',
  'GET /v1/vms/{id}/metrics',
  'GET /v1/events',
  'GET /v1/images',
  'POST /v1/images',
  'GET /v1/images/{id}',
  'DELETE /v1/images/{id}',
  'GET /v1/uploads',
  'POST /v1/uploads',
  'GET /v1/uploads/{id}',
  'PATCH /v1/uploads/{id}',
  'DELETE /v1/uploads/{id}',
  'GET /v1/tenants',
  'POST /v1/tenants',
  'GET /v1/tenants/{id}',
  'GET /v1/tenants/{id}/keys',
  'POST /v1/tenants/{id}/keys',
  'GET /v1/hosts',
  'GET /healthz',
  'GET /readyz',
  'GET /metrics',
];

describe('bad input', () => {
  const { api, call, operator, anonymous } = withApi();
  let endpoints: Endpoint[];

  before(async () => {
    await addHost(api.db, 100_000);
    await addSystemImage(api);
    endpoints = await describedEndpoints(api);
  });

  const v1 = () => endpoints.filter(({ path }) => path.startsWith('/v1/'));
  /** Those that ask for a key: all but signing in and out. */
  const closed = () => v1().filter(({ operation }) => operation.security?.length !== 0);
  const isOperators = ({ path }: Endpoint) => /^\/v1\/(tenants|hosts|keys)/.test(path);
  const name = ({ method, path }: Endpoint) => `${method} ${path}`;
  const urlOf = ({ path }: Endpoint, id = '') => {
    const prefix = path.includes('/vms/')
      ? 'vm'
      : path.includes('/operations/')
        ? 'op'
        : path.includes('/images/')
          ? 'img'
          : path.includes('/uploads/')
            ? 'upl'
            : 'ten';
    const url = path.replace('{id}', id || newId(prefix)).replace('{keyId}', newId('key'));
    return path.endsWith('/vms/{id}/wait') ? `${url}?state=running&timeout=0` : url;
  };

  it('describes every endpoint of the contract, with a summary, its refusals and its key', () => {
    const described = new Set(endpoints.map(name));
    for (const endpoint of CONTRACT)
      assert.ok(described.has(endpoint), `${endpoint} is not in /openapi.json`);
    for (const endpoint of v1()) {
      assert.ok(endpoint.operation.summary, `${name(endpoint)} has no summary`);
      assert.ok(endpoint.operation.responses['401'], `${name(endpoint)} does not say 401`);
      assert.ok(endpoint.operation.security, `${name(endpoint)} does not say that it needs a key`);
    }
  });

  it('asks for a key everywhere, and takes no wrong one', async () => {
    const stranger = makeApiKey().token;
    const wrong = `${api.tenantKey.slice(0, -1)}${api.tenantKey.endsWith('0') ? '1' : '0'}`;
    for (const endpoint of closed()) {
      const url = urlOf(endpoint);
      assertProblem(await anonymous(endpoint.method, url), 401, 'unauthenticated');
      for (const key of [stranger, wrong])
        assertProblem(await clientOf(api.app, key)(endpoint.method, url), 401, 'unauthenticated');
    }
    for (const header of [
      '',
      'Basic abc',
      'Bearer',
      'Bearer a b',
      `Bearer ${api.tenantKey}x`,
      'Bearer tk_',
      '\u00ff',
    ]) {
      assertProblem(
        await anonymous('GET', '/v1/vms', undefined, { authorization: header }),
        401,
        'unauthenticated',
      );
    }
  });

  it('lets nobody but operators at tenants and hosts', async () => {
    for (const endpoint of v1().filter(isOperators)) {
      assertProblem(await call(endpoint.method, urlOf(endpoint), bodyFor(endpoint)), 403, 'forbidden');
    }
  });

  it('lets a key without `write` read, and no more', async () => {
    const tenant = await makeTenant(api);
    const made = await operator('POST', `/v1/tenants/${tenant.id}/keys`, { scopes: ['read'] });
    const reader = clientOf(api.app, made.body.key);
    assert.equal((await reader('GET', '/v1/vms')).status, 200);
    for (const endpoint of closed().filter(({ method }) => method !== 'GET')) {
      assertProblem(await reader(endpoint.method, urlOf(endpoint), bodyFor(endpoint)), 403, 'forbidden');
    }
  });

  it('answers 404 for ids that do not exist or are none', async () => {
    const nonsense = [
      'x',
      '1',
      'vm_',
      `VM_${newId('vm').slice(3)}`,
      newId('host'),
      '%00',
      '..%2f..',
      'a'.repeat(150),
      '%F0%9F%8F%A0',
    ];
    for (const endpoint of v1().filter(({ path }) => path.includes('{id}'))) {
      const caller = isOperators(endpoint) ? operator : call;
      for (const id of ['', ...nonsense]) {
        const answer = await caller(
          endpoint.method,
          urlOf(endpoint, id),
          bodyFor(endpoint),
          headersFor(endpoint),
        );
        assertProblem(answer, 404, answer.body.code === 'route_not_found' ? 'route_not_found' : 'not_found');
      }
    }
  });

  it('refuses unknown fields, wrong types and what is no object, at every body', async () => {
    const id = (await call('POST', '/v1/vms', { name: 'a', image: 'tiny', memoryMiB: 64, start: false })).body
      .vm.id;
    const bodies: unknown[] = [{ zzz: 1 }, [], 'text', 1, null, true, { __proto__x: {} }, { constructor: 1 }];
    for (const endpoint of v1().filter(
      (each) => (each.method === 'POST' || each.method === 'PATCH') && !takesFilesOnly(each),
    )) {
      const tenant = endpoint.path.startsWith('/v1/tenants/') ? (await makeTenant(api)).id : '';
      const caller = isOperators(endpoint) ? operator : call;
      for (const body of bodies) {
        const headers = { 'content-type': 'application/json' };
        const answer = await caller(
          endpoint.method,
          urlOf(endpoint, tenant || id),
          JSON.stringify(body),
          headers,
        );
        if (body === null && !endpoint.operation.requestBody) continue; // null is no body
        assertProblem(answer, 400, 'invalid_request');
      }
    }
  });

  it('refuses bodies that are not JSON, too large, or of another type', async () => {
    const json = { 'content-type': 'application/json' };
    for (const endpoint of v1().filter((each) => each.operation.requestBody && !takesFilesOnly(each))) {
      const caller = isOperators(endpoint) ? operator : call;
      const url = urlOf(endpoint);
      for (const text of [
        '{',
        '{"a":}',
        "{'a':1}",
        'undefined',
        '{"a":1}}',
        '\ufeff{',
        '{"__proto__":{"x":1}}',
      ]) {
        assertProblem(await caller(endpoint.method, url, text, json), 400, 'malformed_json');
      }
      assertProblem(
        await caller(endpoint.method, url, JSON.stringify({ a: 'x'.repeat(1024 * 1024) }), json),
        413,
        'body_too_large',
      );
      for (const type of ['text/plain', 'application/xml', 'multipart/form-data; boundary=x', 'nonsense']) {
        assertProblem(
          await caller(endpoint.method, url, 'name=a', { 'content-type': type }),
          415,
          'unsupported_media_type',
        );
      }
    }
  });

  it('refuses queries with unknown or impossible parameters', async () => {
    for (const endpoint of v1().filter(
      ({ method, operation }) => method === 'GET' && operation.parameters?.some((p) => p.name === 'limit'),
    )) {
      const caller = isOperators(endpoint) ? operator : call;
      const url = urlOf(endpoint, endpoint.path.startsWith('/v1/tenants/') ? (await makeTenant(api)).id : '');
      for (const query of [
        'limit=0',
        'limit=101',
        'limit=-1',
        'limit=1.5',
        'limit=x',
        'limit=',
        'zzz=1',
        'limit=1&limit=2',
      ]) {
        assertProblem(await caller('GET', `${url}?${query}`), 400, 'invalid_request');
      }
      for (const cursor of ['x', '%00', 'YWZ0ZXI6', Buffer.from("after:' OR 1=1").toString('base64url')]) {
        assertProblem(await caller('GET', `${url}?cursor=${cursor}`), 400, 'invalid_cursor');
      }
    }
    const id = (await call('POST', '/v1/vms', { name: 'a', image: 'tiny', memoryMiB: 64, start: false })).body
      .vm.id;
    for (const query of [
      '',
      'state=gone',
      'state=running&timeout=-1',
      'state=running&timeout=301',
      'state=running&timeout=x',
    ]) {
      assertProblem(await call('GET', `/v1/vms/${id}/wait?${query}`), 400, 'invalid_request');
    }
    assertProblem(await call('DELETE', `/v1/vms/${id}?force=perhaps`), 400, 'invalid_request');
  });

  it('refuses every impossible field of a VM', async () => {
    const good = { name: 'a', image: 'tiny', memoryMiB: 64 };
    const wrong: object[] = [
      ...[undefined, '', ' a', 'a ', 'a\u0000b', 'a\nb', '\ud800', 'x'.repeat(64), 1, null, {}].map(
        (value) => ({ name: value }),
      ),
      ...[undefined, 15, 3073, 64.5, '64', -64, 1e99, null].map((memoryMiB) => ({ memoryMiB })),
      ...[0, -1, 1.5, '1', 1e9, null].map((vcpus) => ({ vcpus })),
      ...['', 'AUTO', 'qemu', 1, null].map((engine) => ({ engine })),
      ...['', 1, null, 'a\u0000', 'x'.repeat(64)].map((image) => ({ image })),
      ...[{ 'a b': 'c' }, { a: 1 }, { a: 'x'.repeat(256) }, { a: '\u0000' }, [], 'x', { '': 'x' }].map(
        (labels) => ({ labels }),
      ),
      { labels: Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`k${i}`, 'v'])) },
      ...['sometimes', 1, null].map((restartPolicy) => ({ restartPolicy })),
      ...['true', 1, null].map((start) => ({ start })),
      ...[
        {},
        { kernel: '' },
        { kernel: 'k', x: 1 },
        { kernel: 'k', cmdline: 'a\nb' },
        { kernel: 'k', cmdline: 'x'.repeat(2048) },
        [],
      ].map((boot) => ({ image: undefined, boot })),
    ];
    for (const fields of wrong) {
      const answer = await call('POST', '/v1/vms', { ...good, ...fields });
      assertProblem(answer, 400, 'invalid_request');
      assert.ok(answer.body.errors?.length > 0 || answer.body.hint, JSON.stringify(fields));
    }
    for (const body of [{}, { name: '' }, { id: 'x' }, { image: 'tiny' }, { start: true }]) {
      assertProblem(await call('PATCH', `/v1/vms/${newId('vm')}`, body), 400, 'invalid_request');
    }
  });

  it('knows no other address and no other method', async () => {
    for (const url of [
      '/v1',
      '/v1/',
      '/v2/vms',
      '/v1/nothing',
      '/v1/vms/',
      '/favicon.ico',
      '//',
      '/v1/vms/a/b/c',
    ]) {
      const answer = await call('GET', url);
      assertProblem(answer, 404, answer.body.code === 'not_found' ? 'not_found' : 'route_not_found');
    }
    const put = await call('PUT', '/v1/vms');
    assertProblem(put, 405, 'method_not_allowed');
    assert.equal(put.headers['allow'], 'GET, HEAD, POST');
    assertProblem(await call('DELETE', '/healthz'), 405, 'method_not_allowed');
    assertProblem(await call('PUT', `/v1/vms/${newId('vm')}`), 405, 'method_not_allowed');
    assertProblem(await call('GET', '/v1/vms/%zz'), 400, 'malformed_request');
  });

  it('takes a sane request id, and makes one otherwise', async () => {
    const given = await call('GET', '/healthz', undefined, { 'x-request-id': 'abc-1.2:3' });
    assert.equal(given.headers['x-request-id'], 'abc-1.2:3');
    for (const bad of ['a b', 'x'.repeat(65), '<script>', '']) {
      const answer = await call('GET', '/healthz', undefined, { 'x-request-id': bad });
      assert.match(String(answer.headers['x-request-id']), /^req_/);
    }
  });

  it('answers what is no HTTP request, or has too many headers, with a problem', async () => {
    const address = new URL(await api.app.listen({ host: '127.0.0.1', port: 0 }));
    const speak = async (text: string) => {
      const socket = connect(Number(address.port), '127.0.0.1');
      await once(socket, 'connect');
      socket.end(text);
      let answer = '';
      for await (const chunk of socket) answer += String(chunk);
      return answer;
    };
    const garbage = await speak('hello\r\n\r\n');
    assert.match(garbage, /^HTTP\/1\.1 400 Bad Request\r\ncontent-type: application\/problem\+json/);
    assert.equal(JSON.parse(garbage.split('\r\n\r\n')[1] ?? '').code, 'malformed_request');
    const headers = await speak(`GET / HTTP/1.1\r\nhost: a\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`);
    assert.match(headers, /^HTTP\/1\.1 431 /);
    assert.equal(JSON.parse(headers.split('\r\n\r\n')[1] ?? '').code, 'headers_too_large');
  });

  it('serves its description and a page that shows it, from here alone', async () => {
    const page = await call('GET', '/docs/');
    assert.equal(page.status, 200);
    assert.ok(!/(src|href)="https?:/.test(page.text), 'the page loads something from elsewhere');
    const scripts = [...page.text.matchAll(/src="([^"]+)"/g)].map(
      (match) => new URL(match[1] ?? '', 'http://x/docs/').pathname,
    );
    assert.ok(scripts.length > 0);
    for (const script of scripts) assert.equal((await call('GET', script)).status, 200, script);
    assert.equal((await call('GET', '/openapi.json')).body.openapi, '3.1.0');
  });

  it('sends headers that keep browsers from guessing', async () => {
    const { headers } = await call('GET', '/v1/vms');
    assert.equal(headers['x-content-type-options'], 'nosniff');
    assert.equal(headers['cache-control'], 'no-store');
    assert.match(String(headers['content-security-policy']), /default-src 'none'/);
  });
});

async function describedEndpoints(api: TestApi): Promise<Endpoint[]> {
  const document = (await clientOf(api.app, null)('GET', '/openapi.json')).body;
  const methods = { get: 'GET', post: 'POST', patch: 'PATCH', delete: 'DELETE' } as const;
  return Object.entries<Record<string, Operation>>(document.paths).flatMap(([path, item]) =>
    Object.entries(methods).flatMap(([key, method]) => {
      const operation = item[key];
      return operation === undefined ? [] : [{ method, path, operation }];
    }),
  );
}

const takesFilesOnly = ({ operation }: Endpoint): boolean =>
  operation.requestBody !== undefined && !('application/json' in operation.requestBody.content);

/** What each endpoint asks for beside a body of JSON. */
function headersFor(endpoint: Endpoint): Record<string, string> {
  return takesFilesOnly(endpoint) ? { ...OCTETS, 'upload-offset': '0' } : {};
}

/** A body that each endpoint would take. */
function bodyFor({ method, path }: Endpoint): object | undefined {
  if (method === 'PATCH') return path === '/v1/uploads/{id}' ? Buffer.from('x') : { name: 'x' };
  if (method !== 'POST') return undefined;
  if (path === '/v1/uploads') return { name: 'x', kind: 'disk', sizeBytes: 1 };
  if (path.endsWith('/tickets')) return { for: 'serial' };
  if (path.endsWith('/cdrom')) return { image: null };
  if (path.endsWith('/expect')) return { on: 'serial', pattern: 'x', timeoutSeconds: 0 };
  if (path.endsWith('/input')) return { type: 'text', text: 'x' };
  if (path === '/v1/images') return { name: 'x', kind: 'system', kernel: 'tiny-kernel' };
  if (path === '/v1/vms') return { name: 'x', image: 'tiny', memoryMiB: 64 };
  if (path.endsWith('/keys')) return {};
  return path === '/v1/tenants' ? { name: 'x' } : undefined;
}
