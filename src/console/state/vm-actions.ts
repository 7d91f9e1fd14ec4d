import type { Operation } from '../../contracts/operations.ts';
import type { Vm } from '../../contracts/vms.ts';
import { request } from '../api/api.ts';
import { describe } from '../api/api-error.ts';
import { toast } from '../ui/toast.tsx';
import { take, tellFailureOf } from './machines.ts';

export type VmAction = 'start' | 'shutdown' | 'stop' | 'reset' | 'pause' | 'resume';

/** What makes sense for a machine as it is; the service has the last word. */
export function mayDo(vm: Pick<Vm, 'state' | 'desired'>, action: VmAction): boolean {
  if (vm.desired === 'deleted') return false;
  switch (action) {
    case 'start':
      return vm.state === 'stopped' || vm.state === 'failed';
    case 'shutdown':
      return vm.state === 'running';
    case 'stop':
      return vm.state !== 'stopped';
    case 'reset':
      return vm.state === 'running' || vm.state === 'paused';
    case 'pause':
      return vm.state === 'running';
    case 'resume':
      return vm.state === 'paused';
  }
}

/** Asks for it, and tells when it was refused or, later, when it failed. @returns whether it was accepted */
export async function act(vm: Pick<Vm, 'id' | 'name'>, action: VmAction): Promise<boolean> {
  try {
    const answer = await request<{ vm: Vm; operation: Operation }>('POST', `vms/${vm.id}/${action}`);
    tellFailureOf(answer.operation);
    take(answer);
    return true;
  } catch (error) {
    toast(`${vm.name}: ${describe(error)}`, 'problem');
    return false;
  }
}

/** Requests at once of one that concerns many machines. */
const AT_ONCE = 4;

/** Does it to many, a few at a time. */
export async function actOnAll(vms: readonly Vm[], action: VmAction): Promise<void> {
  const left = vms.filter((vm) => mayDo(vm, action));
  const asked = left.length;
  let accepted = 0;
  const work = async () => {
    for (let vm = left.pop(); vm !== undefined; vm = left.pop()) if (await act(vm, action)) accepted++;
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  if (accepted > 0) toast(`${action}: asked for ${accepted} of ${asked} machines`);
}
