import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Servers } from './support.ts';

const MAIN = new URL('../../src/main.ts', import.meta.url).pathname;

export interface ApiProcess {
  readonly child: ChildProcess;
  /** Waits until it has said this; gives the first group, or all that matched. */
  until(pattern: RegExp): Promise<string>;
  readonly ended: Promise<number | null>;
  output(): string;
}

/** Starts the API as a process of its own, on a free port. */
export function startApiProcess(
  home: string,
  servers: Pick<Servers, 'databaseUrl' | 'redisUrl'>,
  environment: Readonly<Record<string, string>> = {},
): ApiProcess {
  const env = {
    PATH: process.env['PATH'] ?? '',
    TEREMOK_HOME: home,
    DATABASE_URL: servers.databaseUrl,
    REDIS_URL: servers.redisUrl,
    PORT: '0',
    ...environment,
  };
  const child = spawn(process.execPath, [MAIN], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const changed = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      for (const wake of changed) wake();
    });
  }
  const until = async (pattern: RegExp): Promise<string> => {
    for (;;) {
      const found = pattern.exec(output);
      if (found !== null) return found[1] ?? found[0];
      if (child.exitCode !== null) assert.fail(`it ended without ${pattern}: ${output}`);
      await new Promise<void>((resolve) => {
        changed.add(resolve);
        child.once('close', () => resolve());
      });
    }
  };
  const ended = once(child, 'close').then(([code]) => code as number | null);
  return { child, until, ended, output: () => output };
}
