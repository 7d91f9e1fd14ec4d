import Type, { type Static } from 'typebox';

/** The Redis pub/sub channel with a tenant's events. A message is one JSON EventMessage. */
export function eventChannel(tenantId: string): string {
  return `events:${tenantId}`;
}

/** One event as it is stored, published on Redis and sent on `GET /v1/events`. */
export const EventMessage = Type.Object(
  {
    seq: Type.String({ description: 'Grows with time; give the last one seen as `since` after a break.' }),
    type: Type.String({
      description: 'vm.created, vm.updated, vm.state, vm.deleted, vm.failed, operation.updated, …',
    }),
    tenantId: Type.String(),
    vmId: Type.Union([Type.String(), Type.Null()]),
    data: Type.Record(Type.String(), Type.Unknown(), {
      description:
        'By type: `vm`, the whole machine, when its owner has changed something; `changed`, some of its fields, when ' +
        'its worker has; `state` and `previous`; `error`; `operation`.',
    }),
    createdAt: Type.String({ format: 'date-time' }),
  },
  { title: 'Event', additionalProperties: false },
);
export type EventMessage = Static<typeof EventMessage>;

/** `GET /v1/events/history`: what has happened, newest first. */
export const EventHistory = Type.Object(
  {
    items: Type.Array(EventMessage),
    nextCursor: Type.Union([Type.String(), Type.Null()]),
  },
  { title: 'EventHistory' },
);
export type EventHistory = Static<typeof EventHistory>;

/** Types written today. A client ignores those that it does not know. */
export type EventType =
  | 'vm.created'
  | 'vm.updated'
  | 'vm.state'
  | 'vm.failed'
  | 'vm.deleted'
  | 'operation.updated';
