import { setTimeout as delay } from 'node:timers/promises';
import type { EventMessage } from '../../contracts/events.ts';
import type { VmState } from '../../contracts/states.ts';
import type {
  ChangeCdrom,
  CreateVm,
  ListVmsQuery,
  PatchVm,
  VmAndOperation,
  Vm as VmView,
} from '../../contracts/vms.ts';
import { anyHostUp, releaseCapacity, reserveCapacity } from '../../infra/capacity.ts';
import { type EventHub, waitUntil } from '../../infra/event-hub.ts';
import { publishEvents, recordEvent } from '../../infra/events.ts';
import { type Database, Prisma, type Transaction } from '../../infra/prisma.ts';
import type { Queues } from '../../infra/queues.ts';
import type { Redis } from '../../infra/redis.ts';
import { notFound, Problem, shuttingDown } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { AccessService } from '../access/access.service.ts';
import { ownedBy, type TenantScope } from '../access/principal.ts';
import { decodeCursor, type Seal, toPage } from '../http.ts';
import { toOperation } from '../operations/operations.view.ts';
import {
  refuseUnsupported,
  requireEngine,
  requireQuota,
  resolveBoot,
  resolveDisc,
  resolveDisks,
  writableBytes,
} from './vms.checks.ts';
import {
  findVm,
  hostIsAlive,
  insertOperation,
  lockTenant,
  lockVm,
  type NewOperation,
  operationEvent,
  supersede,
} from './vms.repository.ts';
import { planAction, type VmAction } from './vms.transitions.ts';
import { toVm, type VmRow, vmInclude } from './vms.view.ts';

export interface VmsDeps {
  readonly db: Database;
  readonly redis: Redis;
  readonly queues: Queues;
  readonly hub: EventHub;
  readonly access: AccessService;
  /** Fires when the process is to end, so that waits do not hold it. */
  readonly closing: AbortSignal;
}

export interface VmsService {
  create(scope: TenantScope, body: CreateVm, seal: Seal): Promise<VmAndOperation>;
  get(scope: TenantScope, id: string): Promise<VmView>;
  list(scope: TenantScope, query: ListVmsQuery): Promise<{ items: VmView[]; nextCursor: string | null }>;
  patch(scope: TenantScope, id: string, body: PatchVm): Promise<VmView>;
  act(scope: TenantScope, id: string, action: VmAction, seal: Seal): Promise<VmAndOperation>;
  /** Changes what lies in the CD-ROM drive, while the VM runs too. */
  changeDisc(scope: TenantScope, id: string, body: ChangeCdrom, seal: Seal): Promise<VmAndOperation>;
  remove(scope: TenantScope, id: string, force: boolean): Promise<VmAndOperation>;
  wait(
    scope: TenantScope,
    id: string,
    state: VmState,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<VmView>;
}

/** What a transaction leaves to be done after its commit. */
interface Outcome {
  readonly answer: VmAndOperation;
  readonly events: readonly EventMessage[];
  /** The host to wake, when its worker has something to do. */
  readonly wake: string | null;
  readonly generation: number;
}

/** Milliseconds. */
const FIRST_HOST_WAIT_MS = 5_000;
const FIRST_HOST_POLL_MS = 200;

export function createVmsService(deps: VmsDeps): VmsService {
  const { db } = deps;

  const commit = async (work: (tx: Transaction) => Promise<Outcome>): Promise<VmAndOperation> => {
    const { answer, events, wake, generation } = await db.$transaction(work);
    await publishEvents(deps.redis, events);
    if (wake !== null) await deps.queues.reconcile(wake, answer.vm.id, generation);
    return answer;
  };

  /** Just after a start no worker has registered yet: then a request waits a little for the first host. */
  const placed = async (work: (tx: Transaction) => Promise<Outcome>): Promise<VmAndOperation> => {
    const deadline = Date.now() + FIRST_HOST_WAIT_MS;
    for (;;) {
      try {
        return await commit(work);
      } catch (error) {
        const early = error instanceof Problem && error.code === 'no_capacity' && Date.now() < deadline;
        if (!early || deps.closing.aborted || (await anyHostUp(db))) throw error;
      }
      await delay(FIRST_HOST_POLL_MS, undefined, { signal: deps.closing }).catch(() => {});
    }
  };

  const get = async (scope: TenantScope, id: string): Promise<VmRow> => {
    const row = await findVm(db, scope, id);
    if (row === null) throw notFound('virtual machine', id);
    return row;
  };

  return {
    async create(scope, body, seal) {
      refuseUnsupported(body);
      const tenantId = await deps.access.tenantToCreateFor(scope);
      return placed((tx) => createVm(tx, scope, tenantId, body, seal));
    },

    async get(scope, id) {
      return toVm(await get(scope, id));
    },

    async list(scope, query) {
      const limit = query.limit ?? 50;
      const rows = await db.vm.findMany({
        where: {
          ...ownedBy(scope),
          ...(query.state === undefined ? {} : { state: query.state }),
          ...(query.name === undefined ? {} : { name: query.name }),
          ...(query.cursor === undefined ? {} : { id: { gt: decodeCursor(query.cursor) } }),
        },
        include: vmInclude,
        orderBy: { id: 'asc' },
        take: limit + 1,
      });
      return toPage(rows, limit, toVm);
    },

    async patch(scope, id, body) {
      refuseUnsupported(body);
      const { vm, event } = await db.$transaction((tx) => patchVm(tx, scope, id, body));
      await publishEvents(deps.redis, [event]);
      return toVm(vm);
    },

    async act(scope, id, action, seal) {
      return placed((tx) => actOnVm(tx, scope, id, action, seal));
    },

    async changeDisc(scope, id, body, seal) {
      return commit((tx) => changeDiscOfVm(tx, scope, id, body, seal));
    },

    async remove(scope, id, force) {
      return commit((tx) => removeVm(tx, scope, id, force));
    },

    async wait(scope, id, state, timeoutMs, signal) {
      const first = await get(scope, id);
      let last = first.state;
      const found = await waitUntil({
        hub: deps.hub,
        tenantId: first.tenantId,
        timeoutMs,
        signal: AbortSignal.any([signal, deps.closing]),
        check: async () => {
          const row = await get(scope, id);
          last = row.state;
          return row.state === state ? row : undefined;
        },
      });
      if (found !== undefined) return toVm(found);
      if (deps.closing.aborted) throw shuttingDown();
      throw new Problem('wait_timeout', `${id} is ${last}, not ${state}, after ${timeoutMs / 1000} s`, {
        hint: 'wait again, or look at its `lastError` and console',
      });
    },
  };
}

async function createVm(
  tx: Transaction,
  scope: TenantScope,
  tenantId: string,
  body: CreateVm,
  seal: Seal,
): Promise<Outcome> {
  const engine = body.engine ?? 'auto';
  await requireEngine(tx, engine);
  await lockTenant(tx, tenantId);
  const boot = await resolveBoot(tx, scope, tenantId, body);
  const disks = await resolveDisks(tx, tenantId, body.disks ?? []);
  const cdromImageId = await resolveDisc(tx, tenantId, body.cdrom?.image);
  const diskBytes = writableBytes(disks);
  await requireQuota(tx, tenantId, { vms: 1, memoryMiB: body.memoryMiB, diskBytes });
  const start = body.start ?? true;
  const demand = { memoryMiB: body.memoryMiB, vcpus: body.vcpus ?? 1, engine };
  const hostId = start ? await reserveOrRefuse(tx, demand) : null;
  const vm = await tx.vm.create({
    data: {
      id: newId('vm'),
      tenantId,
      name: body.name,
      labels: body.labels ?? {},
      memoryMiB: demand.memoryMiB,
      vcpus: demand.vcpus,
      cpuProfile: body.cpu ?? 'portable',
      engineRequested: engine,
      restartPolicy: body.restartPolicy ?? 'on-failure',
      ...boot,
      // A VM that starts from its firmware has a drive, so that a disc can be put in later.
      cdrom: body.cdrom !== undefined || boot.bootOrder.length > 0,
      cdromImageId,
      disks: { createMany: { data: disks.map((disk) => ({ ...disk, id: newId('dsk') })) } },
      desired: start ? 'running' : 'stopped',
      observedGeneration: start ? 0 : 1,
      hostId,
      reserved: start,
    },
    include: vmInclude,
  });
  const created = await recordEvent(tx, {
    tenantId,
    vmId: vm.id,
    type: 'vm.created',
    data: { vm: toVm(vm) },
  });
  const wanted = { kind: 'create', target: start ? 'running' : 'stopped', done: !start } as const;
  return conclude(tx, vm, wanted, [created], seal);
}

async function actOnVm(
  tx: Transaction,
  scope: TenantScope,
  id: string,
  action: VmAction,
  seal: Seal,
): Promise<Outcome> {
  const vm = await lockVm(tx, scope, id);
  if (vm === null) throw notFound('virtual machine', id);
  const plan = planAction(vm, action);
  if (Object.keys(plan.change).length === 0) {
    return conclude(tx, vm, { kind: action, target: plan.target, done: plan.done }, [], seal);
  }
  const events = action === 'reset' ? [] : await supersede(tx, vm, plan.target);
  const placement = plan.needsHost && !vm.reserved ? await place(tx, vm) : {};
  const generation = vm.generation + 1;
  const changed = await tx.vm.update({
    where: { id },
    data: {
      ...plan.change,
      ...placement,
      ...(action === 'start' ? { restartCount: 0, nextRestartAt: null, lastError: Prisma.DbNull } : {}),
      generation,
      ...(plan.done ? { observedGeneration: generation } : {}),
    },
    include: vmInclude,
  });
  events.push(
    await recordEvent(tx, {
      tenantId: vm.tenantId,
      vmId: id,
      type: 'vm.updated',
      data: { vm: toVm(changed), action },
    }),
  );
  return conclude(tx, changed, { kind: action, target: plan.target, done: plan.done }, events, seal);
}

async function changeDiscOfVm(
  tx: Transaction,
  scope: TenantScope,
  id: string,
  body: ChangeCdrom,
  seal: Seal,
): Promise<Outcome> {
  const vm = await lockVm(tx, scope, id);
  if (vm === null) throw notFound('virtual machine', id);
  if (vm.desired === 'deleted') throw new Problem('vm_deleting', `${id} is being deleted`);
  const rests = vm.desired === 'stopped' && !vm.reserved;
  if (!vm.cdrom && !rests) {
    throw new Problem('no_cdrom', `${id} has no CD-ROM drive, and gets one only while it is stopped`, {
      hint: `POST /v1/vms/${id}/stop first, or create it with \`cdrom\``,
    });
  }
  const cdromImageId = await resolveDisc(tx, vm.tenantId, body.image);
  const generation = vm.generation + 1;
  const changed = await tx.vm.update({
    where: { id },
    data: {
      cdrom: true,
      cdromImageId,
      cdromEpoch: vm.cdromEpoch + 1,
      cdromForce: body.force ?? false,
      generation,
      // A stopped VM is what its new description asks for.
      ...(rests ? { observedGeneration: generation } : {}),
    },
    include: vmInclude,
  });
  const data = { vm: toVm(changed), action: 'cdrom' };
  const event = await recordEvent(tx, { tenantId: vm.tenantId, vmId: id, type: 'vm.updated', data });
  const target = vm.desired === 'running' || vm.desired === 'paused' ? vm.desired : 'stopped';
  return conclude(tx, changed, { kind: 'cdrom', target, done: rests }, [event], seal);
}

async function removeVm(tx: Transaction, scope: TenantScope, id: string, force: boolean): Promise<Outcome> {
  const vm = await lockVm(tx, scope, id);
  if (vm === null) throw notFound('virtual machine', id);
  const idle = vm.desired !== 'running' && vm.desired !== 'paused' && !vm.reserved;
  if (!idle && !force && vm.desired !== 'deleted') {
    throw new Problem('vm_not_stopped', `${id} is ${vm.state}`, {
      hint: 'stop it first, or DELETE with ?force=true to pull the plug',
    });
  }
  // Only the worker of its host can know that nothing of the VM is left there. A forced delete does not wait for
  // a host that is away: its worker ends whatever has no row when it comes back.
  const needsWorker = vm.hostId !== null && !(force && !(await hostIsAlive(tx, vm.hostId)));
  if (vm.desired === 'deleted' && needsWorker) {
    const pending = await tx.operation.findFirst({
      where: { vmId: id, kind: 'delete', state: { in: ['queued', 'running'] } },
    });
    if (pending !== null) {
      return {
        answer: { vm: toVm(vm), operation: toOperation(pending) },
        events: [],
        wake: vm.hostId,
        generation: vm.generation,
      };
    }
  }
  const events = await supersede(tx, vm, 'deleted');
  const changed = await tx.vm.update({
    where: { id },
    data: { desired: 'deleted', shutdownRequestedAt: null, generation: vm.generation + 1 },
    include: vmInclude,
  });
  const wanted = { kind: 'delete', target: 'deleted', done: !needsWorker } as const;
  if (!needsWorker) {
    await tx.operation.updateMany({
      where: { vmId: id, kind: 'delete', state: { in: ['queued', 'running'] } },
      data: { state: 'succeeded', progress: 100, finishedAt: new Date() },
    });
    await releaseCapacity(tx, id);
    await tx.vm.delete({ where: { id } });
    events.push(
      await recordEvent(tx, {
        tenantId: vm.tenantId,
        vmId: id,
        type: 'vm.deleted',
        data: { id, name: vm.name },
      }),
    );
  }
  return conclude(tx, changed, wanted, events, async () => {});
}

async function patchVm(
  tx: Transaction,
  scope: TenantScope,
  id: string,
  body: PatchVm,
): Promise<{ vm: VmRow; event: EventMessage }> {
  const { name, labels, restartPolicy, ...hardware } = body;
  const owner = await findVm(tx, scope, id);
  if (owner !== null && hardware.memoryMiB !== undefined) await lockTenant(tx, owner.tenantId);
  const vm = await lockVm(tx, scope, id);
  if (vm === null) throw notFound('virtual machine', id);
  if (vm.desired === 'deleted') throw new Problem('vm_deleting', `${id} is being deleted`);
  const stopped = vm.desired === 'stopped' && !vm.reserved;
  if (Object.keys(hardware).length > 0 && !stopped) {
    throw new Problem(
      'vm_not_stopped',
      `${id} is ${vm.state}: ${Object.keys(hardware).join(', ')} can change only while it is stopped`,
      {
        hint: `POST /v1/vms/${id}/stop first`,
      },
    );
  }
  if (hardware.engine !== undefined) await requireEngine(tx, hardware.engine);
  if (hardware.memoryMiB !== undefined) {
    await requireQuota(tx, vm.tenantId, { vms: 0, memoryMiB: hardware.memoryMiB - vm.memoryMiB });
  }
  const generation = vm.generation + (Object.keys(hardware).length > 0 ? 1 : 0);
  const changed = await tx.vm.update({
    where: { id },
    data: {
      ...(name === undefined ? {} : { name }),
      ...(labels === undefined ? {} : { labels }),
      ...(restartPolicy === undefined ? {} : { restartPolicy }),
      ...(hardware.memoryMiB === undefined ? {} : { memoryMiB: hardware.memoryMiB }),
      ...(hardware.vcpus === undefined ? {} : { vcpus: hardware.vcpus }),
      ...(hardware.cpu === undefined ? {} : { cpuProfile: hardware.cpu }),
      ...(hardware.engine === undefined ? {} : { engineRequested: hardware.engine }),
      // A stopped VM is what its new description asks for.
      ...(generation === vm.generation ? {} : { generation, observedGeneration: generation }),
    },
    include: vmInclude,
  });
  const event = await recordEvent(tx, {
    tenantId: vm.tenantId,
    vmId: id,
    type: 'vm.updated',
    data: { vm: toVm(changed) },
  });
  return { vm: changed, event };
}

/** The operation, its event, the sealed answer, and whom to wake. */
async function conclude(
  tx: Transaction,
  vm: VmRow,
  wanted: NewOperation,
  events: EventMessage[],
  seal: Seal,
): Promise<Outcome> {
  const operation = await insertOperation(tx, vm, wanted);
  events.push(await operationEvent(tx, operation));
  const answer = { vm: toVm(vm), operation: toOperation(operation) };
  await seal(tx, { status: 202, headers: { location: operationPath(operation.id) }, body: answer });
  return { answer, events, wake: wanted.done ? null : vm.hostId, generation: vm.generation };
}

/** Where an operation is found. */
export function operationPath(id: string): string {
  return `/v1/operations/${id}`;
}

async function place(tx: Transaction, vm: VmRow): Promise<{ hostId: string; reserved: true }> {
  await requireEngine(tx, vm.engineRequested);
  const demand = {
    memoryMiB: vm.memoryMiB,
    vcpus: vm.vcpus,
    engine: vm.engineRequested,
    preferHostId: vm.hostId,
    // What its disks have kept lies on the host that it ran on.
    onlyPreferred: vm.hostId !== null && vm.disks.some(({ mode }) => mode === 'overlay' || mode === 'own'),
  };
  return { hostId: await reserveOrRefuse(tx, demand), reserved: true };
}

async function reserveOrRefuse(
  tx: Transaction,
  demand: Parameters<typeof reserveCapacity>[1],
): Promise<string> {
  const hostId = await reserveCapacity(tx, demand);
  if (hostId !== null) return hostId;
  if (demand.onlyPreferred === true) {
    throw new Problem(
      'no_capacity',
      `the disks are on host ${demand.preferHostId ?? ''}, which is away or has no ${demand.memoryMiB} MiB free`,
      { hint: 'wait for the host, or stop a virtual machine there', headers: { 'retry-after': '5' } },
    );
  }
  throw new Problem('no_capacity', `no host has ${demand.memoryMiB} MiB and ${demand.vcpus} vCPU free`, {
    hint: 'stop or delete a virtual machine, ask for less memory, or add a host; `start: false` creates it without starting it',
    headers: { 'retry-after': '5' },
  });
}
