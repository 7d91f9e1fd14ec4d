import type { Operation } from '../../contracts/operations.ts';
import type { StoredError } from '../../contracts/states.ts';
import type { Vm } from '../../contracts/vms.ts';

/** What events of machines carry: contracts/events.ts. */
export interface VmEventData {
  /** The whole machine, when its owner has changed something. */
  readonly vm?: Vm;
  /** What its worker has changed. */
  readonly changed?: Partial<Vm>;
  readonly operation?: Operation;
  readonly error?: StoredError;
}

/**
 * A machine after an event.
 * @param known undefined when it is a new one
 * @returns undefined when the event says nothing of a machine that is known
 */
export function afterEvent(known: Vm | undefined, { vm, changed, error }: VmEventData): Vm | undefined {
  if (vm !== undefined) return known !== undefined && vm.generation < known.generation ? undefined : vm;
  if (known === undefined) return undefined;
  if (changed !== undefined) return { ...known, ...changed };
  return error === undefined ? undefined : { ...known, lastError: error };
}

/**
 * A machine after an answer that says what it was when its owner asked for something. An event of what the worker has
 * done since may have overtaken it, so of one and the same generation what the worker tells stays.
 */
export function afterAnswer(known: Vm, vm: Vm): Vm {
  if (vm.generation < known.generation) return known;
  if (vm.generation > known.generation) return vm;
  const { state, desired, engine, startedAt, restartCount, lastError } = known;
  return {
    ...vm,
    state,
    desired,
    engine: { ...vm.engine, actual: engine.actual },
    startedAt,
    restartCount,
    lastError,
  };
}
