import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import { SESSION_COOKIE } from '../contracts/sessions.ts';
import type { App } from '../modules/http.ts';

/** /openapi.json, made of the schemas that validate, and /docs, which shows it without any other server. */
export async function registerOpenApi(app: App, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Teremok',
        version,
        license: { name: 'MIT', identifier: 'MIT' },
        description:
          'Virtual machines by REST. Errors are application/problem+json with a stable `code`. Every POST takes an ' +
          '`Idempotency-Key`: the same key and body gives the same answer for 24 hours. Work that lasts answers 202 ' +
          'with an operation, in the body and in `Location`. An operator’s key sees every tenant’s objects; the ' +
          'header `Teremok-Tenant` (id or name) narrows a request to one tenant and says whose a new object is.',
      },
      tags: [
        { name: 'vms', description: 'Virtual machines' },
        { name: 'operations', description: 'Work that lasts' },
        { name: 'images', description: 'What machines boot from' },
        { name: 'events', description: 'What happens' },
        { name: 'sessions', description: 'Browsers that are signed in' },
        { name: 'tenants', description: 'For operators: who uses this' },
        { name: 'hosts', description: 'For operators: where machines run' },
        { name: 'service', description: 'How the service is' },
      ],
      components: {
        securitySchemes: {
          key: { type: 'http', scheme: 'bearer', bearerFormat: 'tk_…' },
          session: { type: 'apiKey', in: 'cookie', name: SESSION_COOKIE },
        },
      },
    },
    transform: ({ schema, url, route }) => {
      if (!url.startsWith('/v1/')) return { schema, url };
      if (route.config?.anonymous === true) return { schema: { ...schema, security: [] }, url };
      const method = [route.method].flat()[0];
      return {
        schema: {
          ...schema,
          security: [{ key: [] }, { session: [] }],
          ...(method === 'POST' ? idempotent(schema) : {}),
        },
        url,
      };
    },
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: true,
    uiConfig: { docExpansion: 'list' },
  });
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger());
}

/** The header that every POST takes. */
function idempotent(schema: { readonly headers?: unknown } | undefined) {
  if (schema?.headers !== undefined) return {};
  return {
    headers: {
      type: 'object',
      properties: {
        'Idempotency-Key': {
          type: 'string',
          minLength: 1,
          maxLength: 255,
          description: 'Repeat a request safely.',
        },
      },
    },
  };
}
