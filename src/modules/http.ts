import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type {
  FastifyBaseLogger,
  FastifyInstance,
  FastifyReply,
  FastifyRequest,
  RawServerDefault,
} from 'fastify';
import { ProblemSchema } from '../contracts/common.ts';
import type { Transaction } from '../infra/prisma.ts';
import { Problem } from '../lib/errors.ts';
import type { Principal, TenantScope } from './access/principal.ts';

/** The Fastify instance that routes are registered on. */
export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

/**
 * Stores the answer of a request that came with an Idempotency-Key, in the transaction that does its work: so a
 * crash leaves both or neither. Does nothing for a request without a key.
 */
export type Seal = (tx: Transaction, answer: SealedAnswer) => Promise<void>;

export interface SealedAnswer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: unknown;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks; set on every route under /v1 before its handler runs. */
    principal: Principal | null;
    /** Whose objects the request is about. */
    scope: TenantScope | null;
    seal: Seal | null;
    /** What secret answers of this request are sealed with: the caller's key or session. */
    credential: string | null;
  }
  interface FastifyContextConfig {
    /** `operator`: operator keys only. */
    access?: 'operator';
    /** The route brings its own authentication. */
    anonymous?: boolean;
    /** The WebSocket may be opened with a ticket made for this. */
    ticketFor?: 'serial' | 'display';
    /** The answer holds a secret: it is stored encrypted under the key that asked. */
    secretAnswer?: boolean;
  }
}

/** Who asks. @throws when the route is not under /v1, which is a mistake of the program. */
export function principalOf(request: FastifyRequest): Principal {
  if (request.principal === null) throw new Error(`${request.url}: not an authenticated route`);
  return request.principal;
}

/** Whose objects the request is about. */
export function scopeOf(request: FastifyRequest): TenantScope {
  if (request.scope === null) throw new Error(`${request.url}: not an authenticated route`);
  return request.scope;
}

const noSeal: Seal = async () => {};

/** The request's Seal; one that does nothing when it has no Idempotency-Key. */
export function sealOf(request: FastifyRequest): Seal {
  return request.seal ?? noSeal;
}

/** Problem answers for a route's `response`, by status. */
export function problems<const S extends readonly number[]>(...statuses: S) {
  const answer = {
    description: 'Problem (RFC 9457)',
    content: { 'application/problem+json': { schema: ProblemSchema } },
  };
  return Object.fromEntries(statuses.map((status) => [status, answer]));
}

/** An AbortSignal that fires when the client goes away before it was answered. */
export function clientGone(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => controller.abort());
  return controller.signal;
}

/** The same for a request that may become a WebSocket: fires when its connection is closed. */
export function clientLeft(request: FastifyRequest): AbortSignal {
  const controller = new AbortController();
  request.raw.socket.once('close', () => controller.abort());
  return controller.signal;
}

/** A list's place, as clients see it: opaque, and checked when it comes back. */
export function encodeCursor(id: string): string {
  return Buffer.from(`after:${id}`).toString('base64url');
}

/** @throws {Problem} invalid_cursor. */
export function decodeCursor(cursor: string): string {
  const text = Buffer.from(cursor, 'base64url').toString('utf8');
  const id = /^after:([\w-]{1,80})$/.exec(text)?.[1];
  if (id === undefined) {
    throw new Problem('invalid_cursor', 'the cursor is not one that this list gave out', {
      hint: 'give the `nextCursor` of the page before, or none for the first page',
    });
  }
  return id;
}

/** Cuts `limit` + 1 rows into a page. */
export function toPage<Row extends { readonly id: string }, Item>(
  rows: readonly Row[],
  limit: number,
  view: (row: Row) => Item,
): { items: Item[]; nextCursor: string | null } {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return {
    items: shown.map(view),
    nextCursor: rows.length > limit && last !== undefined ? encodeCursor(last.id) : null,
  };
}

/**
 * For routes that take no body: an empty JSON object is let through, since many clients always send one.
 * @throws {Problem} invalid_request
 */
export async function refuseBody(request: FastifyRequest): Promise<void> {
  const { body } = request;
  if (body === undefined || body === null) return;
  if (typeof body === 'object' && !Array.isArray(body) && Object.keys(body).length === 0) return;
  throw new Problem('invalid_request', 'this address takes no body', { hint: 'leave the body out' });
}
