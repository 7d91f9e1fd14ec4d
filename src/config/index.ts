import os from 'node:os';
import path from 'node:path';
import { LOG_LEVELS, type LogLevel } from '../lib/log.ts';

/** The engines that `engine` of a VM and TEREMOK_ENGINE name. */
export const ENGINE_NAMES = ['auto', 'interpret', 'translate', 'kvm'] as const;
export type EngineName = (typeof ENGINE_NAMES)[number];

export interface Config {
  /** Address and port the API listens on; port 0 takes a free one. */
  readonly host: string;
  readonly port: number;
  /** Absolute path of the data directory (TEREMOK_HOME). */
  readonly home: string;
  /** Where what takes long to make is kept. */
  readonly cacheDir: string;
  /** Where image files live: `home`/images. */
  readonly imagesDir: string;
  /** The web console as it was built: a folder with its index.html. */
  readonly consoleDir: string;
  readonly databaseUrl: string;
  readonly redisUrl: string;
  /** The engine of a VM that asks for `auto`. */
  readonly engine: EngineName;
  readonly logLevel: LogLevel;
  /** What this host offers to guests. */
  readonly capacity: { readonly memoryMiB: number; readonly vcpus: number };
  /** The name under which this machine's worker registers. */
  readonly hostName: string;
  /** Requests that one API key may make in a minute. */
  readonly rateLimitPerMinute: number;
  /** Largest image that may be uploaded, MiB. */
  readonly maxImageMiB: number;
}

/** A setting that cannot be used. The message names the variable and says what it may be. */
export class ConfigError extends Error {
  override name = 'ConfigError';
}

type Env = Readonly<Record<string, string | undefined>>;

/**
 * Reads the settings. Nothing else in the project reads process.env.
 * @throws {ConfigError} naming every variable that is missing or wrong.
 */
export function loadConfig(env: Env = process.env): Config {
  const problems: string[] = [];
  const integer = (name: string, fallback: number, min: number, max: number): number => {
    const text = env[name];
    if (text === undefined || text === '') return fallback;
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    problems.push(`${name} is ${JSON.stringify(text)}: it must be a whole number from ${min} to ${max}`);
    return fallback;
  };
  const choice = <T extends string>(name: string, fallback: T, values: readonly T[]): T => {
    const text = env[name];
    if (text === undefined || text === '') return fallback;
    const found = values.find((value) => value === text);
    if (found === undefined)
      problems.push(`${name} is ${JSON.stringify(text)}: it must be one of ${values.join(', ')}`);
    return found ?? fallback;
  };
  const home = path.resolve(env['TEREMOK_HOME'] || '.teremok');
  const config: Config = {
    host: env['HOST'] || '127.0.0.1',
    port: integer('PORT', 8080, 0, 65535),
    home,
    cacheDir: path.resolve(env['TEREMOK_CACHE'] || path.join(home, 'cache')),
    imagesDir: path.join(home, 'images'),
    consoleDir: path.resolve(import.meta.dirname, '../../dist/console'),
    databaseUrl: url('DATABASE_URL', env, ['postgres:', 'postgresql:', 'socket:'], problems),
    redisUrl: url('REDIS_URL', env, ['redis:', 'rediss:', 'unix:'], problems),
    engine: choice('TEREMOK_ENGINE', 'auto', ENGINE_NAMES),
    logLevel: choice('LOG_LEVEL', 'info', LOG_LEVELS),
    capacity: {
      memoryMiB: integer('TEREMOK_CAPACITY_MEMORY_MIB', defaultMemoryMiB(), 16, 64 * 1024 * 1024),
      vcpus: integer('TEREMOK_CAPACITY_VCPUS', Math.max(16, 8 * os.availableParallelism()), 1, 65536),
    },
    hostName: env['TEREMOK_HOST_NAME'] || os.hostname() || 'localhost',
    rateLimitPerMinute: integer('TEREMOK_RATE_LIMIT', 6000, 1, 10_000_000),
    maxImageMiB: integer('TEREMOK_MAX_IMAGE_MIB', 65_536, 1, 16 * 1024 * 1024),
  };
  if (problems.length > 0) throw new ConfigError(problems.join('\n'));
  return config;
}

/** Three quarters of the memory that this machine, or its container's limit, has. MiB. */
function defaultMemoryMiB(): number {
  const limit = process.constrainedMemory();
  const bytes = limit > 0 ? Math.min(limit, os.totalmem()) : os.totalmem();
  return Math.max(256, Math.floor((bytes * 0.75) / (1024 * 1024)));
}

function url(name: string, env: Env, protocols: readonly string[], problems: string[]): string {
  const text = env[name];
  if (text === undefined || text === '') {
    problems.push(`${name} is not set: \`npm start\` provides a server of its own, or give the URL of yours`);
    return '';
  }
  if (!URL.canParse(text) || !protocols.includes(new URL(text).protocol)) {
    problems.push(`${name} is not a URL that begins with ${protocols.map((p) => `${p}//`).join(' or ')}`);
  }
  return text;
}
