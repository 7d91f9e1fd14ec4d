import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { cacheDirectory } from '../../src/cli/setup/bootstrap.js';
import { FIRMWARE, provideDebianFiles } from '../../src/cli/setup/guest/debian-files.ts';
import { type ApiProcess, startApiProcess } from '../api/api-process.ts';
import { bootDisc } from '../firmware/boot-sector.ts';
import { WorkerRig } from '../worker/worker-rig.ts';
import { runCli, startCli } from './cli-process.ts';

const MIB = 1024 * 1024;

/** Firmware takes its time on a machine that has others to do. */
const PATIENT = { timeout: 400_000 };

let rig: WorkerRig;
let api: ApiProcess;
let port: string;
let environment: Record<string, string>;

async function freePort(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  return String(typeof address === 'object' ? address?.port : 0);
}

async function startApi(): Promise<void> {
  const { databaseUrl, redisUrl } = rig.services;
  const urls = { databaseUrl: String(databaseUrl), redisUrl: String(redisUrl) };
  api = startApiProcess(rig.home, urls, { PORT: port });
  await api.until(/teremok ready on/);
}

/** Runs the client; gives what it prints when it has succeeded. */
async function done(...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await runCli(args, { environment });
  assert.equal(status, 0, `${args.join(' ')}: ${stderr}`);
  return stdout;
}

before(async () => {
  await provideDebianFiles(FIRMWARE, cacheDirectory());
  rig = await WorkerRig.create();
  port = await freePort();
  await startApi();
  await rig.startWorker();
  environment = { TEREMOK_HOME: rig.home, TEREMOK_URL: `http://127.0.0.1:${port}` };
});
after(async () => {
  api?.child.kill('SIGTERM');
  await api?.ended;
  await rig?.close();
});

test(
  'an upload outlives the service that is killed in the middle, and a client that is ended',
  PATIENT,
  async () => {
    const file = join(rig.home, 'Big Disk.img');
    await writeFile(file, randomBytes(70 * MIB));
    const first = startCli(['image', 'upload', file], environment);
    let said = '';
    first.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    while (!/sent 16\.0 MiB/.test(said)) await once(first.stderr, 'data');
    first.kill('SIGKILL');
    await once(first, 'close');

    const second = startCli(['image', 'upload', file, '--json'], environment);
    let output = '';
    let progress = '';
    second.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    second.stderr.setEncoding('utf8').on('data', (text: string) => {
      progress += text;
    });
    const ended = once(second, 'close');
    while (!/sent (32|48)\.0 MiB/.test(progress)) await once(second.stderr, 'data');
    api.child.kill('SIGKILL');
    await api.ended;
    await startApi();
    const [status] = (await ended) as [number];
    assert.equal(status, 0, progress);
    assert.match(progress, /^sent (16|32)\.0 MiB of 70\.0 MiB/, 'it began where the first had been ended');
    const image = JSON.parse(output) as { name: string; kind: string; state: string; sizeBytes: number };
    assert.deepEqual(
      [image.name, image.kind, image.state, image.sizeBytes],
      ['big-disk', 'disk', 'ready', 70 * MIB],
    );
    assert.match(await done('image', 'list'), /big-disk +disk +ready +70\.0 MiB/);
    assert.match(await done('image', 'rm', 'big-disk'), /is deleted/);
  },
);

test('a VM from a disc, driven by commands alone', PATIENT, async () => {
  const file = join(rig.home, 'disc.iso');
  await writeFile(file, bootDisc('say something:'));
  assert.match(await done('image', 'upload', file), /^disc \(img_/);
  const broken = join(rig.home, 'short.iso');
  await writeFile(broken, 'no disc');
  const refused = await runCli(['image', 'upload', broken], { environment });
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /short cannot be used: 7 bytes are too few/);

  assert.match(
    await done('vm', 'create', 'one', '--cdrom', 'disc', '--disk', 'size=4,bus=ide', '--memory', '32'),
    /is running/,
  );
  const shown = await done('vm', 'show', 'one');
  assert.match(shown, /cdrom +disc/);
  assert.match(shown, /disks +empty \(own, ide, 4\.0 MiB\)/);
  assert.equal(await done('vm', 'expect', 'one', 'say (some|any)thing', '--on', 'screen'), 'say something\n');
  await done('vm', 'type', 'one', 'Hello');
  await done('vm', 'key', 'one', 'shift', '1');
  await done('vm', 'expect', 'one', ':Hello!$', '--on', 'screen');
  assert.match(await done('vm', 'text', 'one'), /^say something:Hello!$/m);
  const picture = join(rig.home, 'screen.png');
  await done('vm', 'screenshot', 'one', picture);
  assert.equal((await readFile(picture)).toString('latin1', 1, 4), 'PNG');
  const late = await runCli(['vm', 'expect', 'one', 'never', '--on', 'screen', '--timeout', '0.1'], {
    environment,
  });
  assert.equal(late.status, 124);
  assert.match(await done('vm', 'cdrom', 'one', '--eject'), /empty/);
  assert.match(await done('vm', 'cdrom', 'one', 'disc'), /disc is in the drive/);
  const used = await runCli(['image', 'rm', 'disc'], { environment });
  assert.match(used.stderr, /used by one \(vm_/);
  await done('vm', 'rm', 'one', '--force');
});
