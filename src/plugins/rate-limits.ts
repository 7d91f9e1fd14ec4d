import rateLimit from '@fastify/rate-limit';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Problem } from '../lib/errors.ts';
import type { Principal } from '../modules/access/principal.ts';
import type { App } from '../modules/http.ts';

export interface RateLimits {
  /** Counts a request against its key. @throws {Problem} rate_limited */
  countKey(request: FastifyRequest, reply: FastifyReply, principal: Principal): Promise<void>;
  /** Counts failures against the address they come from: guessing keys gets slow. @throws {Problem} rate_limited */
  countFailures<T>(request: FastifyRequest, authenticate: () => Promise<T>): Promise<T>;
  /** Counts a request outside /v1 against its address. @throws {Problem} rate_limited */
  countAddress(request: FastifyRequest, reply: FastifyReply): Promise<void>;
}

/** Of the requests that a key may make, the part that one address may get wrong. */
const FAILED_PART = 1 / 50;
const WINDOW_MS = 60_000;

/**
 * Limits per minute, counted in this process: they hold while Redis is away, and n API processes let n times as
 * much through. Authentication runs between the counters, so @fastify/rate-limit's own global hook is not used.
 */
export async function registerRateLimits(
  app: App,
  options: { readonly perMinute: number },
): Promise<RateLimits> {
  await app.register(rateLimit, { global: false, cache: 10_000 });
  const keys = new WeakMap<FastifyRequest, string>();
  const byKey = app.createRateLimit({
    max: options.perMinute,
    timeWindow: WINDOW_MS,
    keyGenerator: (request) => keys.get(request) ?? request.ip,
  });
  const byAddress = app.createRateLimit({
    max: options.perMinute,
    timeWindow: WINDOW_MS,
    keyGenerator: ({ ip }) => ip,
  });
  const failures = app.createRateLimit({
    max: Math.max(20, Math.floor(options.perMinute * FAILED_PART)),
    timeWindow: WINDOW_MS,
    keyGenerator: ({ ip }) => `f:${ip}`,
  });

  const count = async (
    check: typeof byKey,
    request: FastifyRequest,
    reply: FastifyReply | null,
    what: string,
  ) => {
    const limit = await check(request);
    if (limit.isAllowed) return;
    const { ttlInSeconds } = limit;
    reply?.headers({
      'ratelimit-limit': limit.max,
      'ratelimit-remaining': Math.max(0, limit.remaining),
      'ratelimit-reset': ttlInSeconds,
    });
    if (!limit.isExceeded) return;
    throw new Problem('rate_limited', `${what} may make ${limit.max} a minute`, {
      hint: `try again in ${ttlInSeconds} s`,
      headers: { 'retry-after': String(ttlInSeconds) },
    });
  };

  return {
    async countKey(request, reply, principal) {
      keys.set(request, principal.keyId);
      await count(byKey, request, reply, 'requests: one key');
    },
    async countFailures(request, authenticate) {
      try {
        return await authenticate();
      } catch (err) {
        if (err instanceof Problem && err.status === 401)
          await count(failures, request, null, 'failed attempts: one address');
        throw err;
      }
    },
    async countAddress(request, reply) {
      await count(byAddress, request, reply, 'requests: one address');
    },
  };
}
