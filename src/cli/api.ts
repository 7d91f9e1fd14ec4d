import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Invocation } from './command.ts';
import { CommandError, EXIT } from './command.ts';
import { printable } from './output.ts';

/** RFC 9457, as far as the client shows it. */
interface Problem {
  readonly title?: string;
  readonly detail?: string;
  readonly code?: string;
  readonly hint?: string;
  readonly requestId?: string;
}

/** An answer of the service that is a refusal. */
export class ApiError extends CommandError {
  readonly httpStatus: number;
  readonly code: string | undefined;
  constructor(httpStatus: number, problem: Problem) {
    const what = problem.detail ?? problem.title ?? `the service answered ${httpStatus}`;
    super(printable(problem.code === undefined ? what : `${what} (${problem.code})`), {
      hint: problem.hint === undefined ? undefined : printable(problem.hint),
      status: httpStatus === 408 ? EXIT.timeout : EXIT.failed,
    });
    this.httpStatus = httpStatus;
    this.code = problem.code;
  }
}

export type Json = { readonly [key: string]: unknown };
export type Role = 'tenant' | 'operator';
export type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

export interface RequestOptions {
  readonly body?: Json;
  /** A body sent as it is, with its content type. */
  readonly raw?: { readonly type: string; readonly content: NonNullable<RequestInit['body']> };
  readonly headers?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
}

function isProblem(value: unknown): value is Problem {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Reads a problem document; anything else that refuses is shown by its status alone. */
export function parseProblem(text: string): Problem {
  try {
    const value: unknown = JSON.parse(text);
    if (!isProblem(value)) return {};
    const kept: Record<string, string> = {};
    for (const name of ['title', 'detail', 'code', 'hint', 'requestId'] as const) {
      const field: unknown = value[name];
      if (typeof field === 'string') kept[name] = field;
    }
    return kept;
  } catch {
    return {};
  }
}

/** The REST API, as one user of it. */
export class Api {
  readonly url: URL;
  readonly key: string;

  constructor(url: URL, key: string) {
    this.url = url;
    this.key = key;
  }

  /** The address of a path under /v1, over `protocol` (`http:` or `ws:`; secure when the service is). */
  address(path: string, query: RequestOptions['query'] = {}): URL {
    const address = new URL(`v1/${path}`, this.url);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) address.searchParams.set(name, String(value));
    }
    return address;
  }

  /** Sends a request; rejects with an ApiError for a refusal, a CommandError when nobody answers. */
  async fetch(method: Method, path: string, options: RequestOptions = {}): Promise<Response> {
    const headers: Record<string, string> = { authorization: `Bearer ${this.key}`, ...options.headers };
    const init: RequestInit & { duplex?: 'half' } = { method, headers };
    if (options.body !== undefined) {
      headers['content-type'] = 'application/json';
      init.body = JSON.stringify(options.body);
    } else if (options.raw !== undefined) {
      headers['content-type'] = options.raw.type;
      init.body = options.raw.content;
      init.duplex = 'half';
    }
    let response: Response;
    try {
      response = await fetch(this.address(path, options.query), init);
    } catch (error) {
      throw unreachable(this.url, error);
    }
    if (!response.ok) throw new ApiError(response.status, parseProblem(await response.text()));
    return response;
  }

  /** The same, with the answer's JSON object; an empty answer is an empty object. */
  async request(method: Method, path: string, options: RequestOptions = {}): Promise<Json> {
    const response = await this.fetch(method, path, options);
    const text = await response.text();
    if (text === '') return {};
    try {
      const value: unknown = JSON.parse(text);
      if (isProblem(value)) return value as Json;
    } catch {
      // Said below, as for any other answer that is not an object.
    }
    throw new CommandError(`${this.url.href} does not answer as Teremok does`, {
      hint: 'check --url or TEREMOK_URL',
    });
  }

  /** All items of a list, page after page. */
  async list(path: string, query: RequestOptions['query'] = {}): Promise<Json[]> {
    const items: Json[] = [];
    let cursor: string | undefined;
    do {
      const page = await this.request('GET', path, { query: { limit: 100, ...query, cursor } });
      if (Array.isArray(page.items)) items.push(...page.items.filter(isProblem).map((item) => item as Json));
      cursor = typeof page.nextCursor === 'string' ? page.nextCursor : undefined;
    } while (cursor !== undefined);
    return items;
  }
}

/** A clear line for a service that cannot be reached. */
export function unreachable(url: URL, error: unknown): CommandError {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const reason =
    cause instanceof Error ? ((cause as NodeJS.ErrnoException).code ?? cause.message) : String(cause);
  return new CommandError(`no answer from ${url.href}: ${reason}`, {
    hint: 'is the service running (npm start)? Another address is given by --url or TEREMOK_URL',
    status: EXIT.unreachable,
  });
}

function readKey(home: string, role: Role): string {
  const path = join(home, role === 'operator' ? 'operator.key' : 'default.key');
  let key: string;
  try {
    key = readFileSync(path, 'utf8').trim();
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error);
    throw new CommandError(`no key: ${path} cannot be read (${reason})`, {
      hint: 'give one by --key or TEREMOK_KEY; the first start of the service writes this file',
      status: EXIT.usage,
    });
  }
  return key;
}

/** The API as the options and the environment of a command say. */
export function connectApi({ options, environment }: Invocation, role: Role = 'tenant'): Api {
  const text = options.text('url') ?? environment.url;
  let url: URL;
  try {
    url = new URL(text.endsWith('/') ? text : `${text}/`);
  } catch {
    throw new CommandError(`‘${text}’ is not an address`, { status: EXIT.usage });
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new CommandError(`‘${text}’ is neither http:// nor https://`, { status: EXIT.usage });
  }
  const key = options.text('key') ?? environment.key ?? readKey(environment.home, role);
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw new CommandError('the key has characters that no key has', { status: EXIT.usage });
  }
  return new Api(url, key);
}
