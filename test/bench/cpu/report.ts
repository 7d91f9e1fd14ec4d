import { printTable } from '../support/figures.ts';
import type { Bits } from './build.ts';
import { type MachineName, type Mean, meanRatio, type Row, ratio } from './rows.ts';
import { GUEST_MIB, type MachineFigures } from './whole.ts';

const OTHERS = ['qemu', 'v86'] as const;

const seconds = (value: number | undefined): string => (value === undefined ? '' : value.toFixed(2));
const times = (value: number | undefined): string => (value === undefined ? '' : value.toFixed(2));

/** Prints a table of programs of one width, what went wrong in them, and their means. */
export function printPrograms(bits: Bits, rows: readonly Row[]): void {
  const others = OTHERS.filter((name) => rows.some(({ cells }) => cells[name] !== undefined));
  const titles = [
    `${bits}-bit`,
    'teremok s',
    ...others.flatMap((name) => [`${name} s`, `/ ${name}`]),
    'host s',
  ];
  const cell = (row: Row, name: MachineName): string =>
    row.cells[name]?.error === undefined ? seconds(row.cells[name]?.seconds) : 'error';
  const lines = rows.map((row) => [
    row.name,
    cell(row, 'teremok'),
    ...others.flatMap((name) => [cell(row, name), times(ratio(row, name))]),
    seconds(row.nativeSeconds),
  ]);
  process.stdout.write('\n');
  printTable(titles, lines);
  for (const line of troubles(rows)) process.stdout.write(`${line}\n`);
  for (const other of others) printMeans(bits, rows, other);
}

function printMeans(bits: Bits, rows: readonly Row[], other: MachineName): void {
  const groups = [...new Set(rows.map(({ group }) => group))];
  const programs = rows.filter(({ group }) => group !== 'busybox');
  const parts: (readonly [string, readonly Row[]])[] = [
    ['all', rows],
    ...(programs.length < rows.length && programs.length > 0
      ? ([['programs without BusyBox', programs]] as const)
      : []),
    ...(groups.length > 1
      ? groups.map((group) => [group, rows.filter((row) => row.group === group)] as const)
      : []),
  ];
  const lines = parts.flatMap(([name, part]) => {
    const mean = meanRatio(part, other);
    return mean === undefined ? [] : [meanLine(name, mean)];
  });
  if (lines.length === 0) return;
  process.stdout.write('\n');
  printTable(
    [`${bits}-bit, teremok / ${other}`, 'geometric mean', 'programs', 'worst', 'worst program'],
    lines,
  );
}

function meanLine(name: string, { mean, count, worst, worstRatio }: Mean): string[] {
  return [name, mean.toFixed(2), String(count), worstRatio.toFixed(2), worst];
}

/** Errors and clocks that went wrong, a line each. */
export function troubles(rows: readonly Row[]): string[] {
  return rows.flatMap(({ name, bits, cells }) =>
    Object.entries(cells).flatMap(([machine, { error, skew }]) => {
      const where = `${name}, ${bits}-bit, ${machine}`;
      if (error !== undefined) return [`error: ${where}: ${error}`];
      return skew === undefined
        ? []
        : [`note: ${where}: the guest's clock was off by ${(skew * 100).toFixed(0)} %`];
    }),
  );
}

/** Prints what concerns the machine as a whole. */
export function printMachine(
  own: MachineFigures,
  theirs: MachineFigures | undefined,
  idleSeconds: number,
): void {
  const row = (name: string, figure: (figures: MachineFigures) => number, digits: number): string[] => [
    name,
    figure(own).toFixed(digits),
    ...(theirs === undefined ? [] : [figure(theirs).toFixed(digits), quotient(figure(own), figure(theirs))]),
  ];
  process.stdout.write('\n');
  printTable(
    [
      `Debian's cloud kernel, ${GUEST_MIB} MiB`,
      'teremok',
      ...(theirs === undefined ? [] : ['qemu', '/ qemu']),
    ],
    [
      row("start of the command to the shell's prompt, s", ({ bootSeconds }) => bootSeconds, 2),
      row(`idle at the prompt for ${idleSeconds} s, % of a core`, ({ idlePercent }) => idlePercent, 2),
      row(
        'resident after boot, without what of guest RAM is resident, MiB',
        (of) => of.residentMiB - of.inRamMiB,
        0,
      ),
      row('resident after boot, less the size of guest RAM, MiB', (of) => of.residentMiB - GUEST_MIB, 0),
    ],
  );
}

/** Of what may be less than nothing, where a process has not touched all of the guest's memory: then there is none. */
function quotient(own: number, theirs: number): string {
  return own > 0 && theirs > 0 ? times(own / theirs) : '';
}
