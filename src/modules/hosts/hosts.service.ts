import { HEARTBEAT_FRESH_MS } from '../../contracts/reconcile.ts';
import type { Host as HostView } from '../../contracts/tenants.ts';
import type { Database, Host } from '../../infra/prisma.ts';
import type { QueueDepth, Queues } from '../../infra/queues.ts';
import { decodeCursor, toPage } from '../http.ts';

export interface HostsService {
  list(page: {
    readonly limit?: number;
    readonly cursor?: string;
  }): Promise<{ items: HostView[]; nextCursor: string | null }>;
}

export function createHostsService(deps: {
  readonly db: Database;
  readonly queues: Pick<Queues, 'depth'>;
}): HostsService {
  return {
    async list({ limit = 50, cursor }) {
      const where = cursor === undefined ? {} : { id: { gt: decodeCursor(cursor) } };
      const rows = await deps.db.host.findMany({ where, orderBy: { id: 'asc' }, take: limit + 1 });
      const depths = new Map(
        await Promise.all(rows.map(async ({ id }) => [id, await deps.queues.depth(id)] as const)),
      );
      return toPage(rows, limit, (row) => toHost(row, depths.get(row.id) ?? null));
    },
  };
}

/** The row as operators see it: without the secret of its channel. */
function toHost(row: Host, queue: QueueDepth | null): HostView {
  const fresh =
    row.lastHeartbeatAt !== null && Date.now() - row.lastHeartbeatAt.getTime() < HEARTBEAT_FRESH_MS;
  return {
    id: row.id,
    name: row.name,
    state: fresh ? row.state : 'down',
    engines: row.engines,
    memoryMiB: { total: row.memoryMiBTotal, reserved: row.memoryMiBReserved },
    vcpus: { total: row.vcpusTotal, reserved: row.vcpusReserved },
    queue,
    version: row.version,
    lastHeartbeatAt: row.lastHeartbeatAt?.toISOString() ?? null,
    createdAt: row.createdAt.toISOString(),
  };
}
