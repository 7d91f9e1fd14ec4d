import { toApiError, Unreachable } from './api-error.ts';

export type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE';

export interface RequestOptions {
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Sent as it is. */
  readonly raw?: { readonly type: string; readonly content: ArrayBuffer };
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** What is between two tries of a POST whose answer did not come. Milliseconds. */
const RETRY_MS = [300, 1200];

let csrfToken = '';
let onSignedOut = () => {};

/** Called with what the session said, and with what to do when it is over. */
export function setSession(token: string, signedOut: () => void): void {
  csrfToken = token;
  onSignedOut = signedOut;
}

/**
 * One request of the API, by the session's cookie.
 * @param path below /v1, without a slash before it
 * @returns the answer's JSON; undefined for 204
 * @throws {ApiError} for an answer that is no success; {Unreachable} for none; AbortError
 */
export async function request<T>(method: Method, path: string, options: RequestOptions = {}): Promise<T> {
  const answer = await send(method, path, options);
  return (answer.status === 204 ? undefined : await answer.json()) as T;
}

/** The same, for what is no JSON. */
export async function requestBlob(path: string): Promise<Blob> {
  return (await send('GET', path, {})).blob();
}

/** Every item of a list, page by page. */
export async function listAll<T>(path: string): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const query: string = `limit=100${cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`}`;
    const page: { items: T[]; nextCursor: string | null } = await request(
      'GET',
      `${path}${path.includes('?') ? '&' : '?'}${query}`,
    );
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return items;
}

/** The address of one of the service's WebSockets. */
export function socketUrl(path: string): string {
  const url = new URL(`/v1/${path}`, location.href);
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
  return url.href;
}

async function send(method: Method, path: string, options: RequestOptions): Promise<Response> {
  const { body, raw, headers, signal } = options;
  const init: RequestInit = {
    method,
    credentials: 'same-origin',
    headers: {
      ...(method === 'GET' ? {} : { 'x-csrf-token': csrfToken }),
      ...(method === 'POST' ? { 'idempotency-key': crypto.randomUUID() } : {}),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(raw === undefined ? {} : { 'content-type': raw.type }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(raw === undefined ? {} : { body: raw.content }),
    ...(signal === undefined ? {} : { signal }),
  };
  const answer = await fetchPatiently(`/v1/${path}`, init, method === 'POST' ? RETRY_MS : []);
  if (answer.ok) return answer;
  const error = await toApiError(answer);
  if (answer.status === 401 && path !== 'session') onSignedOut();
  throw error;
}

/** The Idempotency-Key makes it harmless to send a POST again when its answer was lost. */
async function fetchPatiently(url: string, init: RequestInit, waits: readonly number[]): Promise<Response> {
  for (const wait of [...waits, undefined]) {
    try {
      return await fetch(url, init);
    } catch (error) {
      if (init.signal?.aborted) throw error;
      if (wait === undefined) throw new Unreachable(error);
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
  throw new Unreachable();
}
