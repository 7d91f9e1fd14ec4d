import { type RedisOptions as AllRedisOptions, Redis } from 'ioredis';
import type { Logger } from '../lib/log.ts';

export { Redis };

/** ioredis's options without the one whose type its own constructor does not take. */
export type RedisOptions = Omit<AllRedisOptions, 'replyMapping'>;

/**
 * How a connection behaves while Redis is away:
 * - `commands`: fails at once, so that a request answers 503 instead of waiting;
 * - `subscriber` and `blocking`: wait and take up their work again when Redis is back (blocking is what a
 *   BullMQ Worker needs).
 */
export type RedisRole = 'commands' | 'subscriber' | 'blocking';

/** Reconnects for ever: 50 ms doubling to 2 s. */
const retryStrategy = (times: number): number => Math.min(2_000, 50 * 2 ** Math.min(times, 6));

/** Connection options of a redis:, rediss: or unix: URL; `unix:///path?db=1` names a socket and a database. */
export function redisOptions(url: string, role: RedisRole): RedisOptions {
  const patient = role !== 'commands';
  return {
    ...redisAddress(url),
    retryStrategy,
    connectTimeout: 5_000,
    enableOfflineQueue: patient,
    maxRetriesPerRequest: patient ? null : 0,
    ...(patient ? {} : { commandTimeout: 5_000 }),
  };
}

function redisAddress(text: string): RedisOptions {
  const url = new URL(text);
  if (url.protocol === 'unix:') {
    return { path: decodeURIComponent(url.pathname), db: Number(url.searchParams.get('db') ?? 0) };
  }
  const db = Number(url.pathname.slice(1) || 0);
  return {
    host: url.hostname.replace(/^\[|\]$/g, '') || '127.0.0.1',
    port: Number(url.port || 6379),
    ...(url.username ? { username: decodeURIComponent(url.username) } : {}),
    ...(url.password ? { password: decodeURIComponent(url.password) } : {}),
    ...(Number.isInteger(db) ? { db } : {}),
    ...(url.protocol === 'rediss:' ? { tls: {} } : {}),
  };
}

/**
 * A connection that reconnects by itself. It always has an error listener: an outage is one line in the log
 * when it begins and one when it ends, never an unhandled error.
 */
export function createRedis(url: string, role: RedisRole, log: Logger): Redis {
  const redis = new Redis(redisOptions(url, role));
  let away = false;
  redis.on('error', (err: Error) => {
    if (!away) log.warn({ err: err.message, role }, 'Redis is away');
    away = true;
  });
  redis.on('ready', () => {
    if (away) log.info({ role }, 'Redis is back');
    away = false;
  });
  return redis;
}

/** Whether an error means that Redis is not there, rather than that a command was wrong. */
export function isRedisOutage(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error.name === 'MaxRetriesPerRequestError') return true;
  return /Stream isn't writeable|Connection is closed|Command timed out|ECONNREFUSED|ECONNRESET|ENOENT|^LOADING /.test(
    error.message,
  );
}
