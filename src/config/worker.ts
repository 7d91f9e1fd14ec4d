import path from 'node:path';
import { ConfigError } from './index.ts';

/** Settings that only a worker has. */
export interface WorkerConfig {
  /** Address on which the API reaches this worker's consoles; the port is any free one. */
  readonly channelHost: string;
  /** How long a VM process runs on after its worker has gone, in seconds. */
  readonly orphanSeconds: number;
  /** What an ordered shutdown of the worker does with its VMs: end them, or leave them to the next worker. */
  readonly onShutdown: 'stop' | 'leave';
  /** Where SeaBIOS and its VGA BIOS are, absolute. */
  readonly firmwareDir: string;
}

/**
 * Reads the worker's settings: TEREMOK_CHANNEL_HOST (127.0.0.1), TEREMOK_ORPHAN_SECONDS (60, from 1 to 3600),
 * TEREMOK_ON_SHUTDOWN (stop or leave; stop), TEREMOK_FIRMWARE (a folder; where set-up puts it in the cache).
 * @throws {ConfigError} naming the variable that is wrong.
 */
export function loadWorkerConfig(
  env: Readonly<Record<string, string | undefined>> = process.env,
): WorkerConfig {
  const orphan = env['TEREMOK_ORPHAN_SECONDS'] || '60';
  const orphanSeconds = Number(orphan);
  if (!/^\d+$/.test(orphan) || orphanSeconds < 1 || orphanSeconds > 3600) {
    throw new ConfigError(`TEREMOK_ORPHAN_SECONDS is ‘${orphan}’: it must be a whole number from 1 to 3600`);
  }
  const onShutdown = env['TEREMOK_ON_SHUTDOWN'] || 'stop';
  if (onShutdown !== 'stop' && onShutdown !== 'leave') {
    throw new ConfigError(`TEREMOK_ON_SHUTDOWN is ‘${onShutdown}’: it must be stop or leave`);
  }
  const cache = env['TEREMOK_CACHE'] || path.join(env['TEREMOK_HOME'] || '.teremok', 'cache');
  return {
    channelHost: env['TEREMOK_CHANNEL_HOST'] || '127.0.0.1',
    orphanSeconds,
    onShutdown,
    firmwareDir: path.resolve(env['TEREMOK_FIRMWARE'] || path.join(cache, 'firmware')),
  };
}
