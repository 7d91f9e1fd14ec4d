import type { FastifyRequest } from 'fastify';
import Type from 'typebox';
import { IdParams } from '../contracts/common.ts';
import { CONSOLE_CLOSE } from '../contracts/console.ts';
import type { Database, Vm } from '../infra/prisma.ts';
import { notFound, Problem } from '../lib/errors.ts';
import type { AccessWatch } from '../modules/access/access-watch.ts';
import { isReadOnly, ownedBy } from '../modules/access/principal.ts';
import type { App } from '../modules/http.ts';
import { clientLeft, principalOf, problems, scopeOf } from '../modules/http.ts';
import type { Waiting } from '../modules/waiting.ts';
import type { Attachment } from './attachment.ts';
import { ConsoleOpener } from './console-opener.ts';
import { ConsoleSession } from './console-session.ts';
import { type Attend, displayRoute, type ViewerSession } from './display.ts';
import { PendingInput } from './pending-input.ts';
import { screenRoutes } from './screen-tools.ts';

export interface GatewayDeps {
  readonly database: Database;
  readonly waiting: Waiting;
  readonly watch: Pick<AccessWatch, 'watch'>;
}

/**
 * What reaches into a VM that runs: its serial console and its screen, both
 * WebSockets, and the tools that look at them and type. Register it under /v1,
 * where requests have been authenticated and @fastify/websocket is registered
 * (app.ts).
 */
export async function registerGateway(app: App, { database, waiting, watch }: GatewayDeps): Promise<void> {
  const opener = new ConsoleOpener(database);
  const sessions = new Set<ViewerSession>();
  /** Keeps a viewer's session with those that are closed with the service, or with the viewer's key, while it is served. */
  const attend: Attend = async (session, principal, served) => {
    sessions.add(session);
    const stop = watch.watch(principal, (why) => session.close(CONSOLE_CLOSE.unauthorized, why));
    try {
      await served();
    } finally {
      stop();
      sessions.delete(session);
    }
  };
  /** Consoles opened before the upgrade, so that a refusal is an HTTP answer. */
  const opened = new WeakMap<FastifyRequest, { attachment: Attachment; input: PendingInput }>();
  app.addHook('preClose', async () => {
    for (const session of sessions)
      session.close(CONSOLE_CLOSE.restart, 'the service is shutting down; connect again');
  });

  const findVm = async (request: FastifyRequest<{ Params: { id: string } }>): Promise<Vm> => {
    const { id } = request.params;
    const vm = await database.vm.findFirst({ where: { id, ...ownedBy(scopeOf(request)) } });
    if (vm === null) throw notFound('VM', id);
    return vm;
  };

  displayRoute(app, { database, opener, attend, findVm });
  screenRoutes(app, { opener, waiting, findVm });

  app.route({
    method: 'GET',
    url: '/vms/:id/serial',
    config: { ticketFor: 'serial' },
    schema: {
      tags: ['vms'],
      summary: 'The serial console, as a WebSocket',
      description:
        'Binary messages are bytes of the line, both ways: first the backlog (64 KiB), then live. A text message ' +
        'is taken as its UTF-8. A key without `write` watches: what it types is dropped. Closed with 4001 when the VM stops, 4002 when it fails, 4003 when the key or session that opened it ends, 4004 when it is deleted, ' +
        '1012 when the service restarts and the VM is not back in time, each with a reason.',
      params: IdParams('vm'),
      querystring: Type.Object({ ticket: Type.Optional(Type.String({ maxLength: 200 })) }),
      response: problems(401, 404, 409, 426, 503),
    },
    preHandler: async (request) => {
      const vm = await findVm(request);
      if (!request.ws) {
        throw new Problem('upgrade_required', 'the serial console is a WebSocket', {
          hint: `its last output as text is at /v1/vms/${vm.id}/serial/log`,
          headers: { upgrade: 'websocket' },
        });
      }
      const input = new PendingInput();
      const viewer = { input: input.position };
      const attachment = await opener.openSoon(vm, { purpose: 'serial' }, viewer, clientLeft(request));
      opened.set(request, { attachment, input });
      request.raw.socket.once('close', () => attachment.close());
    },
    handler: async () => {
      throw new Problem('upgrade_required', 'the serial console is a WebSocket');
    },
    wsHandler: async (socket, request) => {
      const console = opened.get(request);
      if (console === undefined) return socket.close(1011, 'the console was not opened');
      const { id } = request.params;
      const principal = principalOf(request);
      const session = new ConsoleSession(socket, id, opener, console.input, isReadOnly(principal));
      await attend(session, principal, () => session.run(console.attachment));
    },
  });

  app.get(
    '/vms/:id/serial/log',
    {
      schema: {
        tags: ['vms'],
        summary: 'The last 64 KiB of the serial line',
        description: 'Of a VM that runs, or of its last run.',
        params: IdParams('vm'),
        response: {
          200: { content: { 'text/plain': { schema: Type.Unsafe<Buffer>(Type.String()) } } },
          ...problems(401, 404, 503),
        },
      },
    },
    async (request, reply) => {
      const vm = await findVm(request);
      // A VM that no host has taken has never said anything.
      const log =
        vm.hostId === null ? Buffer.alloc(0) : await readLog(await opener.open(vm, { purpose: 'log' }));
      return reply.type('text/plain; charset=utf-8').header('x-content-type-options', 'nosniff').send(log);
    },
  );
}

async function readLog(attachment: Attachment): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  attachment.listen((bytes) => parts.push(bytes));
  const end = await attachment.ended;
  if (end.kind === 'lost') throw new Problem('unavailable', 'the log was cut off; try again');
  return Buffer.concat(parts);
}
