import { median } from '../support/figures.ts';
import type { Bits } from './build.ts';
import type { Group, Program } from './programs.ts';
import type { Result } from './session.ts';

/** What is measured: Teremok, and what it is compared with. */
export type MachineName = 'teremok' | 'qemu' | 'v86';

/** Which time is compared: what passed, or what the process took of processors. */
export type Clock = 'wall' | 'cpu';

/** One program on one machine. */
export interface Cell {
  /** Median by the clock asked for; undefined when any run went wrong. */
  readonly seconds?: number;
  /** Of all runs, by both. */
  readonly all: readonly { readonly wall: number; readonly cpu: number }[];
  /** How far the guest's clock was from the host's in the worst run, as a share of the host's. */
  readonly skew?: number;
  readonly error?: string;
}

export interface Row {
  readonly name: string;
  readonly bits: Bits;
  readonly group: Group;
  readonly scale: number;
  readonly checksum?: string;
  /** On this machine itself. */
  readonly nativeSeconds?: number;
  readonly cells: Readonly<Partial<Record<MachineName, Cell>>>;
}

/** Shares of a second that the guest's clock may be wrong by without being told. */
const SKEW = 0.1;
/** Shorter programs are not looked at: the line itself takes its time. Seconds. */
const SKEW_FROM = 0.5;

/**
 * Makes a program's row of its results.
 * @param native what the program does on this machine itself, where it can
 * @param runs by machine, the results of all runs
 * @param clock what the medians are of
 */
export function makeRow(
  program: Program,
  bits: Bits,
  native: Result | undefined,
  runs: ReadonlyMap<MachineName, readonly Result[]>,
  clock: Clock = 'wall',
): Row {
  // Without a native run the first machine that computed anything says what is right; the others must agree.
  const checksum = native?.checksum ?? [...runs.values()].flat().find((result) => result.checksum)?.checksum;
  const cells = [...runs].map(([name, results]) => [name, makeCell(results, checksum, clock)]);
  const { name, group, scale } = program;
  return {
    name,
    bits,
    group,
    scale,
    ...(checksum === undefined ? {} : { checksum }),
    ...(native?.seconds === undefined ? {} : { nativeSeconds: native.seconds }),
    cells: Object.fromEntries(cells),
  };
}

function makeCell(results: readonly Result[], checksum: string | undefined, clock: Clock): Cell {
  const all = results.flatMap(({ seconds, cpuSeconds = 0 }) =>
    seconds === undefined ? [] : [{ wall: seconds, cpu: cpuSeconds }],
  );
  const wrong = results.find((result) => result.checksum !== undefined && result.checksum !== checksum);
  const error =
    results.find((result) => result.error !== undefined)?.error ??
    (wrong === undefined ? undefined : `computed ${wrong.checksum}, not ${checksum}`);
  if (error !== undefined) return { all, error };
  const skew = Math.max(...results.map(skewOf));
  return { seconds: median(all.map((times) => times[clock])), all, ...(skew > SKEW ? { skew } : {}) };
}

function skewOf({ seconds, guestSeconds }: Result): number {
  if (seconds === undefined || guestSeconds === undefined || seconds < SKEW_FROM) return 0;
  return Math.abs(guestSeconds / seconds - 1);
}

/** How long Teremok takes where another machine takes 1; undefined when either has no figure. */
export function ratio({ cells }: Row, other: MachineName): number | undefined {
  const [own, theirs] = [cells.teremok?.seconds, cells[other]?.seconds];
  return own === undefined || theirs === undefined ? undefined : own / theirs;
}

export interface Mean {
  readonly mean: number;
  readonly count: number;
  readonly worst: string;
  readonly worstRatio: number;
}

/** The geometric mean of rows' ratios, and the worst of them; undefined when there is none. */
export function meanRatio(rows: readonly Row[], other: MachineName): Mean | undefined {
  const ratios = rows.flatMap((row) => {
    const value = ratio(row, other);
    return value === undefined ? [] : [{ name: row.name, value }];
  });
  const worst = ratios.toSorted((a, b) => b.value - a.value)[0];
  if (worst === undefined) return undefined;
  const logs = ratios.reduce((sum, { value }) => sum + Math.log2(value), 0);
  return {
    mean: 2 ** (logs / ratios.length),
    count: ratios.length,
    worst: worst.name,
    worstRatio: worst.value,
  };
}
