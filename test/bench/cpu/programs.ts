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
  /** Units of work: about a second under QEMU's translator with 64 bits. */
  readonly scale: number;
}

const group = (name: Group, scales: Readonly<Record<string, number>>): Program[] =>
  Object.entries(scales).map(([program, scale]) => ({ name: program, group: name, scale }));

/** All programs, in the order in which they run. */
export const PROGRAMS: readonly Program[] = [
  ...group('integer', {
    alu: 100,
    hash64: 100,
    multiply: 100,
    divide: 100,
    queens: 100,
    matrix: 100,
    crc32: 100,
    sha256: 100,
  }),
  ...group('memory', {
    chase_near: 100,
    chase_far: 100,
    sieve: 100,
    copy: 100,
    copy_rep: 100,
    bytes: 100,
    bytes_sse: 100,
    quicksort: 100,
    heapsort: 100,
    tree: 100,
    lz: 100,
  }),
  ...group('control', {
    fib: 100,
    ackermann: 100,
    table_calls: 100,
    virtual_calls: 100,
    bytecode: 100,
    format: 100,
  }),
  ...group('double', { nbody: 100, mandelbrot: 100, matrix_double: 100, vector_double: 100 }),
  ...group('sse', { convert: 100, filter_float: 100, blend: 100 }),
  ...group('x87', { x87_polynomial: 100, x87_newton: 100, x87_double: 100 }),
  ...group('code', { jit: 100, jit_new: 100, patch: 100, data_by_code: 100 }),
  ...group('kernel', {
    syscalls: 100,
    reads: 100,
    faults: 100,
    forks: 100,
    execs: 100,
    pipes: 100,
    pipes_bulk: 100,
  }),
  ...group('busybox', {
    sh_loop: 10,
    sh_fork: 10,
    awk: 10,
    sort: 10,
    gzip: 10,
    sha256sum: 10,
    grep: 10,
    sed: 10,
    tar: 10,
  }),
];

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
