import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { after, before, describe, it } from 'node:test';
import { temporaryHome } from '../../src/cli/setup/temporary-home.ts';
import { createDatabase, type Database } from '../../src/infra/prisma.ts';
import { createLogger } from '../../src/lib/log.ts';
import { startApiProcess } from './api-process.ts';
import { addHost, elfKernel, type Servers, startServers } from './support.ts';

describe('the API process', () => {
  let servers: Servers;
  let home: string;
  let db: Database;
  const children = new Set<ChildProcess>();

  before(async () => {
    servers = await startServers();
    home = await temporaryHome();
    db = createDatabase({ url: servers.databaseUrl, log: createLogger('test', 'silent') });
    const folder = path.join(home, 'images', 'debian-busybox');
    await mkdir(folder, { recursive: true });
    await writeFile(path.join(folder, 'vmlinuz'), elfKernel());
    await writeFile(
      path.join(folder, 'image.json'),
      JSON.stringify({ name: 'debian-busybox', kernel: 'vmlinuz', cmdline: '' }),
    );
  });
  after(async () => {
    for (const child of children) child.kill('SIGKILL');
    await db?.$disconnect();
    await servers?.stop();
    await rm(home, { recursive: true, force: true });
  });

  const start = (environment: Record<string, string> = {}) => {
    const service = startApiProcess(home, servers, environment);
    children.add(service.child);
    return service;
  };

  it('comes up on an empty database, makes `hello` once there is room, and goes down in order', async () => {
    const service = start();
    const address = await service.until(/^teremok ready on (http:\/\/127\.0\.0\.1:\d+)$/m);
    const key = (await readFile(path.join(home, 'default.key'), 'utf8')).trim();
    assert.equal((await stat(path.join(home, 'operator.key'))).mode & 0o777, 0o600);
    const names = async () => {
      const answer = await fetch(`${address}/v1/vms`, { headers: { authorization: `Bearer ${key}` } });
      const { items } = (await answer.json()) as { items: { name: string }[] };
      return items.map((vm) => vm.name);
    };
    assert.deepEqual(await names(), []);
    await addHost(db, 1000);
    const line = await service.until(/^.*`hello`.*$/m);
    assert.match(line, /npx teremok vm console hello/);
    assert.deepEqual(await names(), ['hello']);
    service.child.kill('SIGTERM');
    assert.equal(await service.ended, 0, service.output());
    assert.match(service.output(), /shut down/);

    await db.vm.deleteMany();
    const again = start();
    await again.until(/^teremok ready on/m);
    again.child.kill('SIGINT');
    assert.equal(await again.ended, 0);
    assert.equal(await db.vm.count(), 0, 'hello is made once in the life of a database');
    assert.equal((await readFile(path.join(home, 'default.key'), 'utf8')).trim(), key);
  });

  it('never logs a key or a ticket', async () => {
    const service = start({ LOG_LEVEL: 'trace' });
    const address = await service.until(/^teremok ready on (http:\/\/127\.0\.0\.1:\d+)$/m);
    const key = (await readFile(path.join(home, 'default.key'), 'utf8')).trim();
    await fetch(`${address}/v1/vms?ticket=tkt_secret`, {
      headers: { authorization: `Bearer ${key}`, cookie: 'c=cookie_secret' },
    });
    service.child.kill('SIGTERM');
    await service.ended;
    assert.match(service.output(), /"path":"\/v1\/vms"/);
    for (const secret of [key, 'tkt_secret', 'cookie_secret'])
      assert.ok(!service.output().includes(secret), secret);
  });

  it('names every setting that is wrong, and ends', async () => {
    const service = start({
      PORT: '99999',
      LOG_LEVEL: 'loud',
      TEREMOK_ENGINE: 'qemu',
      DATABASE_URL: 'mysql://x',
      REDIS_URL: '',
    });
    assert.equal(await service.ended, 1);
    for (const name of ['PORT', 'LOG_LEVEL', 'TEREMOK_ENGINE', 'DATABASE_URL', 'REDIS_URL'])
      assert.ok(service.output().includes(name), name);
    assert.ok(!service.output().includes('    at '), 'no stack trace for a wrong setting');
  });

  it('says so when the port is taken', async () => {
    const first = start();
    const port = await first.until(/^teremok ready on http:\/\/127\.0\.0\.1:(\d+)$/m);
    const second = start({ PORT: port });
    assert.equal(await second.ended, 1);
    assert.match(second.output(), /teremok: .*EADDRINUSE.*set PORT/);
    first.child.kill('SIGTERM');
    assert.equal(await first.ended, 0);
  });
});
