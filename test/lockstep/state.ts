import { readRflags } from '../../src/hypervisor/cpu/flags.ts';
import { RAM, S, SEG, STATE } from '../../src/hypervisor/cpu/layout.ts';

/** A field of the state block: its name, where it begins and ends. */
interface Field {
  readonly name: string;
  readonly at: number;
  readonly end: number;
}

const GPRS = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');
const SEGMENTS = 'es cs ss ds fs gs ldtr tr flat'.split(' ');
/** RFLAGS is compared as a guest reads it: two forms of lazy flags may say the same. */
const LAZY: ReadonlySet<string> = new Set(['flagResult', 'flagAux']);

/** The architectural fields, which lie in front of `budget`. */
function fields(): Field[] {
  const known = Object.entries(S)
    .filter(([, at]) => at < S.budget)
    .sort(([, a], [, b]) => a - b);
  return known.flatMap(([name, at], n) => {
    const end = known[n + 1]?.[1] ?? S.budget;
    if (LAZY.has(name)) return [];
    if (name === 'gpr') return GPRS.map((gpr, i) => ({ name: gpr, at: at + i * 8, end: at + i * 8 + 8 }));
    if (name === 'segments')
      return SEGMENTS.map((segment, i) => ({
        name: segment,
        at: at + i * SEG.stride,
        end: at + i * SEG.stride + SEG.checked + 4,
      }));
    if (name === 'xmm')
      return GPRS.map((_, i) => ({ name: `ymm${i}`, at: at + i * 64, end: at + i * 64 + 32 }));
    if (name === 'fpr')
      return GPRS.slice(0, 8).map((_, i) => ({ name: `fpr${i}`, at: at + i * 16, end: at + i * 16 + 10 }));
    return [{ name, at, end }];
  });
}

const FIELDS = fields();

/** A copy of a processor's whole architectural state. */
export class ProcessorState {
  readonly #bytes: Buffer;
  readonly rflags: number;

  /** `buffer`: the machine's linear memory. */
  constructor({ buffer }: { readonly buffer: ArrayBufferLike }) {
    this.#bytes = Buffer.from(Buffer.from(buffer, STATE, S.budget - STATE));
    this.rflags = readRflags(new DataView(buffer));
  }

  get rip(): bigint {
    return this.#bytes.readBigUInt64LE(S.rip - STATE);
  }

  /** The bytes of a field as one number, most significant digit first. */
  #text({ at, end }: Field): string {
    return Buffer.from(this.#bytes.subarray(at - STATE, end - STATE))
      .reverse()
      .toString('hex');
  }

  /** What differs, a line each; empty when nothing does. */
  differences(other: ProcessorState): string[] {
    const lines = FIELDS.filter((field) => this.#text(field) !== other.#text(field)).map(
      (field) => `${field.name}: ${this.#text(field)} / ${other.#text(field)}`,
    );
    if (this.rflags !== other.rflags)
      lines.push(`rflags: ${this.rflags.toString(16)} / ${other.rflags.toString(16)}`);
    return lines;
  }

  /** General registers, RIP and RFLAGS in four lines. */
  toString(): string {
    const shown = FIELDS.slice(0, 16).map((field) => `${field.name.padStart(3)} ${this.#text(field)}`);
    const rows = [0, 4, 8, 12].map((at) => shown.slice(at, at + 4).join('  '));
    return [`rip ${this.rip.toString(16)}  rflags ${this.rflags.toString(16)}`, ...rows].join('\n');
  }
}

/** Guest RAM, `bytes` of it. */
export function ramOf(memory: WebAssembly.Memory): Buffer {
  return Buffer.from(memory.buffer, RAM);
}

/** Where two memories differ first, or undefined. */
export function firstDifference(one: Buffer, other: Buffer): number | undefined {
  if (one.equals(other)) return undefined;
  const step = 4096;
  for (let at = 0; at < one.length; at += step) {
    if (one.subarray(at, at + step).equals(other.subarray(at, at + step))) continue;
    for (let byte = at; byte < at + step; byte++) if (one[byte] !== other[byte]) return byte;
  }
  return undefined;
}
