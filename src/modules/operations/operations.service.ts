import type { Operation as OperationView } from '../../contracts/operations.ts';
import { type EventHub, waitUntil } from '../../infra/event-hub.ts';
import type { Database, Operation } from '../../infra/prisma.ts';
import { notFound, Problem, shuttingDown } from '../../lib/errors.ts';
import { ownedBy, type TenantScope } from '../access/principal.ts';
import { toPage } from '../http.ts';
import { toOperation } from './operations.view.ts';

export interface OperationsService {
  get(scope: TenantScope, id: string): Promise<OperationView>;
  list(
    scope: TenantScope,
    query: { limit: number; after: string | null; vmId: string | null },
  ): Promise<{ items: OperationView[]; nextCursor: string | null }>;
  wait(scope: TenantScope, id: string, timeoutMs: number, signal: AbortSignal): Promise<OperationView>;
}

const UNFINISHED = new Set(['queued', 'running']);

export function createOperationsService(deps: {
  readonly db: Database;
  readonly hub: EventHub;
  /** Fires when the process is to end, so that waits do not hold it. */
  readonly closing: AbortSignal;
}): OperationsService {
  const { db, hub } = deps;

  const find = async (scope: TenantScope, id: string): Promise<Operation> => {
    const row = await db.operation.findFirst({ where: { id, ...ownedBy(scope) } });
    if (row === null) throw notFound('operation', id);
    return row;
  };

  return {
    async get(scope, id) {
      return toOperation(await find(scope, id));
    },

    async list(scope, { limit, after, vmId }) {
      const rows = await db.operation.findMany({
        where: {
          ...ownedBy(scope),
          ...(vmId === null ? {} : { vmId }),
          ...(after === null ? {} : { id: { gt: after } }),
        },
        orderBy: { id: 'asc' },
        take: limit + 1,
      });
      return toPage(rows, limit, toOperation);
    },

    async wait(scope, id, timeoutMs, signal) {
      const { tenantId } = await find(scope, id);
      const ended = await waitUntil({
        hub,
        tenantId,
        timeoutMs,
        signal: AbortSignal.any([signal, deps.closing]),
        check: async () => {
          const row = await find(scope, id);
          return UNFINISHED.has(row.state) ? undefined : row;
        },
      });
      if (ended !== undefined) return toOperation(ended);
      if (deps.closing.aborted) throw shuttingDown();
      throw new Problem('wait_timeout', `operation ${id} has not ended after ${timeoutMs / 1000} s`, {
        hint: 'it goes on; wait again',
      });
    },
  };
}
