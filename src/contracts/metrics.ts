import Type, { type Static } from 'typebox';

/** The Redis key under which a VM's worker keeps its latest figures, as JSON VmMetrics, for some seconds. */
export function vmMetricsKey(vmId: string): string {
  return `vm-metrics:${vmId}`;
}

/** How long a figure stays in Redis when it is not renewed. Seconds. */
export const VM_METRICS_TTL_SECONDS = 30;

const count = () => Type.Number({ minimum: 0 });

/** One VM's figures. Counters grow from the start of its process; what is not known is absent. */
export const VmMetrics = Type.Object(
  {
    at: Type.String({ format: 'date-time' }),
    cpu: Type.Object({
      seconds: count(),
      instructions: Type.Optional(count()),
      haltedSeconds: Type.Optional(count()),
    }),
    memory: Type.Object({ guestMiB: count(), rssBytes: count() }),
    disk: Type.Object({ readBytes: count(), writtenBytes: count(), operations: count() }),
    network: Type.Object({ receivedBytes: count(), sentBytes: count() }),
    serial: Type.Optional(Type.Object({ sentBytes: count(), receivedBytes: count(), viewers: count() })),
  },
  { title: 'VmMetrics' },
);
export type VmMetrics = Static<typeof VmMetrics>;
