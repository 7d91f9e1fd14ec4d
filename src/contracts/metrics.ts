import Type, { type Static } from 'typebox';
import { Nullable } from './common.ts';

/** The Redis key under which a VM's worker keeps its latest figures, as JSON VmMetrics, for some seconds. */
export function vmMetricsKey(vmId: string): string {
  return `vm-metrics:${vmId}`;
}

/** How long a figure stays in Redis when it is not renewed. Seconds. */
export const VM_METRICS_TTL_SECONDS = 30;

const count = () => Type.Number({ minimum: 0 });

const traffic = {
  readBytes: count(),
  readOperations: Type.Integer({ minimum: 0 }),
  writtenBytes: count(),
  writeOperations: Type.Integer({ minimum: 0 }),
};

/** What drives have moved for their guests. */
export const Traffic = Type.Object(traffic);
export type Traffic = Static<typeof Traffic>;

/**
 * The Redis key under which a worker keeps what all VMs of its host have moved since it started, as JSON Traffic, for
 * VM_METRICS_TTL_SECONDS.
 */
export function hostTrafficKey(hostId: string): string {
  return `host-traffic:${hostId}`;
}

/** A machine has no network device in this version, so there is nothing to be counted. */
const NO_NETWORK = 'Null: the machine has no network device.';

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
    disk: Type.Object(
      {
        ...traffic,
        operations: count(),
        drives: Type.Array(Type.Object({ id: Type.String({ maxLength: 80 }), ...traffic }), {
          description: 'Each by its id; the CD-ROM drive is `cdrom`.',
        }),
      },
      { description: 'What its guest has read and written, all drives together, and each.' },
    ),
    network: Nullable(Type.Object({ receivedBytes: count(), sentBytes: count() }), {
      description: NO_NETWORK,
    }),
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
 * read and written, requests that read and that wrote.
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
    disk: Type.Object({
      readBytesPerSecond: count(),
      writtenBytesPerSecond: count(),
      readsPerSecond: count(),
      writesPerSecond: count(),
    }),
    network: Nullable(Type.Object({ receivedBytesPerSecond: count(), sentBytesPerSecond: count() }), {
      description: NO_NETWORK,
    }),
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
