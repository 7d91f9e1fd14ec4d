import type { FastifyRequest } from 'fastify';
import Type from 'typebox';
import { pageQuery } from '../../contracts/common.ts';
import { CONSOLE_CLOSE } from '../../contracts/console.ts';
import { EventHistory, EventMessage } from '../../contracts/events.ts';
import { Problem } from '../../lib/errors.ts';
import type { AccessWatch } from '../access/access-watch.ts';
import { type App, principalOf, problems, scopeOf } from '../http.ts';
import type { Seats } from '../seats.ts';
import type { EventSocket, EventsService } from './events.service.ts';

const query = Type.Object(
  {
    since: Type.Optional(
      Type.String({ pattern: '^[0-9]{1,18}$', description: 'The `seq` of the last event seen.' }),
    ),
  },
  { additionalProperties: false },
);

export interface EventRoutesDeps {
  readonly events: EventsService;
  readonly seats: Seats;
  readonly watch: Pick<AccessWatch, 'watch'>;
}

export function eventRoutes(app: App, { events, seats, watch }: EventRoutesDeps): void {
  /** Where a viewer begins: found before the upgrade, so that nothing after it is missed. */
  const places = new WeakMap<FastifyRequest, bigint>();

  app.route({
    method: 'GET',
    url: '/events',
    schema: {
      tags: ['events'],
      summary: 'The tenant’s events, as a WebSocket',
      description:
        'Each text message is one event as JSON. Without `since` they begin now; with it, after that event (kept for ' +
        'seven days). An event may come a little after one with a greater `seq`. A plain GET answers 426. Closed with 4003 when the key or the session that opened it ends.',
      querystring: query,
      response: { 200: EventMessage, ...problems(400, 401, 426) },
    },
    preHandler: async (request) => {
      // The route's schema has checked it.
      const { since } = request.query as { since?: string };
      if (!request.ws) return;
      request.raw.socket.once('close', seats.take(principalOf(request).owner));
      places.set(request, since === undefined ? await events.position() : BigInt(since));
    },
    handler: async () => {
      throw new Problem('upgrade_required', 'events are sent over a WebSocket', {
        headers: { upgrade: 'websocket' },
      });
    },
    wsHandler: async (socket: EventSocket, request) => {
      const stop = watch.watch(principalOf(request), (why) => socket.close(CONSOLE_CLOSE.unauthorized, why));
      try {
        await events.stream(scopeOf(request), places.get(request) ?? 0n, socket, request.log);
      } finally {
        stop();
      }
    },
  });

  app.get(
    '/events/history',
    {
      schema: {
        tags: ['events'],
        summary: 'The tenant’s events of the last seven days, newest first',
        querystring: Type.Object(
          { ...pageQuery, vmId: Type.Optional(Type.String({ maxLength: 80, pattern: '^[\\w-]+$' })) },
          { additionalProperties: false },
        ),
        response: { 200: EventHistory, ...problems(400, 401) },
      },
    },
    async (request) => events.history(scopeOf(request), request.query),
  );
}
