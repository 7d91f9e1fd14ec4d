/**
 * Every error that the service answers with. `code` is stable and part of the contract; the title says what kind
 * of thing went wrong, the detail what it was this time, the hint what to do about it.
 */
const PROBLEMS = {
  // The request itself
  malformed_request: [400, 'The request is not HTTP that the server understands'],
  malformed_json: [400, 'The body is not JSON'],
  invalid_request: [400, 'The request is not valid'],
  invalid_cursor: [400, 'The cursor is not one that this list gave out'],
  invalid_idempotency_key: [400, 'The Idempotency-Key is not valid'],
  unauthenticated: [401, 'An API key is needed'],
  invalid_ticket: [401, 'The ticket is not valid'],
  csrf_refused: [403, 'The request does not come from the page that is signed in'],
  forbidden: [403, 'This key may not do that'],
  not_found: [404, 'There is no such object'],
  route_not_found: [404, 'There is no such address'],
  method_not_allowed: [405, 'This address does not take that method'],
  wait_timeout: [408, 'It did not happen in time'],
  request_timeout: [408, 'The request took too long to arrive'],
  body_too_large: [413, 'The body is too large'],
  url_too_long: [414, 'The address is too long'],
  unsupported_media_type: [415, 'The body is of a type that this address does not take'],
  idempotency_key_reused: [422, 'This Idempotency-Key was used for another request'],
  unsupported: [422, 'This is not supported yet'],
  engine_unavailable: [422, 'No host has this engine'],
  checksum_mismatch: [422, 'A part of the file arrived damaged'],
  digest_mismatch: [422, 'What arrived is not what was announced'],
  unusable_file: [422, 'The file cannot be used'],
  upgrade_required: [426, 'This address is a WebSocket'],
  rate_limited: [429, 'Too many requests'],
  too_many_waiting: [429, 'Too many requests wait already'],
  headers_too_large: [431, 'The headers are too large'],
  // What the request meets
  idempotency_in_progress: [409, 'The first request with this Idempotency-Key is still at work'],
  name_taken: [409, 'The name is taken'],
  image_in_use: [409, 'The image is in use'],
  image_builtin: [409, 'A built-in image stays'],
  image_not_ready: [409, 'The image has not been looked into yet'],
  image_unusable: [409, 'The image cannot be used'],
  upload_offset: [409, 'The upload goes on elsewhere'],
  upload_busy: [409, 'Another request writes to this upload'],
  upload_complete: [409, 'The upload is complete'],
  too_many_uploads: [429, 'Too many uploads are under way'],
  tenant_in_use: [409, 'The tenant still has virtual machines'],
  vm_not_stopped: [409, 'The virtual machine is not stopped'],
  vm_not_running: [409, 'The virtual machine is not running'],
  vm_paused: [409, 'The virtual machine is paused'],
  vm_shutting_down: [409, 'The virtual machine is shutting down'],
  vm_deleting: [409, 'The virtual machine is being deleted'],
  no_screen: [409, 'The virtual machine has no screen'],
  no_text: [409, 'The screen shows no text'],
  no_input_device: [409, 'The virtual machine has no such input device'],
  no_cdrom: [409, 'The virtual machine has no CD-ROM drive'],
  no_capacity: [409, 'No host has room for this'],
  quota_exceeded: [409, 'The tenant has used up its quota'],
  // The server
  internal: [500, 'Something went wrong inside'],
  not_available: [501, 'This is not available'],
  unavailable: [503, 'A part of the service is away'],
  overloaded: [503, 'The service has too much to do'],
  shutting_down: [503, 'The service is shutting down'],
  insufficient_storage: [507, 'There is no room to store this'],
} as const satisfies Record<string, readonly [status: number, title: string]>;

export type ProblemCode = keyof typeof PROBLEMS;

export interface ProblemOptions {
  readonly hint?: string;
  /** Which fields were wrong, and how. */
  readonly errors?: readonly { readonly path: string; readonly message: string }[];
  /** Headers of the answer, such as Retry-After. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly cause?: unknown;
}

/** An error with an answer: application/problem+json (RFC 9457). */
export class Problem extends Error {
  override name = 'Problem';
  readonly code: ProblemCode;
  readonly status: number;
  readonly title: string;
  readonly options: ProblemOptions;

  constructor(code: ProblemCode, detail: string, options: ProblemOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    [this.status, this.title] = PROBLEMS[code];
    this.options = options;
  }

  /** The document that is sent. */
  toJSON(requestId: string): ProblemDocument {
    return {
      type: `urn:teremok:problem:${this.code}`,
      title: this.title,
      status: this.status,
      detail: this.message,
      code: this.code,
      requestId,
      ...(this.options.hint === undefined ? {} : { hint: this.options.hint }),
      ...(this.options.errors === undefined ? {} : { errors: this.options.errors }),
    };
  }
}

export interface ProblemDocument {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
  readonly requestId: string;
  readonly hint?: string;
  readonly errors?: readonly { readonly path: string; readonly message: string }[];
}

/** 404 for an object that is not there, or is another tenant's: the two cannot be told apart. */
export function notFound(what: string, id: string): Problem {
  return new Problem('not_found', `there is no ${what} ${id}`);
}

/** 503 for a request that cannot be finished because this process ends. */
export function shuttingDown(): Problem {
  return new Problem('shutting_down', 'the service is shutting down', {
    hint: 'try again: another process of the service, or the next one, answers',
    headers: { connection: 'close', 'retry-after': '2' },
  });
}
