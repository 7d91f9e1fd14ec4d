import type { ProblemDocument } from '../../lib/errors.ts';

/** An answer of the service that is not the one hoped for: a problem document (RFC 9457) or what came in its place. */
export class ApiError extends Error {
  override name = 'ApiError';
  readonly status: number;
  /** Stable; `unknown` when what answered was not the service, such as a proxy. */
  readonly code: string;
  readonly hint: string | undefined;
  readonly requestId: string | undefined;
  /** Which fields were wrong: the path as JSON Pointer, and how. */
  readonly errors: readonly { readonly path: string; readonly message: string }[];

  constructor(status: number, problem: Partial<ProblemDocument>) {
    super(problem.detail ?? problem.title ?? `the service answered ${status}`);
    this.status = status;
    this.code = problem.code ?? 'unknown';
    this.hint = problem.hint;
    this.requestId = problem.requestId;
    this.errors = problem.errors ?? [];
  }
}

/** No answer at all: the service, or the way to it, is away. */
export class Unreachable extends Error {
  override name = 'Unreachable';

  constructor(cause?: unknown) {
    super('the server does not answer', { cause });
  }
}

/** Reads the answer that is no success. Never throws. */
export async function toApiError(answer: Response): Promise<ApiError> {
  const text = await answer.text().catch(() => '');
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === 'object' && body !== null) return new ApiError(answer.status, body);
  } catch {
    // Not the service's own.
  }
  return new ApiError(answer.status, {});
}

/** Whether trying again later may do: the service is away, starting, ending or too busy. */
export function isPassing(error: unknown): boolean {
  if (error instanceof Unreachable) return true;
  return (
    error instanceof ApiError && (error.code === 'upload_busy' || [429, 502, 503, 504].includes(error.status))
  );
}

/** What the service says, as a sentence. */
export function sentence(text: string): string {
  const shown = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(shown) ? shown : `${shown}.`;
}

/** What to tell a person, one sentence, with what to do about it where that is known. */
export function describe(error: unknown): string {
  if (error instanceof ApiError)
    return [error.message, error.hint ?? ''].filter(Boolean).map(sentence).join(' ');
  return sentence(error instanceof Error ? error.message : String(error));
}
