import Type, { type Static } from 'typebox';
import { Id, Nullable, Timestamp } from './common.ts';
import { OperationKind, OperationState, StoredError } from './states.ts';

/** Work that lasts. */
export const Operation = Type.Object(
  {
    id: Id('op'),
    kind: OperationKind,
    state: OperationState,
    progress: Type.Integer({ minimum: 0, maximum: 100, description: 'Per cent.' }),
    vmId: Nullable(Type.String()),
    tenantId: Type.String(),
    error: Nullable(StoredError),
    createdAt: Timestamp,
    startedAt: Nullable(Timestamp),
    finishedAt: Nullable(Timestamp),
  },
  { title: 'Operation' },
);
export type Operation = Static<typeof Operation>;
