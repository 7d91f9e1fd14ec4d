import type { Instruction } from '../rows.ts';
import { bothHalves, type HalvesOptions, scalarOperands, threeOperands } from './halves.ts';

/** An SSE row's encoding, taken apart. */
interface SseEncoding {
  readonly prefix: string;
  readonly map: string;
  readonly opcode: string;
  /** ModRM.reg, or nothing. */
  readonly extension: string;
  readonly operands: readonly Operand[];
  readonly kind: string;
  readonly w: string;
  readonly mode: string;
}

interface Operand {
  readonly letter: string;
  readonly width: string;
  readonly access: string;
}

const SSE_ENCODING =
  /^(NP|66|F3|F2) 0F (38 |3A )?([0-9A-F]{2})( \/[0-7])? ([^ ]+)( mem| reg)?( w0| w1)?( o64)?$/;

function takeApart(text: string): SseEncoding {
  const match = SSE_ENCODING.exec(text);
  if (!match) throw new Error(`${text} has no VEX form`);
  const [, prefix = '', map = '', opcode = '', extension = '', operands = '', kind = '', w = '', mode = ''] =
    match;
  return {
    prefix: prefix === 'NP' ? '' : `.${prefix}`,
    map: `0F${map.trim()}`,
    opcode,
    extension,
    operands: operands.split(',').map((operand, index) => {
      const [name = '', access = index === 0 ? 'rw' : 'r'] = operand.split(':');
      return { letter: name[0] ?? '', width: name.slice(1), access };
    }),
    kind,
    w: w === '' ? '' : `.W${w.trim().slice(1)}`,
    mode,
  };
}

const isVector = (o: Operand): boolean => /[VWUH]/.test(o.letter);
const isWhole = (o: Operand): boolean => isVector(o) && (o.width === 'x' || o.width === 'u');
const isScalar = (o: Operand): boolean => o.width === 'ss' || o.width === 'sd';

/** Whether the VEX form has a first source of its own: where the SSE form changes its destination, wholly or in part. */
function hasFirstSource({ operands }: SseEncoding): boolean {
  const [first] = operands;
  if (!first || !/[VU]/.test(first.letter)) return false;
  return first.access === 'rw' || (first.access === 'w' && isScalar(first));
}

export interface DeriveOptions extends Omit<HalvesOptions, 'placing'> {
  /** Memory stays aligned. */
  readonly aligned?: boolean;
  /** VEX.L does not matter, as with every operand of one element. */
  readonly scalar?: boolean;
  /** CPUID feature of the 256-bit form, when there is one. */
  readonly wide?: 'AVX' | 'AVX2';
}

/** A vector operand of the VEX form: 128 bits, or 256 where it is whole. */
function renamed(o: Operand, bits: 128 | 256, options: DeriveOptions): string {
  if (!isWhole(o)) return `${o.letter}${o.width}`;
  const aligned = options.aligned === true && o.width === 'x';
  return o.letter + (bits === 128 ? (aligned ? 'x' : 'u') : aligned ? 'qx' : 'qq');
}

const TWICE: Readonly<Record<string, string>> = { w: 'd', d: 'q', q: 'u' };

function operandsOf(e: SseEncoding, bits: 128 | 256, options: DeriveOptions): string {
  const whole = bits === 128 ? 'u' : 'qq';
  const [first, ...rest] = e.operands;
  if (!first) return '';
  const sources = rest.map((o, i) => {
    if (bits === 256 && isVector(o) && i === 0) {
      if (options.source === 'widened') return o.letter + (TWICE[o.width] ?? 'u');
      if (options.source === 'shared') return `${o.letter}u`;
    }
    return renamed(o, bits, options);
  });
  if (!hasFirstSource(e)) {
    const narrow = bits === 256 && options.result === 'narrow';
    return [`${renamed(first, narrow ? 128 : bits, options)}:${first.access}`, ...sources].join();
  }
  // With an opcode extension ModRM.rm is the source and VEX.vvvv the destination (NDD in the SDM).
  if (e.extension !== '') return [`H${whole}:w`, `U${whole}`, ...sources].join();
  return [`${first.letter}${whole}:w`, `H${whole}`, ...sources].join();
}

/**
 * Where REX.W chose between a doubleword and a quadword of a general register,
 * VEX.W does in 64-bit mode alone; elsewhere it is a doubleword whatever W is.
 */
function textsOf(e: SseEncoding, bits: 128 | 256, options: DeriveOptions): string[] {
  const text = textOf(e, bits, options);
  if (e.w === '.W0') return [text, `${text.replace('.W0', '.W1')} i64`];
  return [e.w === '.W1' && e.mode === '' ? `${text} o64` : text];
}

function textOf(e: SseEncoding, bits: 128 | 256, options: DeriveOptions): string {
  const scalar = options.scalar === true || e.operands.some(isScalar);
  const length = bits === 256 ? '256' : scalar ? 'LIG' : '128';
  return `VEX.${length}${e.prefix}.${e.map}${e.w} ${e.opcode}${e.extension} ${operandsOf(e, bits, options)}${e.kind}${e.mode}`;
}

function narrowSemantics(row: Instruction, e: SseEncoding): Instruction['semantics'] {
  if (!hasFirstSource(e)) return row.semantics;
  const width = e.operands[0]?.width;
  if (width === 'ss' || width === 'sd') return scalarOperands(row.semantics, width === 'ss' ? 32 : 64);
  return threeOperands(row.semantics);
}

/**
 * The VEX forms of an SSE row: the same semantics, of 128 bits, and of 256
 * where `options.wide` says so. The name gets a v; a destination that was
 * changed gets a first source of its own; memory need not be aligned any more
 * (SDM vol. 1, 14.1 and 14.9).
 */
export function vexForms(row: Instruction, options: DeriveOptions = {}): Instruction[] {
  const form = (bits: 128 | 256): Instruction[] =>
    row.encodings.map((text) => {
      const e = takeApart(text);
      const placing = hasFirstSource(e) ? 'three' : 'same';
      return {
        ...row,
        name: `v${row.name}`,
        encodings: textsOf(e, bits, options),
        cpuid: bits === 256 ? (options.wide ?? 'AVX') : 'AVX',
        unit: 'avx',
        semantics:
          bits === 128 ? narrowSemantics(row, e) : bothHalves(row.semantics, { ...options, placing }),
      };
    });
  return [...form(128), ...(options.wide ? form(256) : [])];
}
