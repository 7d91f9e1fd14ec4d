import type { FastifyRequest } from 'fastify';
import { Problem } from '../lib/errors.ts';
import type { AccessService } from '../modules/access/access.service.ts';
import {
  type Principal,
  requireOperator,
  requireScope,
  type TenantScope,
} from '../modules/access/principal.ts';
import type { App } from '../modules/http.ts';
import type { TicketsService } from '../modules/tickets/tickets.service.ts';
import type { RateLimits } from './rate-limits.ts';

export interface AuthDeps {
  readonly access: AccessService;
  readonly tickets: TicketsService;
  readonly limits: RateLimits;
}

/** Who a request comes from. `ticketFor` lets `?ticket=` stand in for the key of a browser's WebSocket. */
export type AuthenticateRequest = (
  request: FastifyRequest,
  options?: { readonly ticketFor?: 'serial' | 'display' },
) => Promise<Principal>;

/** @returns a function that finds out who a request comes from. It throws a Problem, unauthenticated or invalid_ticket. */
export function createAuthenticator(deps: Pick<AuthDeps, 'access' | 'tickets'>): AuthenticateRequest {
  return async (request, { ticketFor } = {}) => {
    if (request.principal !== null) return request.principal;
    const { authorization } = request.headers;
    if (authorization !== undefined) return deps.access.byKey(bearerToken(authorization));
    const ticket = parameter(request.query, 'ticket');
    const vmId = parameter(request.params, 'id');
    if (ticketFor !== undefined && ticket !== undefined && vmId !== undefined) {
      return deps.tickets.redeem(ticket, vmId, ticketFor);
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
 * key's rate.
 */
export function registerAuth(app: App, deps: AuthDeps): void {
  const authenticate = createAuthenticator(deps);
  app.addHook('onRequest', async (request, reply) => {
    const { access, ticketFor } = request.routeOptions.config;
    const principal = await deps.limits.countFailures(request, () =>
      authenticate(request, ticketFor === undefined ? {} : { ticketFor }),
    );
    await deps.limits.countKey(request, reply, principal);
    const reads = request.method === 'GET' || request.method === 'HEAD';
    if (access === 'operator') requireOperator(principal);
    requireScope(principal, reads && access !== 'write' ? 'read' : 'write');
    const scope: TenantScope = await deps.access.scopeFor(principal, tenantHeader(request));
    request.principal = principal;
    request.scope = scope;
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
