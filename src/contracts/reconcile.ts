/**
 * The agreement between the API (writes what should be) and a host's worker (brings reality to it).
 *
 * Postgres is the truth. A job only says "look at this VM now": it carries no orders, may be lost, doubled or
 * late, and the worker also sweeps its VMs (`hostId` = its own) on a timer and after every reconnect.
 *
 * The API, in one transaction: changes `desired` (or `bootEpoch`, `shutdownRequestedAt`), adds one to
 * `generation`, reserves capacity when the VM is to run (src/infra/capacity.ts), cancels the unfinished
 * operations that the change contradicts, and inserts an Operation and an Event. After the commit it adds a
 * `reconcile` job to the host's queue.
 *
 * The worker, for a VM of its host:
 * - `desired` = running: a VM process runs and is not paused. `paused`: it runs and is paused. `stopped`: no
 *   process; then `releaseCapacity`. `deleted`: no process, its files are gone; then the row is deleted
 *   (after `releaseCapacity`, in one transaction with the operation and the event).
 * - `bootEpoch` > `observedBootEpoch` while it runs: reset the machine, then set `observedBootEpoch`. A process
 *   started anew satisfies every reset asked for before it.
 * - `shutdownRequestedAt` set: press the ACPI power button once for each new value. `desired` stays `running`
 *   until the guest powers off; then the worker sets `desired` = stopped and clears `shutdownRequestedAt`.
 *   A guest that ignores the button keeps running; the operation fails at its `deadlineAt`.
 * - A guest that powers off sets `desired` = stopped, `state` = stopped: it is not a failure.
 * - A process that dies is `failed` with `lastError`; per `restartPolicy` it is started again after
 *   `restartDelayMs`, at most MAX_RESTARTS times in a row. When it is given up, `desired` becomes `stopped`
 *   and the capacity is released; `state` stays `failed`.
 * - Having brought a VM to where generation G wants it, the worker sets `observedGeneration` = G, and completes
 *   every unfinished Operation of that VM whose `target` is the state reached and whose `generation` ≤ G. An
 *   operation that cannot be done becomes `failed` with `error` {code, message}.
 * - Every write is conditional on the `generation` that it was decided on where it would undo a newer wish.
 */
import type { DesiredState } from './states.ts';

/** The one kind of job on a host's queue. */
export interface ReconcileJob {
  readonly kind: 'reconcile';
  readonly vmId: string;
}

/** The BullMQ queue of a host. */
export function hostQueueName(hostId: string): string {
  return `host-${hostId}`;
}

/** A host whose last heartbeat is older than this is not up: nothing new is placed there. Milliseconds. */
export const HEARTBEAT_FRESH_MS = 15_000;

/** How often a worker writes its heartbeat. Milliseconds. */
export const HEARTBEAT_INTERVAL_MS = 3_000;

/** How often a worker compares all its VMs with the database, should every job have been lost. Milliseconds. */
export const SWEEP_INTERVAL_MS = 5_000;

/** Restarts in a row after which a VM that keeps dying is given up. A run of RESTART_RESET_MS clears the count. */
export const MAX_RESTARTS = 5;
export const RESTART_RESET_MS = 60_000;

/** How long a guest is given to act on its power button before the operation fails. Milliseconds. */
export const SHUTDOWN_DEADLINE_MS = 90_000;

/** How long an operation other than shutdown may take before it is failed by whoever sees it. Milliseconds. */
export const OPERATION_DEADLINE_MS = 300_000;

/** The wait before restart number `count` (from 0): 0.5 s doubling to at most 30 s. Milliseconds. */
export function restartDelayMs(count: number): number {
  return Math.min(30_000, 500 * 2 ** Math.max(0, Math.min(count, 10)));
}

/** The observed state that an operation of this target waits for; `deleted` is the row's absence. */
export type OperationTarget = DesiredState;
