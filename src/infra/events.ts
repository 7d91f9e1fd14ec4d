import { type EventMessage, type EventType, eventChannel } from '../contracts/events.ts';
import type { Event, Prisma, Transaction } from './prisma.ts';
import type { Redis } from './redis.ts';

export interface NewEvent {
  readonly tenantId: string;
  readonly vmId: string | null;
  readonly type: EventType;
  readonly data: Prisma.InputJsonObject;
}

/** Writes an event in the transaction that makes it true; publish it with `publishEvents` after the commit. */
export async function recordEvent(tx: Transaction, event: NewEvent): Promise<EventMessage> {
  return toEventMessage(await tx.event.create({ data: event }));
}

/** The row as clients see it. */
export function toEventMessage(row: Event): EventMessage {
  const data = typeof row.data === 'object' && row.data !== null && !Array.isArray(row.data) ? row.data : {};
  return {
    seq: row.seq.toString(),
    type: row.type,
    tenantId: row.tenantId,
    vmId: row.vmId,
    data,
    createdAt: row.createdAt.toISOString(),
  };
}

/** Tells listeners at once. Losing this does no harm: who waits also asks the database. */
export async function publishEvents(redis: Redis, events: readonly EventMessage[]): Promise<void> {
  if (redis.status !== 'ready') return;
  await Promise.allSettled(
    events.map((event) => redis.publish(eventChannel(event.tenantId), JSON.stringify(event))),
  );
}
