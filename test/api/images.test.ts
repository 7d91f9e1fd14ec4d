import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, readdir, utimes, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import path from 'node:path';
import { before, describe, it } from 'node:test';
import { createDatabase } from '../../src/infra/prisma.ts';
import { createLogger } from '../../src/lib/log.ts';
import { bootstrap } from '../../src/modules/bootstrap/bootstrap.ts';
import { addHost, assertProblem, elfKernel, makeTenant, OCTETS, withApi } from './support.ts';

describe('images', () => {
  const { servers, api, call, operator } = withApi({ maxImageMiB: 1 });

  before(async () => {
    await addHost(api.db, 100_000);
  });

  const upload = (name: string, kind = 'kernel', body: Buffer = elfKernel(name), query = '') =>
    call('POST', `/v1/images?name=${name}&kind=${kind}${query}`, body, OCTETS);
  const files = () => readdir(path.join(api.home, 'images', 'files'));

  it('takes a kernel, composes an image of it, boots a VM from that, and keeps both while they are needed', async () => {
    const kernel = await upload('k1');
    assert.equal(kernel.status, 201, kernel.text);
    assert.equal(kernel.body.sha256, createHash('sha256').update(elfKernel('k1')).digest('hex'));
    assert.deepEqual([kernel.body.kind, kernel.body.sizeBytes, kernel.body.shared], ['kernel', 6, false]);
    const initrd = await upload('i1', 'initrd', Buffer.from('070701'));
    const image = await call('POST', '/v1/images', {
      name: 's1',
      kind: 'system',
      kernel: kernel.body.id,
      initrd: 'i1',
      cmdline: 'quiet',
    });
    assert.equal(image.status, 201, image.text);
    assert.equal(image.headers['location'], `/v1/images/${image.body.id}`);
    const vm = await call('POST', '/v1/vms', { name: 'a', image: 's1', memoryMiB: 64, start: false });
    assertProblem(await call('DELETE', `/v1/images/${image.body.id}`), 409, 'image_in_use');
    await call('DELETE', `/v1/vms/${vm.body.vm.id}`);
    const before = (await files()).length;
    assert.equal((await call('DELETE', `/v1/images/${kernel.body.id}`)).status, 204);
    assert.equal((await files()).length, before); // the composed image still has it
    assert.equal((await call('DELETE', `/v1/images/${image.body.id}`)).status, 204);
    assert.equal((await files()).length, before - 1);
    assert.equal((await call('DELETE', `/v1/images/${initrd.body.id}`)).status, 204);
    assert.equal((await files()).length, before - 2);
    assertProblem(await call('GET', `/v1/images/${image.body.id}`), 404, 'not_found');
  });

  it('keeps a kernel while a VM boots from it', async () => {
    const kernel = await upload('k2');
    await call('POST', '/v1/vms', { name: 'a', boot: { kernel: 'k2' }, memoryMiB: 64, start: false });
    assertProblem(await call('DELETE', `/v1/images/${kernel.body.id}`), 409, 'image_in_use');
  });

  it('refuses what cannot be used, and leaves nothing behind', async () => {
    const before = await files();
    assertProblem(await upload('bad', 'kernel', Buffer.from('hello')), 422, 'unusable_file');
    assertProblem(await upload('empty', 'initrd', Buffer.alloc(0)), 422, 'unusable_file');
    assertProblem(await upload('large', 'initrd', Buffer.alloc(1024 * 1024 + 1)), 413, 'body_too_large');
    assertProblem(
      await upload('other', 'initrd', Buffer.from('x'), `&sha256=${'0'.repeat(64)}`),
      422,
      'digest_mismatch',
    );
    assertProblem(await upload('BAD NAME'.replace(' ', '%20')), 400, 'invalid_request');
    assertProblem(await upload('x', 'floppy'), 400, 'invalid_request');
    assertProblem(await call('POST', '/v1/images', elfKernel(), OCTETS), 400, 'invalid_request');
    assertProblem(
      await call('POST', '/v1/images?name=x&kind=kernel', '<x/>', { 'content-type': 'application/xml' }),
      415,
      'unsupported_media_type',
    );
    assertProblem(
      await call('POST', '/v1/images?name=x', { name: 'x', kind: 'system', kernel: 'k2' }),
      400,
      'invalid_request',
    );
    assertProblem(
      await call('POST', '/v1/images', { name: 'x', kind: 'system', kernel: 'nope' }),
      404,
      'not_found',
    );
    assertProblem(
      await call('POST', '/v1/images', { name: 'x', kind: 'kernel', path: '/etc/hostname' }),
      403,
      'forbidden',
    );
    assertProblem(
      await operator('POST', '/v1/images', { name: 'x', kind: 'kernel', path: '/nowhere' }),
      422,
      'unusable_file',
    );
    assertProblem(
      await operator('POST', '/v1/images', { name: 'x', kind: 'kernel', path: '/etc' }),
      422,
      'unusable_file',
    );
    assert.deepEqual(await files(), before);
  });

  it('refuses a name that is taken, also when two come at once', async () => {
    const answers = await Promise.all([upload('same'), upload('same')]);
    assert.deepEqual(answers.map((answer) => answer.status).sort(), [201, 409]);
    assertProblem(await upload('same'), 409, 'name_taken');
  });

  it('forgets an upload that broke off', async () => {
    const before = await files();
    const address = await api.app.listen({ host: '127.0.0.1', port: 0 });
    const url = new URL('/v1/images?name=broken&kind=initrd', address);
    const headers = { ...OCTETS, authorization: `Bearer ${api.tenantKey}`, 'content-length': '1000' };
    const sending = request(url, { method: 'POST', headers });
    sending.on('error', () => {});
    sending.write('some of it', () => sending.destroy());
    await new Promise((resolve) => sending.once('close', resolve));
    while ((await files()).some((name) => !before.includes(name)))
      await new Promise((resolve) => setImmediate(resolve));
    assert.equal((await call('GET', '/v1/images?name=broken')).body.items.length, 0);
  });

  it('lets an operator import a file of the host, for everybody', async () => {
    const file = path.join(api.home, 'vmlinuz');
    await writeFile(file, elfKernel('imported'));
    const imported = await operator('POST', '/v1/images', { name: 'imported', kind: 'kernel', path: file });
    assert.deepEqual([imported.status, imported.body.shared], [201, true], imported.text);
    assert.equal((await call('GET', `/v1/images/${imported.body.id}`)).status, 200);
    assertProblem(await call('DELETE', `/v1/images/${imported.body.id}`), 403, 'forbidden');
    assert.equal((await operator('DELETE', `/v1/images/${imported.body.id}`)).status, 204);
  });

  it('keeps tenants apart, and within their quota', async () => {
    const tenant = await makeTenant(api, { imageMiB: 1 });
    const mine = await tenant.call('POST', '/v1/images?name=mine&kind=initrd', Buffer.alloc(700_000), OCTETS);
    assert.equal(mine.status, 201, mine.text);
    assertProblem(
      await tenant.call('POST', '/v1/images?name=more&kind=initrd', Buffer.alloc(700_000), OCTETS),
      413,
      'body_too_large',
    );
    assertProblem(await call('GET', `/v1/images/${mine.body.id}`), 404, 'not_found');
    assertProblem(await call('DELETE', `/v1/images/${mine.body.id}`), 404, 'not_found');
    assertProblem(
      await call('POST', '/v1/images', { name: 'x', kind: 'system', kernel: mine.body.id }),
      404,
      'not_found',
    );
  });

  it('goes with its tenant, file and all', async () => {
    const tenant = await makeTenant(api);
    const before = await files();
    const made = await tenant.call('POST', '/v1/images?name=mine&kind=kernel', elfKernel('mine'), OCTETS);
    assert.equal(made.status, 201, made.text);
    assert.equal((await operator('DELETE', `/v1/tenants/${tenant.id}`)).status, 204);
    assert.deepEqual(await files(), before);
  });

  it('loses files that no image has, at start, once nobody can be writing them', async () => {
    const folder = path.join(api.home, 'images', 'files');
    const before = await files();
    for (const name of ['lost', 'lost.partial', 'young']) await writeFile(path.join(folder, name), 'x');
    const old = new Date(Date.now() - 2 * 3_600_000);
    for (const name of [...before, 'lost', 'lost.partial']) await utimes(path.join(folder, name), old, old);
    const log = createLogger('test', 'silent');
    await bootstrap({ db: api.db, log, home: api.home, imagesDir: path.join(api.home, 'images') });
    assert.deepEqual((await files()).sort(), [...before, 'young'].sort());
  });

  it('lists page by page and by kind', async () => {
    const first = await call('GET', '/v1/images?limit=1');
    assert.equal(first.body.items.length, 1);
    const next = await call('GET', `/v1/images?limit=100&cursor=${first.body.nextCursor}`);
    assert.ok(next.body.items.every((image: { id: string }) => image.id !== first.body.items[0].id));
    const kernels = await call('GET', '/v1/images?kind=kernel');
    assert.ok(kernels.body.items.every((image: { kind: string }) => image.kind === 'kernel'));
  });

  it('registers what set-up has made, again after it has changed, and never lets it be deleted', async () => {
    const imagesDir = path.join(api.home, 'images');
    const folder = path.join(imagesDir, 'debian-busybox');
    await mkdir(folder);
    const log = createLogger('test', 'silent');
    const db = createDatabase({ url: servers.databaseUrl, log });
    const write = async (kernel: string) => {
      await writeFile(path.join(folder, 'vmlinuz'), kernel);
      await writeFile(path.join(folder, 'initrd.img'), 'initrd');
      const description = {
        name: 'debian-busybox',
        kernel: 'vmlinuz',
        initrd: 'initrd.img',
        cmdline: 'console=ttyS0',
        packages: { a: '1' },
      };
      await writeFile(path.join(folder, 'image.json'), JSON.stringify(description));
      await bootstrap({ db, log, home: api.home, imagesDir });
      return (await call('GET', '/v1/images?name=debian-busybox')).body.items;
    };
    const [first] = await write('one');
    assert.deepEqual(
      [first.builtin, first.shared, first.cmdline, first.packages],
      [true, true, 'console=ttyS0', { a: '1' }],
    );
    const again = await write('two');
    await db.$disconnect();
    assert.deepEqual([again.length, again[0].id], [1, first.id]);
    assert.notEqual(again[0].sha256, first.sha256);
    assertProblem(await operator('DELETE', `/v1/images/${first.id}`), 409, 'image_builtin');
    assert.equal(
      (await call('POST', '/v1/vms', { name: 'a', image: 'debian-busybox', memoryMiB: 256 })).status,
      202,
    );
  });
});
