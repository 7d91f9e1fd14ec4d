import type { FastifyReply, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { CSRF_HEADER, SESSION_COOKIE, Session, SignIn } from '../../contracts/sessions.ts';
import { Problem } from '../../lib/errors.ts';
import type { AccessService } from '../access/access.service.ts';
import type { Principal } from '../access/principal.ts';
import { type App, problems } from '../http.ts';
import { csrfMatches, type SessionsService } from './sessions.service.ts';

export interface SessionRoutesDeps {
  readonly access: AccessService;
  readonly sessions: SessionsService;
  /** Counts what fails against the address it comes from. @throws {Problem} rate_limited */
  countFailures<T>(request: FastifyRequest, work: () => Promise<T>): Promise<T>;
  countKey(request: FastifyRequest, reply: FastifyReply, principal: Principal): Promise<void>;
}

const tags = ['sessions'];

/** Signing in and out of the web console. */
export function sessionRoutes(app: App, deps: SessionRoutesDeps): void {
  const { access, sessions } = deps;

  app.post(
    '/session',
    {
      config: { anonymous: true },
      schema: {
        tags,
        summary: 'Signs a browser in with an API key',
        description:
          'Sets the cookie `teremok_session`, which stands for the key from then on: for 12 hours after its last ' +
          'use, until it is ended or the key is revoked. What is not a GET then needs the header `X-CSRF-Token`, a ' +
          'WebSocket the `Origin` of this address.',
        body: SignIn,
        response: { 201: Session, ...problems(400, 401, 429) },
      },
    },
    async (request, reply) => {
      const principal = await deps.countFailures(request, () => access.byKey(request.body.key));
      await deps.countKey(request, reply, principal);
      const { token, session } = await sessions.begin(principal.keyId);
      setCookie(request, reply, token);
      return reply.code(201).send(session);
    },
  );

  app.get(
    '/session',
    {
      config: { anonymous: true },
      schema: { tags, summary: 'Who is signed in', response: { 200: Session, ...problems(401, 429) } },
    },
    async (request, reply) => {
      const token = sessionToken(request);
      const principal = await deps.countFailures(request, () => sessions.byToken(token));
      await deps.countKey(request, reply, principal);
      return sessions.view(token);
    },
  );

  app.delete(
    '/session',
    {
      config: { anonymous: true },
      schema: {
        tags,
        summary: 'Signs out',
        response: { 204: Type.Null({ description: 'The session is over.' }), ...problems(401, 403) },
      },
    },
    async (request, reply) => {
      const token = sessionToken(request);
      if (!csrfMatches(token, request.headers[CSRF_HEADER])) {
        throw new Problem('csrf_refused', 'the header X-CSRF-Token is not that of the session');
      }
      await sessions.end(token);
      reply.clearCookie(SESSION_COOKIE, { path: '/' });
      return reply.code(204).send(null);
    },
  );
}

function sessionToken(request: FastifyRequest): string {
  const token = request.cookies[SESSION_COOKIE];
  if (token !== undefined) return token;
  throw new Problem('unauthenticated', 'nobody is signed in', {
    hint: 'POST /v1/session with an API key',
    headers: { 'www-authenticate': 'Bearer' },
  });
}

/** It ends with the browser; how long it lasts at most is the database's to say. */
function setCookie(request: FastifyRequest, reply: FastifyReply, token: string): void {
  reply.setCookie(SESSION_COOKIE, token, {
    path: '/',
    httpOnly: true,
    sameSite: 'strict',
    // Behind a proxy that ends TLS, the page's own address tells.
    secure: request.protocol === 'https' || request.headers.origin?.startsWith('https:') === true,
  });
}
