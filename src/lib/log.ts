import { type Logger, pino } from 'pino';

export type { Logger };

/** The levels that LOG_LEVEL takes. */
export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/**
 * A JSON logger to stdout. What could hold a secret (the authorization header, cookies, tickets in a URL's
 * query) is never logged: requests are serialized to method, path and id.
 */
export function createLogger(name: string, level: LogLevel): Logger {
  return pino({
    name,
    level,
    redact: { paths: ['*.authorization', '*.cookie', 'headers.authorization'], remove: true },
    serializers: { req: describeRequest },
  });
}

function describeRequest(request: { readonly method?: string; readonly url?: string; readonly ip?: string }) {
  return { method: request.method, path: request.url?.split('?')[0], from: request.ip };
}
