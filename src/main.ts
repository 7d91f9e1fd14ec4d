import { readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import closeWithGrace from 'close-with-grace';
import { buildApp, createVms } from './app.ts';
import { type Config, ConfigError, loadConfig } from './config/index.ts';
import { createEventHub } from './infra/event-hub.ts';
import { createImageStore } from './infra/image-store.ts';
import { applyMigrations, MigrationError } from './infra/migrations.ts';
import { createDatabase, isDatabaseOutage } from './infra/prisma.ts';
import { createQueues } from './infra/queues.ts';
import { createRedis } from './infra/redis.ts';
import { createLogger, type Logger } from './lib/log.ts';
import { bootstrap } from './modules/bootstrap/bootstrap.ts';
import { makeHello } from './modules/bootstrap/hello.ts';
import { runHousekeeping } from './modules/housekeeping.ts';
import { createUploadsService } from './modules/images/uploads.service.ts';

/** How long PostgreSQL may take to come up at start. Milliseconds. */
const DATABASE_WAIT_MS = 60_000;
/** How long an ordered shutdown may take before it is cut short. Milliseconds. */
const SHUTDOWN_MS = 15_000;

/** The API process: settings → migrations → first keys and images → listen → ordered shutdown. */
async function main(): Promise<void> {
  const config = loadConfig();
  const log = createLogger('teremok-api', config.logLevel);
  const closing = new AbortController();
  await migrateWhenUp(config, log);

  const db = createDatabase({ url: config.databaseUrl, log, maxConnections: 20 });
  const redis = createRedis(config.redisUrl, 'commands', log);
  const subscriber = createRedis(config.redisUrl, 'subscriber', log);
  const queues = createQueues(redis, log);
  const hub = createEventHub(subscriber, log);
  await bootstrap({ db, log, home: config.home, imagesDir: config.imagesDir });

  const deps = {
    config,
    db,
    redis,
    queues,
    hub,
    log,
    closing: closing.signal,
    version: await packageVersion(),
  };
  const app = await buildApp(deps);
  const background: Promise<void>[] = [];
  closeWithGrace({ delay: SHUTDOWN_MS, logger: log }, async ({ err, signal }) => {
    if (err !== undefined) log.fatal({ err }, 'an error that nobody expected');
    log.info({ signal }, 'shutting down');
    closing.abort();
    await app.close();
    await Promise.allSettled(background);
    hub.close();
    await queues.close();
    redis.disconnect();
    subscriber.disconnect();
    await db.$disconnect();
    log.info('shut down');
  });

  await app.listen({ host: config.host, port: config.port });
  const url = addressOf(app.server.address(), config.host);
  process.stdout.write(`teremok ready on ${url}\n`);
  const store = createImageStore(config.imagesDir);
  const uploads = createUploadsService({ db, store, maxImageMiB: config.maxImageMiB });
  background.push(runHousekeeping({ ...deps, uploads }));
  const made = (vm: { readonly name: string; readonly id: string }) => {
    process.stdout.write(
      `The virtual machine \`${vm.name}\` (${vm.id}) is starting. Its console: npx teremok vm console ${vm.name}\n`,
    );
  };
  background.push(makeHello({ db, vms: createVms(deps), log, closing: closing.signal, made }));
}

/** Applies the migrations; waits for a PostgreSQL that is still coming up. */
async function migrateWhenUp(config: Config, log: Logger): Promise<void> {
  const deadline = Date.now() + DATABASE_WAIT_MS;
  for (;;) {
    try {
      await applyMigrations({ databaseUrl: config.databaseUrl, log });
      return;
    } catch (err) {
      if (err instanceof MigrationError || !isDatabaseOutage(err) || Date.now() > deadline) throw err;
      log.warn({ err: err instanceof Error ? err.message : err }, 'PostgreSQL is not there yet');
      await delay(1_000);
    }
  }
}

async function packageVersion(): Promise<string> {
  const text = await readFile(new URL('../package.json', import.meta.url), 'utf8');
  const description: unknown = JSON.parse(text);
  const version =
    typeof description === 'object' && description !== null ? Reflect.get(description, 'version') : '';
  return String(version);
}

function addressOf(address: AddressInfo | string | null, host: string): string {
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** One line that says what to do, where that is known; else the error itself. */
function explain(err: unknown): string {
  if (err instanceof ConfigError || err instanceof MigrationError) return err.message;
  const code = err instanceof Error && 'code' in err ? err.code : '';
  if (code === 'EADDRINUSE')
    return `${err instanceof Error ? err.message : ''}: set PORT to a free one, or stop what uses it`;
  if (isDatabaseOutage(err))
    return `PostgreSQL cannot be reached: ${err instanceof Error ? err.message : err}`;
  return err instanceof Error ? (err.stack ?? err.message) : String(err);
}

try {
  await main();
} catch (err) {
  process.stderr.write(`teremok: ${explain(err)}\n`);
  process.exit(1);
}
