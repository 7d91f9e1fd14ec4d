import type { VmMetrics, VmMetricsPoint } from '../../contracts/metrics.ts';

/** One moment of a machine, made of two of its counters' readings. */
export interface Point {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Of one core of the host; a little more than 100 while others help. */
  readonly cpuPercent: number;
  readonly memoryBytes: number;
  /** From its drives and to them, bytes a second. */
  readonly readRate: number;
  readonly writeRate: number;
}

/** Readings further apart than this are not connected. Milliseconds. */
const GAP_MS = 120_000;

/** Rates between readings, oldest first. A counter that fell belongs to a new process: nothing is known of between. */
export function toPoints(samples: readonly VmMetrics[]): Point[] {
  const points: Point[] = [];
  for (let n = 1; n < samples.length; n++) {
    const point = between(samples[n - 1], samples[n]);
    if (point !== undefined) points.push(point);
  }
  return points;
}

function between(before: VmMetrics | undefined, now: VmMetrics | undefined): Point | undefined {
  if (before === undefined || now === undefined) return undefined;
  const at = Date.parse(now.at);
  const seconds = (at - Date.parse(before.at)) / 1000;
  if (!(seconds > 0) || seconds * 1000 > GAP_MS || now.cpu.seconds < before.cpu.seconds) return undefined;
  const rate = (more: number, less: number) => Math.max(0, more - less) / seconds;
  return {
    at,
    cpuPercent: rate(now.cpu.seconds, before.cpu.seconds) * 100,
    memoryBytes: now.memory.rssBytes,
    readRate: rate(now.disk.readBytes, before.disk.readBytes),
    writeRate: rate(now.disk.writtenBytes, before.disk.writtenBytes),
  };
}

/** A point of the service's own history. */
export function fromHistory({ at, cpu, memory, disk }: VmMetricsPoint): Point {
  return {
    at: Date.parse(at),
    cpuPercent: cpu.cores * 100,
    memoryBytes: memory.rssBytes,
    readRate: disk.readBytesPerSecond,
    writeRate: disk.writtenBytesPerSecond,
  };
}

/** Puts a reading behind the others, drops what is older than `keepMs`, and what is no news. */
export function withSample(
  samples: readonly VmMetrics[],
  sample: VmMetrics,
  keepMs: number,
): readonly VmMetrics[] {
  const at = Date.parse(sample.at);
  const last = samples.at(-1);
  if (last !== undefined && Date.parse(last.at) >= at) return samples;
  return [...samples.filter((each) => at - Date.parse(each.at) <= keepMs), sample];
}

/** The path of a line through `values` in a field of this size, as SVG has it; a new stroke after each gap. */
export function linePath(
  points: readonly { readonly at: number; readonly value: number }[],
  field: {
    readonly from: number;
    readonly to: number;
    readonly top: number;
    readonly width: number;
    readonly height: number;
  },
): string {
  const x = (at: number) => (((at - field.from) / (field.to - field.from)) * field.width).toFixed(1);
  const y = (value: number) =>
    (field.height - (Math.min(value, field.top) / field.top) * field.height).toFixed(1);
  let path = '';
  let last: number | undefined;
  for (const { at, value } of points) {
    path += `${last === undefined || at - last > GAP_MS ? 'M' : 'L'}${x(at)} ${y(value)}`;
    last = at;
  }
  return path;
}
