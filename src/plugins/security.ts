import type { App } from '../modules/http.ts';

/**
 * Headers that keep browsers from doing more with an answer than it is meant for. /docs sets a policy of its own
 * that lets its own scripts run.
 */
export function registerSecurityHeaders(app: App): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.headers({
      'x-request-id': request.id,
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'cross-origin-resource-policy': 'same-origin',
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    });
    if (request.url.startsWith('/v1/')) reply.header('cache-control', 'no-store');
  });
}
