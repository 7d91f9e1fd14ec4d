import { isDeepStrictEqual } from 'node:util';
import type { EventMessage, EventType } from '../../src/contracts/events.ts';
import type { OperationTarget } from '../../src/contracts/reconcile.ts';
import type { OperationKind, StoredError, VmState } from '../../src/contracts/states.ts';
import type { Vm as VmView } from '../../src/contracts/vms.ts';
import { releaseCapacity } from '../../src/infra/capacity.ts';
import { publishEvents, recordEvent } from '../../src/infra/events.ts';
import type { Database, Operation, Prisma, Transaction, Vm } from '../../src/infra/prisma.ts';
import type { Redis } from '../../src/infra/redis.ts';

const UNFINISHED = ['queued', 'running'];

export interface VmChange {
  /** Columns to write; events and a changed `state` follow from them. */
  readonly data: Prisma.VmUpdateManyMutationInput;
  /** Write nothing when a newer wish has come since the row was read. */
  readonly onlyIfCurrent?: boolean;
  /** Completes the operations that waited for this, up to the row's generation. */
  readonly reached?: OperationTarget;
  /** Fails the operations that waited for `running` or `paused`, up to the row's generation. */
  readonly failed?: StoredError;
  readonly releaseCapacity?: boolean;
}

/** What the agent writes about VMs: each change one transaction, with the operations and events it entails. */
export class VmRecords {
  readonly #database: Database;
  readonly #redis: Redis;
  readonly #hostId: string;

  constructor(database: Database, redis: Redis, hostId: string) {
    this.#database = database;
    this.#redis = redis;
    this.#hostId = hostId;
  }

  get database(): Database {
    return this.#database;
  }

  /** The row of a VM of this host, or null: it is gone, or another host's. */
  async find(vmId: string): Promise<Vm | null> {
    return this.#database.vm.findFirst({ where: { id: vmId, hostId: this.#hostId } });
  }

  /** The ids of this host's VMs that may have something to be done or to be watched. */
  async findActive(): Promise<string[]> {
    const rows = await this.#database.vm.findMany({
      where: {
        hostId: this.#hostId,
        OR: [
          { desired: { in: ['running', 'paused', 'deleted'] } },
          { state: { notIn: ['stopped', 'failed'] } },
          { generation: { gt: this.#database.vm.fields.observedGeneration } },
          { reserved: true },
        ],
      },
      select: { id: true },
    });
    return rows.map(({ id }) => id);
  }

  /** Which of these VMs have a row here. */
  async known(vmIds: readonly string[]): Promise<Set<string>> {
    const rows = await this.#database.vm.findMany({
      where: { id: { in: [...vmIds] }, hostId: this.#hostId },
      select: { id: true },
    });
    return new Set(rows.map(({ id }) => id));
  }

  /** Marks the operations that this generation entails as being worked on. */
  async begin(row: Vm): Promise<void> {
    await this.#commit(async (tx) => {
      const waiting = await tx.operation.findMany({
        where: { vmId: row.id, state: 'queued', generation: { lte: row.generation } },
      });
      const events: EventMessage[] = [];
      for (const operation of waiting) {
        const changed = { state: 'running', startedAt: new Date() };
        const { count } = await tx.operation.updateMany({
          where: { id: operation.id, state: 'queued' },
          data: changed,
        });
        if (count > 0) events.push(await recordOperation(tx, row, operation, changed));
      }
      return events;
    });
  }

  /** Tells how far those operations are that wait for the VM to run: per cent. */
  async advance(row: Vm, progress: number): Promise<void> {
    await this.#commit(async (tx) => {
      const underWay = {
        vmId: row.id,
        state: 'running',
        target: { in: ['running', 'paused'] },
        generation: { lte: row.generation },
        progress: { lt: progress },
      };
      const events: EventMessage[] = [];
      for (const operation of await tx.operation.findMany({ where: underWay })) {
        const { count } = await tx.operation.updateMany({
          where: { ...underWay, id: operation.id },
          data: { progress },
        });
        if (count > 0) events.push(await recordOperation(tx, row, operation, { progress }));
      }
      return events;
    });
  }

  /** Writes a change of a VM. False when a newer wish has come and nothing was written. */
  async write(row: Vm, change: VmChange): Promise<boolean> {
    let written = false;
    await this.#commit(async (tx) => {
      const { count } = await tx.vm.updateMany({
        where: {
          id: row.id,
          hostId: this.#hostId,
          ...(change.onlyIfCurrent === true ? { generation: row.generation } : {}),
        },
        data: change.data,
      });
      written = count > 0;
      if (!written) return [];
      if (change.releaseCapacity === true) await releaseCapacity(tx, row.id);
      const now = await tx.vm.findUniqueOrThrow({ where: { id: row.id } });
      const events = await recordChange(tx, row, now, change);
      if (change.reached !== undefined) {
        events.push(...(await finish(tx, row, { targets: [change.reached] }, { state: 'succeeded' })));
      }
      if (change.failed !== undefined) {
        events.push(
          ...(await finish(
            tx,
            row,
            { targets: ['running', 'paused'] },
            { state: 'failed', error: change.failed },
          )),
        );
      }
      return events;
    });
    return written;
  }

  /** Fails the unfinished operations of a kind, up to the row's generation. */
  async fail(row: Vm, kind: OperationKind, error: StoredError): Promise<void> {
    await this.#commit((tx) => finish(tx, row, { kind }, { state: 'failed', error }));
  }

  /** The guest has taken the disc of this epoch out of its drive. */
  async ejectDisc(row: Vm, epoch: number): Promise<void> {
    await this.#commit(async (tx) => {
      const { count } = await tx.vm.updateMany({
        where: { id: row.id, hostId: this.#hostId, cdromEpoch: epoch },
        data: { cdromImageId: null },
      });
      const changed = { cdrom: { image: null, imageId: null } };
      const event = { tenantId: row.tenantId, vmId: row.id, type: 'vm.updated', data: { changed } } as const;
      return count === 0 ? [] : [await recordEvent(tx, event)];
    });
  }

  /** Deletes the row of a VM of which nothing is left, with all that its deletion entails. */
  async remove(row: Vm): Promise<void> {
    await this.#commit(async (tx) => {
      await releaseCapacity(tx, row.id);
      const { count } = await tx.vm.deleteMany({ where: { id: row.id, desired: 'deleted' } });
      if (count === 0) return [];
      const events = await finish(tx, row, { targets: ['deleted'] }, { state: 'succeeded' });
      events.push(
        ...(await finish(tx, row, { targets: ['running', 'paused', 'stopped'] }, { state: 'cancelled' })),
      );
      const deleted = {
        tenantId: row.tenantId,
        vmId: row.id,
        type: 'vm.deleted' as const,
        data: { id: row.id, name: row.name },
      };
      events.push(await recordEvent(tx, deleted));
      return events;
    });
  }

  /** Fails the operations of these VMs whose time is over. A shutdown that the guest ignored is forgotten. */
  async failOverdue(vmIds: readonly string[]): Promise<void> {
    const overdue = await this.#database.operation.findMany({
      where: { vmId: { in: [...vmIds] }, state: { in: UNFINISHED }, deadlineAt: { lt: new Date() } },
    });
    for (const operation of overdue) {
      await this.#commit(async (tx) => {
        const changed = {
          state: 'failed',
          finishedAt: new Date(),
          error: { ...overdueError(operation.kind) },
        };
        const { count } = await tx.operation.updateMany({
          where: { id: operation.id, state: { in: UNFINISHED } },
          data: changed,
        });
        if (count === 0 || operation.vmId === null) return [];
        if (operation.kind === 'shutdown') {
          await tx.vm.updateMany({
            where: { id: operation.vmId, generation: operation.generation },
            data: { shutdownRequestedAt: null },
          });
        }
        const owner = { id: operation.vmId, tenantId: operation.tenantId };
        return [await recordOperation(tx, owner, operation, changed)];
      });
    }
  }

  async #commit(work: (tx: Transaction) => Promise<EventMessage[]>): Promise<void> {
    const events = await this.#database.$transaction(work);
    await publishEvents(this.#redis, events);
  }
}

function overdueError(kind: string): StoredError {
  const message =
    kind === 'shutdown'
      ? 'the guest did not act on its power button in time; stop pulls the plug'
      : `the ${kind} took longer than it may`;
  return { code: 'timeout', message, at: new Date().toISOString() };
}

type Owner = Pick<Vm, 'id' | 'tenantId'>;

/** The row is as it was before the change that `changed` names. */
async function recordOperation(
  tx: Transaction,
  { id, tenantId }: Owner,
  row: Operation,
  changed: Partial<Operation>,
): Promise<EventMessage> {
  const {
    target: _target,
    generation: _generation,
    deadlineAt: _deadline,
    ...operation
  } = { ...row, ...changed };
  // Dates become text, as the API shows them.
  const shown = JSON.parse(JSON.stringify(operation)) as Prisma.InputJsonObject;
  return recordEvent(tx, { tenantId, vmId: id, type: 'operation.updated', data: { operation: shown } });
}

/** The events of a change of a VM, of which `before` and `after` are the rows. */
async function recordChange(
  tx: Transaction,
  before: Vm,
  after: Vm,
  { data, failed }: VmChange,
): Promise<EventMessage[]> {
  const events: EventMessage[] = [];
  const record = async (type: EventType, fields: Prisma.InputJsonObject): Promise<void> => {
    events.push(await recordEvent(tx, { tenantId: after.tenantId, vmId: after.id, type, data: fields }));
  };
  const [seen, changed] = [shownOf(before), shownOf(after)];
  if (after.state !== before.state)
    await record('vm.state', { state: after.state, previous: before.state, changed });
  else if (!isDeepStrictEqual(seen, changed)) await record('vm.updated', { changed });
  const error = failed ?? data.lastError;
  if (after.state === 'failed' && isError(error)) await record('vm.failed', { error: { ...error } });
  return events;
}

/** What a worker changes of a VM, as clients see it. */
function shownOf(row: Vm) {
  return {
    state: row.state as VmState, // the database checks this column
    desired: row.desired,
    engine: { requested: row.engineRequested, actual: row.engineActual },
    restartCount: row.restartCount,
    startedAt: row.startedAt?.toISOString() ?? null,
    lastError: isError(row.lastError) ? { ...row.lastError } : null,
  } satisfies Partial<VmView>;
}

function isError(value: unknown): value is StoredError {
  return typeof value === 'object' && value !== null && 'code' in value && 'message' in value;
}

async function finish(
  tx: Transaction,
  row: Vm,
  which: { readonly targets: readonly OperationTarget[] } | { readonly kind: OperationKind },
  outcome: { readonly state: 'succeeded' | 'failed' | 'cancelled'; readonly error?: StoredError },
): Promise<EventMessage[]> {
  const operations = await tx.operation.findMany({
    where: {
      vmId: row.id,
      state: { in: UNFINISHED },
      ...('kind' in which ? { kind: which.kind } : { target: { in: [...which.targets] } }),
      generation: { lte: row.generation },
    },
  });
  const events: EventMessage[] = [];
  for (const operation of operations) {
    const finishedAt = new Date();
    const changed = {
      state: outcome.state,
      finishedAt,
      startedAt: operation.startedAt ?? finishedAt,
      ...(outcome.state === 'succeeded' ? { progress: 100 } : {}),
      ...(outcome.error === undefined ? {} : { error: { ...outcome.error } }),
    };
    const { count } = await tx.operation.updateMany({
      where: { id: operation.id, state: { in: UNFINISHED } },
      data: changed,
    });
    if (count > 0) events.push(await recordOperation(tx, row, operation, changed));
  }
  return events;
}
