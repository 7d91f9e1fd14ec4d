import type { FastifyReply, FastifyRequest } from 'fastify';
import { Problem } from '../lib/errors.ts';
import type { AccessWatch } from './access/access-watch.ts';
import { clientGone, principalOf } from './http.ts';
import type { Seats } from './seats.ts';

/** Requests whose answer may take long. */
export interface Waiting {
  /**
   * Does the work of one. It holds a seat, and ends early when its client goes away or when the key or session that it
   * came with does. The signal given to `work` fires then.
   * @throws {Problem} too_many_waiting; unauthenticated; what `work` throws
   */
  run<T>(request: FastifyRequest, reply: FastifyReply, work: (ended: AbortSignal) => Promise<T>): Promise<T>;
}

export function createWaiting(deps: {
  readonly seats: Seats;
  readonly watch: Pick<AccessWatch, 'watch'>;
}): Waiting {
  return {
    async run(request, reply, work) {
      const principal = principalOf(request);
      const leave = deps.seats.take(principal.owner);
      const refused = new AbortController();
      const refusal = Promise.withResolvers<never>();
      const stop = deps.watch.watch(principal, (why) => {
        refusal.reject(over(why));
        refused.abort();
      });
      try {
        const ended = AbortSignal.any([clientGone(reply), refused.signal]);
        return await Promise.race([refusal.promise, work(ended)]);
      } finally {
        stop();
        leave();
      }
    },
  };
}

function over(why: string): Problem {
  return new Problem('unauthenticated', `${why} while this request waited`, {
    hint: 'what was waited for may come all the same; ask again with a key that is valid',
    headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
  });
}
