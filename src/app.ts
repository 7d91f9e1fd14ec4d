import cookie from '@fastify/cookie';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import underPressure from '@fastify/under-pressure';
import websocket from '@fastify/websocket';
import { type FastifyBaseLogger, fastify } from 'fastify';
import type { Config } from './config/index.ts';
import { DISPLAY_SUBPROTOCOL, MAX_CONSOLE_MESSAGE_BYTES } from './contracts/console.ts';
import { registerGateway } from './gateway/index.ts';
import type { EventHub } from './infra/event-hub.ts';
import { createImageStore } from './infra/image-store.ts';
import type { Database } from './infra/prisma.ts';
import type { Queues } from './infra/queues.ts';
import type { Redis } from './infra/redis.ts';
import { Problem, shuttingDown } from './lib/errors.ts';
import type { Logger } from './lib/log.ts';
import { createAccessService } from './modules/access/access.service.ts';
import { createAccessWatch } from './modules/access/access-watch.ts';
import { eventRoutes } from './modules/events/events.routes.ts';
import { createEventsService } from './modules/events/events.service.ts';
import { hostRoutes } from './modules/hosts/hosts.routes.ts';
import { createHostsService } from './modules/hosts/hosts.service.ts';
import type { App } from './modules/http.ts';
import { imageRoutes } from './modules/images/images.routes.ts';
import { createImagesService } from './modules/images/images.service.ts';
import { uploadRoutes } from './modules/images/uploads.routes.ts';
import { createUploadsService } from './modules/images/uploads.service.ts';
import { operationRoutes } from './modules/operations/operations.routes.ts';
import { createOperationsService } from './modules/operations/operations.service.ts';
import { createSeats } from './modules/seats.ts';
import { sessionRoutes } from './modules/sessions/sessions.routes.ts';
import { createSessionsService } from './modules/sessions/sessions.service.ts';
import { operatorKeyRoutes, tenantRoutes, usageRoute } from './modules/tenants/tenants.routes.ts';
import { createTenantsService } from './modules/tenants/tenants.service.ts';
import { createTicketsService } from './modules/tickets/tickets.service.ts';
import { createVmMetricsService } from './modules/vms/vm-metrics.service.ts';
import { vmRoutes } from './modules/vms/vms.routes.ts';
import { createVmsService, type VmsService } from './modules/vms/vms.service.ts';
import { createWaiting } from './modules/waiting.ts';
import { registerAuth } from './plugins/auth.ts';
import { registerBodies } from './plugins/bodies.ts';
import { isConsolePage, registerConsole, sendPage } from './plugins/console.ts';
import { registerIdempotency } from './plugins/idempotency.ts';
import { registerObservability } from './plugins/observability.ts';
import { registerOpenApi } from './plugins/openapi.ts';
import { clientProblem, frameworkProblem, registerProblems, requestId } from './plugins/problems.ts';
import { type RateLimits, registerRateLimits } from './plugins/rate-limits.ts';
import { registerSecurityHeaders } from './plugins/security.ts';
import { registerValidation } from './plugins/validation.ts';

export interface AppDeps {
  readonly config: Pick<Config, 'consoleDir' | 'imagesDir' | 'maxImageMiB' | 'rateLimitPerMinute'>;
  readonly db: Database;
  readonly redis: Redis;
  readonly queues: Queues;
  readonly hub: EventHub;
  readonly log: Logger;
  /** Fires when the process is to end. */
  readonly closing: AbortSignal;
  readonly version: string;
}

/** The API, ready to listen or to be injected into. The parts in `deps` stay the caller's to close. */
export async function buildApp(deps: AppDeps): Promise<App> {
  const loggerInstance: FastifyBaseLogger = deps.log;
  const app = fastify({
    loggerInstance,
    genReqId: requestId,
    bodyLimit: 1024 * 1024,
    requestTimeout: 30 * 60_000, // an upload may take long; headers have their own, shorter limit
    connectionTimeout: 0,
    forceCloseConnections: 'idle',
    return503OnClosing: false, // the hook below answers with a problem
    frameworkErrors: frameworkProblem,
    clientErrorHandler: clientProblem,
    routerOptions: { maxParamLength: 200 },
    ajv: { customOptions: { coerceTypes: false } },
  }).withTypeProvider<TypeBoxTypeProvider>();

  app.decorateRequest('principal', null);
  app.decorateRequest('scope', null);
  app.decorateRequest('seal', null);
  app.decorateRequest('credential', null);
  await app.register(cookie);
  const { consoleDir } = deps.config;
  registerProblems(app, (request, reply) => isConsolePage(request) && sendPage(reply, consoleDir));
  registerSecurityHeaders(app);
  refuseWhileClosing(app, deps.closing);
  registerValidation(app);
  registerBodies(app);
  const limits = await registerRateLimits(app, { perMinute: deps.config.rateLimitPerMinute });
  await registerPressure(app);
  await app.register(websocket, {
    options: { maxPayload: MAX_CONSOLE_MESSAGE_BYTES, handleProtocols: chooseProtocol },
  });
  await registerOpenApi(app, deps.version);
  await registerConsole(app, consoleDir);
  countAddresses(app, limits);
  registerObservability(app, deps);
  await app.register((v1) => registerV1(v1.withTypeProvider<TypeBoxTypeProvider>(), deps, limits), {
    prefix: '/v1',
  });
  await app.ready();
  return app;
}

/** Of the subprotocols that a WebSocket's client offers, the one that is taken; only displays know one. */
function chooseProtocol(offered: Set<string>): string | false {
  return offered.has(DISPLAY_SUBPROTOCOL) ? DISPLAY_SUBPROTOCOL : false;
}

/** Everything under /v1: authenticated, counted, idempotent. */
async function registerV1(v1: App, deps: AppDeps, limits: RateLimits): Promise<void> {
  const { db, redis, hub, closing } = deps;
  const access = createAccessService({ db });
  const watch = createAccessWatch({ db });
  v1.addHook('onClose', async () => watch.close());
  const sessions = createSessionsService({ db, watch });
  const tickets = createTicketsService({ redis, watch });
  registerAuth(v1, { access, sessions, tickets, limits });
  registerIdempotency(v1, { db });
  sessionRoutes(v1, { access, sessions, ...limits });
  const seats = createSeats();
  const waiting = createWaiting({ seats, watch });
  const store = createImageStore(deps.config.imagesDir);
  const uploads = createUploadsService({ db, store, maxImageMiB: deps.config.maxImageMiB });
  const images = createImagesService({ db, store, uploads });
  vmRoutes(v1, { vms: createVms(deps), metrics: createVmMetricsService({ redis }), tickets, waiting });
  operationRoutes(v1, createOperationsService({ db, hub, closing }), waiting);
  eventRoutes(v1, { events: createEventsService({ db, hub, closing }), seats, watch });
  const tenants = createTenantsService({ db, store, watch });
  tenantRoutes(v1, tenants);
  operatorKeyRoutes(v1, tenants);
  usageRoute(v1, tenants);
  hostRoutes(v1, createHostsService({ db, queues: deps.queues }));
  await v1.register(async (scope) => imageRoutes(scope.withTypeProvider<TypeBoxTypeProvider>(), images));
  await v1.register(async (scope) => uploadRoutes(scope.withTypeProvider<TypeBoxTypeProvider>(), uploads));
  await v1.register((scope) =>
    registerGateway(scope.withTypeProvider<TypeBoxTypeProvider>(), { database: db, waiting, watch }),
  );
}

/** The service of VMs, for the app and for what makes the first VM. */
export function createVms(deps: Pick<AppDeps, 'db' | 'redis' | 'queues' | 'hub' | 'closing'>): VmsService {
  return createVmsService({ ...deps, access: createAccessService(deps) });
}

function refuseWhileClosing(app: App, closing: AbortSignal): void {
  app.addHook('onRequest', async () => {
    if (closing.aborted) throw shuttingDown();
  });
}

/** Sheds load before the process becomes too slow to answer at all. */
async function registerPressure(app: App): Promise<void> {
  await app.register(underPressure, {
    maxEventLoopDelay: 5_000,
    maxRssBytes: 4 * 1024 * 1024 * 1024,
    pressureHandler: async (_request, _reply, type, value) => {
      // A second without any sample is told as an endless delay: it says that the machine was busy, no more.
      if (type === 'eventLoopDelay' && !Number.isFinite(value)) return;
      throw new Problem('overloaded', `the service has too much to do (${type} ${value ?? ''})`, {
        hint: 'try again in a few seconds',
        headers: { 'retry-after': '5' },
      });
    },
  });
}

/** /v1 counts by key; what stands outside it counts by address. */
function countAddresses(app: App, limits: RateLimits): void {
  app.addHook('onRequest', async (request, reply) => {
    if (!request.url.startsWith('/v1/')) await limits.countAddress(request, reply);
  });
}
