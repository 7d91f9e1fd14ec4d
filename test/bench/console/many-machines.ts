import { setTimeout as delay } from 'node:timers/promises';
import { type NewEvent, publishEvents, recordEvent } from '../../../src/infra/events.ts';
import { createDatabase, type Database } from '../../../src/infra/prisma.ts';
import { createRedis, type Redis } from '../../../src/infra/redis.ts';
import { newId } from '../../../src/lib/ids.ts';
import { createLogger } from '../../../src/lib/log.ts';
import { toOperation } from '../../../src/modules/operations/operations.view.ts';
import { toVm, vmInclude } from '../../../src/modules/vms/vms.view.ts';

const TEAMS = ['red', 'blue', 'green', 'amber'];
/** As many changes are under way at once when the database takes longer than there is between two. */
const AT_ONCE = 8;
/** What a machine goes through. */
const NEXT: Readonly<Record<string, string>> = {
  stopped: 'starting',
  starting: 'running',
  running: 'stopping',
  stopping: 'stopped',
};

/** Many machines of one tenant, in the database of a service, and what happens to them. */
export class ManyMachines {
  readonly #db: Database;
  readonly #redis: Redis;
  readonly #tenantId: string;
  #ids: string[] = [];
  /** Events that were published. */
  published = 0;

  private constructor(db: Database, redis: Redis, tenantId: string) {
    this.#db = db;
    this.#redis = redis;
    this.#tenantId = tenantId;
  }

  static async in(servers: {
    readonly databaseUrl: string;
    readonly redisUrl: string;
  }): Promise<ManyMachines> {
    const log = createLogger('bench', 'silent');
    const db = createDatabase({ url: servers.databaseUrl, log });
    const redis = createRedis(servers.redisUrl, 'commands', log);
    const { id } = await db.tenant.findUniqueOrThrow({ where: { name: 'default' } });
    return new ManyMachines(db, redis, id);
  }

  /** Rows of stopped machines; no worker has anything to do with them, for they have no host. */
  async make(count: number): Promise<void> {
    const image = await this.#db.image.findFirstOrThrow({ where: { name: 'debian-busybox' } });
    const rows = Array.from({ length: count }, (_, n) => ({
      id: newId('vm'),
      tenantId: this.#tenantId,
      name: `machine-${n}`,
      labels: { team: TEAMS[n % TEAMS.length] as string, number: String(n) },
      memoryMiB: 64 * (1 + (n % 8)),
      imageId: image.id,
      desired: 'stopped',
      observedGeneration: 1,
    }));
    await this.#db.vm.createMany({ data: rows });
    this.#ids = rows.map(({ id }) => id);
  }

  /** Changes one machine after the other and publishes an event of each: so many a second, for so long. */
  async live(perSecond: number, ms: number): Promise<void> {
    const begin = performance.now();
    const total = Math.round((perSecond * ms) / 1000);
    const changing = new Set<Promise<void>>();
    for (let n = 0; n < total; n++) {
      const change = this.#change(n).finally(() => changing.delete(change));
      changing.add(change);
      if (changing.size === AT_ONCE) await Promise.race(changing);
      const ahead = begin + ((n + 1) * 1000) / perSecond - performance.now();
      if (ahead > 0) await delay(ahead);
    }
    await Promise.all(changing);
    const late = performance.now() - begin - ms;
    if (late > ms / 4) throw new Error(`${total} events took ${Math.round(late)} ms longer than ${ms}`);
  }

  /** What a machine of these is by now. */
  async find(n: number): Promise<{ readonly name: string; readonly state: string }> {
    return this.#db.vm.findUniqueOrThrow({ where: { id: this.#ids[n] as string } });
  }

  async close(): Promise<void> {
    this.#redis.disconnect();
    await this.#db.$disconnect();
  }

  /** Five of ten change a state, three an operation, one its labels, one its name, which moves the row. */
  async #change(n: number): Promise<void> {
    const id = this.#ids[(n * 7919) % this.#ids.length] as string;
    const events = await this.#db.$transaction(async (tx) => {
      const vm = await tx.vm.findUniqueOrThrow({ where: { id }, include: vmInclude });
      const event = { tenantId: this.#tenantId, vmId: id };
      const kind = n % 10;
      let made: NewEvent;
      if (kind < 5) {
        const state = NEXT[vm.state] ?? 'stopped';
        await tx.vm.update({ where: { id }, data: { state } });
        const startedAt = state === 'running' ? new Date().toISOString() : null;
        const data = { state, previous: vm.state, changed: { state, startedAt } };
        made = { ...event, type: 'vm.state', data };
      } else if (kind < 8) {
        const operation = await tx.operation.create({
          data: {
            id: newId('op'),
            tenantId: this.#tenantId,
            vmId: id,
            kind: 'start',
            state: 'running',
            progress: (n * 13) % 100,
            target: 'running',
            generation: vm.generation,
          },
        });
        made = { ...event, type: 'operation.updated', data: { operation: { ...toOperation(operation) } } };
      } else {
        const data =
          kind === 8
            ? { labels: { team: TEAMS[n % TEAMS.length] as string, turn: String(n) } }
            : { name: `moved-${n}-${id.slice(-6)}` };
        const changed = await tx.vm.update({ where: { id }, data, include: vmInclude });
        made = { ...event, type: 'vm.updated', data: { vm: { ...toVm(changed) } } };
      }
      return [await recordEvent(tx, made)];
    });
    await publishEvents(this.#redis, events);
    this.published += events.length;
  }
}
