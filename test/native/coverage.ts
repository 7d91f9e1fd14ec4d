import type { Encoding, OpcodeTable } from '../../src/hypervisor/cpu/decode/encoding.ts';
import { arithmeticInstructions } from '../../src/hypervisor/cpu/isa/integer/arithmetic.ts';
import { bmiInstructions } from '../../src/hypervisor/cpu/isa/integer/bmi.ts';
import { flowInstructions } from '../../src/hypervisor/cpu/isa/integer/flow.ts';
import { moveInstructions } from '../../src/hypervisor/cpu/isa/integer/move.ts';
import { shiftInstructions } from '../../src/hypervisor/cpu/isa/integer/shift.ts';
import { stringInstructions } from '../../src/hypervisor/cpu/isa/integer/string.ts';
import { hostHas } from './host-cpu.ts';

const INTEGER = new Set(
  [
    ...arithmeticInstructions,
    ...bmiInstructions,
    ...flowInstructions,
    ...moveInstructions,
    ...shiftInstructions,
    ...stringInstructions,
  ].map((i) => i.name),
);

/** System instructions that a program may use, or that fault in the same way whatever the system has set up. */
const USER = new Set([
  'mov-from-sreg',
  'push-es',
  'push-cs',
  'push-ss',
  'push-ds',
  'push-fs',
  'push-gs',
  'pushf',
  'popf',
  'cli',
  'sti',
  'arpl',
  'lar',
  'lsl',
  'verr',
  'verw',
  'int',
  'int3',
  'into',
  'in',
  'out',
  'insb',
  'ins',
  'outsb',
  'outs',
  'rdgsbase',
]);

const VECTOR_STATE = /^(f?x(save|rstor)|v?ldmxcsr|v?stmxcsr|xgetbv|emms|v?rcp|v?rsqrt)/;
/** Whether a vector instruction loads or stores the state as a whole, or its result is the processor's choice. */
export const isVectorState = (name: string): boolean => VECTOR_STATE.test(name);

/** What /proc/cpuinfo calls the features of rows that a host may lack. */
const HOST_FEATURES: Readonly<Record<string, string>> = {
  AVX: 'avx',
  AVX2: 'avx2',
  FMA: 'fma',
  F16C: 'f16c',
};

/** Whether the host's processor has the row. Of those before AVX every host is thought to have all. */
export function runsOnHost({ instruction }: Encoding): boolean {
  const feature = HOST_FEATURES[instruction.cpuid ?? ''];
  return feature === undefined || hostHas(feature);
}

/** Fault differently from one vendor or CR4 to another, although privileged. */
const VENDOR = new Set(['swapgs', 'invlpg']);

/**
 * What processors of different makers do differently: the register form of PREFETCHW is #UD on AMD's, a NOP on
 * Intel's; VPINSRD and VPEXTRD with VEX.W1 outside 64-bit mode is #UD on AMD's, and Intel's ignore W (SDM vol. 2, PINSRB).
 */
export const differsByVendor = (e: Encoding, memory: boolean): boolean =>
  (e.map === 1 && e.opcode === 0x0d && !memory) ||
  (/^vp(ins|ext)rd$/.test(e.instruction.name) && e.rexW === 1);

/** Why an encoding is not run by the tests against the host; undefined: it is. */
export function reasonNotRun(encoding: Encoding): string | undefined {
  const { instruction, prefix } = encoding;
  if (differsByVendor(encoding, true)) return 'differs from maker to maker';
  if (!runsOnHost(encoding)) return 'the host has it not';
  const { name, unit, privilege } = instruction;
  if (INTEGER.has(name) || USER.has(name)) return undefined;
  if (unit === 'x87') return 'x87 has tests of its own';
  if (unit === 'mmx' || unit === 'sse' || unit === 'avx')
    return VECTOR_STATE.test(name)
      ? 'vector state as a whole, and approximations: tests of its own'
      : undefined;
  if (privilege === 0 && !VENDOR.has(name)) return undefined;
  if (
    /^(prefetch|[lms]fence|movnti|crc32|clflush|pause)/.test(name) ||
    (prefix !== undefined && instruction.cpuid?.startsWith('SSE'))
  )
    return undefined;
  return 'system';
}

/** What was run, by encoding, mode, operand size and kind of operand. */
export class Coverage {
  readonly #forms = new Set<string>();
  readonly #encodings = new Set<Encoding>();

  static formName(encoding: Encoding, mode: 32 | 64, opsize: number, memory: boolean): string {
    return `${encoding.instruction.name} ${encoding.text} ${mode}/${opsize}/${memory ? 'memory' : 'register'}`;
  }

  hasForm(encoding: Encoding, mode: 32 | 64, opsize: number, memory: boolean): boolean {
    return this.#forms.has(Coverage.formName(encoding, mode, opsize, memory));
  }

  note(encoding: Encoding, mode: 32 | 64, opsize: number, memory: boolean): void {
    this.#forms.add(Coverage.formName(encoding, mode, opsize, memory));
    this.#encodings.add(encoding);
  }

  has(encoding: Encoding): boolean {
    return this.#encodings.has(encoding);
  }

  /** Forms that ran. */
  get forms(): number {
    return this.#forms.size;
  }

  /** A line of counts, then the encodings never run, by reason. */
  report(table: OpcodeTable): string {
    const missing = new Map<string, string[]>();
    for (const encoding of table.encodings) {
      if (this.#encodings.has(encoding)) continue;
      const why = reasonNotRun(encoding) ?? 'NO REASON';
      missing.set(why, [...(missing.get(why) ?? []), `${encoding.instruction.name} (${encoding.text})`]);
    }
    const lines = [...missing].map(
      ([why, names]) => `not run (${why}), ${names.length}: ${names.join('; ')}`,
    );
    return [
      `${this.#encodings.size} of ${table.encodings.length} encodings, in ${this.#forms.size} forms`,
      ...lines,
    ].join('\n');
  }

  /** Encodings that should have been run and were not. */
  missing(table: OpcodeTable): string[] {
    return table.encodings
      .filter((e) => !this.#encodings.has(e) && reasonNotRun(e) === undefined)
      .map((e) => `${e.instruction.name} (${e.text})`);
  }
}
