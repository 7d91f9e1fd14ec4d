import { Compile } from 'typebox/compile';
import { VmMetrics, vmMetricsKey } from '../../contracts/metrics.ts';
import type { Vm } from '../../contracts/vms.ts';
import type { Redis } from '../../infra/redis.ts';

export interface VmMetricsService {
  /** The VM's latest figures, as its worker reported them; zeros when it has no process. */
  of(vm: Vm): Promise<VmMetrics & { vmId: string; state: Vm['state'] }>;
}

const metricsValidator = Compile(VmMetrics);

export function createVmMetricsService(deps: { readonly redis: Redis }): VmMetricsService {
  return {
    async of(vm) {
      const text = await deps.redis.get(vmMetricsKey(vm.id));
      const sample = text === null ? null : parseSample(text);
      return { ...(sample ?? nothing(vm)), vmId: vm.id, state: vm.state };
    },
  };
}

function parseSample(text: string): VmMetrics | null {
  const value: unknown = JSON.parse(text);
  return metricsValidator.Check(value) ? value : null;
}

function nothing(vm: Vm): VmMetrics {
  return {
    at: new Date().toISOString(),
    cpu: { seconds: 0 },
    memory: { guestMiB: vm.memoryMiB, rssBytes: 0 },
    disk: { readBytes: 0, writtenBytes: 0, operations: 0 },
    network: { receivedBytes: 0, sentBytes: 0 },
  };
}
