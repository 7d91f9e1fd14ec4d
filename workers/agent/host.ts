import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Database } from '../../src/infra/prisma.ts';
import { isUniqueViolation } from '../../src/infra/prisma.ts';
import { newId } from '../../src/lib/ids.ts';

/** Another worker serves the same TEREMOK_HOME. */
export class WorkerLockError extends Error {
  override readonly name = 'WorkerLockError';
}

/**
 * Keeps a second worker away from this home. The lock is the name of an
 * abstract Unix socket (unix(7)), which the system takes back from a process
 * however it ends. Rejects with a WorkerLockError.
 */
export async function lockHome(home: string): Promise<Server> {
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const name = createHash('sha256').update(realpathSync(home)).digest('hex').slice(0, 32);
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE';
      reject(taken ? new WorkerLockError(`another worker serves ${home} already`) : error);
    });
    server.listen(`\0teremok-worker-${name}`, resolve);
  });
  return server.unref();
}

/** The host's id, made once and kept in the home. */
export function readHostId(home: string): string {
  const path = join(home, 'host-id');
  try {
    const kept = readFileSync(path, 'utf8').trim();
    if (/^host_[0-9a-f-]{36}$/.test(kept)) return kept;
    throw new Error(`${path} does not hold a host’s id; restore it, or remove it to register as a new host`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const id = newId('host');
  writeFileSync(path, `${id}\n`, { mode: 0o600, flag: 'wx' });
  return id;
}

export interface HostFacts {
  readonly id: string;
  readonly name: string;
  readonly endpoint: string;
  /** Signs the tokens that the API opens consoles with; new in every worker. */
  readonly channelSecret: string;
  readonly engines: readonly string[];
  readonly memoryMiB: number;
  readonly vcpus: number;
  readonly version: string;
}

/** This worker's row among the hosts. */
export class HostRow {
  readonly #database: Database;
  readonly #facts: HostFacts;

  static makeSecret(): string {
    return randomBytes(32).toString('base64url');
  }

  constructor(database: Database, facts: HostFacts) {
    this.#database = database;
    this.#facts = facts;
  }

  get id(): string {
    return this.#facts.id;
  }

  /** Writes the row as it is now. A host that an operator is draining stays so. */
  async register(): Promise<void> {
    const { id, name } = this.#facts;
    try {
      await this.#upsert(name);
    } catch (error) {
      if (!isUniqueViolation(error)) throw error;
      // A host of another home, or of this one before it was made anew, has the name.
      await this.#upsert(`${name}-${id.slice(-12)}`);
    }
    await this.#beat();
  }

  /** Shows that the worker lives; registers again when the row has gone. */
  async heartbeat(): Promise<void> {
    if ((await this.#beat()) === 0) await this.register();
  }

  /** Takes the host out of service until a worker starts here again. */
  async leave(): Promise<void> {
    await this.#database.host.updateMany({
      where: { id: this.#facts.id },
      data: { endpoint: null, channelSecret: null },
    });
    await this.#database.host.updateMany({
      where: { id: this.#facts.id, state: 'up' },
      data: { state: 'down' },
    });
  }

  async #upsert(name: string): Promise<void> {
    const { id, endpoint, channelSecret, engines, memoryMiB, vcpus, version } = this.#facts;
    const facts = {
      name,
      endpoint,
      channelSecret,
      engines: [...engines],
      memoryMiBTotal: memoryMiB,
      vcpusTotal: vcpus,
      version,
    };
    await this.#database.host.upsert({
      where: { id },
      create: { id, state: 'up', ...facts },
      update: facts,
    });
  }

  /** The database's own clock, since that is what the scheduler compares with. */
  async #beat(): Promise<number> {
    return this.#database.$executeRaw`
      UPDATE hosts SET last_heartbeat_at = now(), endpoint = ${this.#facts.endpoint},
                       channel_secret = ${this.#facts.channelSecret},
                       state = CASE WHEN state = 'draining' THEN state ELSE 'up' END
      WHERE id = ${this.#facts.id}`;
  }
}
