import { useEffect, useState } from 'preact/hooks';
import type { VmMetrics, VmMetricsHistory } from '../../contracts/metrics.ts';
import type { Vm } from '../../contracts/vms.ts';
import { request } from '../api/api.ts';
import { fromHistory, type Point, toPoints, withSample } from '../state/metric-series.ts';
import { bytes } from '../ui/format.ts';
import { Plot } from '../ui/plot.tsx';
import { hasProcess } from './vm-facts.ts';

/** How often a reading is taken while somebody looks, and how long what it shows is. Milliseconds. */
const EVERY_MS = 5_000;
const SPAN_MS = 3_600_000;

/** What a machine has used in the last hour. */
export function FiguresCard({ vm }: { readonly vm: Vm }) {
  const { points, last } = useFigures(vm);
  const line = (of: (point: Point) => number) => points.map((point) => ({ at: point.at, value: of(point) }));
  return (
    <section class="card figures" aria-labelledby="figures-title">
      <h2 id="figures-title">The last hour</h2>
      <div class="plots">
        <Plot
          title="CPU"
          spanMs={SPAN_MS}
          least={100}
          format={(value) => `${Math.round(value)} %`}
          points={line((point) => point.cpuPercent)}
        />
        <Plot
          title="Memory on the host"
          spanMs={SPAN_MS}
          least={64 * 1024 * 1024}
          format={bytes}
          points={line((point) => point.memoryBytes)}
        />
        <Plot
          title="Read from drives"
          spanMs={SPAN_MS}
          least={1024}
          format={perSecond}
          points={line((point) => point.readRate)}
        />
        <Plot
          title="Written to drives"
          spanMs={SPAN_MS}
          least={1024}
          format={perSecond}
          points={line((point) => point.writeRate)}
        />
      </div>
      <Drives vm={vm} last={last} />
      <p class="muted">There is no network device in this machine, so there is nothing to plot of one.</p>
    </section>
  );
}

/** What each drive has moved since the machine was started. */
function Drives({ vm, last }: { readonly vm: Vm; readonly last: VmMetrics | undefined }) {
  const drives = [
    ...vm.disks.map(({ id, bus }, at) => ({ id, name: `Disk ${at + 1}, ${bus}` })),
    ...(vm.cdrom === null ? [] : [{ id: 'cdrom', name: 'CD-ROM' }]),
  ];
  if (drives.length === 0) return null;
  const moved = (id: string) => {
    const drive = last?.disk.drives.find((each) => each.id === id);
    return drive === undefined ? '–' : `${bytes(drive.readBytes)} read, ${bytes(drive.writtenBytes)} written`;
  };
  return (
    <dl class="facts">
      {drives.map(({ id, name }) => (
        <div key={id}>
          <dt>{name}</dt>
          <dd>{moved(id)}</dd>
        </div>
      ))}
    </dl>
  );
}

const perSecond = (value: number) => `${bytes(value)}/s`;

/** The service's history, and readings since, while the page is visible. */
function useFigures({ id, state }: Vm): {
  readonly points: readonly Point[];
  /** Undefined until there is one. */
  readonly last: VmMetrics | undefined;
} {
  const [history, setHistory] = useState<readonly Point[]>([]);
  const [samples, setSamples] = useState<readonly VmMetrics[]>([]);
  const runs = hasProcess({ state });
  useEffect(() => {
    let gone = false;
    const load = async () => {
      try {
        const { points } = await request<VmMetricsHistory>('GET', `vms/${id}/metrics/history`);
        if (!gone) setHistory(points.map(fromHistory));
      } catch {
        // Plots without a past are plots all the same.
      }
    };
    const read = async () => {
      if (document.hidden || !runs) return;
      try {
        const sample = await request<VmMetrics>('GET', `vms/${id}/metrics`);
        if (!gone) setSamples((before) => withSample(before, sample, SPAN_MS));
      } catch {
        // The next reading may come.
      }
    };
    // While nobody looked no readings were taken: the service has them.
    const look = () => {
      if (document.hidden) return;
      void load();
      void read();
    };
    look();
    document.addEventListener('visibilitychange', look);
    const timer = setInterval(() => void read(), EVERY_MS);
    return () => {
      gone = true;
      document.removeEventListener('visibilitychange', look);
      clearInterval(timer);
    };
  }, [id, runs]);
  const known = history.at(-1)?.at ?? 0;
  const points = [...history, ...toPoints(samples).filter(({ at }) => at > known)];
  return { points, last: runs ? samples.at(-1) : undefined };
}
