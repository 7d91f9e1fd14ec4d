import { Compile } from 'typebox/compile';
import {
  VM_HISTORY_SECONDS,
  VM_HISTORY_STEP_SECONDS,
  type VmMetricsPoint,
  VmMetricsRecord,
} from '../../contracts/metrics.ts';

const recordValidator = Compile(VmMetricsRecord);

/** Over a gap this long no rate is told: the VM was off, or its worker away. Milliseconds. */
const GAP_MS = 3 * VM_HISTORY_STEP_SECONDS * 1000;

/**
 * Counters as they were written down, newest first, as rates of the last hour, oldest first. A process that was
 * started anew begins its counters at 0: what it has counted is then what has been used since.
 */
export function toHistory(lines: readonly string[], now = Date.now()): VmMetricsPoint[] {
  const points: VmMetricsPoint[] = [];
  let before: VmMetricsRecord | undefined;
  for (const line of lines.toReversed()) {
    const record = parseRecord(line);
    if (record === null) continue;
    const [at, , rssBytes] = record;
    const ms = before === undefined ? Number.POSITIVE_INFINITY : at - before[0];
    if (before !== undefined && ms > 0 && ms <= GAP_MS && now - at <= VM_HISTORY_SECONDS * 1000) {
      const [, cpu, , read, written, reads, writes] = ratesSince(before, record, ms / 1000);
      points.push({
        at: new Date(at).toISOString(),
        cpu: { cores: cpu },
        memory: { rssBytes },
        disk: {
          readBytesPerSecond: read,
          writtenBytesPerSecond: written,
          readsPerSecond: reads,
          writesPerSecond: writes,
        },
        network: null,
      });
    }
    before = record;
  }
  return points;
}

function ratesSince(before: VmMetricsRecord, now: VmMetricsRecord, seconds: number): VmMetricsRecord {
  const anew = now[1] < before[1];
  const rate = (at: 1 | 2 | 3 | 4 | 5 | 6) => Math.max(0, now[at] - (anew ? 0 : before[at])) / seconds;
  return [now[0], rate(1), rate(2), rate(3), rate(4), rate(5), rate(6)];
}

function parseRecord(line: string): VmMetricsRecord | null {
  const value: unknown = JSON.parse(line);
  return recordValidator.Check(value) ? value : null;
}
