import type { EventMessage } from '../../contracts/events.ts';
import {
  HEARTBEAT_FRESH_MS,
  OPERATION_DEADLINE_MS,
  SHUTDOWN_DEADLINE_MS,
} from '../../contracts/reconcile.ts';
import type { DesiredState, OperationKind } from '../../contracts/states.ts';
import { recordEvent } from '../../infra/events.ts';
import type { Operation, Transaction } from '../../infra/prisma.ts';
import { newId } from '../../lib/ids.ts';
import { ownedBy, type TenantScope } from '../access/principal.ts';
import { toOperation } from '../operations/operations.view.ts';
import { type VmRow, vmInclude } from './vms.view.ts';

/** One VM of the scope, or null. */
export async function findVm(tx: Transaction, scope: TenantScope, id: string): Promise<VmRow | null> {
  return tx.vm.findFirst({ where: { id, ...ownedBy(scope) }, include: vmInclude });
}

/** The same, with its row locked until the transaction ends: whoever changes a VM goes one after another. */
export async function lockVm(tx: Transaction, scope: TenantScope, id: string): Promise<VmRow | null> {
  await tx.$queryRaw`SELECT 1 FROM vms WHERE id = ${id} FOR NO KEY UPDATE`;
  return findVm(tx, scope, id);
}

/** Locks a tenant's row, so that what counts against its quota is created one after another. */
export async function lockTenant(tx: Transaction, tenantId: string): Promise<void> {
  await tx.$queryRaw`SELECT 1 FROM tenants WHERE id = ${tenantId} FOR NO KEY UPDATE`;
}

export interface NewOperation {
  readonly kind: OperationKind;
  readonly target: DesiredState;
  /** Nothing is left to do: the VM is there already. */
  readonly done: boolean;
}

/** Inserts an operation for a VM's present generation. */
export async function insertOperation(
  tx: Transaction,
  vm: { readonly id: string; readonly tenantId: string; readonly generation: number },
  wanted: NewOperation,
): Promise<Operation> {
  const now = new Date();
  const deadline = wanted.kind === 'shutdown' ? SHUTDOWN_DEADLINE_MS : OPERATION_DEADLINE_MS;
  return tx.operation.create({
    data: {
      id: newId('op'),
      tenantId: vm.tenantId,
      vmId: vm.id,
      kind: wanted.kind,
      target: wanted.target,
      generation: vm.generation,
      ...(wanted.done
        ? { state: 'succeeded', progress: 100, startedAt: now, finishedAt: now }
        : { deadlineAt: new Date(now.getTime() + deadline) }),
    },
  });
}

/** Cancels a VM's unfinished operations that aim at another state than `target`. */
export async function supersede(tx: Transaction, vm: VmRow, target: DesiredState): Promise<EventMessage[]> {
  const cancelled = await tx.operation.updateManyAndReturn({
    where: { vmId: vm.id, state: { in: ['queued', 'running'] }, target: { not: target } },
    data: {
      state: 'cancelled',
      finishedAt: new Date(),
      error: { code: 'superseded', message: 'a later request asked for something else' },
    },
  });
  const events: EventMessage[] = [];
  for (const operation of cancelled) events.push(await operationEvent(tx, operation));
  return events;
}

/** Records that an operation was made or has changed. */
export async function operationEvent(tx: Transaction, operation: Operation): Promise<EventMessage> {
  return recordEvent(tx, {
    tenantId: operation.tenantId,
    vmId: operation.vmId,
    type: 'operation.updated',
    data: { operation: toOperation(operation) },
  });
}

/** Whether a host's worker is there to do something. */
export async function hostIsAlive(tx: Transaction, hostId: string): Promise<boolean> {
  const host = await tx.host.findUnique({
    where: { id: hostId },
    select: { state: true, lastHeartbeatAt: true },
  });
  if (host === null || host.state === 'down' || host.lastHeartbeatAt === null) return false;
  return Date.now() - host.lastHeartbeatAt.getTime() < HEARTBEAT_FRESH_MS;
}
