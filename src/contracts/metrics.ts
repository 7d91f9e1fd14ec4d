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

/** The Redis list with a VM's figures of the last hour, newest first, each JSON VmMetricsRecord. */
export function vmHistoryKey(vmId: string): string {
  return `vm-history:${vmId}`;
}

/** What a history holds: one record each so many seconds, for so long. Seconds. */
export const VM_HISTORY_STEP_SECONDS = 10;
export const VM_HISTORY_SECONDS = 3_600;

/**
 * Counters at one time, kept short since there are many: the time (ms since 1970), CPU seconds, resident bytes, bytes
 * read and written, bytes received and sent.
 */
export const VmMetricsRecord = Type.Tuple([
  Type.Integer(),
  Type.Number(),
  Type.Number(),
  Type.Number(),
  Type.Number(),
  Type.Number(),
  Type.Number(),
]);
export type VmMetricsRecord = Static<typeof VmMetricsRecord>;

/** Figures at one time; rates are those since the point before. */
export const VmMetricsPoint = Type.Object(
  {
    at: Type.String({ format: 'date-time' }),
    cpu: Type.Object({ cores: Type.Number({ minimum: 0, description: 'Cores of the host kept busy.' }) }),
    memory: Type.Object({ rssBytes: count() }),
    disk: Type.Object({ readBytesPerSecond: count(), writtenBytesPerSecond: count() }),
    network: Type.Object({ receivedBytesPerSecond: count(), sentBytesPerSecond: count() }),
  },
  { title: 'VmMetricsPoint' },
);
export type VmMetricsPoint = Static<typeof VmMetricsPoint>;

export const VmMetricsHistory = Type.Object(
  {
    vmId: Type.String(),
    stepSeconds: Type.Integer({ description: 'Between two points while the VM runs.' }),
    guestMiB: count(),
    points: Type.Array(VmMetricsPoint, { description: 'Of the last hour, oldest first.' }),
  },
  { title: 'VmMetricsHistory' },
);
export type VmMetricsHistory = Static<typeof VmMetricsHistory>;
