import type { Size } from '../isa/builder.ts';
import type { Instruction } from '../isa/rows.ts';

/** What an operand is, by its letter in the SDM's opcode tables. */
export type OperandKind =
  | { readonly kind: 'modrm-rm'; readonly memory: boolean; readonly register: boolean }
  | { readonly kind: 'modrm-reg' }
  | { readonly kind: 'opcode-reg' }
  | { readonly kind: 'vex-reg' }
  | { readonly kind: 'is4-reg' }
  | { readonly kind: 'vsib-index' }
  | { readonly kind: 'fixed-reg'; readonly number: number }
  | { readonly kind: 'immediate' }
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'relative' }
  | { readonly kind: 'moffs' };

export type RegisterFile = 'gpr' | 'xmm' | 'mmx' | 'x87' | 'segment' | 'control' | 'debug';

/** Width of an operand: fixed bits, or by operand size. */
export type Width = 8 | 16 | 32 | 64 | 80 | 128 | 256 | 'v' | 'z' | 'y' | 'none' | 'ss' | 'sd';

export interface OperandSpec {
  readonly what: OperandKind;
  readonly file: RegisterFile;
  readonly width: Width;
  readonly access: 'r' | 'w' | 'rw';
  /** Memory must be aligned on the operand's size. */
  readonly aligned: boolean;
  readonly text: string;
}

export type MandatoryPrefix = 'none' | '66' | 'F3' | 'F2';

/** One row of the opcode tables. */
export interface Encoding {
  readonly instruction: Instruction;
  readonly text: string;
  /** 0: one-byte opcodes, 1: 0F, 2: 0F 38, 3: 0F 3A. */
  readonly map: 0 | 1 | 2 | 3;
  readonly opcode: number;
  /** The prefix that belongs to the opcode; undefined when 66/F2/F3 keep their general meaning. */
  readonly prefix: MandatoryPrefix | undefined;
  readonly opcodeRegister: boolean;
  readonly hasModrm: boolean;
  /** ModRM.reg must be this. */
  readonly extension: number | undefined;
  /** The whole ModRM byte must be this (but for its low three bits when `modrmRegister`). */
  readonly modrm: number | undefined;
  /** VEX-encoded (SDM vol. 2, 2.3): VEX.L must be this, or does not matter; undefined for legacy encodings. `prefix` is VEX.pp. */
  readonly vex: 0 | 1 | 'ignored' | undefined;
  /** F2 and F3 make it another, undefined, instruction (NFx in the SDM). */
  readonly noRepeat: boolean;
  /** The low three bits of that ModRM byte are a register. */
  readonly modrmRegister: boolean;
  readonly mod: 'mem' | 'reg' | undefined;
  readonly operands: readonly OperandSpec[];
  readonly mode: 'i64' | 'o64' | undefined;
  readonly size64: 'd64' | 'f64' | undefined;
  readonly lock: boolean;
  readonly rexW: 0 | 1 | undefined;
  readonly onlySize: 16 | 32 | 64 | undefined;
  /** Takes any mod as a register: MOV to and from control and debug registers (SDM vol. 2, MOV—Control Registers). */
  readonly anyMod: boolean;
  /** An operand is VEX.vvvv. */
  readonly vexRegister: boolean;
  /** Memory is addressed with a vector of indices: a SIB byte must be there (SDM vol. 2, 2.3.12). */
  readonly vsib: boolean;
  /** An operand is the register in an immediate byte's upper half (SDM vol. 2, 2.3: /is4). */
  readonly is4: boolean;
  /** Bytes of immediate behind the instruction, in order, by operand index. */
  readonly immediates: readonly number[];
  /** Filled by the interpreter's generator: handler by `handlerKey`. */
  readonly handlers: Uint16Array;
}

/** How the memory operand of a form is addressed. */
export const FORM = { register: 0, base: 1, indexed: 2, general: 3 } as const;
export type FormKind = 0 | 1 | 2 | 3;

/**
 * Whether an encoding has forms of its own for a base or a base and an index in flat segments. Outside of 64-bit mode it
 * is what most of the code there consists of: instructions on 32-bit general registers.
 */
export function hasCommonForms(encoding: Encoding, long: boolean, opsize: 16 | 32 | 64): boolean {
  return long || (opsize === 32 && encoding.instruction.unit === undefined);
}

/** Index into `Encoding.handlers`. */
export function handlerKey(long: boolean, opsize: 16 | 32 | 64, form: FormKind): number {
  return (long ? 12 : 0) + (opsize === 16 ? 0 : opsize === 32 ? 4 : 8) + form;
}
export const HANDLER_KEYS = 24;

const FIXED: Readonly<Record<string, readonly [number, Width]>> = {
  AL: [0, 8],
  CL: [1, 8],
  AX: [0, 16],
  DX: [2, 16],
  EAX: [0, 32],
  rAX: [0, 'v'],
  RAX: [0, 64],
  rDX: [2, 'v'],
};

const WIDTHS: Readonly<Record<string, Width>> = {
  b: 8,
  w: 16,
  d: 32,
  q: 64,
  t: 80,
  v: 'v',
  z: 'z',
  y: 'y',
  x: 128,
  u: 128,
  qq: 256,
  qx: 256,
  ss: 'ss',
  sd: 'sd',
  '': 'none',
};

const LETTERS: Readonly<Record<string, readonly [OperandKind, RegisterFile]>> = {
  E: [{ kind: 'modrm-rm', memory: true, register: true }, 'gpr'],
  G: [{ kind: 'modrm-reg' }, 'gpr'],
  B: [{ kind: 'vex-reg' }, 'gpr'],
  Z: [{ kind: 'opcode-reg' }, 'gpr'],
  M: [{ kind: 'modrm-rm', memory: true, register: false }, 'gpr'],
  R: [{ kind: 'modrm-rm', memory: false, register: true }, 'gpr'],
  I: [{ kind: 'immediate' }, 'gpr'],
  J: [{ kind: 'relative' }, 'gpr'],
  O: [{ kind: 'moffs' }, 'gpr'],
  S: [{ kind: 'modrm-reg' }, 'segment'],
  C: [{ kind: 'modrm-reg' }, 'control'],
  D: [{ kind: 'modrm-reg' }, 'debug'],
  V: [{ kind: 'modrm-reg' }, 'xmm'],
  W: [{ kind: 'modrm-rm', memory: true, register: true }, 'xmm'],
  U: [{ kind: 'modrm-rm', memory: false, register: true }, 'xmm'],
  H: [{ kind: 'vex-reg' }, 'xmm'],
  L: [{ kind: 'is4-reg' }, 'xmm'],
  X: [{ kind: 'vsib-index' }, 'xmm'],
  P: [{ kind: 'modrm-reg' }, 'mmx'],
  Q: [{ kind: 'modrm-rm', memory: true, register: true }, 'mmx'],
  N: [{ kind: 'modrm-rm', memory: false, register: true }, 'mmx'],
  T: [{ kind: 'modrm-rm', memory: false, register: true }, 'x87'],
};

function parseOperand(text: string, first: boolean): OperandSpec {
  const [name = '', accessText] = text.split(':');
  const access = (accessText ?? (first ? 'rw' : 'r')) as 'r' | 'w' | 'rw';
  const base = { access, aligned: false, text: name };
  if (name === '1') return { ...base, what: { kind: 'constant', value: 1 }, file: 'gpr', width: 8 };
  const fixed = FIXED[name];
  if (fixed) return { ...base, what: { kind: 'fixed-reg', number: fixed[0] }, file: 'gpr', width: fixed[1] };
  const letter = LETTERS[name[0] ?? ''];
  const width = WIDTHS[name.slice(1)];
  if (!letter || width === undefined) throw new Error(`operand ${text} is not known`);
  return { ...base, what: letter[0], file: letter[1], width, aligned: name.endsWith('x') };
}

const HEX = /^[0-9A-F]{2}$/;

/** VEX.<length>.<pp, when there is one>.<map>.<W, when it matters>, as the SDM writes it. */
const VEX = /^VEX\.(LZ|L0|128|L1|256|LIG)\.(?:(66|F3|F2)\.)?(0F|0F38|0F3A)(?:\.(W0|W1))?$/;
const VEX_MAPS = { '0F': 1, '0F38': 2, '0F3A': 3 } as const;

/** Reads one row's text (the grammar is in isa/rows.ts). */
export function parseEncoding(instruction: Instruction, text: string): Encoding {
  const words = text.split(/\s+/);
  let prefix: MandatoryPrefix | undefined;
  let map: 0 | 1 | 2 | 3 = 0;
  const bytes: number[] = [];
  let opcodeRegister = false;
  let extension: number | undefined;
  let modrm: number | undefined;
  let mod: 'mem' | 'reg' | undefined;
  let mode: 'i64' | 'o64' | undefined;
  let size64: 'd64' | 'f64' | undefined;
  let lock = false;
  let rexW: 0 | 1 | undefined;
  let onlySize: 16 | 32 | 64 | undefined;
  let operands: OperandSpec[] = [];
  let vex: Encoding['vex'];
  let noRepeat = false;
  for (const [index, word] of words.entries()) {
    const vexWord = index === 0 ? VEX.exec(word) : null;
    if (vexWord) {
      vex = vexWord[1] === 'LIG' ? 'ignored' : vexWord[1] === 'L1' || vexWord[1] === '256' ? 1 : 0;
      prefix = (vexWord[2] as MandatoryPrefix | undefined) ?? 'none';
      map = VEX_MAPS[vexWord[3] as keyof typeof VEX_MAPS];
      if (vexWord[4]) rexW = vexWord[4] === 'W1' ? 1 : 0;
    } else if (word === 'NP') prefix = 'none';
    else if (word === 'NFx') noRepeat = true;
    else if (index === 0 && HEX.test(words[1] ?? '') && (word === '66' || word === 'F3' || word === 'F2'))
      prefix = word;
    else if (HEX.test(word)) bytes.push(Number.parseInt(word, 16));
    else if (/^[0-9A-F]{2}\+[ri]$/.test(word)) {
      bytes.push(Number.parseInt(word.slice(0, 2), 16));
      opcodeRegister = true;
    } else if (word.startsWith('/m=')) modrm = Number.parseInt(word.slice(3), 16);
    else if (/^\/[0-7]$/.test(word)) extension = Number(word[1]);
    else if (word === '/r') mod = undefined;
    else if (word === 'mem' || word === 'reg') mod = word;
    else if (word === 'i64' || word === 'o64') mode = word;
    else if (word === 'd64' || word === 'f64') size64 = word;
    else if (word === 'lock') lock = true;
    else if (word === 'w0' || word === 'w1') rexW = word === 'w0' ? 0 : 1;
    else if (word === 'os16' || word === 'os32' || word === 'os64')
      onlySize = Number(word.slice(2)) as 16 | 32 | 64;
    else operands = word.split(',').map((operand, i) => parseOperand(operand, i === 0));
  }
  if (vex === undefined && bytes[0] === 0x0f && bytes.length > 1) {
    bytes.shift();
    map = 1;
    const escapeByte: number | undefined = bytes[0];
    if (bytes.length > 1 && (escapeByte === 0x38 || escapeByte === 0x3a)) {
      bytes.shift();
      map = escapeByte === 0x38 ? 2 : 3;
    }
  }
  const [opcode, second, ...rest] = bytes;
  if (opcode === undefined || rest.length > 0) throw new Error(`${instruction.name}: ${text}: opcode`);
  if (second !== undefined) {
    // x87 and group 7 rows may write ModRM as a second byte; `+i` leaves its low three bits to the register.
    modrm = second;
  }
  const usesModrm = operands.some((o) => o.what.kind === 'modrm-reg' || o.what.kind === 'modrm-rm');
  const rm = operands.find((o) => o.what.kind === 'modrm-rm')?.what;
  if (rm?.kind === 'modrm-rm' && mod === undefined && rm.memory !== rm.register)
    mod = rm.memory ? 'mem' : 'reg';
  const immediates = operands.flatMap((o, i) =>
    o.what.kind === 'immediate' || o.what.kind === 'relative' || o.what.kind === 'moffs' ? [i] : [],
  );
  return {
    instruction,
    text,
    map,
    opcode,
    prefix,
    opcodeRegister: opcodeRegister && second === undefined,
    hasModrm: usesModrm || extension !== undefined || modrm !== undefined || mod !== undefined,
    extension,
    modrm,
    modrmRegister: opcodeRegister && second !== undefined,
    mod,
    operands,
    mode,
    size64,
    lock,
    rexW,
    onlySize,
    immediates,
    vex,
    anyMod: operands.some((o) => o.file === 'control' || o.file === 'debug'),
    vexRegister: operands.some((o) => o.what.kind === 'vex-reg'),
    vsib: operands.some((o) => o.what.kind === 'vsib-index'),
    is4: operands.some((o) => o.what.kind === 'is4-reg'),
    noRepeat,
    handlers: new Uint16Array(HANDLER_KEYS),
  };
}

/** Bits of an operand in a form with this operand size. */
export function operandBits(spec: OperandSpec, opsize: 16 | 32 | 64): Size {
  switch (spec.width) {
    case 'v':
      return opsize;
    case 'z':
      return opsize === 16 ? 16 : opsize;
    case 'y':
      return opsize === 64 ? 64 : 32;
    case 'ss':
      return 32;
    case 'sd':
      return 64;
    case 80:
      return 128;
    case 'none':
      return opsize;
    default:
      return spec.width;
  }
}

/** Bytes an immediate takes in the instruction stream. */
export function immediateBytes(
  spec: OperandSpec,
  opsize: 16 | 32 | 64,
  addressSize: 16 | 32 | 64,
): 1 | 2 | 4 | 8 {
  if (spec.what.kind === 'moffs') return (addressSize / 8) as 2 | 4 | 8;
  switch (spec.width) {
    case 8:
      return 1;
    case 16:
      return 2;
    case 32:
      return 4;
    case 64:
      return 8;
    case 'z':
      return opsize === 16 ? 2 : 4;
    case 'v':
      return (opsize / 8) as 2 | 4 | 8;
    default:
      throw new Error(`an immediate ${spec.text}`);
  }
}

const indexKey = (vex: boolean, map: number, opcode: number): number => ((vex ? 4 : 0) + map) * 256 + opcode;

/** The whole table, indexed for the decoder. */
export class OpcodeTable {
  readonly encodings: readonly Encoding[];
  readonly #index: (Encoding[] | undefined)[] = new Array(2 * 4 * 256);

  constructor(instructions: readonly Instruction[]) {
    this.encodings = instructions.flatMap((i) => i.encodings.map((text) => parseEncoding(i, text)));
    for (const encoding of this.encodings) {
      const count = encoding.opcodeRegister ? 8 : 1;
      for (let i = 0; i < count; i++)
        this.#add(indexKey(encoding.vex !== undefined, encoding.map, encoding.opcode + i), encoding);
    }
    // Rows that ask for more are tried first.
    const rank = (e: Encoding): number =>
      (e.modrm !== undefined ? 8 : 0) +
      (e.prefix !== undefined && e.prefix !== 'none' ? 4 : 0) +
      (e.rexW !== undefined || e.onlySize !== undefined ? 2 : 0) +
      (e.mode !== undefined ? 1 : 0) +
      (e.extension !== undefined ? 0.5 : 0) +
      (e.mod !== undefined ? 0.25 : 0);
    for (const list of this.#index) list?.sort((a, b) => rank(b) - rank(a));
  }

  candidates(vex: boolean, map: number, opcode: number): readonly Encoding[] | undefined {
    return this.#index[indexKey(vex, map, opcode)];
  }

  #add(key: number, encoding: Encoding): void {
    const list = this.#index[key];
    if (list) list.push(encoding);
    else this.#index[key] = [encoding];
  }
}
