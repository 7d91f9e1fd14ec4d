import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import fastifyStatic from '@fastify/static';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Problem } from '../lib/errors.ts';
import type { App } from '../modules/http.ts';

/** A year: what a hashed name stands for never changes. Milliseconds. */
const FOREVER_MS = 365 * 24 * 3_600_000;

/**
 * What the pages of the console may do: run their own scripts and speak to this address. xterm.js and noVNC set styles
 * on elements; pictures of screens are blobs.
 */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' blob: data:",
  "connect-src 'self'",
  "font-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join('; ');

/** Addresses that are not the console's: what is not found there is said in a problem. */
const OTHERS = /^\/(v1|docs|openapi\.json|healthz|readyz|metrics|assets)(\/|\?|$)/;

/**
 * The web console at `/`, out of the folder that `npm run console` makes. Its assets have names with a hash and are
 * kept for ever; index.html is asked for each time, and stands for every page.
 */
export async function registerConsole(app: App, folder: string): Promise<void> {
  await app.register(fastifyStatic, {
    root: folder,
    serve: false,
    preCompressed: true,
    suppressWarning: true,
  });

  app.get('/', { schema: { hide: true } }, (_request, reply) => sendPage(reply, folder));

  app.get('/assets/*', { schema: { hide: true }, logLevel: 'warn' }, (request, reply) => {
    const { '*': name } = request.params as { '*': string };
    return reply.sendFile(`assets/${name}`, { maxAge: FOREVER_MS, immutable: true });
  });

  for (const name of otherFiles(folder)) {
    app.get(`/${name}`, { schema: { hide: true }, logLevel: 'warn' }, (_request, reply) =>
      reply.sendFile(name, { cacheControl: false }),
    );
  }
}

/** What lies beside index.html under a name of its own, such as the icon: a few small files, asked for each time. */
function otherFiles(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isFile() && /^[\w-]+\.(svg|png|ico|js|css|txt|webmanifest)$/.test(entry.name))
    .map(({ name }) => name);
}

/** Whether somebody who follows a link wants this address, which no route has: then it is one of the console's pages. */
export function isConsolePage(request: FastifyRequest): boolean {
  return (
    request.method === 'GET' &&
    request.headers.accept?.includes('text/html') === true &&
    !OTHERS.test(request.url)
  );
}

/** Sends the page that stands for all. */
export function sendPage(reply: FastifyReply, folder: string): FastifyReply {
  if (!existsSync(join(folder, 'index.html'))) {
    throw new Problem('not_available', 'the web console has not been built here', {
      hint: '`npm run console` builds it, and so does `npm start`',
    });
  }
  reply.headers({
    'content-security-policy': POLICY,
    'cross-origin-opener-policy': 'same-origin',
    'permissions-policy': 'camera=(), microphone=(), geolocation=()',
    'cache-control': 'no-store',
  });
  return reply.sendFile('index.html', { cacheControl: false });
}
