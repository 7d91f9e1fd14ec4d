import { batch, computed, type Signal, signal } from '@preact/signals';
import type { EventMessage } from '../../contracts/events.ts';
import type { Operation } from '../../contracts/operations.ts';
import type { VmState } from '../../contracts/states.ts';
import type { Vm } from '../../contracts/vms.ts';
import { listAll, socketUrl } from '../api/api.ts';
import { ApiError, sentence } from '../api/api-error.ts';
import { LiveSocket } from '../api/live-socket.ts';
import { toast } from '../ui/toast.tsx';
import { FrameQueue, nextFrame } from './frame-queue.ts';
import { restoreSession } from './session.ts';
import { afterAnswer, afterEvent, type VmEventData } from './vm-changes.ts';

/** A machine as the page shows it: each part changes by itself, so that a row is drawn anew only for its own events. */
export interface Machine {
  readonly id: string;
  readonly vm: Signal<Vm>;
  /** What is being done to it. */
  readonly operation: Signal<Operation | null>;
  /** What has happened since the page was opened, newest first, at most `KEPT_EVENTS`. */
  readonly events: Signal<readonly EventMessage[]>;
}

export type LinkState = 'connecting' | 'live' | 'lost';

const KEPT_EVENTS = 50;
/** A break that is over sooner is not shown. Milliseconds. */
const QUIET_MS = 1000;

const byId = new Map<string, Machine>();
const names = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });

/** All machines by name; null until they have been loaded once. */
export const machines = signal<readonly Machine[] | null>(null);
export const link = signal<LinkState>('connecting');
/** Why the machines could not be loaded, until they are. */
export const loadError = signal<unknown>(undefined);

/** How many machines are in each state. */
export const counts = computed(() => {
  const found: Partial<Record<VmState, number>> = {};
  for (const { vm } of machines.value ?? []) found[vm.value.state] = (found[vm.value.state] ?? 0) + 1;
  return found;
});

/** The machine of an id, if it is (still) there. */
export const machine = (id: string): Machine | undefined => {
  void machines.value;
  return byId.get(id);
};

let socket: LiveSocket | undefined;
let lastSeq = 0n;
const queue = new FrameQueue<EventMessage>(applyAll, nextFrame);

/** Loads the machines and follows them. Call it when somebody has signed in. */
export function follow(): void {
  socket ??= new LiveSocket({
    url: () => socketUrl(lastSeq === 0n ? 'events' : `events?since=${lastSeq}`),
    onState: (state, reason) => {
      if (state === 'open') return;
      queue.hold();
      if (link.value !== 'lost') link.value = 'connecting';
      if (state === 'refused') missed(`${sentence(reason)} Sign in again.`);
      else if (state === 'lost') missed();
    },
    onOpen: () => void load(),
    onMessage: (data) => receive(data),
  });
}

let breakTimer: ReturnType<typeof setTimeout> | undefined;

/**
 * The events do not come any more. A socket that cannot be opened does not say why: asking for the session does, and
 * leads to the door when that is over. Only a server that is away, or stays without events, is called lost.
 */
function missed(because?: string): void {
  const current = socket;
  const lose = () => {
    if (socket === current && link.value === 'connecting') link.value = 'lost';
  };
  breakTimer ??= setTimeout(lose, QUIET_MS);
  restoreSession(because).catch(lose);
}

function restored(): void {
  clearTimeout(breakTimer);
  breakTimer = undefined;
  link.value = 'live';
}

/** Forgets everything. */
export function unfollow(): void {
  clearTimeout(breakTimer);
  breakTimer = undefined;
  socket?.close();
  socket = undefined;
  lastSeq = 0n;
  byId.clear();
  machines.value = null;
  link.value = 'connecting';
}

/** Shows at once what an answer said. */
export function take({ vm, operation }: { readonly vm: Vm; readonly operation?: Operation }): void {
  batch(() => {
    const known = byId.get(vm.id);
    if (put(known === undefined ? vm : afterAnswer(known.vm.value, vm))) arrange();
    if (operation !== undefined) putOperation(operation);
  });
}

async function load(): Promise<void> {
  const current = socket;
  queue.hold();
  try {
    const vms = await listAll<Vm>('vms');
    if (socket !== current) return;
    batch(() => {
      const there = new Set(vms.map(({ id }) => id));
      for (const id of byId.keys()) if (!there.has(id)) byId.delete(id);
      for (const vm of vms) put(afterEvent(byId.get(vm.id)?.vm.value, { vm }) ?? vm);
      arrange();
      loadError.value = undefined;
      restored();
    });
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) return;
    loadError.value = error;
    setTimeout(() => socket === current && void load(), 2000);
    return;
  }
  queue.release();
}

function receive(data: string | ArrayBuffer): void {
  if (typeof data !== 'string') return;
  const event = JSON.parse(data) as EventMessage;
  const seq = BigInt(event.seq);
  if (seq > lastSeq) lastSeq = seq;
  queue.push(event);
}

function applyAll(events: readonly EventMessage[]): void {
  batch(() => {
    let moved = false;
    for (const event of events) moved = apply(event) || moved;
    if (moved) arrange();
  });
}

/** @returns whether the order may have changed */
function apply(event: EventMessage): boolean {
  const { vmId, type } = event;
  const data = event.data as VmEventData;
  const known = vmId === null ? undefined : byId.get(vmId);
  const vm = afterEvent(known?.vm.value, data);
  const moved = vm !== undefined && put(vm);
  if (data.operation !== undefined) putOperation(data.operation);
  const found = vmId === null ? undefined : byId.get(vmId);
  if (found === undefined) return moved;
  found.events.value = [event, ...found.events.value].slice(0, KEPT_EVENTS);
  return type === 'vm.deleted' ? byId.delete(found.id) : moved;
}

/** @returns whether the order may have changed */
function put(vm: Vm): boolean {
  const known = byId.get(vm.id);
  if (known === undefined) {
    byId.set(vm.id, { id: vm.id, vm: signal(vm), operation: signal(null), events: signal([]) });
    return true;
  }
  const { name } = known.vm.value;
  known.vm.value = vm;
  return vm.name !== name;
}

/** Operations that were asked for on this page: their failure is told. */
const own = new Set<string>();

export function tellFailureOf(operation: Operation): void {
  own.add(operation.id);
}

function putOperation(operation: Operation): void {
  const ended = operation.state !== 'queued' && operation.state !== 'running';
  if (operation.state === 'failed' && own.delete(operation.id)) {
    const name = byId.get(operation.vmId ?? '')?.vm.value.name ?? 'the machine';
    toast(
      `${operation.kind} of ${name} failed: ${operation.error?.message ?? 'it is not known why'}`,
      'problem',
    );
  }
  const found = operation.vmId === null ? undefined : byId.get(operation.vmId);
  if (found === undefined) return;
  if (!ended) found.operation.value = operation;
  else if (found.operation.value?.id === operation.id) found.operation.value = null;
}

/** Puts the machines in order. Those that are in it already come first, for sorting what is sorted is quick. */
function arrange(): void {
  const before = machines.value ?? [];
  const there = before.filter((machine) => byId.get(machine.id) === machine);
  const known = new Set(there);
  const added = [...byId.values()].filter((machine) => !known.has(machine));
  machines.value = [...there, ...added].sort((a, b) => names.compare(a.vm.value.name, b.vm.value.name));
}
