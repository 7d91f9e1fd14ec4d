import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import path from 'node:path';
import { Readable } from 'node:stream';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { temporaryHome } from '../../src/cli/setup/temporary-home.ts';
import { createImageStore } from '../../src/infra/image-store.ts';
import { newId } from '../../src/lib/ids.ts';
import { createUploadsService } from '../../src/modules/images/uploads.service.ts';
import { startApiProcess } from './api-process.ts';
import { type Answer, assertProblem, makeTenant, OCTETS, withApi } from './support.ts';

const MIB = 1024 * 1024;
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('uploads', () => {
  const { servers, api, call, operator } = withApi();

  const files = () => readdir(path.join(api.home, 'images', 'files')).catch(() => []);
  const begin = async (body: object, by = call): Promise<string> => {
    const answer = await by('POST', '/v1/uploads', { kind: 'disk', ...body });
    assert.equal(answer.status, 201, answer.text);
    assert.equal(answer.headers['location'], `/v1/uploads/${answer.body.id}`);
    return answer.body.id;
  };
  const append = (id: string, offset: number | string, bytes: Buffer, by = call): Promise<Answer> =>
    by('PATCH', `/v1/uploads/${id}`, bytes, {
      'content-type': 'application/offset+octet-stream',
      'upload-offset': String(offset),
    });

  it('takes a disk in parts, tells how far it is, and makes an image of it with the last byte', async () => {
    const bytes = randomBytes(3 * MIB + 5);
    const id = await begin({ name: 'parts', sizeBytes: bytes.length, sha256: sha256(bytes) });
    const first = await append(id, 0, bytes.subarray(0, MIB));
    assert.deepEqual(
      [first.status, first.body.upload.offset, first.body.image],
      [200, MIB, null],
      first.text,
    );
    const head = await call('HEAD', `/v1/uploads/${id}`);
    assert.deepEqual(
      [head.status, head.headers['upload-offset'], head.headers['upload-length'], head.text],
      [200, String(MIB), String(bytes.length), ''],
    );
    const listed = await call('GET', '/v1/uploads');
    assert.ok(
      listed.body.items.some((item: { id: string; offset: number }) => item.id === id && item.offset === MIB),
    );
    const last = await append(id, MIB, bytes.subarray(MIB));
    assert.equal(last.status, 200, last.text);
    const { image } = last.body;
    assert.deepEqual(
      [image.name, image.kind, image.format, image.state, image.sizeBytes, image.diskBytes, image.sha256],
      ['parts', 'disk', 'raw', 'checking', bytes.length, 3 * MIB + 512, sha256(bytes)],
    );
    assert.equal((await call('GET', `/v1/uploads/${id}`)).body.imageId, image.id);
    assertProblem(await append(id, bytes.length, Buffer.alloc(0)), 409, 'upload_complete');
    const stored = await api.db.image.findUniqueOrThrow({ where: { id: image.id } });
    assert.ok((await readFile(path.join(api.home, 'images', stored.mediaPath ?? ''))).equals(bytes));
    assert.equal((await call('DELETE', `/v1/images/${image.id}`)).status, 204);
    assertProblem(await call('GET', `/v1/uploads/${id}`), 404, 'not_found');
  });

  it('takes qcow2 for what it is, and leaves looking into it to a worker', async () => {
    const qcow2 = Buffer.concat([Buffer.from('QFI\xfb', 'latin1'), Buffer.alloc(600)]);
    const url = (name: string, query = '') => `/v1/images?name=${name}&kind=disk${query}`;
    const found = await call('POST', url('q1'), qcow2, OCTETS);
    assert.deepEqual(
      [found.body.format, found.body.state, found.body.diskBytes],
      ['qcow2', 'checking', null],
      found.text,
    );
    const raw = await call('POST', url('q2', '&format=raw'), qcow2, OCTETS);
    assert.deepEqual([raw.body.format, raw.body.state, raw.body.diskBytes], ['raw', 'checking', 1024]);
    const plain = Buffer.alloc(600);
    assertProblem(await call('POST', url('q3', '&format=qcow2'), plain, OCTETS), 422, 'unusable_file');
    const disc = await call('POST', '/v1/images?name=disc&kind=iso', plain, OCTETS);
    assert.deepEqual([disc.body.format, disc.body.state], [null, 'checking']);
    assertProblem(
      await call('POST', '/v1/images?name=disc2&kind=iso&format=raw', plain, OCTETS),
      400,
      'invalid_request',
    );
  });

  it('refuses an offset that is not where it stands, a byte too many, and what is no part of a file', async () => {
    const id = await begin({ name: 'offsets', sizeBytes: 10 });
    for (const offset of [1, 10, 11]) {
      const answer = await append(id, offset, Buffer.from('x'));
      assertProblem(answer, 409, 'upload_offset');
      assert.equal(answer.headers['upload-offset'], '0');
    }
    for (const offset of ['', '-1', '1.5', 'x', '1e99', '99999999999999999999']) {
      assertProblem(await append(id, offset, Buffer.from('x')), 400, 'invalid_request');
    }
    assertProblem(await call('PATCH', `/v1/uploads/${id}`, Buffer.from('x'), OCTETS), 400, 'invalid_request');
    assertProblem(await append(id, 0, Buffer.alloc(11)), 413, 'body_too_large');
    assertProblem(await call('PATCH', `/v1/uploads/${id}`, { a: 1 }), 415, 'unsupported_media_type');
    assertProblem(await append(newId('upl'), 0, Buffer.from('x')), 404, 'not_found');
    assert.equal((await call('GET', `/v1/uploads/${id}`)).body.offset, 0);
    const before = await files();
    assert.equal((await call('DELETE', `/v1/uploads/${id}`)).status, 204);
    assert.equal((await files()).length, before.length - 1);
    assertProblem(await append(id, 0, Buffer.from('x')), 404, 'not_found');
  });

  it('has a part checked as it arrives: damaged, it counts for nothing', async () => {
    const bytes = randomBytes(2 * MIB);
    const id = await begin({ name: 'checked', sizeBytes: bytes.length, sha256: sha256(bytes) });
    const send = (offset: number, part: Buffer, of: Buffer = part) =>
      call('PATCH', `/v1/uploads/${id}`, part, {
        'content-type': 'application/offset+octet-stream',
        'upload-offset': String(offset),
        'upload-checksum': `sha256 ${createHash('sha256').update(of).digest('base64')}`,
      });
    const offset = async () => (await call('GET', `/v1/uploads/${id}`)).body.offset;
    const [first, second] = [bytes.subarray(0, MIB), bytes.subarray(MIB)];
    const refused = await send(0, second, first);
    assertProblem(refused, 422, 'checksum_mismatch');
    assert.equal(refused.headers['upload-offset'], '0');
    assert.equal(await offset(), 0);
    assert.equal((await send(0, first)).body.upload.offset, MIB);
    assertProblem(await send(MIB, first, second), 422, 'checksum_mismatch');
    assert.equal(await offset(), MIB);
    // What was wrong is not in the digest of the whole either.
    const last = await send(MIB, second);
    assert.equal(last.body.image?.sha256, sha256(bytes), last.text);
    // One that breaks off is not known to be right: nothing of it counts.
    const store = createImageStore(path.join(api.home, 'images'));
    const file = await store.create();
    const safe: number[] = [];
    const cut = Readable.from(
      (async function* () {
        yield first;
        throw new Error('the wire was cut');
      })(),
    );
    const how = { maxBytes: bytes.length, checkpoint: async (n: number) => void safe.push(n) };
    const digest = createHash('sha256').update(bytes).digest();
    await assert.rejects(store.append(file, cut, { offset: 0, sha256: digest, ...how }), /cut/);
    assert.equal(await store.size(file), 0);
    await store.append(file, Readable.from([first, second]), { offset: 0, sha256: digest, ...how });
    assert.deepEqual([safe[0], safe.at(-1)], [0, bytes.length]);
    assert.equal((await store.finish(file)).sha256, sha256(bytes));
    await store.remove(file);
    for (const checksum of ['', 'sha256', 'sha256 x', `md5 ${'A'.repeat(43)}=`, `sha256 ${'A'.repeat(44)}`]) {
      const headers = {
        'content-type': 'application/offset+octet-stream',
        'upload-offset': '0',
        'upload-checksum': checksum,
      };
      assertProblem(
        await call('PATCH', `/v1/uploads/${newId('upl')}`, Buffer.from('x'), headers),
        400,
        'invalid_request',
      );
    }
  });

  it('refuses what cannot be announced', async () => {
    const good = { name: 'x', kind: 'disk', sizeBytes: 10 };
    const wrong: object[] = [
      ...[undefined, '', 'A', 'a b', '../x', 'x'.repeat(64), 1, null].map((name) => ({ name })),
      ...[undefined, 'system', 'floppy', '', 1, null].map((kind) => ({ kind })),
      ...[undefined, 0, -1, 1.5, '10', null, 2 ** 45, 1e300].map((sizeBytes) => ({ sizeBytes })),
      ...['vmdk', '', 1, null].map((format) => ({ format })),
      ...['x', 'A'.repeat(64), '0'.repeat(63), 1, null].map((digest) => ({ sha256: digest })),
      { zzz: 1 },
      { kind: 'iso', format: 'raw' },
    ];
    for (const fields of wrong) {
      assertProblem(await call('POST', '/v1/uploads', { ...good, ...fields }), 400, 'invalid_request');
    }
    assertProblem(await call('POST', '/v1/uploads', { ...good, sizeBytes: 9 * MIB }), 413, 'body_too_large');
  });

  it('throws away what is not what was announced, and leaves nothing behind', async () => {
    const before = await files();
    const id = await begin({ name: 'lie', sizeBytes: 4, sha256: sha256(Buffer.from('good')) });
    assertProblem(await append(id, 0, Buffer.from('evil')), 422, 'digest_mismatch');
    assertProblem(await call('GET', `/v1/uploads/${id}`), 404, 'not_found');
    const kernel = await begin({ name: 'no-kernel', kind: 'kernel', sizeBytes: 4 });
    assertProblem(await append(kernel, 0, Buffer.from('evil')), 422, 'unusable_file');
    assert.deepEqual(await files(), before);
    assert.equal((await call('GET', '/v1/images?name=lie')).body.items.length, 0);
  });

  it('keeps a whole file whose name is taken, for when it is not', async () => {
    const id = await begin({ name: 'twice', sizeBytes: 4 });
    const other = await call('POST', '/v1/images?name=twice&kind=initrd', Buffer.from('abcd'), OCTETS);
    assertProblem(await append(id, 0, Buffer.from('disk')), 409, 'name_taken');
    assertProblem(
      await call('POST', '/v1/uploads', { name: 'twice', kind: 'disk', sizeBytes: 4 }),
      409,
      'name_taken',
    );
    assert.equal((await call('DELETE', `/v1/images/${other.body.id}`)).status, 204);
    const again = await append(id, 4, Buffer.alloc(0));
    assert.deepEqual([again.status, again.body.image?.name], [200, 'twice'], again.text);
  });

  it('keeps tenants apart', async () => {
    const stranger = await makeTenant(api);
    const id = await begin({ name: 'mine', sizeBytes: 4 });
    assertProblem(await stranger.call('GET', `/v1/uploads/${id}`), 404, 'not_found');
    assertProblem(await append(id, 0, Buffer.from('evil'), stranger.call), 404, 'not_found');
    assertProblem(await stranger.call('DELETE', `/v1/uploads/${id}`), 404, 'not_found');
    assert.deepEqual((await stranger.call('GET', '/v1/uploads')).body.items, []);
  });

  it('counts uploads under way against the quota, also when many come at once', async () => {
    const tenant = await makeTenant(api, { imageMiB: 4 });
    const announced = await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        tenant.call('POST', '/v1/uploads', { name: `a${n}`, kind: 'disk', sizeBytes: MIB }),
      ),
    );
    assert.deepEqual(announced.map(({ status }) => status).sort(), [
      ...Array(4).fill(201),
      ...Array(6).fill(409),
    ]);
    for (const answer of announced.filter(({ status }) => status === 409))
      assertProblem(answer, 409, 'quota_exceeded');
    assertProblem(
      await tenant.call('POST', '/v1/images?name=b&kind=initrd', Buffer.alloc(100), OCTETS),
      409,
      'quota_exceeded',
    );
    for (const { body } of announced.slice(0, 10).filter(({ status }) => status === 201))
      assert.equal((await tenant.call('DELETE', `/v1/uploads/${body.id}`)).status, 204);
    const atOnce = await Promise.all(
      Array.from({ length: 8 }, (_, n) =>
        tenant.call('POST', `/v1/images?name=c${n}&kind=initrd`, Buffer.alloc(MIB), OCTETS),
      ),
    );
    const statuses = atOnce.map(({ status }) => status);
    assert.equal(statuses.filter((status) => status === 201).length, 4, String(statuses));
    const sum = await api.db.image.aggregate({ where: { tenantId: tenant.id }, _sum: { sizeBytes: true } });
    assert.equal(Number(sum._sum.sizeBytes), 4 * MIB);
    assert.equal(await api.db.upload.count({ where: { tenantId: tenant.id } }), 0);
  });

  it('lets a tenant have no more than 32 under way', async () => {
    const tenant = await makeTenant(api);
    for (let n = 0; n < 32; n++) await begin({ name: `u${n}`, sizeBytes: 1 }, tenant.call);
    assertProblem(
      await tenant.call('POST', '/v1/uploads', { name: 'u32', kind: 'disk', sizeBytes: 1 }),
      429,
      'too_many_uploads',
    );
    assert.equal((await operator('DELETE', `/v1/tenants/${tenant.id}`)).status, 204);
  });

  it('gives up what lies still', async () => {
    const id = await begin({ name: 'old', sizeBytes: 4 });
    const kept = await begin({ name: 'young', sizeBytes: 4 });
    await append(kept, 0, Buffer.from('ab'));
    const before = (await files()).length;
    await api.db.upload.update({ where: { id }, data: { expiresAt: new Date(Date.now() - 1000) } });
    const store = createImageStore(path.join(api.home, 'images'));
    await createUploadsService({ db: api.db, store, maxImageMiB: 8 }).expire();
    assertProblem(await call('GET', `/v1/uploads/${id}`), 404, 'not_found');
    assert.equal((await files()).length, before - 1);
    assert.equal((await append(kept, 2, Buffer.from('cd'))).status, 200);
  });

  it('takes a body of unknown length within the quota, and no more', async () => {
    const tenant = await makeTenant(api, { imageMiB: 2 });
    const address = await api.app.listen({ host: '127.0.0.1', port: 0 });
    const send = async (name: string, mib: number): Promise<number | undefined> => {
      const headers = { ...OCTETS, authorization: `Bearer ${tenant.key}` };
      const sending = request(new URL(`/v1/images?name=${name}&kind=initrd`, address), {
        method: 'POST',
        headers,
      });
      sending.on('error', () => {});
      const answered = once(sending, 'response') as Promise<[IncomingMessage]>;
      for (let n = 0; n < mib && !sending.destroyed; n++) {
        if (!sending.write(Buffer.alloc(MIB))) await Promise.race([once(sending, 'drain'), answered]);
      }
      sending.end();
      const [response] = await answered;
      response.resume();
      return response.statusCode;
    };
    assert.equal(await send('large', 3), 413);
    assert.equal(await send('fits', 2), 201);
    assert.equal(await send('none', 1), 409);
    assert.equal(await api.db.upload.count({ where: { tenantId: tenant.id } }), 0);
  });

  it('goes on after kill -9 in the middle, from what was safe, with the digest of the whole', async () => {
    const home = await temporaryHome();
    let service = startApiProcess(home, servers);
    try {
      const up = () => service.until(/^teremok ready on (\S+)$/m);
      let address = await up();
      const key = (await readFile(path.join(home, 'default.key'), 'utf8')).trim();
      const authorization = `Bearer ${key}`;
      const bytes = randomBytes(24 * MIB);
      const created = await fetch(`${address}/v1/uploads`, {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/json' },
        body: JSON.stringify({
          name: 'killed',
          kind: 'disk',
          sizeBytes: bytes.length,
          sha256: sha256(bytes),
        }),
      });
      assert.equal(created.status, 201);
      const { id } = (await created.json()) as { id: string };
      const url = () => `${address}/v1/uploads/${id}`;
      const offset = async () => {
        const head = await fetch(url(), { method: 'HEAD', headers: { authorization } });
        return Number(head.headers.get('upload-offset'));
      };
      const headers = {
        authorization,
        'content-type': 'application/offset+octet-stream',
        'upload-offset': '0',
        'content-length': String(bytes.length),
      };
      const sending = request(url(), { method: 'PATCH', headers });
      sending.on('error', () => {});
      let sent = 10 * MIB;
      sending.write(bytes.subarray(0, sent));
      // A writer says every second what is safe; the request itself never ends.
      while ((await offset()) === 0) {
        await delay(300);
        sending.write(bytes.subarray(sent, ++sent));
      }
      service.child.kill('SIGKILL');
      await service.ended;
      service = startApiProcess(home, servers);
      address = await up();
      const safe = await offset();
      assert.ok(safe > 0 && safe < bytes.length, String(safe));
      const folder = path.join(home, 'images', 'files');
      const [file = ''] = await readdir(folder);
      assert.ok((await stat(path.join(folder, file))).size >= safe);
      for (;;) {
        const answer = await fetch(url(), {
          method: 'PATCH',
          headers: {
            ...headers,
            'upload-offset': String(safe),
            'content-length': String(bytes.length - safe),
          },
          body: bytes.subarray(safe),
        });
        const body = (await answer.json()) as { code?: string; image?: { sha256: string } };
        // The one that died keeps its place for some seconds.
        if (body.code !== 'upload_busy') {
          assert.equal(answer.status, 200, JSON.stringify(body));
          assert.equal(body.image?.sha256, sha256(bytes));
          break;
        }
        await delay(500);
      }
    } finally {
      service.child.kill('SIGKILL');
      await service.ended;
      await rm(home, { recursive: true, force: true });
    }
  });
});
