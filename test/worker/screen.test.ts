import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { cacheDirectory } from '../../src/cli/setup/bootstrap.js';
import { FIRMWARE, provideDebianFiles, RESCUE_DISCS } from '../../src/cli/setup/guest/debian-files.ts';
import { bootDisc, bootSector } from '../firmware/boot-sector.ts';
import { countingSector } from '../firmware/counting-sector.ts';
import { until, WorkerRig } from './worker-rig.ts';

/** From the reset vector to what is to be seen, with others on the machine. Seconds. */
const BOOT_SECONDS = 120;

/** What a request that waits is given to be let in. Milliseconds. */
const LET_IN_MS = 2_000;

/** Firmware takes its time on a machine that has others to do. */
const PATIENT = { timeout: 400_000 };

let rig: WorkerRig;
let url: string;
let key: string;

before(async () => {
  await provideDebianFiles(FIRMWARE, cacheDirectory());
  rig = await WorkerRig.create();
  url = await rig.startApi();
  await rig.startWorker();
  key = (await readFile(join(rig.home, 'default.key'), 'utf8')).trim();
  await upload('disc', 'iso', bootDisc('from the disc:'));
  await upload('disc2', 'iso', bootDisc('from another disc:'));
  const disk = new Uint8Array(1 << 20);
  disk.set(bootSector('from the disk:'));
  await upload('disk', 'disk', disk);
  const counting = new Uint8Array(1 << 20);
  counting.set(countingSector());
  await upload('counting', 'disk', counting);
});
after(async () => rig.close());

interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: what an answer holds is what the tests find out
  readonly body: any;
}

async function call(method: string, path: string, body?: unknown): Promise<Answer> {
  const answer = await fetch(`${url}/v1/${path}`, {
    method,
    headers: {
      authorization: `Bearer ${key}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  return { status: answer.status, body: text === '' ? undefined : JSON.parse(text) };
}

async function upload(name: string, kind: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const answer = await fetch(`${url}/v1/images?name=${name}&kind=${kind}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/octet-stream' },
    body: bytes,
  });
  assert.equal(answer.status, 201, await answer.text());
  await until(async () => {
    const { body } = await call('GET', `images?name=${name}`);
    return body.items[0].state === 'checking' ? undefined : body.items[0];
  });
}

async function create(body: object): Promise<string> {
  const answer = await call('POST', 'vms', { name: 'a', memoryMiB: 32, ...body });
  assert.equal(answer.status, 202, JSON.stringify(answer.body));
  return answer.body.vm.id;
}

const expectOnScreen = (id: string, pattern: string, timeoutSeconds = BOOT_SECONDS) =>
  call('POST', `vms/${id}/expect`, { on: 'screen', pattern, timeoutSeconds });

async function shows(id: string, pattern: string): Promise<Answer> {
  let answer = await expectOnScreen(id, pattern);
  // A process that was killed is not yet known to be gone.
  while (answer.status === 503) answer = await expectOnScreen(id, pattern);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer;
}

async function done(id: string, action: string, body?: unknown): Promise<Answer> {
  const begun = await call('POST', `vms/${id}/${action}`, body);
  assert.equal(begun.status, 202, JSON.stringify(begun.body));
  return call('GET', `operations/${begun.body.operation.id}/wait?timeout=30`);
}

/** A viewer that keeps what it is sent. */
class Viewer {
  readonly socket: WebSocket;
  bytes = Buffer.alloc(0);

  constructor(
    id: string,
    query = '',
    protocols: string[] = [],
    authorization: string | null = `Bearer ${key}`,
  ) {
    this.socket = new WebSocket(`${url.replace('http', 'ws')}/v1/vms/${id}/display${query}`, protocols, {
      headers: authorization === null ? {} : { authorization },
    });
    this.socket.on('error', () => {});
    this.socket.on('message', (data: Buffer, isBinary) => {
      assert.equal(isBinary, true);
      this.bytes = Buffer.concat([this.bytes, data]);
    });
  }

  async until(length: number): Promise<Buffer> {
    await until(() => this.bytes.length >= length || undefined);
    const taken = this.bytes.subarray(0, length);
    this.bytes = this.bytes.subarray(length);
    return taken;
  }

  /** RFB 3.8 without authentication, up to ServerInit (RFC 6143 §7.1 to 7.3). */
  async handshake(): Promise<{ width: number; height: number; name: string }> {
    assert.equal((await this.until(12)).toString(), 'RFB 003.008\n');
    this.socket.send(Buffer.from('RFB 003.008\n'));
    const [types = 0] = await this.until(1);
    assert.ok((await this.until(types)).includes(1));
    this.socket.send(Buffer.from([1]));
    assert.equal((await this.until(4)).readUInt32BE(), 0);
    this.socket.send(Buffer.from([1]));
    const init = await this.until(24);
    const name = (await this.until(init.readUInt32BE(20))).toString();
    return { width: init.readUInt16BE(0), height: init.readUInt16BE(2), name };
  }

  /** Presses and lets go of a key by its keysym (§7.5.4). */
  press(keysym: number): void {
    for (const down of [1, 0]) {
      const event = Buffer.from([4, down, 0, 0, 0, 0, 0, 0]);
      event.writeUInt32BE(keysym, 4);
      this.socket.send(event);
    }
  }

  /** Asks for the whole picture, raw, and takes it (§7.5.3, §7.6.1, §7.7.1). */
  async picture({ width, height }: { width: number; height: number }): Promise<void> {
    const request = Buffer.from([3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    request.writeUInt16BE(width, 6);
    request.writeUInt16BE(height, 8);
    this.socket.send(request);
    const head = await this.until(4);
    assert.equal(head[0], 0);
    for (let rects = head.readUInt16BE(2); rects > 0; rects--) {
      const rect = await this.until(12);
      assert.equal(rect.readInt32BE(8), 0);
      await this.until(rect.readUInt16BE(4) * rect.readUInt16BE(6) * 4);
    }
  }
}

test('a disc starts from the BIOS; its screen is read, typed at and photographed', PATIENT, async () => {
  const id = await create({ cdrom: { image: 'disc' } });
  const found = await shows(id, '^from the (disc|disk):');
  assert.deepEqual(found.body, { text: 'from the disc:', groups: ['disc'] });
  const typed = await call('POST', `vms/${id}/input`, { type: 'text', text: 'Hello, "World"' });
  assert.equal(typed.status, 200, JSON.stringify(typed.body));
  await shows(id, 'Hello, "World"$');
  const german = await call('POST', `vms/${id}/input`, { type: 'text', text: 'z', layout: 'de' });
  assert.equal(german.status, 200);
  await shows(id, '"World"y$');
  assert.equal((await call('POST', `vms/${id}/input`, { type: 'keys', keys: ['shift', 'a'] })).status, 200);
  await shows(id, 'yA$');
  const text = await call('GET', `vms/${id}/screen/text`);
  assert.ok(text.body.lines.some((line: string) => line.startsWith('from the disc:Hello')));
  const picture = await fetch(`${url}/v1/vms/${id}/screenshot`, {
    headers: { authorization: `Bearer ${key}` },
  });
  assert.equal(picture.headers.get('content-type'), 'image/png');
  const png = Buffer.from(await picture.arrayBuffer());
  assert.equal(png.toString('latin1', 0, 8), '\x89PNG\r\n\x1a\n');
  assert.deepEqual([png.readUInt32BE(16), png.readUInt32BE(20)], [720, 400]);

  for (const [body, status, code] of [
    [{ type: 'text', text: 'x', layout: 'klingon' }, 400, 'invalid_request'],
    [{ type: 'text', text: '漢' }, 400, 'invalid_request'],
    [{ type: 'keys', keys: ['hyper'] }, 400, 'invalid_request'],
  ] as const) {
    const refused = await call('POST', `vms/${id}/input`, body);
    assert.deepEqual([refused.status, refused.body.code], [status, code], JSON.stringify(refused.body));
  }
  const pointer = await call('POST', `vms/${id}/input`, { type: 'pointer', x: 10, y: 10, buttons: 1 });
  assert.deepEqual([pointer.status, pointer.body.absolute], [200, false]);
  for (const pattern of ['(', '(a+)\\1', `(${'a?'.repeat(300)}){30}`]) {
    const refused = await expectOnScreen(id, pattern, 1);
    assert.deepEqual(
      [refused.status, refused.body.code],
      [400, 'invalid_request'],
      JSON.stringify(refused.body),
    );
  }
  const late = await expectOnScreen(id, 'never to be seen', 0.2);
  assert.deepEqual([late.status, late.body.code], [408, 'wait_timeout']);
  assert.match(late.body.detail, /from the disc/);
  await call('DELETE', `vms/${id}?force=true`);
});

test(
  'several viewers see the screen; one that may only look types nothing, one that speaks nonsense goes alone',
  PATIENT,
  async () => {
    const id = await create({ cdrom: { image: 'disc' } });
    await shows(id, 'from the disc:');
    const first = new Viewer(id, '', ['binary']);
    const screen = await first.handshake();
    assert.equal(first.socket.protocol, 'binary');
    assert.deepEqual([screen.width, screen.height], [720, 400]);
    await first.picture(screen);
    const looker = new Viewer(id, '?viewOnly=true');
    await looker.handshake();
    assert.equal(looker.socket.protocol, '');
    const { body: ticket } = await call('POST', `vms/${id}/tickets`, { for: 'display', viewOnly: true });
    const guest = new Viewer(id, `?ticket=${ticket.ticket}`, [], null);
    await guest.handshake();
    looker.press(0x78);
    guest.press(0x78);
    await Promise.all([looker.picture(screen), guest.picture(screen)]);
    first.press(0x79);
    await shows(id, 'from the disc:y$');

    const text = new Viewer(id);
    await text.handshake();
    text.socket.send('hello');
    assert.equal((await once(text.socket, 'close'))[0], 1003);
    const nonsense = new Viewer(id);
    await nonsense.until(12);
    nonsense.socket.send(Buffer.alloc(60_000, 0xff));
    await once(nonsense.socket, 'close');
    const long = new Viewer(id);
    await long.handshake();
    long.socket.send(Buffer.alloc(64 * 1024 + 1));
    assert.equal((await once(long.socket, 'close'))[0], 1009);
    // A clipboard of 4 GiB (RFC 6143 §7.5.6), of which the first bytes come.
    const clipboard = new Viewer(id);
    await clipboard.handshake();
    clipboard.socket.send(Buffer.from([6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x61, 0x62]));
    await once(clipboard.socket, 'close');
    await first.picture(screen);

    const serial = await call('POST', `vms/${id}/tickets`, { for: 'serial' });
    const wrong = new Viewer(id, `?ticket=${serial.body.ticket}`, [], null);
    const [, refusal] = await once(wrong.socket, 'unexpected-response');
    assert.equal(refusal.statusCode, 401);

    // The screen outlives a reset, with the same viewers.
    await done(id, 'reset');
    await shows(id, 'from the disc:$');
    await first.picture(screen);
    first.press(0x7a);
    await shows(id, 'from the disc:z$');
    const closed = Promise.all([first, looker, guest].map(({ socket }) => once(socket, 'close')));
    await done(id, 'stop');
    for (const [code] of await closed) assert.equal(code, 4001);
    await call('DELETE', `vms/${id}`);
  },
);

test('consoles and screens are closed with the key, or its ticket’s, that opened them', PATIENT, async () => {
  const id = await create({ cdrom: { image: 'disc' } });
  await shows(id, 'from the disc:');
  const headers = {
    authorization: `Bearer ${(await readFile(join(rig.home, 'operator.key'), 'utf8')).trim()}`,
  };
  const { tenantId } = (await call('GET', `vms/${id}`)).body;
  const keys = `${url}/v1/tenants/${tenantId}/keys`;
  const made = await fetch(keys, {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body: '{}',
  });
  const second = (await made.json()) as { id: string; key: string };
  const bearer = { authorization: `Bearer ${second.key}` };
  const ticket = await fetch(`${url}/v1/vms/${id}/tickets`, {
    method: 'POST',
    headers: { ...bearer, 'content-type': 'application/json' },
    body: JSON.stringify({ for: 'display' }),
  });
  const { ticket: pass } = (await ticket.json()) as { ticket: string };
  const screen = new Viewer(id, '', [], bearer.authorization);
  const byTicket = new Viewer(id, `?ticket=${pass}`, [], null);
  const mine = new Viewer(id);
  const size = await mine.handshake();
  await screen.handshake();
  await byTicket.handshake();
  const console = new WebSocket(`${url.replace('http', 'ws')}/v1/vms/${id}/serial`, { headers: bearer });
  await once(console, 'open');
  const closed = Promise.all(
    [screen.socket, byTicket.socket, console].map((socket) => once(socket, 'close')),
  );
  // Nor does a tool wait on.
  const waits = fetch(`${url}/v1/vms/${id}/expect`, {
    method: 'POST',
    headers: { ...bearer, 'content-type': 'application/json' },
    body: JSON.stringify({ on: 'screen', pattern: 'from the disc:y$', timeoutSeconds: 300 }),
  });
  await delay(LET_IN_MS);
  const revoked = await fetch(`${keys}/${second.id}`, { method: 'DELETE', headers });
  assert.equal(revoked.status, 204);
  for (const [code, reason] of await closed) {
    assert.deepEqual([code, String(reason)], [4003, 'the key was revoked or has expired']);
  }
  const answer = await waits;
  assert.equal(answer.status, 401);
  assert.match(await answer.text(), /the key was revoked or has expired while this request waited/);
  screen.press(0x78);
  await mine.picture(size);
  mine.press(0x79);
  await shows(id, 'from the disc:y$');
  mine.socket.close();
  await call('DELETE', `vms/${id}?force=true`);
});

test('a viewer that does not read holds nobody up', PATIENT, async () => {
  const id = await create({ cdrom: { image: 'disc' } });
  await shows(id, 'from the disc:');
  const deaf = new Viewer(id);
  const screen = await deaf.handshake();
  deaf.socket.pause();
  const request = Buffer.from([3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  request.writeUInt16BE(screen.width, 6);
  request.writeUInt16BE(screen.height, 8);
  for (let n = 0; n < 200; n++) deaf.socket.send(request);
  const good = new Viewer(id);
  await good.handshake();
  for (let n = 0; n < 5; n++) await good.picture(screen);
  good.press(0x61);
  await shows(id, 'from the disc:a$');
  deaf.socket.terminate();
  await call('DELETE', `vms/${id}?force=true`);
});

test(
  "GRUB's, iPXE's and memtest86+'s discs, uploaded, start and are driven by what they show",
  PATIENT,
  async () => {
    const folder = await provideDebianFiles(RESCUE_DISCS, cacheDirectory());
    const start = async (name: string, file = `${name}.iso`): Promise<string> => {
      await upload(name, 'iso', new Uint8Array(await readFile(join(folder, file))));
      return create({ name, memoryMiB: 128, cdrom: { image: name } });
    };
    const grub = await start('grub-rescue');
    await shows(grub, 'executed automatically');
    const keys = async (...names: string[]): Promise<void> => {
      const typed = await call('POST', `vms/${grub}/input`, { type: 'keys', keys: names });
      assert.equal(typed.status, 200, JSON.stringify(typed.body));
    };
    await keys('down');
    await shows(grub, '\\*GNU \\(aka GNU/Hurd\\)');
    await keys('c');
    await shows(grub, '^grub>');
    await call('DELETE', `vms/${grub}?force=true`);

    const ipxe = await start('ipxe');
    await shows(ipxe, 'Open Source Network Boot Firmware');
    await shows(ipxe, 'No more network devices');
    await call('DELETE', `vms/${ipxe}?force=true`);

    const memtest = await start('memtest', 'memtest86+.iso');
    await shows(memtest, 'Pass +\\d+%');
    const { body } = await call('GET', `vms/${memtest}/screen/text`);
    const text = body.lines.join('\n');
    for (const said of [/Memtest86\+ v/, /Memory +: +128MB/, /Errors: 0/]) assert.match(text, said);
    await call('DELETE', `vms/${memtest}?force=true`);
  },
);

test('a VM that a kernel starts has no screen, and says so', PATIENT, async () => {
  const { id } = await rig.createVm();
  await rig.untilVm(id, ({ state }) => state === 'running');
  const operator = (await readFile(join(rig.home, 'operator.key'), 'utf8')).trim();
  const headers = { authorization: `Bearer ${operator}` };
  for (const path of ['screenshot', 'screen/text']) {
    const answer = await fetch(`${url}/v1/vms/${id}/${path}`, { headers });
    assert.deepEqual([answer.status, ((await answer.json()) as { code: string }).code], [409, 'no_screen']);
  }
  const viewer = new Viewer(id, '', [], headers.authorization);
  const [, refusal] = await once(viewer.socket, 'unexpected-response');
  assert.equal(refusal.statusCode, 409);
  const post = async (path: string, body: object) => {
    const answer = await fetch(`${url}/v1/vms/${id}/${path}`, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    // biome-ignore lint/suspicious/noExplicitAny: as above
    return { status: answer.status, body: (await answer.json()) as any };
  };
  assert.equal((await post('expect', { on: 'screen', pattern: 'x' })).body.code, 'no_screen');
  const said = await post('expect', { on: 'serial', pattern: 'echo (\\w+) ready', timeoutSeconds: 10 });
  assert.deepEqual(said, {
    status: 200,
    body: { text: 'echo guest ready', groups: ['guest'], position: 'echo guest ready'.length },
  });
  const again = await post('expect', { on: 'serial', pattern: 'echo', after: 16, timeoutSeconds: 0.1 });
  assert.equal(again.status, 408);
});

test(
  'what a guest writes is kept by an overlay, thrown away by the other, and never in the image',
  PATIENT,
  async () => {
    const image = (await call('GET', 'images?name=counting')).body.items[0];
    const kept = await create({ disks: [{ image: 'counting', sizeMiB: 8, bus: 'ide' }] });
    const thrown = await create({ disks: [{ image: 'counting', mode: 'throw-away' }] });
    await shows(kept, 'count 1');
    await shows(thrown, 'count 1');
    const folder = join(rig.home, 'run', 'vms', kept);
    assert.equal((await readdir(folder)).filter((name) => name.endsWith('.qcow2')).length, 1);
    await done(kept, 'reset');
    await shows(kept, 'count 2');
    await done(thrown, 'reset');
    await shows(thrown, 'count 2');
    for (const id of [kept, thrown]) await done(id, 'stop');
    assert.equal(
      (await readdir(join(rig.home, 'run', 'vms', thrown))).filter((n) => n.endsWith('.qcow2')).length,
      0,
    );
    for (const id of [kept, thrown]) await done(id, 'start');
    await shows(kept, 'count 3');
    await shows(thrown, 'count 1');
    // Also when the process is killed.
    process.kill(Number((await rig.vm(kept)).pid), 'SIGKILL');
    await shows(kept, 'count 4');
    const row = await rig.database.image.findUniqueOrThrow({ where: { id: image.id } });
    const bytes = await readFile(join(rig.home, 'images', String(row.mediaPath)));
    assert.equal(bytes[512], 0);
    const refused = await call('DELETE', `images/${image.id}`);
    assert.equal(refused.body.code, 'image_in_use');
    for (const id of [kept, thrown]) await call('DELETE', `vms/${id}?force=true`);
    await until(() => !existsSync(folder) || undefined);
    assert.ok((await stat(join(rig.home, 'images', String(row.mediaPath)))).size > 0);
  },
);

test('an empty disk is made, and the disc in the drive is changed while the VM runs', PATIENT, async () => {
  const id = await create({ cdrom: { image: 'disc' }, disks: [{ sizeMiB: 4 }] });
  await shows(id, 'from the disc:');
  const changed = await done(id, 'cdrom', { image: 'disc2' });
  assert.equal(changed.body.state, 'succeeded', JSON.stringify(changed.body));
  await done(id, 'reset');
  await shows(id, 'from another disc:');
  const ejected = await done(id, 'cdrom', { image: null });
  assert.equal(ejected.body.state, 'succeeded');
  assert.deepEqual((await call('GET', `vms/${id}`)).body.cdrom, { image: null, imageId: null });
  await done(id, 'reset');
  await shows(id, 'No bootable device|not a bootable disk');
  await done(id, 'pause');
  assert.equal((await done(id, 'cdrom', { image: 'disc' })).body.state, 'succeeded');
  await done(id, 'resume');
  await done(id, 'reset');
  await shows(id, 'from the disc:');
  await call('DELETE', `vms/${id}?force=true`);
});

test(
  'a disc that is cut off and a disk that is none are found unusable, each with what is wrong',
  PATIENT,
  async () => {
    const cut = bootDisc('x');
    // The primary volume descriptor's size: 1000 blocks of 2048 bytes.
    cut[16 * 2048 + 81] = 1000 >> 8;
    cut[16 * 2048 + 80] = 1000 & 0xff;
    cut[16 * 2048 + 129] = 8;
    const qcow2 = new Uint8Array(65_536);
    qcow2.set([0x51, 0x46, 0x49, 0xfb, 0, 0, 0, 3]);
    await upload('cut', 'iso', cut);
    await upload('broken', 'disk', qcow2);
    for (const [name, problem] of [
      ['cut', /./],
      ['broken', /./],
    ] as const) {
      const { items } = (await call('GET', `images?name=${name}`)).body;
      assert.equal(items[0].state, 'unusable', JSON.stringify(items[0]));
      assert.match(items[0].problem, problem);
      assert.ok(!items[0].problem.includes(rig.home));
    }
  },
);

test('what drives move shows in the figures of their VM, its history and the host’s', PATIENT, async () => {
  const disks = [{ image: 'counting', bus: 'ide' }, { image: 'counting' }];
  const id = await create({ disks, cdrom: { image: 'disc' }, boot: { order: ['disk'] } });
  await shows(id, 'count 1');
  const { body: vm } = await call('GET', `vms/${id}`);
  const figures = async (writes: number) =>
    until(async () => {
      const { body } = await call('GET', `vms/${id}/metrics`);
      return body.disk.writeOperations >= writes ? body : undefined;
    });
  const first = await figures(1);
  assert.equal(first.network, null);
  assert.equal(first.disk.writtenBytes, 512);
  assert.deepEqual(
    first.disk.drives.map((drive: { id: string }) => drive.id),
    [vm.disks[0].id, vm.disks[1].id, 'cdrom'],
  );
  const [ide, virtio, cdrom] = first.disk.drives;
  // The boot sector, by the firmware, and the one that is counted in.
  assert.ok(ide.readBytes >= 1024 && ide.readOperations >= 2, JSON.stringify(ide));
  assert.deepEqual([ide.writtenBytes, ide.writeOperations], [512, 1]);
  assert.equal(virtio.writtenBytes, 0);
  assert.equal(cdrom.writtenBytes, 0);
  assert.equal(first.disk.readBytes, ide.readBytes + virtio.readBytes + cdrom.readBytes);
  assert.equal(first.disk.operations, first.disk.readOperations + first.disk.writeOperations);

  // A rate needs a reading before: wait for a first point of the history.
  const history = async () => (await call('GET', `vms/${id}/metrics/history`)).body.points;
  const late = () => 'no figures in time';
  await until(async () => ((await history()).length > 0 ? true : undefined), late, 60_000);
  await done(id, 'reset');
  await shows(id, 'count 2');
  const second = await figures(2);
  assert.equal(second.disk.writtenBytes, 1024, 'counters go on over a reset');
  assert.ok(second.disk.readBytes > first.disk.readBytes);
  const point = await until(
    async () =>
      (await history()).find(
        ({ disk }: { disk: Record<string, number> }) => Number(disk.writesPerSecond) > 0,
      ),
    late,
    60_000,
  );
  assert.ok(point.disk.writtenBytesPerSecond > 0 && point.disk.readBytesPerSecond > 0, JSON.stringify(point));
  assert.equal(point.network, null);

  const scraped = await (await fetch(`${url}/metrics`)).text();
  const total = (name: string) =>
    Number(new RegExp(`^${name}\\{host="rig"\\} (\\d+)$`, 'm').exec(scraped)?.[1]);
  assert.ok(total('teremok_disk_written_bytes_total') >= 1024, scraped);
  assert.ok(total('teremok_disk_writes_total') >= 2);
  assert.ok(total('teremok_disk_read_bytes_total') >= second.disk.readBytes);
  assert.ok(total('teremok_disk_reads_total') >= second.disk.readOperations);
  await call('DELETE', `vms/${id}?force=true`);
});
