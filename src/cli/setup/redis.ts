import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chown, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Account, makeReadable, privateFolder } from './account.ts';
import { SetupError, say } from './bootstrap.js';
import { DebianPackages, findProgram, unpack } from './debian.ts';
import { endLeftover } from './leftover.ts';
import { locked } from './lock.ts';
import { ManagedProcess, pause } from './managed-process.ts';
import { tail } from './postgres.ts';

const run = promisify(execFile);

/** A Redis server program and the folder of the shared libraries that came with it. */
export interface RedisProgram {
  command: string;
  libraryPath?: string;
}

/** What one embedded Redis needs. */
export interface RedisOptions {
  program: RedisProgram;
  /** The data folder; made when it does not exist. */
  data: string;
  /** TCP port on 127.0.0.1. */
  port: number;
  password: string;
  account: Account | undefined;
  logFile: string;
  pidFile: string;
}

const STOP_TIMEOUT_MS = 15_000;

/** BullMQ's minimum. */
const MINIMUM = [6, 2] as const;

/**
 * Provides a Redis server: the machine's own if it is recent enough, else Debian's package and the libraries it
 * needs, unpacked into the cache.
 * @param cache folder of fetched programs
 * @throws SetupError when there is neither
 */
export async function provideRedis(cache: string): Promise<RedisProgram> {
  const folder = join(cache, `redis-${process.arch}`);
  const unpacked = await unpackedRedis(folder);
  if (unpacked !== undefined) return unpacked;
  const installed = await findProgram('redis-server');
  if (installed !== undefined && (await isRecent({ command: installed }))) return { command: installed };
  if (!(await DebianPackages.available())) {
    throw new SetupError(
      `no Redis: install redis-server ${MINIMUM.join('.')} or newer with this machine's package manager, or set REDIS_URL`,
    );
  }
  return locked(`${folder}.lock`, async () => (await unpackedRedis(folder)) ?? fetchRedis(cache, folder));
}

async function fetchRedis(cache: string, folder: string): Promise<RedisProgram> {
  say("fetching Redis (Debian's redis-server)");
  const work = `${folder}.${process.pid}`;
  await rm(work, { recursive: true, force: true });
  await mkdir(work, { recursive: true });
  try {
    const debian = new DebianPackages(join(cache, 'apt'));
    const names = ['redis-server', 'redis-tools'];
    const packages = await debian.fetch(
      [...names, ...(await debian.libraries(names))],
      join(work, 'packages'),
    );
    for (const { file } of packages) await unpack(file, join(work, 'root'));
    await rm(join(work, 'packages'), { recursive: true });
    await makeReadable(work);
    await rm(folder, { recursive: true, force: true });
    await rename(work, folder);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const program = await unpackedRedis(folder);
  if (program === undefined)
    throw new SetupError("Debian's redis-server does not run here; install Redis or set REDIS_URL");
  return program;
}

async function unpackedRedis(folder: string): Promise<RedisProgram | undefined> {
  // In Debian's package redis-server is a link to redis-check-rdb, the same binary, which goes by its name.
  const command = join(folder, 'root/usr/bin/redis-server');
  if (!existsSync(command)) return undefined;
  const { stdout } = await run('dpkg', ['--print-architecture']).catch(() => ({ stdout: '' }));
  const triplet = stdout.trim() === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  const libraryPath = ['usr/lib', 'lib'].map((part) => join(folder, 'root', part, triplet)).join(':');
  const program = { command, libraryPath };
  return (await isRecent(program)) ? program : undefined;
}

async function isRecent(program: RedisProgram): Promise<boolean> {
  const answer = await run(program.command, ['--version'], { env: environment(program) }).catch(
    () => undefined,
  );
  const [, major, minor] = /v=(\d+)\.(\d+)/.exec(answer?.stdout ?? '') ?? [];
  return Number(major) > MINIMUM[0] || (Number(major) === MINIMUM[0] && Number(minor) >= MINIMUM[1]);
}

function environment(program: RedisProgram): NodeJS.ProcessEnv {
  const base = { PATH: process.env.PATH, LC_ALL: 'C', TZ: 'UTC' };
  return program.libraryPath === undefined ? base : { ...base, LD_LIBRARY_PATH: program.libraryPath };
}

/** The connection string of an embedded Redis. */
export function redisUrl(options: { port: number; password: string }): string {
  return `redis://:${options.password}@127.0.0.1:${options.port}`;
}

/**
 * Starts Redis on a data folder and keeps it running. Every write goes to its append-only file, so that jobs outlive
 * it, and it never evicts a key, as BullMQ demands.
 * @returns once it answers
 * @throws SetupError when it does not come up
 */
export async function startRedis(options: RedisOptions): Promise<ManagedProcess> {
  const { data, account, program } = options;
  await privateFolder(data, account);
  const configuration = join(data, 'redis.conf');
  await writeFile(configuration, configurationText(options), { mode: 0o600 });
  if (account !== undefined) await chown(configuration, account.uid, account.gid);
  const server = new ManagedProcess(
    {
      name: 'Redis',
      command: program.command,
      // The last word is there for us to recognise the process by; Redis reads it like a line of the file.
      args: [configuration, '--dir', data],
      cwd: data,
      env: environment(program),
      account,
      logFile: options.logFile,
      stopSignal: 'SIGTERM',
      stopTimeoutMs: STOP_TIMEOUT_MS,
      pidFile: options.pidFile,
      prepare: async () => {
        await endLeftover(join(data, 'redis.pid'), data, 'SIGTERM', STOP_TIMEOUT_MS);
      },
      ready: async (_child, signal) => untilAnswering(options, signal),
    },
    say,
  );
  try {
    await server.start();
  } catch (error) {
    await server.stop();
    throw new SetupError(
      `Redis did not start: ${(error as Error).message}\n${await tail(options.logFile)}(log: ${options.logFile})`,
    );
  }
  return server;
}

function configurationText(options: RedisOptions): string {
  return `bind 127.0.0.1
port ${options.port}
requirepass ${options.password}
daemonize no
supervised no
pidfile ${quote(join(options.data, 'redis.pid'))}
logfile ""
databases 16
save ""
appendonly yes
appendfsync everysec
aof-load-truncated yes
maxmemory-policy noeviction
set-proc-title no
`;
}

function quote(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

/** Asks PING until the answer is PONG: while it reads its append-only file, Redis answers LOADING. */
async function untilAnswering(options: RedisOptions, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const answer = await ask(options.port, `AUTH ${options.password}\r\nPING\r\n`, signal);
    if (answer.includes('+PONG')) return;
    if (answer.includes('WRONGPASS'))
      throw new SetupError('Redis has another password than the one on record');
    await pause(50, signal);
  }
}

function ask(port: number, request: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect({ port, host: '127.0.0.1', signal });
    const finish = () => {
      socket.destroy();
      resolve(answer);
    };
    socket.setEncoding('utf8');
    socket.setTimeout(2000, finish);
    socket.on('connect', () => socket.write(request));
    socket.on('data', (text) => {
      answer += text;
      if ((answer.match(/\r\n/g)?.length ?? 0) >= 2) finish();
    });
    socket.on('error', finish);
    socket.on('close', finish);
  });
}
