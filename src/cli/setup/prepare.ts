import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { provideConsole } from './console-build.ts';
import { buildDebianBusybox, IMAGE_NAME } from './guest/debian-busybox.ts';
import { FIRMWARE, provideDebianFiles } from './guest/debian-files.ts';
import { generatePrismaClient } from './prisma.ts';
import { provideServices } from './services.ts';

/** Where to prepare. */
export interface PrepareOptions {
  /** TEREMOK_HOME, absolute. */
  home: string;
  /** Folder of fetched programs, absolute. */
  cache: string;
}

/** Which of the databases the environment gives, and which are therefore not provided here. */
export function wantedServices(env: NodeJS.ProcessEnv = process.env): { postgres: boolean; redis: boolean } {
  return { postgres: !env.DATABASE_URL, redis: !env.REDIS_URL };
}

/**
 * Prepares everything that does not run yet: the Prisma client, the programs of PostgreSQL and Redis where the
 * environment names none, the built-in guest image, the firmware, the web console. What is there already is left alone.
 * @throws SetupError naming what could not be had and what to do
 */
export async function prepare({ home, cache }: PrepareOptions): Promise<void> {
  await mkdir(home, { recursive: true });
  generatePrismaClient();
  await Promise.all([
    provideServices({ cache, ...wantedServices() }),
    buildDebianBusybox(join(home, 'images', IMAGE_NAME), cache),
    provideDebianFiles(FIRMWARE, cache),
    provideConsole(),
  ]);
}
