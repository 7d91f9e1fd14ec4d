import type { DriveStats, VmStats } from '../../src/contracts/channel.ts';
import type { Traffic } from '../../src/contracts/metrics.ts';

const NONE: Traffic = { readBytes: 0, readOperations: 0, writtenBytes: 0, writeOperations: 0 };

/** All drives of a VM as one. */
export function sumOf(drives: readonly DriveStats[]): Traffic {
  return drives.reduce(add, NONE);
}

export interface Reading {
  readonly launchId: string;
  readonly stats: Pick<VmStats, 'wallSeconds' | 'drives'>;
}

/**
 * What the VMs of a host have read and written since its worker started: grows only, whatever VMs come and go, as
 * Prometheus wants it of a counter. What a VM does between its last reading and its end is not in it.
 */
export class HostTraffic {
  readonly #startedAt = performance.now();
  /** The last reading of each launch. */
  readonly #before = new Map<string, Traffic>();
  #total = NONE;

  get total(): Traffic {
    return this.#total;
  }

  /** Takes readings of VMs, and forgets those that do not run any more. */
  take(readings: readonly Reading[], running: ReadonlySet<string>): void {
    const lifetime = (performance.now() - this.#startedAt) / 1000;
    for (const { launchId, stats } of readings) {
      const reading = sumOf(stats.drives);
      // What a VM that was taken over did before is the former worker's.
      const before = this.#before.get(launchId) ?? (stats.wallSeconds > lifetime ? reading : NONE);
      this.#total = add(this.#total, since(before, reading));
      this.#before.set(launchId, reading);
    }
    for (const launchId of this.#before.keys()) if (!running.has(launchId)) this.#before.delete(launchId);
  }
}

function add(one: Traffic, other: Traffic): Traffic {
  return {
    readBytes: one.readBytes + other.readBytes,
    readOperations: one.readOperations + other.readOperations,
    writtenBytes: one.writtenBytes + other.writtenBytes,
    writeOperations: one.writeOperations + other.writeOperations,
  };
}

/** A VM process runs next to a guest and is not believed: its counters may fall, these do not. */
function since(before: Traffic, now: Traffic): Traffic {
  const more = (name: keyof Traffic): number => Math.max(0, now[name] - before[name]);
  return {
    readBytes: more('readBytes'),
    readOperations: more('readOperations'),
    writtenBytes: more('writtenBytes'),
    writeOperations: more('writeOperations'),
  };
}
