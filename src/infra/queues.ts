import { Queue } from 'bullmq';
import { hostQueueName, type ReconcileJob } from '../contracts/reconcile.ts';
import type { Logger } from '../lib/log.ts';
import { withTimeout } from '../lib/time.ts';
import type { Redis } from './redis.ts';

export interface Queues {
  /**
   * Asks a host's worker to look at a VM now. Never throws: when Redis is away the job is dropped and the
   * worker's sweep finds the VM (false is returned and one line logged).
   */
  reconcile(hostId: string, vmId: string, generation: number): Promise<boolean>;
  /** How much a host's worker has before it; null while Redis is away. */
  depth(hostId: string): Promise<QueueDepth | null>;
  close(): Promise<void>;
}

/** Jobs that wait for a worker, and that it is at. */
export interface QueueDepth {
  readonly waiting: number;
  readonly active: number;
}

/** The queues of all hosts, over one `commands` connection, which the caller owns. */
export function createQueues(connection: Redis, log: Logger): Queues {
  const queues = new Map<string, Queue<ReconcileJob>>();

  const queueOf = (hostId: string): Queue<ReconcileJob> => {
    const existing = queues.get(hostId);
    if (existing !== undefined) return existing;
    const queue = new Queue<ReconcileJob>(hostQueueName(hostId), {
      connection,
      skipWaitingForReady: true,
      defaultJobOptions: { removeOnComplete: true, removeOnFail: true, attempts: 1 },
    });
    queue.on('error', (err) => log.debug({ err: err.message, hostId }, 'queue'));
    queues.set(hostId, queue);
    return queue;
  };

  return {
    async reconcile(hostId, vmId, generation) {
      if (connection.status !== 'ready') {
        log.warn({ vmId, hostId }, 'Redis is away: the worker will see this VM at its next sweep');
        return false;
      }
      try {
        // One job a generation: asking twice for the same one adds nothing, and a newer one is never swallowed
        // by an older job that is still in the queue or being worked on.
        const adding = queueOf(hostId).add(
          'reconcile',
          { kind: 'reconcile', vmId },
          { jobId: `${vmId}-${generation}` },
        );
        await withTimeout(adding, 3_000, 'adding a job');
        return true;
      } catch (err) {
        log.warn(
          { err: messageOf(err), vmId, hostId },
          'job not queued: the worker will see this VM at its next sweep',
        );
        return false;
      }
    },
    async depth(hostId) {
      if (connection.status !== 'ready') return null;
      try {
        const counting = queueOf(hostId).getJobCounts('waiting', 'delayed', 'prioritized', 'active');
        const { active = 0, ...waiting } = await withTimeout(counting, 3_000, 'counting jobs');
        return { waiting: Object.values(waiting).reduce((sum, count) => sum + count, 0), active };
      } catch (err) {
        log.warn({ err: messageOf(err), hostId }, 'jobs not counted');
        return null;
      }
    },
    async close() {
      await Promise.allSettled([...queues.values()].map((queue) => queue.close()));
      queues.clear();
    },
  };
}

function messageOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err);
}
