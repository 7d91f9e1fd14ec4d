import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { isDatabaseOutage } from '../infra/prisma.ts';
import { isRedisOutage } from '../infra/redis.ts';
import { Problem, type ProblemCode } from '../lib/errors.ts';
import { newId } from '../lib/ids.ts';
import type { App } from '../modules/http.ts';

const PROBLEM_TYPE = 'application/problem+json';

/** Fastify's own errors that are a client's mistake, as ours. */
const FROM_FASTIFY: Readonly<Record<string, readonly [ProblemCode, hint?: string]>> = {
  FST_ERR_CTP_INVALID_JSON_BODY: ['malformed_json'],
  FST_ERR_CTP_BODY_TOO_LARGE: ['body_too_large', 'a JSON body has at most 1 MiB'],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [
    'unsupported_media_type',
    'send application/json or, where a file is taken, application/octet-stream',
  ],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: ['malformed_request'],
  FST_ERR_CTP_INVALID_TYPE: ['unsupported_media_type', 'send application/json'],
  FST_ERR_BAD_URL: ['malformed_request'],
  FST_ERR_MAX_PARAM_LENGTH: ['url_too_long'],
  FST_STATIC_FORBIDDEN_PATH: ['route_not_found'],
  FST_UNDER_PRESSURE: ['overloaded', 'try again in a few seconds'],
};

/**
 * Makes every error of the app application/problem+json, whatever raised it. `sendElse` may answer an address that
 * no route has; it gives false when it does not know it either.
 */
export function registerProblems(
  app: App,
  sendElse: (request: FastifyRequest, reply: FastifyReply) => FastifyReply | false,
): void {
  const routes: { readonly method: string; readonly pattern: RegExp }[] = [];
  app.addHook('onRoute', ({ method, url }) => {
    const pattern = new RegExp(`^${url.split('/').map(segmentPattern).join('/')}$`);
    for (const name of [method].flat()) routes.push({ method: name, pattern });
  });

  app.setErrorHandler((error: FastifyError, request, reply) => {
    const problem = toProblem(error);
    if (problem.status >= 500 && problem.status !== 501) {
      const level = problem.status === 503 ? 'warn' : 'error';
      request.log[level]({ err: problem.status === 503 ? messageOf(error) : error }, problem.message);
    }
    return sendProblem(reply, request, problem);
  });

  app.setNotFoundHandler((request, reply) => {
    const other = sendElse(request, reply);
    if (other !== false) return other;
    const path = request.url.split('?')[0] ?? '';
    const allowed = [
      ...new Set(routes.filter((route) => route.pattern.test(path)).map((route) => route.method)),
    ].sort();
    // A route that is for this method has looked, and found no file.
    if (allowed.length === 0 || allowed.includes(request.method)) {
      const problem = new Problem('route_not_found', `there is nothing at ${path.slice(0, 200)}`, {
        hint: 'GET /openapi.json, or /docs in a browser, shows what there is',
      });
      return sendProblem(reply, request, problem);
    }
    const problem = new Problem('method_not_allowed', `${request.method} is not for ${path.slice(0, 200)}`, {
      hint: `use ${allowed.join(' or ')}`,
      headers: { allow: allowed.join(', ') },
    });
    return sendProblem(reply, request, problem);
  });
}

function segmentPattern(segment: string): string {
  if (segment.startsWith(':')) return '[^/]+';
  if (segment === '*') return '.*';
  return segment.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/** Answers with a problem. */
export function sendProblem(reply: FastifyReply, request: FastifyRequest, problem: Problem): FastifyReply {
  reply.header('x-request-id', request.id);
  for (const [name, value] of Object.entries(problem.options.headers ?? {})) reply.header(name, value);
  // Serialized here, so that no route's response schema can cut anything away.
  return reply
    .code(problem.status)
    .type(PROBLEM_TYPE)
    .send(JSON.stringify(problem.toJSON(request.id)));
}

/** Whatever was thrown, as the problem that the client sees. What is inside stays inside. */
export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (isValidationError(error)) return validationProblem(error);
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
  const known = FROM_FASTIFY[code];
  if (known !== undefined) {
    const [ours, hint] = known;
    return new Problem(ours, messageOf(error), hint === undefined ? {} : { hint });
  }
  if (error instanceof SyntaxError && 'statusCode' in error && error.statusCode === 400) {
    return new Problem('malformed_json', messageOf(error));
  }
  if (isDatabaseOutage(error)) return awayProblem('PostgreSQL', error);
  if (isRedisOutage(error)) return awayProblem('Redis', error);
  return new Problem('internal', 'the service could not do this', {
    hint: 'it is in the service’s log under this requestId',
    cause: error,
  });
}

/** 503 while PostgreSQL or Redis is away. */
function awayProblem(part: string, cause: unknown): Problem {
  return new Problem('unavailable', `${part} cannot be reached`, {
    hint: 'try again in a few seconds; GET /readyz says which part is missing',
    headers: { 'retry-after': '2' },
    cause,
  });
}

interface ValidationError extends FastifyError {
  readonly validation: NonNullable<FastifyError['validation']>;
}

function isValidationError(error: unknown): error is ValidationError {
  return error instanceof Error && 'validation' in error && Array.isArray(error.validation);
}

function validationProblem(error: ValidationError): Problem {
  const part = error.validationContext ?? 'request';
  if (part === 'params')
    return new Problem('not_found', 'there is no such object', { hint: 'ids look like vm_019ab…' });
  const errors = describeValidation(error.validation);
  const first = errors[0] ?? { path: '', message: error.message };
  const where = first.path === '' ? '' : `${first.path}: `;
  return new Problem('invalid_request', `${part === 'body' ? '' : `${part} `}${where}${first.message}`, {
    errors,
  });
}

/** Ajv's errors in words: unknown fields by their name, and unions of constants by what they may be. */
function describeValidation(validation: ValidationError['validation']): { path: string; message: string }[] {
  const constants = new Map<string, string[]>();
  for (const { keyword, instancePath, params } of validation) {
    if (keyword !== 'const') continue;
    constants.set(instancePath, [
      ...(constants.get(instancePath) ?? []),
      JSON.stringify(params['allowedValue']),
    ]);
  }
  const described = [...constants].map(([path, values]) => ({
    path,
    message: `must be ${values.join(' or ')}`,
  }));
  for (const { keyword, instancePath: path, params, message } of validation) {
    if (keyword === 'const' || (keyword === 'anyOf' && (constants.has(path) || validation.length > 1)))
      continue;
    if (keyword === 'additionalProperties') {
      described.push({ path, message: `unknown field ${JSON.stringify(params['additionalProperty'])}` });
    } else if (keyword === 'required') {
      described.push({ path, message: `the field ${JSON.stringify(params['missingProperty'])} is missing` });
    } else {
      described.push({ path, message: message ?? 'is not valid' });
    }
  }
  return described.slice(0, 10);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Errors that Fastify meets before it has a route, such as a URL that cannot be decoded. */
export function frameworkProblem(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  void sendProblem(reply, request, toProblem(error));
}

const CLIENT_ERRORS: Readonly<Record<string, readonly [code: ProblemCode, detail: string, reason: string]>> =
  {
    HPE_HEADER_OVERFLOW: [
      'headers_too_large',
      'the headers are larger than 16 KiB',
      'Request Header Fields Too Large',
    ],
    ERR_HTTP_REQUEST_TIMEOUT: ['request_timeout', 'the request did not arrive in time', 'Request Timeout'],
  };

/** Bytes that are no HTTP request at all: answered on the bare socket, since there is no request. */
export function clientProblem(error: { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const [code, detail, reason] = CLIENT_ERRORS[error.code ?? ''] ?? [
    'malformed_request',
    'this is not an HTTP request that the service understands',
    'Bad Request',
  ];
  const problem = new Problem(code, detail);
  const body = JSON.stringify(problem.toJSON(newId('req')));
  socket.end(
    `HTTP/1.1 ${problem.status} ${reason}\r\ncontent-type: ${PROBLEM_TYPE}\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

/** The client's own request id, when it is one that can stand in a log, else a new one. */
export function requestId(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:-]{1,64}$/.test(given) ? given : newId('req');
}
