import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cacheDirectory } from '../../src/cli/setup/bootstrap.js';
import type { Services } from '../../src/cli/setup/services.ts';
import { startServices } from '../../src/cli/setup/services.ts';
import { temporaryHome } from '../../src/cli/setup/temporary-home.ts';
import { makeAttachToken } from '../../src/contracts/attach-token.ts';
import { Attachment } from '../../src/gateway/attachment.ts';
import { reserveCapacity } from '../../src/infra/capacity.ts';
import { applyMigrations } from '../../src/infra/migrations.ts';
import type { Database, Prisma, Vm } from '../../src/infra/prisma.ts';
import { createDatabase, isDatabaseOutage } from '../../src/infra/prisma.ts';
import type { Queues } from '../../src/infra/queues.ts';
import { createQueues } from '../../src/infra/queues.ts';
import type { Redis } from '../../src/infra/redis.ts';
import { createRedis } from '../../src/infra/redis.ts';
import { newId } from '../../src/lib/ids.ts';
import { createLogger } from '../../src/lib/log.ts';
import { startTicksOf } from '../../src/lib/process-identity.ts';
import { writeEchoGuest } from '../guests/echo-guest.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const WORKER = join(ROOT, 'workers', 'main.ts');
const API = join(ROOT, 'src', 'main.ts');

/** A home with PostgreSQL and Redis of its own, the echo guest as an image, and workers to start and kill. */
export class WorkerRig {
  readonly home: string;
  readonly services: Services;
  readonly database: Database;
  readonly redis: Redis;
  readonly queues: Queues;
  readonly tenantId = newId('ten');
  readonly imageId = newId('img');
  #worker: ChildProcess | undefined;
  #api: ChildProcess | undefined;
  #output = '';

  private constructor(home: string, services: Services) {
    const log = createLogger('rig', 'silent');
    this.home = home;
    this.services = services;
    this.database = createDatabase({ url: String(services.databaseUrl), log });
    this.redis = createRedis(String(services.redisUrl), 'commands', log);
    this.queues = createQueues(this.redis, log);
  }

  static async create(): Promise<WorkerRig> {
    const home = await temporaryHome();
    const services = await startServices({ home, cache: cacheDirectory(), durable: false });
    await applyMigrations({ databaseUrl: String(services.databaseUrl), log: createLogger('rig', 'silent') });
    const rig = new WorkerRig(home, services);
    await mkdir(join(home, 'images'), { recursive: true });
    await writeEchoGuest(join(home, 'images', 'echo.elf'));
    const quotas = { quotaVms: 100, quotaMemoryMiB: 65_536, quotaImageMiB: 1024 };
    await rig.database.tenant.create({ data: { id: rig.tenantId, name: 'rig', ...quotas } });
    await rig.database.image.create({
      data: {
        id: rig.imageId,
        tenantId: rig.tenantId,
        name: 'echo',
        kind: 'system',
        kernelPath: 'echo.elf',
        cmdline: '',
        sizeBytes: 8192n,
        sha256: '0'.repeat(64),
      },
    });
    return rig;
  }

  get workerPid(): number {
    return this.#worker?.pid ?? 0;
  }

  /** Everything that the workers said. */
  get output(): string {
    return this.#output;
  }

  /** Starts a worker and waits until it serves. */
  async startWorker(extra: Record<string, string> = {}): Promise<void> {
    const worker = this.spawnWorker(extra);
    this.#worker = worker;
    const from = this.#output.length;
    await until(() => {
      if (worker.exitCode !== null || worker.signalCode !== null)
        throw new Error(`no worker: ${this.#output}`);
      return this.#output.slice(from).includes('worker ready') || undefined;
    });
  }

  /** Starts the API on a free port. Resolves with its address. */
  async startApi(): Promise<string> {
    this.#api = this.#spawn(API, { PORT: '0' });
    const ready = await until(
      () => /teremok ready on (\S+)/.exec(this.#output) ?? undefined,
      () => `no API: ${this.#output}`,
    );
    return String(ready[1]);
  }

  spawnWorker(extra: Record<string, string> = {}): ChildProcess {
    return this.#spawn(WORKER, extra);
  }

  #spawn(program: string, extra: Record<string, string>): ChildProcess {
    const child = spawn(process.execPath, [program], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: String(process.env.PATH),
        TEREMOK_HOME: this.home,
        DATABASE_URL: String(this.services.databaseUrl),
        REDIS_URL: String(this.services.redisUrl),
        TEREMOK_CACHE: cacheDirectory(),
        TEREMOK_HOST_NAME: 'rig',
        TEREMOK_ORPHAN_SECONDS: '20',
        ...extra,
      },
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output += text;
      });
    }
    return child;
  }

  /** Sends the worker a signal and waits until it is gone. Resolves with its exit status. */
  async endWorker(signal: NodeJS.Signals): Promise<number | null> {
    const worker = this.#worker;
    if (worker === undefined) return null;
    this.#worker = undefined;
    const exited = once(worker, 'exit');
    worker.kill(signal);
    const [code] = (await exited) as [number | null];
    return code;
  }

  /** A VM as the API would make it: the row, its capacity and its operation in one transaction, then a job. */
  async createVm(
    data: Partial<Prisma.VmUncheckedCreateInput> = {},
  ): Promise<{ id: string; operationId: string }> {
    const id = newId('vm');
    const operationId = newId('op');
    const hostId = await this.database.$transaction(async (tx) => {
      const host = await reserveCapacity(tx, { memoryMiB: 32, vcpus: 1, engine: 'auto' });
      if (host === null) throw new Error('no host has room');
      const row = { id, tenantId: this.tenantId, name: id, memoryMiB: 32, imageId: this.imageId };
      await tx.vm.create({ data: { ...row, desired: 'running', hostId: host, reserved: true, ...data } });
      const operation = {
        id: operationId,
        tenantId: this.tenantId,
        vmId: id,
        kind: 'create',
        target: 'running',
      };
      await tx.operation.create({ data: { ...operation, generation: 1 } });
      return host;
    });
    await this.queues.reconcile(hostId, id, 1);
    return { id, operationId };
  }

  /** Changes what a VM should be, as the API would. Resolves with the id of an operation that waits for `target`. */
  async ask(id: string, target: string, data: Prisma.VmUncheckedUpdateInput): Promise<string> {
    const operationId = newId('op');
    const row = await this.database.$transaction(async (tx) => {
      const changed = await tx.vm.update({ where: { id }, data: { generation: { increment: 1 }, ...data } });
      const operation = { id: operationId, tenantId: this.tenantId, vmId: id, kind: 'start', target };
      await tx.operation.create({ data: { ...operation, generation: changed.generation } });
      return changed;
    });
    await this.queues.reconcile(String(row.hostId), id, row.generation);
    return operationId;
  }

  async vm(id: string): Promise<Vm> {
    return this.database.vm.findUniqueOrThrow({ where: { id } });
  }

  /** Waits until a VM's row is as `test` wants it. */
  async untilVm(id: string, test: (row: Vm) => boolean): Promise<Vm> {
    let last: Vm | undefined;
    return until(
      async () => {
        last = await this.vm(id);
        return test(last) ? last : undefined;
      },
      () => `the VM stayed ${JSON.stringify(last)}\n${this.#output}`,
    );
  }

  async untilOperation(id: string, state: string): Promise<void> {
    let last = '';
    await until(
      async () => {
        last = (await this.database.operation.findUniqueOrThrow({ where: { id } })).state;
        return last === state || undefined;
      },
      () => `the operation stayed ${last}\n${this.#output}`,
    );
  }

  /** Opens a VM's console at its worker, as the gateway does. */
  async attach(id: string, purpose: 'serial' | 'log' = 'serial'): Promise<Attachment> {
    const row = await this.vm(id);
    const host = await this.database.host.findUniqueOrThrow({ where: { id: String(row.hostId) } });
    const token = makeAttachToken({ vmId: id, purpose }, String(host.channelSecret));
    return Attachment.open({ endpoint: String(host.endpoint), token });
  }

  /** The live VM processes of this home, by pid. */
  async vmProcesses(): Promise<number[]> {
    const pids: number[] = [];
    for (const name of await readdir('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      const pid = Number(name);
      const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '');
      if (cwd.startsWith(join(this.home, 'run', 'vms')) && startTicksOf(pid) !== undefined) pids.push(pid);
    }
    return pids;
  }

  async close(): Promise<void> {
    if (this.#api !== undefined) {
      const exited = once(this.#api, 'exit');
      this.#api.kill('SIGTERM');
      await exited;
    }
    await this.endWorker('SIGTERM');
    for (const pid of await this.vmProcesses()) process.kill(pid, 'SIGKILL');
    await this.queues.close();
    this.redis.disconnect();
    await this.database.$disconnect();
    await this.services.stop();
    await rm(this.home, { recursive: true, force: true });
  }
}

/**
 * Waits until `probe` gives something other than undefined, at most 20 s. An
 * outage of the database, which some tests make, is waited out too.
 */
export async function until<T>(
  probe: () => T | undefined | Promise<T | undefined>,
  explain: () => string = () => 'it did not come to pass',
  patienceMs = 20_000,
): Promise<T> {
  const deadline = Date.now() + patienceMs;
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined) return value;
    } catch (error) {
      if (!isDatabaseOutage(error)) throw error;
    }
    if (Date.now() > deadline) throw new Error(explain());
    await sleep(25);
  }
}

/** What a console has said so far, and what it says until `text` is in it. */
export class Reader {
  #text = '';

  constructor(attachment: Attachment) {
    attachment.listen((bytes) => {
      this.#text += Buffer.from(bytes).toString('latin1');
    });
  }

  get text(): string {
    return this.#text;
  }

  async until(text: string): Promise<string> {
    await until(
      () => this.#text.includes(text) || undefined,
      () => `‘${text}’ did not come; there is ‘${this.#text}’`,
    );
    return this.#text;
  }
}
