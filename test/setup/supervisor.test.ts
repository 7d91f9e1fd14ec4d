import assert from 'node:assert/strict';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { cacheDirectory, SetupError } from '../../src/cli/setup/bootstrap.js';
import { claimHome } from '../../src/cli/setup/home-lock.ts';
import { commandLine } from '../../src/cli/setup/leftover.ts';
import { type Program, Supervisor } from '../../src/cli/setup/supervisor.ts';
import { temporaryHome } from '../../src/cli/setup/temporary-home.ts';
import { until } from './until.ts';

const program = (name: string): Program => ({
  name,
  file: join(import.meta.dirname, 'programs', `${name}.ts`),
  stopTimeoutMs: 10_000,
});
const api: Program = { ...program('api'), ready: /^teremok ready on / };
const worker = program('worker');

describe('the supervisor behind npm start', { timeout: 120_000 }, () => {
  let home: string;
  let supervisor: Supervisor;
  const journal = async () => (await readFile(join(home, 'journal'), 'utf8')).trim().split('\n');
  const workers = async () => (await journal()).filter((line) => /^worker \d/.test(line));

  before(async () => {
    home = await temporaryHome();
    // The databases given by the environment would be used in place of the embedded ones.
    for (const name of ['DATABASE_URL', 'REDIS_URL']) delete process.env[name];
    supervisor = new Supervisor({ home, cache: cacheDirectory(), api, worker });
    await supervisor.start();
  });

  after(async () => {
    await supervisor.stop();
    await rm(home, { recursive: true, force: true });
  });

  it('gives the programs the addresses of the databases', async () => {
    assert.match(
      (await journal())[0] as string,
      /^api postgresql:\/\/teremok:\w+@127\.0\.0\.1:\d+\/teremok redis:\/\//,
    );
  });

  it('starts the worker after the API, and again after kill -9', async () => {
    const [first] = await until(async () => ((await workers()).length > 0 ? workers() : undefined));
    process.kill(Number((first as string).split(' ')[1]), 'SIGKILL');
    await until(async () => ((await workers()).length > 1 ? true : undefined));
  });

  it('starts the API again after kill -9', async () => {
    process.kill(Number(await readFile(join(home, 'run/api.pid'), 'utf8')), 'SIGKILL');
    await until(async () =>
      (await journal()).filter((line) => line.startsWith('api p')).length > 1 ? true : undefined,
    );
  });

  it('makes the guest image', async () => {
    const image = JSON.parse(await readFile(join(home, 'images/debian-busybox/image.json'), 'utf8'));
    assert.equal(image.name, 'debian-busybox');
  });

  it('ends the worker and the API before the databases, and leaves nothing running', async () => {
    const pids = await Promise.all(
      ['api', 'worker', 'redis', 'postgres'].map((name) =>
        readFile(join(home, 'run', `${name}.pid`), 'utf8'),
      ),
    );
    await supervisor.stop();
    assert.deepEqual((await journal()).slice(-2), ['api ended', 'worker ended']);
    for (const pid of pids) assert.equal(await commandLine(Number(pid)), undefined);
  });

  it('gives up with the reason when the API cannot start', async () => {
    const failing = new Supervisor({
      home,
      cache: cacheDirectory(),
      api: { ...program('broken'), ready: /never/ },
      worker,
    });
    await assert.rejects(failing.start(), (error) => {
      assert.ok(error instanceof SetupError);
      assert.match(error.message, /the broken ended before it was ready \(exit status 4\)/);
      return true;
    });
    await failing.stop();
    assert.match(await readFile(join(home, 'logs/broken.log'), 'utf8'), /the port is taken/);
  });
});

describe('the claim on a home', () => {
  it('is taken over from a process that is gone', async () => {
    const home = await temporaryHome();
    await mkdir(join(home, 'run'));
    const release = await claimHome(home);
    assert.equal(Number(await readFile(join(home, 'run/supervisor.pid'), 'utf8')), process.pid);
    await release();
    await rm(home, { recursive: true });
  });
});
