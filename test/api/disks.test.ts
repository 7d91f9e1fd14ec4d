import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import { newId } from '../../src/lib/ids.ts';
import {
  addHost,
  addSystemImage,
  assertProblem,
  makeTenant,
  OCTETS,
  withApi,
  workerReaches,
} from './support.ts';

const MIB = 1024 * 1024;

describe('disks and discs of virtual machines', () => {
  const { api, call } = withApi();
  let hostId: string;
  let disk: string;
  let disc: string;

  before(async () => {
    hostId = await addHost(api.db, 10_000);
    await addSystemImage(api);
    disk = await upload('disk1', 'disk', MIB);
    disc = await upload('disc1', 'iso', 100);
    await upload('disc2', 'iso', 100);
    await lookedInto();
  });

  const upload = async (name: string, kind: string, bytes: number, by = call): Promise<string> => {
    const answer = await by('POST', `/v1/images?name=${name}&kind=${kind}`, Buffer.alloc(bytes), OCTETS);
    assert.equal(answer.status, 201, answer.text);
    return answer.body.id;
  };
  /** As a worker would have found them. */
  const lookedInto = () =>
    api.db.image.updateMany({ where: { state: 'checking' }, data: { state: 'ready' } });
  const create = (body: object) => call('POST', '/v1/vms', { name: 'a', memoryMiB: 64, ...body });
  const created = async (body: object) => {
    const answer = await create(body);
    assert.equal(answer.status, 202, answer.text);
    return answer.body.vm;
  };

  it('makes a VM that starts from its firmware, with a disc, copies of images and an empty disk', async () => {
    const vm = await created({
      start: false,
      cdrom: { image: 'disc1' },
      disks: [
        { image: 'disk1' },
        { image: disk, mode: 'throw-away', bus: 'ide', sizeMiB: 2 },
        { image: disk, readonly: true },
        { sizeMiB: 64, bus: 'ide' },
      ],
      boot: { order: ['disk', 'cdrom'] },
    });
    assert.deepEqual(vm.cdrom, { image: 'disc1', imageId: disc });
    assert.deepEqual(vm.boot, { kernel: null, initrd: null, cmdline: null, order: ['disk', 'cdrom'] });
    assert.deepEqual(
      vm.disks.map(({ id: _id, ...rest }: { id: string }) => rest),
      [
        { image: 'disk1', imageId: disk, mode: 'overlay', bus: 'virtio', sizeBytes: MIB },
        { image: 'disk1', imageId: disk, mode: 'throw-away', bus: 'ide', sizeBytes: 2 * MIB },
        { image: 'disk1', imageId: disk, mode: 'readonly', bus: 'virtio', sizeBytes: MIB },
        { image: null, imageId: null, mode: 'own', bus: 'ide', sizeBytes: 64 * MIB },
      ],
    );
    assert.match(vm.disks[0].id, /^dsk_/);
    assert.deepEqual((await call('GET', `/v1/vms/${vm.id}`)).body, vm);
    const plain = await created({ start: false, disks: [{ sizeMiB: 1 }] });
    assert.deepEqual([plain.boot.order, plain.cdrom], [['cdrom', 'disk'], { image: null, imageId: null }]);
    const kernel = await created({ start: false, image: 'tiny', disks: [{ image: disk }] });
    assert.deepEqual([kernel.boot, kernel.cdrom, kernel.disks.length], [null, null, 1]);
  });

  it('refuses what cannot be', async () => {
    const wrong: object[] = [
      {},
      { boot: {} },
      { boot: { order: ['disk'] } },
      { boot: { cmdline: 'x' }, cdrom: {} },
      { boot: { kernel: 'tiny-kernel', order: ['disk'] } },
      { image: 'tiny', boot: { order: ['disk'] }, cdrom: {} },
      ...[['floppy'], ['disk', 'disk'], [], 'disk', null, [1]].map((order) => ({
        cdrom: {},
        boot: { order },
      })),
      ...[null, 'disc1', [], { image: 1 }, { image: '' }, { image: 'disc1', x: 1 }, { path: '/dev/sr0' }].map(
        (cdrom) => ({ cdrom }),
      ),
      { cdrom: { image: 'disk1' } },
      { disks: [{ image: 'disc1' }] },
      { disks: [{ image: 'tiny' }] },
      ...[
        {},
        null,
        'disk1',
        { image: 1 },
        { image: '' },
        { image: 'disk1', mode: 'persistent' },
        { image: 'disk1', mode: null },
        { image: 'disk1', readonly: 'yes' },
        { image: 'disk1', readonly: true, mode: 'overlay' },
        { image: 'disk1', readonly: true, sizeMiB: 2 },
        { image: 'disk1', bus: 'scsi' },
        { image: 'disk1', path: '/etc/passwd' },
        { image: 'disk1', format: 'raw' },
        { mode: 'overlay', sizeMiB: 1 },
        { readonly: false, sizeMiB: 1 },
        { sizeMiB: 0 },
        { sizeMiB: -1 },
        { sizeMiB: 0.5 },
        { sizeMiB: '1' },
        { sizeMiB: 2 ** 22 },
        { sizeMiB: 1e300 },
      ].map((one) => ({ disks: [one] })),
      { disks: {} },
      { disks: Array.from({ length: 9 }, () => ({ sizeMiB: 1 })) },
      { disks: Array.from({ length: 4 }, () => ({ sizeMiB: 1, bus: 'ide' })) },
    ];
    for (const body of wrong) {
      const answer = await create({ start: false, ...body });
      assert.equal(answer.status, 400, `${JSON.stringify(body)}: ${answer.text}`);
      assertProblem(answer, 400, 'invalid_request');
    }
    await upload('disk3', 'disk', 3 * MIB);
    await lookedInto();
    assertProblem(await create({ disks: [{ image: 'disk3', sizeMiB: 2 }] }), 400, 'invalid_request');
    assertProblem(await create({ disks: [{ image: 'nope' }] }), 404, 'not_found');
    assertProblem(await create({ cdrom: { image: newId('img') } }), 404, 'not_found');
  });

  it('keeps to images that a worker has found good', async () => {
    await upload('fresh', 'iso', 100);
    assertProblem(await create({ cdrom: { image: 'fresh' } }), 409, 'image_not_ready');
    const data = { state: 'unusable', problem: 'it is cut off' };
    await api.db.image.updateMany({ where: { name: 'fresh' }, data });
    const refused = await create({ cdrom: { image: 'fresh' } });
    assertProblem(refused, 409, 'image_unusable');
    assert.match(refused.body.detail, /it is cut off/);
  });

  it('says who uses an image that is to be deleted', async () => {
    const vm = await created({
      name: 'user',
      start: false,
      cdrom: { image: 'disc1' },
      disks: [{ image: disk }],
    });
    for (const image of [disk, disc]) {
      const refused = await call('DELETE', `/v1/images/${image}`);
      assertProblem(refused, 409, 'image_in_use');
      assert.ok(refused.body.detail.includes(`user (${vm.id})`), refused.body.detail);
    }
  });

  it('tells how many VMs have an image, and how many of their disks are made of it', async () => {
    const { body: image } = await call('GET', `/v1/images/${await upload('shared', 'disk', MIB)}`);
    assert.deepEqual([image.users, image.usedBy], [0, []]);
    await lookedInto();
    const two = [{ image: 'shared' }, { image: 'shared', readonly: true }];
    const ids: string[] = [];
    for (let n = 0; n < 12; n++) {
      const disks = n === 0 ? two : [{ image: 'shared', mode: 'throw-away' }, { sizeMiB: 1 }];
      ids.push((await created({ name: `u${n}`, disks, start: false })).id);
    }
    const used = (await call('GET', '/v1/images?name=shared')).body.items[0];
    assert.equal(used.users, 12);
    assert.deepEqual(
      used.usedBy,
      ids.slice(0, 10).map((id, n) => ({ id, name: `u${n}`, disks: n === 0 ? 2 : 1 })),
    );
    const one = (await call('GET', `/v1/images/${disc}`)).body;
    const drives = one.usedBy.map((user: { disks: number }) => user.disks);
    assert.deepEqual(drives, Array(one.users).fill(0));
    await api.db.vm.deleteMany({ where: { id: { in: ids } } });
  });

  it('changes the disc, at once when the VM rests and by its worker when it runs', async () => {
    const vm = await created({ start: false, cdrom: { image: 'disc1' } });
    const change = (id: string, body: unknown) => call('POST', `/v1/vms/${id}/cdrom`, body);
    const ejected = await change(vm.id, { image: null });
    assert.equal(ejected.status, 202, ejected.text);
    assert.deepEqual(
      [ejected.body.vm.cdrom, ejected.body.operation.kind, ejected.body.operation.state],
      [{ image: null, imageId: null }, 'cdrom', 'succeeded'],
    );
    await call('POST', `/v1/vms/${vm.id}/start`);
    await workerReaches(api.db, vm.id, 'running');
    const inserted = await change(vm.id, { image: 'disc2', force: true });
    assert.deepEqual(
      [inserted.body.vm.cdrom.image, inserted.body.operation.state],
      ['disc2', 'queued'],
      inserted.text,
    );
    const row = await api.db.vm.findUniqueOrThrow({ where: { id: vm.id } });
    assert.deepEqual(
      [row.cdromEpoch, row.cdromForce, row.observedGeneration < row.generation],
      [2, true, true],
    );
    for (const body of [
      {},
      { image: 1 },
      { image: '' },
      { image: null, x: 1 },
      { image: null, force: 1 },
      [],
    ])
      assertProblem(await change(vm.id, body), 400, 'invalid_request');
    assertProblem(await change(vm.id, { image: 'nope' }), 404, 'not_found');
    assertProblem(await change(vm.id, { image: 'disk1' }), 400, 'invalid_request');
    assertProblem(await change(newId('vm'), { image: null }), 404, 'not_found');
    const driveless = await created({ image: 'tiny' });
    assertProblem(await change(driveless.id, { image: 'disc1' }), 409, 'no_cdrom');
  });

  it('counts disks that a guest can write to against the quota, also when many VMs come at once', async () => {
    const tenant = await makeTenant(api, { diskMiB: 10 });
    await upload('theirs', 'disk', 3 * MIB, tenant.call);
    await lookedInto();
    const make = (disks: object[]) =>
      tenant.call('POST', '/v1/vms', { name: 'a', memoryMiB: 64, start: false, disks });
    const answers = await Promise.all(Array.from({ length: 6 }, () => make([{ image: 'theirs' }])));
    assert.deepEqual(answers.map(({ status }) => status).sort(), [202, 202, 202, 409, 409, 409]);
    assertProblem(await make([{ sizeMiB: 2 }]), 409, 'quota_exceeded');
    assert.equal((await make([{ image: 'theirs', readonly: true }])).status, 202);
    const first = answers.find(({ status }) => status === 202);
    assert.equal((await tenant.call('DELETE', `/v1/vms/${first?.body.vm.id}`)).status, 202);
    assert.equal((await make([{ sizeMiB: 4 }])).status, 202);
  });

  it('starts a VM with kept disks only where they are', async () => {
    const other = await addHost(api.db, 20_000);
    const kept = await created({ disks: [{ sizeMiB: 1 }] });
    const at = async (id: string) => (await api.db.vm.findUniqueOrThrow({ where: { id } })).hostId;
    const home = await at(kept.id);
    assert.equal(home, other);
    await call('POST', `/v1/vms/${kept.id}/stop`);
    await workerReaches(api.db, kept.id, 'stopped');
    await api.db.host.update({ where: { id: other }, data: { state: 'down' } });
    const refused = await call('POST', `/v1/vms/${kept.id}/start`);
    assertProblem(refused, 409, 'no_capacity');
    assert.match(refused.body.detail, /disks are on host/);
    await api.db.vm.update({ where: { id: kept.id }, data: { hostId } });
    assert.equal((await call('POST', `/v1/vms/${kept.id}/start`)).status, 202);
  });

  it('makes tickets for a screen that may only be looked at', async () => {
    const vm = await created({ start: false, cdrom: {} });
    const ticket = (body: object) => call('POST', `/v1/vms/${vm.id}/tickets`, body);
    const made = await ticket({ for: 'display', viewOnly: true });
    assert.deepEqual([made.status, made.body.for], [201, 'display'], made.text);
    assertProblem(await ticket({ for: 'serial', viewOnly: true }), 400, 'invalid_request');
    assertProblem(await ticket({ for: 'display', viewOnly: 'yes' }), 400, 'invalid_request');
  });

  it('refuses impossible input, patterns and queries', async () => {
    const vm = await created({ start: false, cdrom: {} });
    const inputs: unknown[] = [
      { type: 'text' },
      { type: 'text', text: '' },
      { type: 'text', text: 1 },
      { type: 'text', text: 'x'.repeat(4097) },
      { type: 'text', text: '\ud800' },
      { type: 'text', text: 'x', layout: '../us' },
      { type: 'text', text: 'x', layout: 1 },
      { type: 'text', text: 'x', keys: [] },
      { type: 'keys', keys: [] },
      { type: 'keys', keys: 'a' },
      { type: 'keys', keys: Array.from({ length: 9 }, () => 'a') },
      { type: 'keys', keys: [1] },
      { type: 'pointer', x: -1, y: 0 },
      { type: 'pointer', x: 0 },
      { type: 'pointer', x: 0, y: 0.5 },
      { type: 'pointer', x: 0, y: 0, buttons: 32 },
      { type: 'pointer', x: 65536, y: 0 },
      { type: 'pointer', x: 0, y: 0, wheel: 101 },
      { type: 'mouse', x: 0, y: 0 },
    ];
    for (const body of inputs)
      assertProblem(await call('POST', `/v1/vms/${vm.id}/input`, body), 400, 'invalid_request');
    const good = { on: 'serial', pattern: 'x' };
    for (const fields of [
      { on: 'tape' },
      { on: undefined },
      { pattern: '' },
      { pattern: 1 },
      { pattern: 'x'.repeat(1001) },
      { timeoutSeconds: -1 },
      { timeoutSeconds: 301 },
      { timeoutSeconds: '1' },
      { after: -1 },
      { after: 1e300 },
      { zzz: 1 },
    ]) {
      const answer = await call('POST', `/v1/vms/${vm.id}/expect`, { ...good, ...fields });
      assertProblem(answer, 400, 'invalid_request');
    }
    for (const path of ['screenshot?x=1', 'screen/text?x=1', 'display?viewOnly=perhaps', 'display?x=1'])
      assertProblem(await call('GET', `/v1/vms/${vm.id}/${path}`), 400, 'invalid_request');
    for (const [method, path, body] of [
      ['GET', 'screenshot', undefined],
      ['GET', 'screen/text', undefined],
      ['POST', 'input', { type: 'text', text: 'x' }],
      ['POST', 'expect', good],
    ] as const)
      assertProblem(await call(method, `/v1/vms/${vm.id}/${path}`, body), 409, 'vm_not_running');
  });
});
