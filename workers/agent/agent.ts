import type { VmStats } from '../../src/contracts/channel.ts';
import type { VmMetrics, VmMetricsRecord } from '../../src/contracts/metrics.ts';
import {
  hostTrafficKey,
  VM_HISTORY_SECONDS,
  VM_HISTORY_STEP_SECONDS,
  VM_METRICS_TTL_SECONDS,
  vmHistoryKey,
  vmMetricsKey,
} from '../../src/contracts/metrics.ts';
import { HEARTBEAT_INTERVAL_MS, SWEEP_INTERVAL_MS } from '../../src/contracts/reconcile.ts';
import type { Redis } from '../../src/infra/redis.ts';
import { isAlive } from '../../src/lib/process-identity.ts';
import type { HostRow } from './host.ts';
import { HostTraffic, sumOf } from './host-traffic.ts';
import { ImageChecker } from './image-checker.ts';
import { Semaphore } from './semaphore.ts';
import { listVmDirectories, VmDirectory } from './vm-directory.ts';
import { type KeeperDeps, VmKeeper } from './vm-keeper.ts';

const METRICS_INTERVAL_MS = 5_000;
const IMAGES_INTERVAL_MS = 1_000;
const LAUNCHES_AT_ONCE = 4;

/** What all keepers share, and what the host has besides. */
export interface AgentDeps extends Omit<KeeperDeps, 'launches' | 'forget'> {
  readonly host: HostRow;
  readonly redis: Redis;
}

/** All VMs of this host: looks at each when told to, and at all of them on a timer. */
export class Agent {
  readonly #deps: AgentDeps;
  readonly #keepers = new Map<string, VmKeeper>();
  readonly #launches = new Semaphore(LAUNCHES_AT_ONCE);
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #traffic = new HostTraffic();
  #sweeping: Promise<void> | undefined;
  /** When figures were last written into the histories: ms since 1970. */
  #recordedAt = 0;
  #closing = false;

  constructor(deps: AgentDeps) {
    this.#deps = deps;
  }

  /** Takes over what an earlier worker left, then works until closed. */
  async start(): Promise<void> {
    await this.sweep();
    this.#every(HEARTBEAT_INTERVAL_MS, 'heartbeat', () => this.#deps.host.heartbeat());
    this.#every(SWEEP_INTERVAL_MS, 'sweep', () => this.sweep());
    const { records, imagesDir, log } = this.#deps;
    const images = new ImageChecker({ database: records.database, imagesDir, log });
    this.#every(IMAGES_INTERVAL_MS, 'looking into images', () => images.look());
    this.#every(METRICS_INTERVAL_MS, 'metrics', () => this.#publishMetrics());
  }

  /** Looks at one VM. Resolves when the look is over; never rejects. */
  async look(vmId: string): Promise<void> {
    if (!this.#closing) await this.#keeperOf(vmId).look();
  }

  /** Looks at every VM of this host that may need it, and at whatever has a directory here. Rejects in an outage. */
  async sweep(): Promise<void> {
    this.#sweeping ??= this.#sweepOnce().finally(() => {
      this.#sweeping = undefined;
    });
    await this.#sweeping;
  }

  /** Ends all VMs, or leaves them to the next worker. */
  async close(how: 'stop' | 'leave'): Promise<void> {
    this.#closing = true;
    for (const timer of this.#timers) clearInterval(timer);
    await this.#sweeping?.catch(() => {});
    const closing = [...this.#keepers.values()].map((keeper) => keeper.close(how));
    for (const result of await Promise.allSettled(closing)) {
      if (result.status === 'rejected')
        this.#deps.log.warn({ err: String(result.reason) }, 'a VM’s end was not written down');
    }
  }

  async #sweepOnce(): Promise<void> {
    const { records, runDir } = this.#deps;
    const active = new Set(await records.findActive());
    const directories = await listVmDirectories(runDir);
    const idle = directories.filter((vmId) => !active.has(vmId));
    const known = await records.known(idle);
    // A directory without a row is what is left of a VM that is gone.
    const stray = idle.filter((vmId) => !known.has(vmId) || this.#keepers.get(vmId)?.handle !== undefined);
    for (const vmId of new Set([...active, ...stray])) {
      // Looks go on by themselves: one slow VM keeps no other waiting.
      void this.look(vmId);
    }
    for (const vmId of idle) {
      if (known.has(vmId) && this.#keepers.get(vmId)?.handle === undefined) await this.#endStray(vmId);
    }
    await records.failOverdue([...active]);
  }

  /** A VM that should rest may still have a process, if its worker was killed at the wrong moment. */
  async #endStray(vmId: string): Promise<void> {
    const record = await new VmDirectory(this.#deps.runDir, vmId).readProcess();
    if (record !== undefined && isAlive(record)) await this.look(vmId);
  }

  #keeperOf(vmId: string): VmKeeper {
    const existing = this.#keepers.get(vmId);
    if (existing !== undefined) return existing;
    const { log, ...deps } = this.#deps;
    const keeper = new VmKeeper(vmId, {
      ...deps,
      log,
      launches: this.#launches,
      forget: (id) => this.#keepers.delete(id),
    });
    this.#keepers.set(vmId, keeper);
    return keeper;
  }

  #every(ms: number, what: string, work: () => Promise<void>): void {
    let busy = false;
    let failing = false;
    const timer = setInterval(async () => {
      if (busy) return;
      busy = true;
      try {
        await work();
        if (failing) this.#deps.log.info(`${what} works again`);
        failing = false;
      } catch (error) {
        const err = error instanceof Error ? error.message : String(error);
        if (!failing) this.#deps.log.warn({ err }, `${what} failed`);
        failing = true;
      } finally {
        busy = false;
      }
    }, ms);
    this.#timers.push(timer);
  }

  async #publishMetrics(): Promise<void> {
    const { redis, host } = this.#deps;
    // A timer that comes a little early still counts as on time.
    const now = Date.now();
    const record = now - this.#recordedAt > VM_HISTORY_STEP_SECONDS * 1000 - METRICS_INTERVAL_MS / 2;
    if (record) this.#recordedAt = now;
    const running = [...this.#keepers].flatMap(([vmId, { handle }]) =>
      handle === undefined ? [] : [{ vmId, handle }],
    );
    const read = await Promise.allSettled(
      running.map(async ({ vmId, handle }) => {
        const stats = await handle.stats();
        const metrics = toMetrics(stats);
        if (redis.status === 'ready') {
          await redis.set(vmMetricsKey(vmId), JSON.stringify(metrics), 'EX', VM_METRICS_TTL_SECONDS);
          if (record) await remember(redis, vmId, metrics);
        }
        return { launchId: handle.process.launchId, stats };
      }),
    );
    this.#traffic.take(
      read.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : [])),
      new Set(running.map(({ handle }) => handle.process.launchId)),
    );
    const total = JSON.stringify(this.#traffic.total);
    if (redis.status === 'ready')
      await redis.set(hostTrafficKey(host.id), total, 'EX', VM_METRICS_TTL_SECONDS);
  }
}

/** Adds to the history of the last hour, which goes an hour after its last record. */
async function remember(redis: Redis, vmId: string, metrics: VmMetrics): Promise<void> {
  const { cpu, memory, disk } = metrics;
  const record: VmMetricsRecord = [
    Date.parse(metrics.at),
    cpu.seconds,
    memory.rssBytes,
    disk.readBytes,
    disk.writtenBytes,
    disk.readOperations,
    disk.writeOperations,
  ];
  const key = vmHistoryKey(vmId);
  await redis
    .multi()
    .lpush(key, JSON.stringify(record))
    .ltrim(key, 0, VM_HISTORY_SECONDS / VM_HISTORY_STEP_SECONDS)
    .expire(key, VM_HISTORY_SECONDS)
    .exec();
}

function toMetrics(stats: VmStats): VmMetrics {
  const disk = sumOf(stats.drives);
  return {
    at: new Date().toISOString(),
    cpu: { seconds: stats.cpuSeconds, instructions: stats.instructions },
    memory: { guestMiB: stats.guestMiB, rssBytes: stats.rssBytes },
    disk: { ...disk, operations: disk.readOperations + disk.writeOperations, drives: [...stats.drives] },
    network: null,
    serial: {
      sentBytes: stats.serialSentBytes,
      receivedBytes: stats.serialReceivedBytes,
      viewers: stats.viewers,
    },
  };
}
