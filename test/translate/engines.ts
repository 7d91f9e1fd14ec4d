import { RUN_LENGTH } from '../../src/hypervisor/cpu/interpret/run-decoder.ts';
import { GPR_NAMES } from '../../src/hypervisor/cpu/system/snapshot.ts';
import type { TranslationProfile } from '../../src/hypervisor/cpu/translate/profile/translation-profile.ts';
import { LIMITS, TRANSLATION, Translator } from '../../src/hypervisor/cpu/translate/translator.ts';
import { disassemble } from '../native/differential.ts';
import { type HostFault, type HostState, hostHas } from '../native/host-cpu.ts';
import { Random, vectorValue } from '../native/random.ts';
import { HostRunner } from './host-runner.ts';
import { type Ended, fieldAt, MOST_INSTRUCTIONS, maskExit, ProgramMachine } from './machine.ts';
import { CODE, DATA, DATA_AREAS, DATA_BYTES } from './places.ts';
import type { Program } from './program.ts';

/** How a translator is set up: samples until something is hot, instructions of a slice, and whether regions count what they do. */
export interface Setting {
  readonly threshold: number;
  readonly slice: number;
  readonly count: boolean;
  /** Regions have their full size from the start. */
  readonly full?: boolean;
  /** Compile beside the run, as guests have it. */
  readonly beside?: boolean;
  /** Regions at most. */
  readonly regions?: number;
  readonly profile?: TranslationProfile;
}

/** Regions begin at different places, after different paths. */
export const SETTINGS: readonly Setting[] = [
  { threshold: 1, slice: 40, count: true },
  { threshold: 1, slice: 7, count: false, full: true },
  { threshold: 1, slice: 1, count: true },
  { threshold: 2, slice: 150, count: false, full: true },
];

export interface TranslatingMachine {
  readonly name: string;
  readonly machine: ProgramMachine;
  readonly counts: boolean;
}

export type Verdict =
  | {
      readonly kind: 'equal';
      readonly ended: 'end' | 'fault';
      readonly native: boolean;
      readonly retired: number;
    }
  | { readonly kind: 'skipped'; readonly why: string }
  | { readonly kind: 'different'; readonly between: string; readonly what: string };

/** Totals over a batch. */
export interface Tally {
  programs: number;
  native: number;
  faults: number;
  resumed: number;
  skipped: number;
  /** Retired by translating machines that count, and of these in regions. */
  retired: number;
  inRegions: number;
  /** Places in the middle of programs where states were compared. */
  meetings: number;
}

const FLAGS = 0xcd5;
const PAGE_FAULT = 14;
/** Bit of a page fault's error code: an instruction was fetched. */
const FETCHED = 0x10n;
/** C0 to C3 of the x87 status word: arithmetic leaves most of them undefined. */
const CONDITIONS = 0x4700;
/** Instructions behind a slice's budget at most: the longest run of the interpreter's and a region without a loop. */
const MOST_OVERRUN = RUN_LENGTH + LIMITS.instructions;
/** Slices of a lock-step run before the program is given up. */
const MOST_SLICES = 8000;
const MOST_EXACT_SLICES = 400;
const hex = (value: bigint | number): string => value.toString(16);

/** A machine whose translator compiles at once. */
export function makeTranslator({
  threshold,
  slice,
  count,
  full = false,
  beside = false,
  regions = TRANSLATION.regions,
  profile,
}: Setting): TranslatingMachine {
  const options = {
    ...TRANSLATION,
    threshold,
    sliceInstructions: slice,
    count,
    full,
    immediate: !beside,
    regions,
    profile,
  };
  const machine = new ProgramMachine((host) => new Translator(host, options));
  return { name: `translator(${threshold},${slice})`, machine, counts: count };
}

/** Instructions that a translating machine retired in regions so far. */
function inRegions({ machine }: TranslatingMachine): number {
  return machine.guest.engine.counters()['regionInstructions'] ?? 0;
}

/** The first state of every program's data. */
export function firstData(): Uint8Array {
  const data = new Uint8Array(DATA_BYTES);
  const view = new DataView(data.buffer);
  const rng = new Random(1);
  for (const { offset, bytes } of DATA_AREAS)
    for (let at = offset; at < offset + bytes; at += 8) view.setBigUint64(at, vectorValue(rng), true);
  return data;
}

/** The interpreter, translators of several settings, and the host where it can: all run the same programs. */
export class Engines {
  readonly interpreter = new ProgramMachine();
  readonly translators: readonly TranslatingMachine[];
  readonly tally: Tally = {
    programs: 0,
    native: 0,
    faults: 0,
    resumed: 0,
    skipped: 0,
    retired: 0,
    inRegions: 0,
    meetings: 0,
  };
  /** Why there is no host processor to compare with. */
  readonly hostMissing: string | undefined;
  readonly #host: HostRunner | undefined;
  readonly #data = firstData();

  /** `native`: the host's processor too, if it can be had; one such object a process. */
  constructor(settings: readonly Setting[] = SETTINGS, native = true) {
    this.translators = settings.map(makeTranslator);
    if (!native) return;
    try {
      this.#host = new HostRunner(this.#data);
    } catch (error) {
      this.hostMissing = error instanceof Error ? error.message : String(error);
    }
  }

  /** Counters of all translators, summed. */
  counter(name: string): number {
    return this.translators.reduce(
      (sum, { machine }) => sum + (machine.guest.engine.counters()[name] ?? 0),
      0,
    );
  }

  /** Runs a program everywhere. `which`: only on these translators. */
  run(program: Program, which: readonly TranslatingMachine[] = this.translators): Verdict {
    this.tally.programs += 1;
    const a = this.interpreter;
    a.load(program, this.#data, false);
    const expected = a.run(program);
    if (!expected.halted) return this.#skip('does not come to an end');
    const { fault } = expected.run;
    if (!fault) return this.#skip(`stands at ${hex(expected.run.rip)}`);
    const ended = fault.vector === 13 && Number(fault.rip) === program.end;
    if (!ended) this.tally.faults += 1;
    for (const t of which) {
      const what = this.#translate(t, program, expected, false);
      if (what) return { kind: 'different', between: t.name, what };
    }
    let native = false;
    if (
      this.#host &&
      program.native &&
      (ended || fault.vector !== 14 || HostRunner.isShared(fault.address ?? 0n))
    ) {
      native = true;
      this.tally.native += 1;
      const what = this.#compareHost(this.#host, program, expected, ended ? undefined : fault);
      if (what) return { kind: 'different', between: 'host', what };
    }
    if (!ended) {
      const what = this.#resume(program, which);
      if (what) return { kind: 'different', ...what };
    }
    return { kind: 'equal', ended: ended ? 'end' : 'fault', native, retired: expected.retired };
  }

  /** Runs a program on one translator alone, and tells how many of its instructions retired in regions. */
  measure(program: Program, t: TranslatingMachine): { retired: number; inRegions: number } {
    t.machine.load(program, this.#data, false);
    const before = inRegions(t);
    const { retired } = t.machine.run(program);
    return { retired, inRegions: inRegions(t) - before };
  }

  #skip(why: string): Verdict {
    this.tally.skipped += 1;
    return { kind: 'skipped', why };
  }

  /** Runs it on a translator, and tells what differs from the interpreter. */
  #translate(t: TranslatingMachine, program: Program, expected: Ended, resumes: boolean): string | undefined {
    const { machine } = t;
    machine.load(program, this.#data, resumes);
    const before = inRegions(t);
    const got = machine.run(program, MOST_INSTRUCTIONS + 20_000);
    if (t.counts) {
      this.tally.retired += got.retired;
      this.tally.inRegions += inRegions(t) - before;
    }
    const found: string[] = [];
    if (!got.halted) found.push(`does not come to an end: stands at ${hex(machine.rip)}`);
    if (got.retired !== expected.retired)
      found.push(`instructions retired: interpreter ${expected.retired}, ${t.name} ${got.retired}`);
    found.push(...machineDifferences(this.interpreter, machine));
    return found.length > 0 ? found.join('\n') : undefined;
  }

  /** The same once more, with handlers that record each fault and let the program go on. */
  #resume(
    program: Program,
    which: readonly TranslatingMachine[],
  ): { between: string; what: string } | undefined {
    this.interpreter.load(program, this.#data, true);
    const expected = this.interpreter.run(program);
    if (!expected.halted) return undefined;
    this.tally.resumed += 1;
    for (const t of which) {
      const what = this.#translate(t, program, expected, true);
      if (what) return { between: t.name, what: `going on behind faults:\n${what}` };
    }
    return undefined;
  }

  /**
   * Runs a program on a translator in small slices, the interpreter behind it,
   * and compares wherever both have retired as many instructions: the state is
   * whole at every end of a slice. Engines stop at branches, not always the same.
   */
  lockStep(program: Program, t: TranslatingMachine): Verdict {
    const a = this.interpreter;
    const b = t.machine;
    const rng = new Random(program.seed);
    for (const machine of [a, b]) {
      machine.load(program, this.#data, true);
      machine.begin(program);
    }
    for (let slices = 0; !b.halted; slices++) {
      if (slices === MOST_SLICES) return { kind: 'skipped', why: 'does not come to an end' };
      const budget = 1 + rng.below(rng.chance(0.5) ? 8 : 80);
      const before = b.retired;
      b.advance(budget);
      const over = b.retired - before - budget;
      if (over > MOST_OVERRUN)
        return {
          kind: 'different',
          between: t.name,
          what: `a slice of ${budget} instructions goes on for ${over} more, to ${hex(b.rip)}`,
        };
      for (let left = b.retired - a.retired; left > 0 && !a.halted; left = b.retired - a.retired)
        a.advance(left);
      // A fault retires nothing: behind one engine's last instruction the other one may be in the handler already.
      if (a.retired !== b.retired || a.rip !== b.rip || a.halted !== b.halted || a.atString()) continue;
      this.tally.meetings += 1;
      const found = machineDifferences(a, b);
      if (found.length > 0)
        return {
          kind: 'different',
          between: t.name,
          what: [`after ${b.retired} instructions, at ${hex(b.rip)}:`, ...found].join('\n'),
        };
    }
    return { kind: 'equal', ended: 'end', native: false, retired: b.retired };
  }

  /** The same in slices of exactly so many ticks: here both always meet. */
  exactSteps(program: Program, t: TranslatingMachine): Verdict {
    const a = this.interpreter;
    const b = t.machine;
    const rng = new Random(program.seed + 1);
    for (const machine of [a, b]) {
      machine.load(program, this.#data, true);
      machine.begin(program);
    }
    for (let slices = 0; !a.halted; slices++) {
      if (slices === MOST_EXACT_SLICES) return { kind: 'skipped', why: 'does not come to an end' };
      const ticks = 1 + rng.below(rng.chance(0.4) ? 20 : 1500);
      for (const { guest } of [a, b]) guest.engine.runExactly(ticks);
      this.tally.meetings += 1;
      const found = machineDifferences(a, b);
      if (a.retired !== b.retired) found.push(`instructions retired: ${a.retired} and ${b.retired}`);
      if (found.length > 0) {
        const what = [`after exactly ${ticks} ticks, at ${hex(a.rip)} and ${hex(b.rip)}:`, ...found].join(
          '\n',
        );
        return { kind: 'different', between: t.name, what };
      }
    }
    return { kind: 'equal', ended: 'end', native: false, retired: b.retired };
  }

  #compareHost(
    host: HostRunner,
    program: Program,
    expected: Ended,
    guestFault: HostFault | undefined,
  ): string | undefined {
    const fault = host.run(program, this.#data);
    const found: string[] = [];
    const text = (f: HostFault | undefined): string =>
      f
        ? `#${f.vector}(${hex(f.errorCode)}) at ${hex(f.rip)}${f.address === undefined ? '' : ` address ${hex(f.address)}`}`
        : 'none';
    // The guest may run what lies in its data; the host's data is not executable.
    if (fault?.vector === PAGE_FAULT && (BigInt(fault.errorCode) & FETCHED) !== 0n) return undefined;
    if (text(fault) !== text(guestFault))
      found.push(`fault: host ${text(fault)}, interpreter ${text(guestFault)}`);
    found.push(...stateDifferences(program.mode, host.after, expected.after));
    const [a, b] = [host.code.slice(), this.interpreter.code.slice()];
    maskExit(a, program);
    maskExit(b, program);
    found.push(...bytesDiffer('code', CODE, a, b));
    for (const [n, { offset, bytes }] of DATA_AREAS.entries())
      found.push(
        ...bytesDiffer(
          'memory',
          DATA + offset,
          host.area(n),
          this.interpreter.data.subarray(offset, offset + bytes),
        ),
      );
    return found.length > 0 ? `host and interpreter:\n${found.join('\n')}` : undefined;
  }
}

/** Two machines' states, memory and records of faults. */
export function machineDifferences(a: ProgramMachine, b: ProgramMachine): string[] {
  const found: string[] = [];
  const [x, y] = [a.snapshot(), b.snapshot()];
  if (Buffer.compare(x, y) !== 0) {
    const [p, q] = [new DataView(x.buffer), new DataView(y.buffer)];
    let shown = '';
    for (let at = 0; at < x.length; at++) {
      const name = fieldAt(at & ~7);
      if (x[at] === y[at] || name === shown) continue;
      shown = name;
      const from = Math.min(at & ~7, x.length - 8);
      found.push(
        `${name}: interpreter ${hex(p.getBigUint64(from, true))}, other ${hex(q.getBigUint64(from, true))}`,
      );
    }
  }
  if (a.device.state !== b.device.state) found.push('the device saw other accesses');
  found.push(...bytesDiffer('memory', DATA, a.data, b.data));
  found.push(...bytesDiffer('code', CODE, a.code, b.code));
  found.push(...bytesDiffer('faults', 0, a.seen(), b.seen()));
  return found;
}

function bytesDiffer(name: string, address: number, a: Uint8Array, b: Uint8Array): string[] {
  if (Buffer.compare(a, b) === 0) return [];
  const at = a.findIndex((byte, n) => byte !== b[n]);
  const show = (bytes: Uint8Array): string => Buffer.from(bytes.subarray(at, at + 16)).toString('hex');
  return [`${name} at ${hex(address + at)}: ${show(a)} and ${show(b)}`];
}

/** Registers of the host and of a machine. */
function stateDifferences(mode: 32 | 64, host: HostState, guest: HostState): string[] {
  const found: string[] = [];
  const differ = (name: string, x: bigint | number, y: bigint | number): void => {
    if (x !== y) found.push(`${name}: host ${hex(x)}, interpreter ${hex(y)}`);
  };
  const mask = mode === 64 ? (1n << 64n) - 1n : 0xffff_ffffn;
  for (let n = 0; n < (mode === 64 ? 16 : 8); n++)
    differ(GPR_NAMES[n] ?? '', (host.gpr[n] ?? 0n) & mask, (guest.gpr[n] ?? 0n) & mask);
  differ('flags', host.rflags & FLAGS, guest.rflags & FLAGS);
  const word = (state: HostState, at: number): number => (state.fx[at] ?? 0) | ((state.fx[at + 1] ?? 0) << 8);
  differ('x87 control', word(host, 0), word(guest, 0));
  differ('x87 status', word(host, 2) & ~CONDITIONS, word(guest, 2) & ~CONDITIONS);
  const bytes = (name: string, x: Uint8Array, y: Uint8Array, from: number, to: number): void => {
    const text = (b: Uint8Array): string => Buffer.from(b.subarray(from, to)).reverse().toString('hex');
    if (text(x) !== text(y)) found.push(`${name}: host ${text(x)}, interpreter ${text(y)}`);
  };
  bytes('x87 tags', host.fx, guest.fx, 4, 5);
  bytes('mxcsr', host.fx, guest.fx, 24, 28);
  for (let n = 0; n < 8; n++) bytes(`st${n}`, host.fx, guest.fx, 32 + n * 16, 42 + n * 16);
  for (let n = 0; n < (mode === 64 ? 16 : 8); n++) {
    bytes(`xmm${n}`, host.fx, guest.fx, 160 + n * 16, 176 + n * 16);
    if (host.upper && guest.upper && hostHas('avx'))
      bytes(`ymm${n}'s upper half`, host.upper, guest.upper, n * 16, n * 16 + 16);
  }
  return found;
}

/** A program's disassembly and first registers. NOPs in a row are left out. */
export function describe(program: Program): string {
  const registers = [...program.gpr].map((value, n) => `${GPR_NAMES[n]}=${hex(value)}`).join(' ');
  const listing = disassemble(program.code, program.mode, program.at)
    .split('\n')
    .filter((line) => !/ nop$/.test(line))
    .map((line) => (line.trim().startsWith(hex(program.start)) ? `${line}    ; start` : line))
    .join('\n');
  const tables = program.patches.map(
    ({ offset, bytes }) => `  [${hex(DATA + offset)}] = ${Buffer.from(bytes).toString('hex')}`,
  );
  return [
    `${program.mode}-bit${program.variant ? `, ${program.variant}` : ''}, start ${hex(program.start)}, end ${hex(program.end)}`,
    listing,
    registers,
    `flags ${hex(program.rflags)}`,
    ...tables,
  ].join('\n');
}
