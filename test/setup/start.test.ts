import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { cacheDirectory, projectRoot } from '../../src/cli/setup/bootstrap.js';
import { commandLine } from '../../src/cli/setup/leftover.ts';
import { temporaryHome } from '../../src/cli/setup/temporary-home.ts';
import { until } from './until.ts';

const PROCESSES = ['postgres', 'redis', 'worker', 'api'] as const;

describe('npm start', { timeout: 180_000 }, () => {
  let home: string;
  let npm: ChildProcess;
  let url: string;
  let output = '';

  const pid = async (name: string) => Number(await readFile(join(home, 'run', `${name}.pid`), 'utf8'));
  const allPids = () => Promise.all(PROCESSES.map(pid));
  const isReady = async () => ((await fetch(`${url}/readyz`)).ok ? true : undefined);
  const firstHost = async () => {
    const authorization = `Bearer ${(await readFile(join(home, 'operator.key'), 'utf8')).trim()}`;
    const answer = await fetch(`${url}/v1/hosts`, { headers: { authorization } });
    return ((await answer.json()) as { items: { state?: string }[] }).items[0];
  };

  before(async () => {
    home = await temporaryHome();
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      TEREMOK_HOME: home,
      TEREMOK_CACHE: cacheDirectory(),
      PORT: '0',
    };
    for (const name of ['DATABASE_URL', 'REDIS_URL', 'NODE_ENV', 'NODE_TEST_CONTEXT']) delete env[name];
    npm = spawn('npm', ['start'], { cwd: projectRoot, env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [npm.stdout, npm.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    const ended = once(npm, 'exit').then(([code]) => {
      throw new Error(`npm start ended with status ${code}:\n${output}`);
    });
    ended.catch(() => {});
    const ready = until(() => /^teremok ready on (http:\S+)$/m.exec(output)?.[1]);
    url = await Promise.race([ready, ended]);
  });

  after(async () => {
    if (npm.exitCode === null && npm.signalCode === null) {
      npm.kill('SIGTERM');
      await once(npm, 'exit');
    }
    await rm(home, { recursive: true, force: true });
  });

  it('says where it serves, and serves there', async () => {
    assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/);
    await until(isReady);
  });

  it('writes keys that only their owner can read, and puts this host into service', async () => {
    for (const name of ['default.key', 'operator.key']) {
      assert.equal((await stat(join(home, name))).mode & 0o777, 0o600);
    }
    await until(firstHost);
  });

  it('is whole again after kill -9 of the databases and the worker', async () => {
    const [postgres, redis, worker, api] = await until(allPids);
    for (const victim of [postgres, redis, worker]) process.kill(victim as number, 'SIGKILL');
    const replaced = await until(async () => {
      const now = await allPids();
      return [postgres, redis, worker].every((old, index) => now[index] !== old) ? now : undefined;
    });
    await until(isReady);
    assert.equal(replaced[3], api);
  });

  it('is whole again after kill -9 of the API', async () => {
    // With PORT=0 the new one may be elsewhere; it says so again.
    const lines = () =>
      [...output.matchAll(/^teremok ready on (http:\S+)$/gm)].map((match) => match[1] as string);
    const before = lines().length;
    process.kill(await pid('api'), 'SIGKILL');
    url = await until(() => (lines().length > before ? lines().at(-1) : undefined));
    await until(isReady);
  });

  it('ends everything in order when npm gets SIGTERM', async () => {
    const pids = await allPids();
    const supervisor = await pid('supervisor');
    npm.kill('SIGTERM');
    const [code] = await once(npm, 'exit');
    assert.equal(code, 0, output);
    for (const former of [...pids, supervisor]) assert.equal(await commandLine(former), undefined, output);
    assert.doesNotMatch(output, /is killed/);
  });
});
