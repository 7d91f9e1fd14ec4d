import { join, resolve } from 'node:path';

/** What the command-line client takes from its environment. */
export interface CliEnvironment {
  /** TEREMOK_URL: where the service is. */
  readonly url: string;
  /** TEREMOK_KEY: the key to use in place of the one in `home`. */
  readonly key: string | undefined;
  /** TEREMOK_HOME: where the service of this machine keeps its keys. */
  readonly home: string;
  /** TEREMOK_CACHE: where what takes long to make is kept. */
  readonly cache: string;
  /** Whether output may be coloured, by the NO_COLOR convention. */
  readonly color: boolean;
}

/** Reads the client's environment; `checkout` is the directory in which TEREMOK_HOME lies when it is not set. */
export function cliEnvironment(checkout: string, env: NodeJS.ProcessEnv = process.env): CliEnvironment {
  const home = resolve(env.TEREMOK_HOME || join(checkout, '.teremok'));
  return {
    url: env.TEREMOK_URL || `http://${env.HOST || '127.0.0.1'}:${env.PORT || '8080'}`,
    key: env.TEREMOK_KEY || undefined,
    home,
    cache: resolve(env.TEREMOK_CACHE || join(home, 'cache')),
    color: env.NO_COLOR === undefined || env.NO_COLOR === '',
  };
}
