import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import Type from 'typebox';
import { Compile } from 'typebox/compile';
import { hostTrafficKey, Traffic } from '../contracts/metrics.ts';
import type { Database } from '../infra/prisma.ts';
import type { Redis } from '../infra/redis.ts';
import { Problem, shuttingDown } from '../lib/errors.ts';
import { withTimeout } from '../lib/time.ts';
import { type App, problems } from '../modules/http.ts';

export interface ObservabilityDeps {
  readonly db: Database;
  readonly redis: Redis;
  /** Fires when the process is to end: it is not ready any more. */
  readonly closing: AbortSignal;
}

/** How long a check of PostgreSQL or Redis may take. Milliseconds. */
const CHECK_MS = 2_000;

/** /healthz (the process lives), /readyz (all it needs is there) and /metrics (Prometheus). */
export function registerObservability(app: App, deps: ObservabilityDeps): void {
  const registry = createMetrics(app, deps);
  const tags = ['service'];

  app.get(
    '/healthz',
    {
      logLevel: 'warn',
      schema: {
        tags,
        summary: 'The process lives',
        response: { 200: Type.Object({ status: Type.String() }) },
      },
    },
    async () => ({ status: 'ok' }),
  );

  const Ready = Type.Object({ status: Type.String(), checks: Type.Record(Type.String(), Type.String()) });
  app.get(
    '/readyz',
    {
      logLevel: 'error',
      schema: {
        tags,
        summary: 'All that the service needs is there',
        response: { 200: Ready, ...problems(503) },
      },
    },
    async () => {
      const [database, redis] = await Promise.all([checkDatabase(deps.db), checkRedis(deps.redis)]);
      const checks = { database, redis };
      const missing = Object.entries(checks).filter(([, result]) => result !== 'ok');
      if (deps.closing.aborted) throw shuttingDown();
      if (missing.length === 0) return { status: 'ready', checks };
      throw new Problem('unavailable', `missing: ${missing.map(([part]) => part).join(', ')}`, {
        hint: 'the service connects again by itself when it is back',
        errors: missing.map(([part, result]) => ({ path: part, message: result })),
        headers: { 'retry-after': '2' },
      });
    },
  );

  app.get(
    '/metrics',
    {
      logLevel: 'warn',
      schema: {
        tags,
        summary: 'Prometheus metrics',
        response: { 200: { content: { 'text/plain': { schema: Type.String() } } } },
      },
    },
    async (_request, reply) => reply.type(registry.contentType).send(await registry.metrics()),
  );
}

async function checkDatabase(db: Database): Promise<string> {
  return check(db.$queryRaw`SELECT 1`, 'the database’s answer');
}

async function checkRedis(redis: Redis): Promise<string> {
  return check(redis.ping(), 'Redis’s answer');
}

async function check(answer: Promise<unknown>, what: string): Promise<string> {
  try {
    await withTimeout(answer, CHECK_MS, what);
    return 'ok';
  } catch {
    return 'cannot be reached';
  }
}

function createMetrics(app: App, deps: ObservabilityDeps): Registry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const registers = [registry];
  const duration = new Histogram({
    name: 'teremok_http_request_duration_seconds',
    help: 'Time to answer, by route',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60],
    registers,
  });
  const failures = new Counter({
    name: 'teremok_scrape_failures_total',
    help: 'Figures that could not be read from the database or from Redis',
    registers,
  });
  gaugeBy(registers, failures, 'teremok_vms', 'Virtual machines, by state', 'state', async () => {
    const groups = await deps.db.vm.groupBy({ by: ['state'], _count: true });
    return groups.map((group) => [group.state, group._count]);
  });
  gaugeBy(
    registers,
    failures,
    'teremok_operations_unfinished',
    'Operations that have not ended, by kind',
    'kind',
    async () => {
      const groups = await deps.db.operation.groupBy({
        by: ['kind'],
        where: { state: { in: ['queued', 'running'] } },
        _count: true,
      });
      return groups.map((group) => [group.kind, group._count]);
    },
  );
  trafficCounters(registers, failures, deps);
  gaugeBy(registers, failures, 'teremok_hosts_memory_mib', 'Memory of all hosts', 'what', async () => {
    const sums = await deps.db.host.aggregate({ _sum: { memoryMiBTotal: true, memoryMiBReserved: true } });
    return [
      ['total', sums._sum.memoryMiBTotal ?? 0],
      ['reserved', sums._sum.memoryMiBReserved ?? 0],
    ];
  });
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none';
    duration.observe({ method: request.method, route, status: reply.statusCode }, reply.elapsedTime / 1000);
  });
  return registry;
}

const TRAFFIC = [
  ['teremok_disk_read_bytes_total', 'Bytes that guests have read from their drives', 'readBytes'],
  ['teremok_disk_written_bytes_total', 'Bytes that guests have written to their drives', 'writtenBytes'],
  ['teremok_disk_reads_total', 'Requests of guests that read from their drives', 'readOperations'],
  ['teremok_disk_writes_total', 'Requests of guests that wrote to their drives', 'writeOperations'],
] as const;

/**
 * What VMs have moved, by host. Workers count it, from their start on, and keep it in Redis; a host whose worker is
 * away is left out. Single VMs are their tenants' business: GET /v1/vms/{id}/metrics.
 */
function trafficCounters(
  registers: Registry[],
  failures: Counter,
  { db, redis }: Pick<ObservabilityDeps, 'db' | 'redis'>,
): void {
  const validator = Compile(Traffic);
  const read = async (): Promise<{ host: string; traffic: Traffic }[]> => {
    const hosts = await db.host.findMany({ select: { id: true, name: true } });
    if (hosts.length === 0) return [];
    const texts = await redis.mget(hosts.map(({ id }) => hostTrafficKey(id)));
    return hosts.flatMap(({ name }, n) => {
      const value: unknown = JSON.parse(texts[n] ?? 'null');
      return validator.Check(value) ? [{ host: name, traffic: value }] : [];
    });
  };
  // All four are collected at once, and read once.
  let reading: ReturnType<typeof read> | undefined;
  const shared = () => {
    reading ??= withTimeout(read(), CHECK_MS, 'the traffic of the hosts').finally(() => {
      reading = undefined;
    });
    return reading;
  };
  for (const [name, help, field] of TRAFFIC) {
    new Counter({
      name,
      help,
      labelNames: ['host'],
      registers,
      async collect() {
        this.reset();
        try {
          for (const { host, traffic } of await shared()) this.inc({ host }, traffic[field]);
        } catch {
          failures.inc();
        }
      },
    });
  }
}

/** A gauge that asks the database when it is scraped, and says nothing when the database is away. */
function gaugeBy(
  registers: Registry[],
  failures: Counter,
  name: string,
  help: string,
  label: string,
  read: () => Promise<[string, number][]>,
): void {
  new Gauge({
    name,
    help,
    labelNames: [label],
    registers,
    async collect() {
      this.reset();
      try {
        for (const [key, value] of await withTimeout(read(), CHECK_MS, name))
          this.set({ [label]: key }, value);
      } catch {
        failures.inc();
      }
    },
  });
}
