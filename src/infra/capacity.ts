import { HEARTBEAT_FRESH_MS } from '../contracts/reconcile.ts';
import type { Database, Transaction } from './prisma.ts';

/** What a VM takes from a host. */
export interface Demand {
  readonly memoryMiB: number;
  readonly vcpus: number;
  /** An engine that the host must have; `auto` takes any. */
  readonly engine: string;
  /** The host to prefer, such as the one the VM ran on before. */
  readonly preferHostId?: string | null;
  /** No other host will do. */
  readonly onlyPreferred?: boolean;
}

/**
 * Picks the host with the most free memory that is up, has a fresh heartbeat and room for the demand, and adds
 * the demand to its reserved sums. Call it inside the transaction that sets the VM's `hostId` and `reserved`.
 *
 * The update holds the host's row until the transaction ends, so parallel reservations of one host follow one
 * another and each sees the sums of the one before. Under READ COMMITTED a statement that waited for a row and
 * then found it full returns nothing, although another host may have room: then it is asked again.
 *
 * @returns the host's id, or null when no host has room.
 */
export async function reserveCapacity(tx: Transaction, demand: Demand): Promise<string | null> {
  const preferred = demand.preferHostId ?? '';
  const anyHost = demand.onlyPreferred !== true;
  for (;;) {
    const taken = await tx.$queryRaw<{ id: string }[]>`
      UPDATE hosts SET memory_mib_reserved = memory_mib_reserved + ${demand.memoryMiB}::int,
                       vcpus_reserved = vcpus_reserved + ${demand.vcpus}::int
      WHERE id = (
        SELECT id FROM hosts
        WHERE state = 'up' AND last_heartbeat_at > now() - ${HEARTBEAT_FRESH_MS}::int * interval '1 millisecond'
          AND memory_mib_total - memory_mib_reserved >= ${demand.memoryMiB}::int
          AND vcpus_total - vcpus_reserved >= ${demand.vcpus}::int
          AND (${demand.engine} = 'auto' OR ${demand.engine} = ANY (engines))
          AND (${anyHost} OR id = ${preferred})
        ORDER BY (id = ${preferred}) DESC, memory_mib_total - memory_mib_reserved DESC, id
        LIMIT 1 FOR NO KEY UPDATE)
      RETURNING id`;
    const host = taken[0];
    if (host !== undefined) return host.id;
    const candidates = await tx.$queryRaw<{ room: boolean }[]>`
      SELECT EXISTS (
        SELECT 1 FROM hosts
        WHERE state = 'up' AND last_heartbeat_at > now() - ${HEARTBEAT_FRESH_MS}::int * interval '1 millisecond'
          AND memory_mib_total - memory_mib_reserved >= ${demand.memoryMiB}::int
          AND vcpus_total - vcpus_reserved >= ${demand.vcpus}::int
          AND (${demand.engine} = 'auto' OR ${demand.engine} = ANY (engines))
          AND (${anyHost} OR id = ${preferred})) AS room`;
    if (candidates[0]?.room !== true) return null;
  }
}

/**
 * Gives back what a VM holds of its host. Call it in the transaction that records that the VM no longer runs,
 * or before deleting its row. Doing it twice changes nothing.
 * @returns whether something was held.
 */
export async function releaseCapacity(tx: Transaction, vmId: string): Promise<boolean> {
  const released = await tx.$queryRaw<{ host_id: string; memory_mib: number; vcpus: number }[]>`
    UPDATE vms SET reserved = false WHERE id = ${vmId} AND reserved RETURNING host_id, memory_mib, vcpus`;
  const held = released[0];
  if (held === undefined) return false;
  await tx.$executeRaw`
    UPDATE hosts SET memory_mib_reserved = memory_mib_reserved - ${held.memory_mib}::int,
                     vcpus_reserved = vcpus_reserved - ${held.vcpus}::int
    WHERE id = ${held.host_id}`;
  return true;
}

/** Whether any host serves now, full or not. */
export async function anyHostUp(db: Database): Promise<boolean> {
  const up = await db.host.count({
    where: { state: 'up', lastHeartbeatAt: { gt: new Date(Date.now() - HEARTBEAT_FRESH_MS) } },
  });
  return up > 0;
}
