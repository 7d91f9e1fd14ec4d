import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Waits for something to become true; the test's own time limit ends it.
 * @param probe gives the value, or undefined while it is not there; what it throws counts as not there
 */
export async function until<T>(probe: () => T | undefined | Promise<T | undefined>): Promise<T> {
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined) return value;
    } catch {
      // Not there yet.
    }
    await sleep(20);
  }
}
