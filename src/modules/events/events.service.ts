import type { WebSocket } from '@fastify/websocket';
import type { FastifyBaseLogger } from 'fastify';
import type { EventHistory } from '../../contracts/events.ts';
import type { EventHub } from '../../infra/event-hub.ts';
import { toEventMessage } from '../../infra/events.ts';
import type { Database, Event } from '../../infra/prisma.ts';
import { Problem } from '../../lib/errors.ts';
import { ownedBy, type TenantScope } from '../access/principal.ts';
import { decodeCursor, toPage } from '../http.ts';

export type EventSocket = WebSocket;

export interface EventHistoryQuery {
  readonly limit?: number;
  readonly cursor?: string;
  readonly vmId?: string;
}

export interface EventsService {
  /** What has happened, newest first. */
  history(scope: TenantScope, query: EventHistoryQuery): Promise<EventHistory>;
  /** The place after the last event that there is. */
  position(): Promise<bigint>;
  /** Sends a scope's events after `since` until the socket closes. Never throws. */
  stream(scope: TenantScope, since: bigint, socket: EventSocket, log: FastifyBaseLogger): Promise<void>;
}

/** How often the database is asked when Redis brings no hint. Milliseconds. */
const POLL_MS = 1_000;
/** How often a viewer is asked whether it is still there. Milliseconds. */
const PING_MS = 30_000;
/** What may wait for a viewer before more is read for it, in bytes; one that does not take that in time is too slow. */
const MAX_BUFFERED = 1024 * 1024;
const STALL_MS = 10_000;
const BATCH = 500;
/**
 * Numbers are given when a row is inserted, rows appear when their transaction commits: a row may appear below the
 * last one sent. Rows this young are looked at again; no transaction of ours lasts as long. Milliseconds.
 */
const LATE_MS = 20_000;

export function createEventsService(deps: {
  readonly db: Database;
  readonly hub: EventHub;
  readonly closing: AbortSignal;
}): EventsService {
  const { db, hub, closing } = deps;
  return {
    async history(scope, { limit = 50, cursor, vmId }) {
      const rows = await db.event.findMany({
        where: {
          ...ownedBy(scope),
          ...(vmId === undefined ? {} : { vmId }),
          ...(cursor === undefined ? {} : { seq: { lt: placeOf(cursor) } }),
        },
        orderBy: { seq: 'desc' },
        take: limit + 1,
      });
      return toPage(
        rows.map((row) => ({ ...row, id: row.seq.toString() })),
        limit,
        toEventMessage,
      );
    },

    async position() {
      const last = await db.event.findFirst({ orderBy: { seq: 'desc' }, select: { seq: true } });
      return last?.seq ?? 0n;
    },

    async stream(scope, since, socket, log) {
      const done = AbortSignal.any([closedSignal(socket), closing]);
      const bell = createBell();
      const stop = scope.tenantId === null ? () => {} : hub.listen(scope.tenantId, bell.ring);
      done.addEventListener('abort', bell.ring, { once: true });
      const pings = keepAlive(socket);
      const reader = createReader(db, scope, since);
      try {
        while (!done.aborted && socket.readyState === socket.OPEN) {
          await sendNew(reader, socket, log);
          if (!done.aborted) await bell.wait(POLL_MS);
        }
        if (closing.aborted) socket.close(1012, 'the service is shutting down; connect again');
      } finally {
        clearInterval(pings);
        stop();
      }
    },
  };
}

/** @throws {Problem} invalid_cursor */
function placeOf(cursor: string): bigint {
  const text = decodeCursor(cursor);
  if (/^\d{1,18}$/.test(text)) return BigInt(text);
  throw new Problem('invalid_cursor', 'the cursor is not one that this list gave out');
}

type Reader = () => Promise<Event[]>;

/** Reads what has come since the last call, each row once. */
function createReader(db: Database, scope: TenantScope, since: bigint): Reader {
  let position = since;
  const recent = new Map<bigint, number>();
  return async () => {
    const now = Date.now();
    for (const [seq, at] of recent) if (now - at > 2 * LATE_MS) recent.delete(seq);
    const young = await db.event.findMany({
      where: {
        ...ownedBy(scope),
        seq: { gt: since, lte: position },
        createdAt: { gt: new Date(now - LATE_MS) },
      },
      select: { seq: true },
    });
    const late = young.map(({ seq }) => seq).filter((seq) => !recent.has(seq));
    const rows = await db.event.findMany({
      where: { ...ownedBy(scope), OR: [{ seq: { gt: position } }, { seq: { in: late.slice(0, BATCH) } }] },
      orderBy: { seq: 'asc' },
      take: BATCH,
    });
    for (const { seq, createdAt } of rows) {
      if (now - createdAt.getTime() < 2 * LATE_MS) recent.set(seq, now);
      if (seq > position) position = seq;
    }
    return rows;
  };
}

async function sendNew(reader: Reader, socket: EventSocket, log: FastifyBaseLogger): Promise<void> {
  try {
    for (;;) {
      const rows = await reader();
      for (const row of rows) {
        if (socket.readyState !== socket.OPEN) return;
        await send(socket, JSON.stringify(toEventMessage(row)));
      }
      if (rows.length < BATCH) return;
    }
  } catch (err) {
    // The database is away: what came meanwhile is read when it is back.
    log.debug({ err: err instanceof Error ? err.message : err }, 'events');
  }
}

/** Sends a message and, when much waits for the viewer, lets it take that first. One that takes too long is closed. */
async function send(socket: EventSocket, text: string): Promise<void> {
  const taken = Promise.withResolvers<void>();
  // Called with an error too, once the socket is closed.
  socket.send(text, () => taken.resolve());
  if (socket.bufferedAmount <= MAX_BUFFERED) return;
  const timer = setTimeout(() => {
    socket.close(1013, 'too slow');
    taken.resolve();
  }, STALL_MS);
  await taken.promise;
  clearTimeout(timer);
}

function closedSignal(socket: EventSocket): AbortSignal {
  const controller = new AbortController();
  socket.once('close', () => controller.abort());
  socket.on('error', () => controller.abort());
  // Nothing is expected from the viewer; what it sends is dropped.
  socket.on('message', () => {});
  return controller.signal;
}

function keepAlive(socket: EventSocket): NodeJS.Timeout {
  let alive = true;
  socket.on('pong', () => {
    alive = true;
  });
  return setInterval(() => {
    if (!alive) return socket.terminate();
    alive = false;
    return socket.ping();
  }, PING_MS);
}

/** Something to wait at: `wait` ends when `ring` was called since the last wait, or the time is over. */
function createBell() {
  let rung = false;
  let wake = () => {};
  return {
    ring: () => {
      rung = true;
      wake();
    },
    wait: (ms: number) =>
      new Promise<void>((resolve) => {
        const finish = () => {
          clearTimeout(timer);
          rung = false;
          resolve();
        };
        const timer = setTimeout(finish, ms);
        wake = finish;
        if (rung) finish();
      }),
  };
}
