import { Compile } from 'typebox/compile';
import {
  VM_HISTORY_STEP_SECONDS,
  VmMetrics,
  type VmMetricsHistory,
  vmHistoryKey,
  vmMetricsKey,
} from '../../contracts/metrics.ts';
import type { Vm } from '../../contracts/vms.ts';
import type { Redis } from '../../infra/redis.ts';
import { toHistory } from './vm-history.ts';

export interface VmMetricsService {
  /** The VM's latest figures, as its worker reported them; zeros when it has no process. */
  of(vm: Vm): Promise<VmMetrics & { vmId: string; state: Vm['state'] }>;
  /** Its figures over the last hour. */
  history(vm: Vm): Promise<VmMetricsHistory>;
}

const metricsValidator = Compile(VmMetrics);

export function createVmMetricsService(deps: { readonly redis: Redis }): VmMetricsService {
  return {
    async of(vm) {
      const text = await deps.redis.get(vmMetricsKey(vm.id));
      const sample = text === null ? null : parseSample(text);
      return { ...(sample ?? nothing(vm)), vmId: vm.id, state: vm.state };
    },

    async history(vm) {
      const lines = await deps.redis.lrange(vmHistoryKey(vm.id), 0, -1);
      return {
        vmId: vm.id,
        stepSeconds: VM_HISTORY_STEP_SECONDS,
        guestMiB: vm.memoryMiB,
        points: toHistory(lines),
      };
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
    disk: { readBytes: 0, readOperations: 0, writtenBytes: 0, writeOperations: 0, operations: 0, drives: [] },
    network: null,
  };
}
