import { cpus, loadavg } from 'node:os';
import { parseArgs } from 'node:util';

/** The options that every bench takes: how often to measure. */
export function readRuns(fallback: number): number {
  const { values } = parseArgs({ options: { runs: { type: 'string', short: 'n' } } });
  const runs = values.runs === undefined ? fallback : Number(values.runs);
  if (!Number.isInteger(runs) || runs < 1 || runs > 100) {
    throw new Error(`--runs takes a whole number from 1 to 100, not ${values.runs}`);
  }
  return runs;
}

/** The middle of the figures; the mean of the two middle ones when their number is even. */
export function median(figures: readonly number[]): number {
  const sorted = [...figures].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half];
  if (upper === undefined) throw new RangeError('no figures');
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[half - 1] ?? upper)) / 2;
}

/** What the figures were taken on: without it they mean nothing. */
export function aboutThisMachine(): string {
  const all = cpus();
  const load = loadavg()[0]?.toFixed(1);
  return `${all.length} × ${all[0]?.model.trim() ?? 'unknown processor'}, load ${load}, Node ${process.versions.node}`;
}

/** Writes rows under their titles, the first column to the left, the others to the right. */
export function printTable(titles: readonly string[], rows: readonly (readonly string[])[]): void {
  const lines = [titles, ...rows];
  const widths = titles.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  for (const line of lines) {
    const cells = widths.map((width, i) =>
      i === 0 ? (line[i] ?? '').padEnd(width) : (line[i] ?? '').padStart(width),
    );
    process.stdout.write(`${cells.join('  ').trimEnd()}\n`);
  }
}
