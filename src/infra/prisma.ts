import { PrismaPg } from '@prisma/adapter-pg';
import type { Logger } from '../lib/log.ts';
import { Prisma, PrismaClient } from './generated/client.ts';

export type Database = PrismaClient;
/** What a transaction's callback gets; every Database is one too. */
export type Transaction = Prisma.TransactionClient;
export type {
  ApiKey,
  Event,
  Host,
  Image,
  Operation,
  Session,
  Tenant,
  Upload,
  Vm,
} from './generated/client.ts';
export { Prisma };

export interface DatabaseOptions {
  readonly url: string;
  readonly log: Logger;
  /** Most connections kept; default 10. */
  readonly maxConnections?: number;
}

/**
 * Prisma over a pool of pg connections. A lost connection is logged and the pool opens another at the next
 * query; a server that is not there fails a query within 5 s, a query that hangs within 30 s.
 */
export function createDatabase(options: DatabaseOptions): Database {
  const { log } = options;
  const adapter = new PrismaPg(
    {
      connectionString: options.url,
      max: options.maxConnections ?? 10,
      connectionTimeoutMillis: 5_000,
      idleTimeoutMillis: 30_000,
      statement_timeout: 30_000,
      keepAlive: true,
    },
    {
      onPoolError: (err) => log.warn({ err: err.message }, 'PostgreSQL: an idle connection was lost'),
      onConnectionError: (err) => log.warn({ err: err.message }, 'PostgreSQL: a connection was lost'),
    },
  );
  return new PrismaClient({ adapter, transactionOptions: { maxWait: 5_000, timeout: 15_000 } });
}

/** SQLSTATEs that mean "the server is going, gone or coming": class 08, and operator intervention (57P0x). */
const OUTAGE_SQLSTATES = /^(08\w{3}|57P0[1-5]|53300)$/;
const OUTAGE_ERRNOS = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOENT',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENOTFOUND',
]);
/** Prisma's own codes for "not reachable", "timed out", "closed", "no connection", "transaction lost". */
const OUTAGE_PRISMA = new Set(['P1001', 'P1002', 'P1008', 'P1011', 'P1017', 'P2024', 'P2028', 'P2037']);
const OUTAGE_KINDS = new Set([
  'DatabaseNotReachable',
  'ConnectionClosed',
  'SocketTimeout',
  'TooManyConnections',
  'TlsConnectionError',
]);
const OUTAGE_TEXT =
  /Connection terminated|timeout exceeded when trying to connect|Can't reach database server|terminating connection|the database system is|connection timeout|ECONNREFUSED|ECONNRESET/i;

/** Whether an error of a query means that PostgreSQL is not there, rather than that the query was wrong. */
export function isDatabaseOutage(error: unknown): boolean {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 6; at = at.cause, depth++) {
    const code = 'code' in at && typeof at.code === 'string' ? at.code : '';
    if (OUTAGE_PRISMA.has(code) || OUTAGE_ERRNOS.has(code) || OUTAGE_SQLSTATES.test(code)) return true;
    if (isDriverOutage(at) || OUTAGE_TEXT.test(at.message)) return true;
    if (at instanceof AggregateError && at.errors.some((inner) => isDatabaseOutage(inner))) return true;
  }
  return false;
}

/** A DriverAdapterError of @prisma/driver-adapter-utils, directly or in `meta.driverAdapterError`. */
function isDriverOutage(error: Error): boolean {
  const inner = error.cause;
  if (typeof inner === 'object' && inner !== null) {
    if ('kind' in inner && typeof inner.kind === 'string' && OUTAGE_KINDS.has(inner.kind)) return true;
    if (
      'originalCode' in inner &&
      typeof inner.originalCode === 'string' &&
      OUTAGE_SQLSTATES.test(inner.originalCode)
    ) {
      return true;
    }
  }
  if (!('meta' in error) || typeof error.meta !== 'object' || error.meta === null) return false;
  const { meta } = error;
  return (
    'driverAdapterError' in meta &&
    meta.driverAdapterError instanceof Error &&
    isDatabaseOutage(meta.driverAdapterError)
  );
}

/** Whether an error is a unique constraint that another row already meets (Prisma's P2002). */
export function isUniqueViolation(error: unknown): boolean {
  return error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2002';
}

/** Whether an error is a foreign key that still has, or has no, other end (Prisma's P2003). */
export function isForeignKeyViolation(error: unknown): boolean {
  return error instanceof Prisma.PrismaClientKnownRequestError && error.code === 'P2003';
}
