import { EventEmitter } from 'node:events';
import { type EventMessage, eventChannel } from '../contracts/events.ts';
import type { Logger } from '../lib/log.ts';
import type { Redis } from './redis.ts';

export interface EventHub {
  /** Calls `listener` for each event of a tenant until the returned function is called. */
  listen(tenantId: string, listener: (event: EventMessage) => void): () => void;
  close(): void;
}

/**
 * Hands events from Redis to the waiters of this process. A tenant's channel is subscribed to while somebody
 * listens. Messages are hints: while Redis is away none arrive, so whoever listens also asks the database.
 *
 * @param subscriber a connection of role `subscriber`, used for nothing else and owned by the caller.
 */
export function createEventHub(subscriber: Redis, log: Logger): EventHub {
  const emitter = new EventEmitter();
  emitter.setMaxListeners(0);
  const ignore = (err: Error) => log.debug({ err: err.message }, 'event subscription');
  const onMessage = (channel: string, text: string) => {
    if (emitter.listenerCount(channel) === 0) return;
    try {
      emitter.emit(channel, JSON.parse(text));
    } catch (err) {
      log.warn({ err, channel }, 'an event could not be handed on');
    }
  };
  subscriber.on('message', onMessage);
  return {
    listen(tenantId, listener) {
      const channel = eventChannel(tenantId);
      if (emitter.listenerCount(channel) === 0) subscriber.subscribe(channel).catch(ignore);
      emitter.on(channel, listener);
      return () => {
        emitter.off(channel, listener);
        if (emitter.listenerCount(channel) === 0) subscriber.unsubscribe(channel).catch(ignore);
      };
    },
    close() {
      subscriber.off('message', onMessage);
      emitter.removeAllListeners();
    },
  };
}

/** How often a waiter asks the database when no event comes. Milliseconds. */
export const WAIT_POLL_MS = 500;

export interface WaitOptions<T> {
  readonly hub: EventHub;
  readonly tenantId: string;
  readonly timeoutMs: number;
  /** Ends the wait early, as if the time were over. */
  readonly signal: AbortSignal;
  /** The value waited for, or undefined when it is not there yet. What it throws ends the wait. */
  readonly check: () => Promise<T | undefined>;
}

/** Waits until `check` has a value; undefined when the time is over. It is asked at least once. */
export async function waitUntil<T>(options: WaitOptions<T>): Promise<T | undefined> {
  const { hub, signal } = options;
  const deadline = performance.now() + options.timeoutMs;
  let wake = () => {};
  let pending = false;
  const nudge = () => {
    pending = true;
    wake();
  };
  const stop = hub.listen(options.tenantId, nudge);
  signal.addEventListener('abort', nudge);
  try {
    for (;;) {
      pending = false;
      const value = await options.check();
      const left = deadline - performance.now();
      if (value !== undefined || left <= 0 || signal.aborted) return value;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(left, WAIT_POLL_MS));
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
        if (pending) wake();
      });
    }
  } finally {
    stop();
    signal.removeEventListener('abort', nudge);
  }
}
