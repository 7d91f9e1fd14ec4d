import { setTimeout as delay } from 'node:timers/promises';
import type { EventMessage } from '../contracts/events.ts';
import { SHUTDOWN_DEADLINE_MS } from '../contracts/reconcile.ts';
import { publishEvents } from '../infra/events.ts';
import { type Database, isDatabaseOutage } from '../infra/prisma.ts';
import type { Redis } from '../infra/redis.ts';
import type { Logger } from '../lib/log.ts';
import type { UploadsService } from './images/uploads.service.ts';
import { operationEvent } from './vms/vms.repository.ts';

/** How long events are kept. Milliseconds. */
const KEEP_EVENTS_MS = 7 * 24 * 3_600_000;
/** How often overdue operations are looked for, and how often old rows are. Milliseconds. */
const OVERDUE_EVERY_MS = 5_000;
const PRUNE_EVERY_MS = 10 * 60_000;
const EXPIRE_EVERY_MS = 60_000;

export interface HousekeepingDeps {
  readonly db: Database;
  readonly redis: Redis;
  readonly log: Logger;
  readonly closing: AbortSignal;
  readonly uploads: Pick<UploadsService, 'expire'>;
}

/**
 * What time alone brings about, until `closing` fires: operations past their deadline fail, power buttons that a
 * guest has ignored are let go, uploads that nobody
 * completes, old events, idempotency records and sessions go. Any number of processes may do this.
 */
export async function runHousekeeping(deps: HousekeepingDeps): Promise<void> {
  let pruned = 0;
  let expired = 0;
  while (!deps.closing.aborted) {
    try {
      await failOverdue(deps);
      if (Date.now() - expired > EXPIRE_EVERY_MS) {
        await deps.uploads.expire();
        expired = Date.now();
      }
      if (Date.now() - pruned > PRUNE_EVERY_MS) {
        await prune(deps.db);
        pruned = Date.now();
      }
    } catch (err) {
      // An outage is in the log already; anything else must be seen.
      if (!isDatabaseOutage(err)) deps.log.error({ err }, 'housekeeping');
    }
    await delay(OVERDUE_EVERY_MS, undefined, { signal: deps.closing }).catch(() => {});
  }
}

/** Fails the operations whose deadline is over. */
export async function failOverdue(deps: Pick<HousekeepingDeps, 'db' | 'redis'>): Promise<number> {
  const events = await deps.db.$transaction(async (tx) => {
    const now = new Date();
    const overdue = await tx.operation.updateManyAndReturn({
      where: { state: { in: ['queued', 'running'] }, deadlineAt: { lt: now } },
      data: {
        state: 'failed',
        finishedAt: now,
        error: {
          code: 'timeout',
          message: 'it did not come about in time; the host or the guest may not answer',
        },
      },
    });
    // A guest that has not acted on its power button keeps running, and may be asked again.
    await tx.vm.updateMany({
      where: {
        desired: 'running',
        shutdownRequestedAt: { lt: new Date(now.getTime() - SHUTDOWN_DEADLINE_MS) },
      },
      data: { shutdownRequestedAt: null },
    });
    const written: EventMessage[] = [];
    for (const operation of overdue) written.push(await operationEvent(tx, operation));
    return written;
  });
  await publishEvents(deps.redis, events);
  return events.length;
}

async function prune(db: Database): Promise<void> {
  const now = Date.now();
  await db.event.deleteMany({ where: { createdAt: { lt: new Date(now - KEEP_EVENTS_MS) } } });
  await db.idempotencyKey.deleteMany({ where: { expiresAt: { lt: new Date(now) } } });
  await db.session.deleteMany({ where: { expiresAt: { lt: new Date(now) } } });
}
