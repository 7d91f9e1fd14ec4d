import type { OperationKind } from '../../contracts/states.ts';
import type { Vm } from '../../infra/prisma.ts';
import { Problem } from '../../lib/errors.ts';

/** The actions of POST /v1/vms/{id}/…. */
export type VmAction = Exclude<OperationKind, 'create' | 'cdrom' | 'delete'>;

/** What an action does to a VM's row. */
export interface Transition {
  readonly target: 'running' | 'paused' | 'stopped';
  /** The VM must hold capacity of a host. */
  readonly needsHost: boolean;
  /** What is wanted anew; empty when nothing changes. */
  readonly change: {
    readonly desired?: 'running' | 'paused' | 'stopped';
    readonly bootEpoch?: number;
    readonly shutdownRequestedAt?: Date | null;
    readonly state?: 'stopped';
  };
  /** The VM is where the action wants it. */
  readonly done: boolean;
}

type Facts = Pick<Vm, 'id' | 'desired' | 'state' | 'bootEpoch' | 'shutdownRequestedAt' | 'reserved'>;

/**
 * What an action means for a VM in this condition. Asking for what is so already succeeds at once; what makes no
 * sense is refused.
 * @throws {Problem} vm_paused, vm_not_running, vm_shutting_down, vm_deleting.
 */
export function planAction(vm: Facts, action: VmAction): Transition {
  if (vm.desired === 'deleted') throw new Problem('vm_deleting', `${vm.id} is being deleted`);
  return PLANS[action](vm);
}

const PLANS: Readonly<Record<VmAction, (vm: Facts) => Transition>> = {
  start(vm) {
    if (vm.desired === 'paused') {
      throw new Problem('vm_paused', `${vm.id} is paused`, {
        hint: `POST /v1/vms/${vm.id}/resume lets it go on`,
      });
    }
    if (vm.shutdownRequestedAt !== null) {
      throw new Problem('vm_shutting_down', `${vm.id} was asked to shut down`, {
        hint: `wait until it is stopped, or POST /v1/vms/${vm.id}/stop first`,
      });
    }
    if (vm.desired === 'running' && vm.state !== 'failed') return keep('running', vm.state === 'running');
    return { target: 'running', needsHost: true, change: { desired: 'running' }, done: false };
  },

  shutdown(vm) {
    if (vm.desired === 'stopped' || vm.state !== 'running') throw notRunning(vm, 'running');
    if (vm.desired === 'paused') {
      throw new Problem('vm_paused', `${vm.id} is to be paused and would not see its power button`, {
        hint: `POST /v1/vms/${vm.id}/resume first, or …/stop to pull the plug`,
      });
    }
    return { target: 'stopped', needsHost: false, change: { shutdownRequestedAt: new Date() }, done: false };
  },

  stop(vm) {
    if (vm.desired === 'stopped' && !vm.reserved) {
      // A VM that was given up as failed has no process: saying stop accepts that.
      const change = vm.state === 'failed' ? { state: 'stopped' as const } : {};
      return {
        target: 'stopped',
        needsHost: false,
        change,
        done: vm.state === 'stopped' || vm.state === 'failed',
      };
    }
    if (vm.desired === 'stopped') return keep('stopped', false);
    return {
      target: 'stopped',
      needsHost: false,
      change: { desired: 'stopped', shutdownRequestedAt: null },
      done: false,
    };
  },

  reset(vm) {
    if (vm.desired === 'stopped' || (vm.state !== 'running' && vm.state !== 'paused'))
      throw notRunning(vm, 'running or paused');
    const target = vm.desired === 'paused' ? 'paused' : 'running';
    return {
      target,
      needsHost: false,
      change: { bootEpoch: vm.bootEpoch + 1, shutdownRequestedAt: null },
      done: false,
    };
  },

  pause(vm) {
    if (vm.desired === 'stopped' || vm.state === 'failed') throw notRunning(vm, 'running');
    if (vm.desired === 'paused') return keep('paused', vm.state === 'paused');
    return { target: 'paused', needsHost: false, change: { desired: 'paused' }, done: false };
  },

  resume(vm) {
    if (vm.desired === 'stopped' || vm.state === 'failed') {
      throw new Problem('vm_not_running', `${vm.id} is ${vm.state}, not paused`, {
        hint: `POST /v1/vms/${vm.id}/start starts it`,
      });
    }
    if (vm.desired === 'running') return keep('running', vm.state === 'running');
    return { target: 'running', needsHost: false, change: { desired: 'running' }, done: false };
  },
};

function keep(target: 'running' | 'paused' | 'stopped', done: boolean): Transition {
  return { target, needsHost: false, change: {}, done };
}

function notRunning(vm: Facts, needed: string): Problem {
  const onItsWay = vm.desired !== 'stopped' && vm.state === 'starting';
  return new Problem('vm_not_running', `${vm.id} is ${vm.state}; this needs it ${needed}`, {
    hint: onItsWay
      ? `GET /v1/vms/${vm.id}/wait?state=running first`
      : `POST /v1/vms/${vm.id}/start starts it`,
  });
}
