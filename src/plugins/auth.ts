import type { FastifyRequest } from 'fastify';
import { CSRF_HEADER, SESSION_COOKIE } from '../contracts/sessions.ts';
import { Problem } from '../lib/errors.ts';
import type { AccessService } from '../modules/access/access.service.ts';
import {
  type Principal,
  requireOperator,
  requireScope,
  type TenantScope,
} from '../modules/access/principal.ts';
import type { App } from '../modules/http.ts';
import { csrfMatches, type SessionsService } from '../modules/sessions/sessions.service.ts';
import type { TicketsService } from '../modules/tickets/tickets.service.ts';
import type { RateLimits } from './rate-limits.ts';

export interface AuthDeps {
  readonly access: AccessService;
  readonly sessions: SessionsService;
  readonly tickets: TicketsService;
  readonly limits: RateLimits;
}

/** Who a request comes from. `ticketFor` lets `?ticket=` stand in for the key of a browser's WebSocket. */
export type AuthenticateRequest = (
  request: FastifyRequest,
  options?: { readonly ticketFor?: 'serial' | 'display' },
) => Promise<Principal>;

/**
 * @returns a function that finds out who a request comes from: by its key, its ticket or the session of its browser.
 * It throws a Problem: unauthenticated, invalid_ticket, csrf_refused.
 */
export function createAuthenticator(
  deps: Pick<AuthDeps, 'access' | 'sessions' | 'tickets'>,
): AuthenticateRequest {
  return async (request, { ticketFor } = {}) => {
    if (request.principal !== null) return request.principal;
    const { authorization } = request.headers;
    if (authorization !== undefined) {
      request.credential = authorization;
      return deps.access.byKey(bearerToken(authorization));
    }
    const ticket = parameter(request.query, 'ticket');
    const vmId = parameter(request.params, 'id');
    if (ticketFor !== undefined && ticket !== undefined && vmId !== undefined) {
      return deps.tickets.redeem(ticket, vmId, ticketFor);
    }
    const token = request.cookies[SESSION_COOKIE];
    if (token !== undefined) {
      const principal = await deps.sessions.byToken(token);
      requireOwnPage(request, token);
      request.credential = token;
      return principal;
    }
    throw new Problem('unauthenticated', 'the request has no API key', {
      hint: 'send the header `Authorization: Bearer KEY`; the first key is in $TEREMOK_HOME/default.key',
      headers: { 'www-authenticate': 'Bearer' },
    });
  };
}

/**
 * For every route of this scope: finds who asks, whose objects the request is about, whether the key may do that
 * (a GET needs `read`, everything else `write`, a route may ask for more in its config), and counts it against the
 * key's rate. Routes that are `anonymous` do all that themselves.
 */
export function registerAuth(app: App, deps: AuthDeps): void {
  const authenticate = createAuthenticator(deps);
  app.addHook('onRequest', async (request, reply) => {
    const { access, anonymous, ticketFor } = request.routeOptions.config;
    if (anonymous === true) return;
    const principal = await deps.limits.countFailures(request, () =>
      authenticate(request, ticketFor === undefined ? {} : { ticketFor }),
    );
    await deps.limits.countKey(request, reply, principal);
    const reads = request.method === 'GET' || request.method === 'HEAD';
    if (access === 'operator') requireOperator(principal);
    requireScope(principal, reads ? 'read' : 'write');
    const scope: TenantScope = await deps.access.scopeFor(principal, tenantHeader(request));
    request.principal = principal;
    request.scope = scope;
  });
}

/**
 * A browser sends its cookie whoever makes it ask. What changes something must therefore show the session's other
 * token, which only our page can read, and a WebSocket, which can have no header, must come from our address.
 * @throws {Problem} csrf_refused
 */
function requireOwnPage(request: FastifyRequest, token: string): void {
  const { origin, host } = request.headers;
  if (request.ws) {
    if (origin !== undefined && URL.canParse(origin) && new URL(origin).host === host) return;
    throw new Problem('csrf_refused', 'a WebSocket of a session must come from a page of this address', {
      hint: 'a proxy in front must pass the Host header on as it is',
    });
  }
  if (request.method === 'GET' || request.method === 'HEAD') return;
  if (csrfMatches(token, request.headers[CSRF_HEADER])) return;
  throw new Problem('csrf_refused', 'the header X-CSRF-Token is not that of the session', {
    hint: 'GET /v1/session answers with it as `csrfToken`',
  });
}

function bearerToken(authorization: string): string {
  const token = /^Bearer +(\S+) *$/i.exec(authorization)?.[1];
  if (token !== undefined) return token;
  throw new Problem('unauthenticated', 'the Authorization header is not `Bearer KEY`', {
    headers: { 'www-authenticate': 'Bearer error="invalid_request"' },
  });
}

function tenantHeader(request: FastifyRequest): string | undefined {
  const header = request.headers['teremok-tenant'];
  if (header === undefined) return undefined;
  if (typeof header === 'string' && /^[\x20-\x7e]{1,80}$/.test(header)) return header;
  throw new Problem('invalid_request', 'the header Teremok-Tenant is not a tenant’s id or name');
}

function parameter(parameters: unknown, name: string): string | undefined {
  if (typeof parameters !== 'object' || parameters === null) return undefined;
  const value: unknown = Reflect.get(parameters, name);
  return typeof value === 'string' ? value : undefined;
}
