import type { FastifyRequest } from 'fastify';
import Type from 'typebox';
import { IdParams } from '../contracts/common.ts';
import { CONSOLE_CLOSE } from '../contracts/console.ts';
import type { Database, Vm } from '../infra/prisma.ts';
import { Problem } from '../lib/errors.ts';
import { isReadOnly, type Principal } from '../modules/access/principal.ts';
import { type App, clientLeft, principalOf, problems } from '../modules/http.ts';
import type { Attachment } from './attachment.ts';
import { type ConsoleOpener, restSoon } from './console-opener.ts';
import { DisplaySession } from './display-session.ts';

/** What a viewer is served by. */
export interface ViewerSession {
  close(code: number, reason: string): void;
}

/** Sees that a session is closed with the service, or when its viewer may not look any more, until it has been served. */
export type Attend = (
  session: ViewerSession,
  principal: Principal,
  served: () => Promise<void>,
) => Promise<void>;

export interface DisplayDeps {
  readonly database: Database;
  readonly opener: ConsoleOpener;
  readonly attend: Attend;
  readonly findVm: (request: FastifyRequest<{ Params: { id: string } }>) => Promise<Vm>;
}

const LEFT = { code: CONSOLE_CLOSE.restart, reason: 'the VM or its worker was restarted; connect again' };

/** `GET /v1/vms/{id}/display`: RFB over a WebSocket. */
export function displayRoute(app: App, { database, opener, attend, findVm }: DisplayDeps): void {
  /** Screens opened before the upgrade, so that a refusal is an HTTP answer. */
  const opened = new WeakMap<FastifyRequest, Attachment>();

  const rest = async (id: string) => {
    try {
      return (await restSoon(database, id)) ?? LEFT;
    } catch {
      return LEFT; // the database is away: the viewer finds out when it connects again
    }
  };

  app.route({
    method: 'GET',
    url: '/vms/:id/display',
    config: { ticketFor: 'display' },
    schema: {
      tags: ['vms'],
      summary: 'The screen, as RFB 3.8 over a WebSocket',
      description:
        'For noVNC and its like: binary messages are the bytes of RFB, both ways, cut anywhere. The subprotocol ' +
        '`binary` is taken when it is offered. A key without `write` watches only. Closed with the codes of /serial; RFB begins anew after 1012.',
      params: IdParams('vm'),
      querystring: Type.Object(
        {
          ticket: Type.Optional(Type.String({ maxLength: 200 })),
          viewOnly: Type.Optional(
            Type.Boolean({ description: 'Without keyboard and mouse; a ticket can say so too.' }),
          ),
        },
        { additionalProperties: false },
      ),
      response: problems(400, 401, 403, 404, 409, 426, 429, 503),
    },
    preHandler: async (request) => {
      const vm = await findVm(request);
      if (!request.ws) throw noUpgrade(vm.id);
      const principal = principalOf(request);
      const viewOnly =
        request.query.viewOnly === true || principal.viewOnly === true || isReadOnly(principal);
      const wanted = { purpose: 'display', ...(viewOnly ? { viewOnly } : {}) } as const;
      const attachment = await opener.openSoon(vm, wanted, {}, clientLeft(request));
      opened.set(request, attachment);
      request.raw.socket.once('close', () => attachment.close());
    },
    handler: async (request) => {
      throw noUpgrade(request.params.id);
    },
    wsHandler: async (socket, request) => {
      const attachment = opened.get(request);
      if (attachment === undefined) return socket.close(1011, 'the screen was not opened');
      const session = new DisplaySession(socket, attachment);
      await attend(session, principalOf(request), () => session.run(() => rest(request.params.id)));
    },
  });
}

function noUpgrade(id: string): Problem {
  return new Problem('upgrade_required', 'the screen is a WebSocket', {
    hint: `a picture of it is at /v1/vms/${id}/screenshot`,
    headers: { upgrade: 'websocket' },
  });
}
