import type { Bits } from './build.ts';

/** What a program exercises; each group has a mean of its own. */
export type Group =
  | 'integer'
  | 'memory'
  | 'control'
  | 'double'
  | 'sse'
  | 'x87'
  | 'code'
  | 'kernel'
  | 'busybox';

export interface Program {
  /** Its name in programs/*.c, or the file's in jobs/. */
  readonly name: string;
  readonly group: Group;
  /** Units of work: about a second under QEMU's translator. */
  readonly scale: number;
}

/** How many times as long 32-bit code takes for the arithmetic of 64 bits that these are about. */
const NARROW: Readonly<Record<string, number>> = { hash64: 9, multiply: 35, divide: 8 };

const group = (name: Group, scales: Readonly<Record<string, number>>): Program[] =>
  Object.entries(scales).map(([program, scale]) => ({ name: program, group: name, scale }));

/** All programs, in the order in which they run. */
export const PROGRAMS: readonly Program[] = [
  ...group('integer', {
    alu: 1500,
    hash64: 4500,
    multiply: 6000,
    divide: 3000,
    queens: 6000,
    matrix: 90,
    crc32: 1200,
    sha256: 3000,
  }),
  ...group('memory', {
    chase_near: 360,
    chase_far: 100,
    sieve: 50,
    copy: 55,
    copy_rep: 20,
    bytes: 2900,
    bytes_sse: 1400,
    quicksort: 90,
    heapsort: 50,
    tree: 45,
    lz: 400,
  }),
  ...group('control', {
    fib: 4000,
    ackermann: 1600,
    table_calls: 900,
    virtual_calls: 900,
    bytecode: 250,
    format: 1200,
  }),
  ...group('double', { nbody: 450, mandelbrot: 280, matrix_double: 190, vector_double: 1600 }),
  ...group('sse', { convert: 1200, filter_float: 2000, blend: 5000 }),
  ...group('x87', { x87_polynomial: 550, x87_newton: 800, x87_double: 2000 }),
  ...group('code', { jit: 950, jit_new: 90, patch: 85, data_by_code: 100 }),
  ...group('kernel', {
    syscalls: 1500,
    reads: 540,
    faults: 50,
    forks: 50,
    execs: 80,
    pipes: 85,
    pipes_bulk: 300,
  }),
  ...group('busybox', {
    sh_loop: 13,
    sh_fork: 14,
    awk: 14,
    sort: 11,
    gzip: 24,
    sha256sum: 10,
    grep: 19,
    sed: 23,
    tar: 16,
  }),
];

/** The programs with their scales for one width. */
export function programsFor(bits: Bits, programs: readonly Program[]): Program[] {
  return programs.map((program) => {
    const divisor = bits === 32 ? (NARROW[program.name] ?? 1) : 1;
    return { ...program, scale: Math.max(1, Math.round(program.scale / divisor)) };
  });
}

/** Whether a program needs no operating system below it. */
export function runsBare({ group }: Program): boolean {
  return group !== 'kernel' && group !== 'busybox';
}

/**
 * The programs whose names are given; all when none are. A group's name stands for its programs.
 * @param factor for their scales, which stay at least 1
 * @throws Error for a name that no program has
 */
export function choosePrograms(names: readonly string[], factor: number): Program[] {
  const unknown = names.find((name) => !PROGRAMS.some((program) => isCalled(program, name)));
  if (unknown !== undefined) {
    throw new Error(
      `there is no program "${unknown}"; there are: ${PROGRAMS.map(({ name }) => name).join(', ')}`,
    );
  }
  return PROGRAMS.filter(
    (program) => names.length === 0 || names.some((name) => isCalled(program, name)),
  ).map((program) => ({ ...program, scale: Math.max(1, Math.round(program.scale * factor)) }));
}

function isCalled({ name, group: of }: Program, wanted: string): boolean {
  return name === wanted || of === wanted;
}

/** What a guest's command line says to run: `bench=NAME:SCALE,…`. */
export function benchArgument(programs: readonly Program[]): string {
  return `bench=${programs.map(({ name, scale }) => `${name}:${scale}`).join(',')}`;
}
