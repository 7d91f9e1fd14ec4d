import { HEARTBEAT_FRESH_MS } from '../../contracts/reconcile.ts';
import type { Host as HostView } from '../../contracts/tenants.ts';
import type { Database, Host } from '../../infra/prisma.ts';
import { decodeCursor, toPage } from '../http.ts';

export interface HostsService {
  list(page: {
    readonly limit?: number;
    readonly cursor?: string;
  }): Promise<{ items: HostView[]; nextCursor: string | null }>;
}

export function createHostsService(deps: { readonly db: Database }): HostsService {
  return {
    async list({ limit = 50, cursor }) {
      const where = cursor === undefined ? {} : { id: { gt: decodeCursor(cursor) } };
      const rows = await deps.db.host.findMany({ where, orderBy: { id: 'asc' }, take: limit + 1 });
      return toPage(rows, limit, toHost);
    },
  };
}

/** The row as operators see it: without the secret of its channel. */
function toHost(row: Host): HostView {
  const fresh =
    row.lastHeartbeatAt !== null && Date.now() - row.lastHeartbeatAt.getTime() < HEARTBEAT_FRESH_MS;
  return {
    id: row.id,
    name: row.name,
    state: fresh ? row.state : 'down',
    engines: row.engines,
    memoryMiB: { total: row.memoryMiBTotal, reserved: row.memoryMiBReserved },
    vcpus: { total: row.vcpusTotal, reserved: row.vcpusReserved },
    version: row.version,
    lastHeartbeatAt: row.lastHeartbeatAt?.toISOString() ?? null,
    createdAt: row.createdAt.toISOString(),
  };
}
