import type { Operation as OperationView } from '../../contracts/operations.ts';
import type { OperationKind, OperationState, StoredError } from '../../contracts/states.ts';
import type { Operation } from '../../infra/prisma.ts';

/** The row as clients see it. */
export function toOperation(row: Operation): OperationView {
  return {
    id: row.id,
    // The column holds what the API wrote; the database checks `state`.
    kind: row.kind as OperationKind,
    state: row.state as OperationState,
    progress: row.progress,
    vmId: row.vmId,
    tenantId: row.tenantId,
    error: toStoredError(row.error),
    createdAt: row.createdAt.toISOString(),
    startedAt: row.startedAt?.toISOString() ?? null,
    finishedAt: row.finishedAt?.toISOString() ?? null,
  };
}

/** An error column, whatever was written there. */
export function toStoredError(value: unknown): StoredError | null {
  if (value === null || value === undefined) return null;
  if (typeof value !== 'object') return { code: 'unknown', message: String(value) };
  const { code, message, ...rest } = value as { code?: unknown; message?: unknown };
  return { ...rest, code: String(code ?? 'unknown'), message: String(message ?? '') };
}
