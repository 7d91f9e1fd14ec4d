import { type Encoding, type OpcodeTable, operandBits } from '../../src/hypervisor/cpu/decode/encoding.ts';
import { memoryForms, operandSizes } from '../native/cases.ts';
import type { MemoryChoice } from '../native/encoder.ts';
import type { Random } from '../native/random.ts';
import { encodeRandom, inMode, plainEncodings, vectorEncodings } from '../native/random-instructions.ts';

/** General registers that a program keeps for itself, by mode; random instructions write none of them. */
export const ROLES = {
  64: { base1: 3, base2: 12, index: 14, outer: 10, inner: 15, free: [0, 1, 2, 5, 6, 7, 8, 9, 11, 13] },
  32: { base1: 3, base2: 7, index: undefined, outer: 5, inner: undefined, free: [0, 1, 2, 6] },
} as const;

/** Registers whose second byte has a number of its own without REX. */
const HIGH_BYTES = [4, 5, 6];

/** Rows with flags, or results, that the SDM leaves undefined. */
const UNDEFINED_FLAGS =
  /^(shl|shr|sar|rcl|rcr|shld|shrd|mul|imul[23]?|bsf|bsr|lzcnt|tzcnt|bt|bts|btr|btc|andn|blsr|blsmsk|blsi|bextr|bzhi|crc32)$/;
const SCALAR =
  /^(mov(ss|sd|aps|apd|ups|upd|dqa|dqu|d|q)|(add|sub|mul|div|min|max|sqrt)(ss|sd|ps|pd)|u?comis[sd]|cvt.*|(and|or|xor)p[sd]|pxor|padd[bwdq]|psub[bwdq]|pcmpeq[bwd]|punpckl.*|unpcklp[sd]|shufp[sd]|pshufd|cmps?[sp][sd])$/;

/** AMD's processors do not ask for alignment here, Intel's do (SDM vol. 2, exceptions of type 4). */
const UNCHECKED = /^sha/;

/** What an instruction may use. */
export interface PickOptions {
  /** Registers that must not be written. */
  readonly reserved?: readonly number[];
  /** The memory operand to use, or none at all. */
  readonly memory?: MemoryChoice | 'none';
  /** Only rows of these names. */
  readonly names?: RegExp;
  readonly prefixes?: readonly number[];
}

const CACHE = new WeakMap<OpcodeTable, Map<string, readonly Encoding[]>>();

/** Rows of the table by what random programs want of them; found once. */
function rows(table: OpcodeTable, key: string, find: () => Encoding[]): readonly Encoding[] {
  let known = CACHE.get(table);
  if (!known) {
    known = new Map();
    CACHE.set(table, known);
  }
  let list = known.get(key);
  if (!list) {
    list = find();
    known.set(key, list);
  }
  return list;
}

/** Random instructions for programs: integer and vector rows of the table, with operands that stay in the data. */
export class InstructionPicker {
  readonly #rng: Random;
  readonly #mode: 32 | 64;
  readonly #table: OpcodeTable;
  /** Compare with a host's processor: nothing undefined, nothing that its maker chose. */
  readonly #native: boolean;
  readonly #tame: boolean;

  /** `tame`: accesses lie within a page. */
  constructor(rng: Random, mode: 32 | 64, table: OpcodeTable, native: boolean, tame = false) {
    this.#rng = rng;
    this.#mode = mode;
    this.#table = table;
    this.#native = native;
    this.#tame = tame;
  }

  #plain(): readonly Encoding[] {
    return rows(this.#table, `plain${this.#mode}`, () => plainEncodings(this.#table, this.#mode));
  }
  #undefined(): readonly Encoding[] {
    return rows(this.#table, `undefined${this.#mode}`, () =>
      this.#table.encodings.filter(
        (e) =>
          UNDEFINED_FLAGS.test(e.instruction.name) &&
          inMode(e, this.#mode) &&
          e.size64 === undefined &&
          // Bit strings in memory reach far.
          !(/^bt/.test(e.instruction.name) && e.operands.some((o) => o.what.kind === 'modrm-reg')),
      ),
    );
  }
  #vectors(): readonly Encoding[] {
    return rows(this.#table, `vectors${this.#mode}`, () => vectorEncodings(this.#table, this.#mode));
  }
  #scalar(): readonly Encoding[] {
    return rows(this.#table, `scalar${this.#mode}`, () =>
      this.#vectors().filter((e) => e.instruction.unit === 'sse' && SCALAR.test(e.instruction.name)),
    );
  }

  /** A register that may be written. */
  free(reserved: readonly number[] = []): number {
    return this.#rng.pick((ROLES[this.#mode].free as readonly number[]).filter((n) => !reserved.includes(n)));
  }

  /** Somewhere in the numbers: often across the boundary of two pages, or unaligned. */
  memory(): MemoryChoice {
    const rng = this.#rng;
    const { base1, base2, index } = ROLES[this.#mode];
    if (this.#tame) {
      const displacement = 16 + rng.below(0x70);
      return {
        base: base1,
        index: undefined,
        scale: 0,
        displacement,
        displacementBytes: 1,
        ripRelative: false,
      };
    }
    const useIndex = index !== undefined && rng.chance(0.3);
    const near = rng.chance(0.6);
    const displacement = near
      ? rng.chance(0.4)
        ? -1 - rng.below(16)
        : rng.below(256) - 128
      : rng.below(0x1000) - 0x800;
    return {
      base: rng.chance(0.6) ? base1 : base2,
      index: useIndex ? index : undefined,
      scale: useIndex ? (rng.below(4) as 0 | 1 | 2 | 3) : 0,
      displacement,
      displacementBytes: displacement >= -128 && displacement < 128 && rng.chance(0.9) ? 1 : 4,
      ripRelative: false,
    };
  }

  /** A vector's operand in memory: aligned, mostly, for it must be. */
  alignedMemory(always = false): MemoryChoice {
    const aligned = (this.#rng.below(0x40) - 0x20) * 32;
    const off = !always && this.#rng.chance(0.04) ? this.#rng.below(16) : 0;
    return {
      base: ROLES[this.#mode].base1,
      index: undefined,
      scale: 0,
      displacement: aligned + off,
      displacementBytes: 4,
      ripRelative: false,
    };
  }

  /** An integer instruction whose effects are all defined. */
  plain(options: PickOptions = {}): number[] {
    return this.#integer(this.#plain(), options);
  }

  /** One with undefined flags: shifts, multiplications, bit scans. */
  loose(options: PickOptions = {}): number[] {
    return this.#integer(this.#undefined(), options);
  }

  #integer(list: readonly Encoding[], options: PickOptions): number[] {
    const rng = this.#rng;
    const { names } = options;
    for (let tries = 0; tries < 400; tries++) {
      const e = rng.pick(list);
      if (names && !names.test(e.instruction.name)) continue;
      const made = this.#encodeInteger(e, options);
      if (made) return made;
    }
    throw new Error(`no row of ${String(names)} fits`);
  }

  #encodeInteger(e: Encoding, options: PickOptions): number[] | undefined {
    const rng = this.#rng;
    const mode = this.#mode;
    const { name } = e.instruction;
    const reserved = options.reserved ?? [];
    // CWD and its kind write RDX or RAX, CMPXCHG RAX, one-operand multiplications both.
    if (/^(cwd|mul|imul)$/.test(name) && reserved.includes(2)) return undefined;
    const opsize =
      e.onlySize ?? rng.pick(mode === 64 ? ([16, 32, 64, 32, 64] as const) : ([16, 32, 32] as const));
    if (!operandSizes(e, mode).includes(opsize) && e.vex !== undefined) return undefined;
    if (name === 'bswap' && opsize === 16) return undefined;
    if (this.#native && opsize === 16 && /^sh[lr]d$/.test(name)) return undefined;
    const rm = e.operands.find((o) => o.what.kind === 'modrm-rm')?.what;
    const may = rm?.kind === 'modrm-rm' && rm.memory && e.mod !== 'reg' && options.memory !== 'none';
    const must = rm?.kind === 'modrm-rm' && (!rm.register || e.mod === 'mem');
    if (must && !may) return undefined;
    const useMemory = may && (must || rng.chance(options.memory ? 1 : 0.45));
    if (typeof options.memory === 'object' && !useMemory) return undefined;
    let memory = useMemory
      ? typeof options.memory === 'object'
        ? options.memory
        : this.memory()
      : undefined;
    const narrow = e.operands.some((o) => o.file === 'gpr' && operandBits(o, opsize) === 8);
    let high = narrow && opsize !== 64 && e.vex === undefined && (mode === 32 || rng.chance(0.35));
    if (high && mode === 64 && memory) {
      if (typeof options.memory === 'object') high = false;
      else memory = { ...memory, base: ROLES[mode].base1, index: undefined, scale: 0 };
    }
    const register = (kind: string): number => {
      const spec = e.operands.find((o) => o.what.kind === kind);
      if (spec && spec.access === 'r' && rng.chance(0.08) && !narrow) return rng.below(mode === 64 ? 16 : 8);
      if (high && spec && operandBits(spec, opsize) === 8)
        return rng.pick([0, 1, 2, ...HIGH_BYTES].filter((n) => !reserved.includes(n & 3)));
      const n = this.free(reserved);
      return high && mode === 64 && n > 7 ? this.#low(reserved) : n;
    };
    const opcodeRegister = e.operands.some((o) => o.what.kind === 'opcode-reg');
    return encodeRandom(rng, e, {
      mode,
      opsize,
      addressOverride: mode === 64 && memory !== undefined && e.vex === undefined && rng.chance(0.03),
      prefixes: options.prefixes ?? [],
      rex: mode === 64 && narrow && !high,
      reg: register('modrm-reg'),
      rm: register(opcodeRegister ? 'opcode-reg' : 'modrm-rm'),
      third: this.free(reserved),
      memory,
    });
  }

  #low(reserved: readonly number[]): number {
    return this.#rng.pick([0, 1, 2, 6].filter((n) => !reserved.includes(n)));
  }

  /** An MMX, SSE or AVX instruction; `scalar`: of those that compilers use. General registers may be written. */
  vector(scalar: boolean, reserved: readonly number[] = []): number[] {
    const rng = this.#rng;
    let e = rng.pick(scalar ? this.#scalar() : this.#vectors());
    // An index goes to ECX without being named.
    while (reserved.includes(1) && /pcmp[ei]stri$/.test(e.instruction.name)) e = rng.pick(this.#scalar());
    const opsize = rng.pick(operandSizes(e, this.#mode));
    const free = (): number => this.free(reserved);
    return encodeRandom(rng, e, {
      mode: this.#mode,
      opsize,
      reg: free(),
      rm: free(),
      third: free(),
      fourth: free(),
      memory: rng.pick(memoryForms(e)) ? this.alignedMemory(UNCHECKED.test(e.instruction.name)) : undefined,
    });
  }

  /** ModRM and displacement of an operand in the numbers. */
  #x87Operand(digit: number, d = this.#rng.below(0x800) - 0x400): number[] {
    return [0x83 | (digit << 3), d & 0xff, (d >> 8) & 0xff, (d >> 16) & 0xff, (d >> 24) & 0xff];
  }
  /**
   * A run of x87 instructions on plain numbers, from an empty stack on, over which a region keeps what it knows of the
   * register stack. Now and then one of them meets an empty register or a full stack, or what no number is.
   */
  x87Numbers(): number[] {
    const rng = this.#rng;
    const at = (digit: number, d?: number): number[] => this.#x87Operand(digit, d);
    const load = (): number[] =>
      rng.pick([
        [0xdb, ...at(0)],
        [0xdf, ...at(0)],
        [0xdf, ...at(5)],
        [0xd9, 0xe8 + rng.below(6)],
        [0xd9, 0xc0 | rng.below(depth)],
      ]);
    let depth = 1;
    const code = [0xdb, 0xe3, 0xdb, ...at(0)]; // fninit; fild
    for (let n = rng.below(30); n >= 0; n--) {
      const st = rng.chance(0.02) ? rng.below(8) : rng.below(depth);
      const kind = rng.below(16);
      const operation = rng.pick([0, 1, 4, 5, 6, 7]) << 3;
      if (kind <= 2 && depth < 7) {
        code.push(...load());
        depth += 1;
      } else if (kind <= 4) code.push(rng.pick([0xd8, 0xdc]), 0xc0 | operation | st);
      else if (kind <= 6) code.push(rng.pick([0xda, 0xde]), ...at(operation >> 3));
      else if (kind <= 8 && depth > 1) {
        code.push(0xde, 0xc0 | operation | Math.max(1, st));
        depth -= 1;
      } else if (kind === 9) code.push(0xd9, 0xc8 | st);
      else if (kind === 10)
        code.push(
          ...rng.pick([
            [0xd9, rng.pick([0xe0, 0xe1, 0xfa])],
            [0xdd, 0xd0 | st],
          ]),
        );
      else if (kind === 11) code.push(rng.pick([0xdb, 0xd8]), (0xf0 & (rng.chance(0.5) ? 0xf0 : 0xd0)) | st);
      else if (kind === 12) {
        // Stored and loaded again, as a double, a single, an extended number.
        const d = rng.below(0x800) - 0x400;
        code.push(
          ...rng.pick([
            [0xdd, ...at(2, d), 0xdc, ...at(operation >> 3, d)],
            [0xd9, ...at(2, d), 0xd8, ...at(operation >> 3, d)],
          ]),
        );
        if (depth < 7)
          code.push(
            ...rng.pick([
              [0xdd, ...at(3, d), 0xdd, ...at(0, d)],
              [0xdb, ...at(7, d), 0xdb, ...at(5, d)],
            ]),
          );
      } else if (kind === 13 && depth > 1) {
        code.push(0xdd, 0xd8 | st); // fstp st
        depth -= 1;
      } else if (kind === 14)
        code.push(
          ...rng.pick([
            [0xdc, ...at(2)],
            [0xd8, ...at(rng.below(8))],
            [0xdc, ...at(operation >> 3)],
          ]),
        );
      else if (kind === 15 && depth > 1) {
        code.push(
          ...rng.pick([
            [0xdf, 0xf0 | st],
            [0xdf, 0xe8 | st],
            [0xd8, 0xd8 | st],
          ]),
        ); // fcomip, fucomip, fcomp
        depth -= 1;
      }
    }
    return code;
  }

  /** x87 instructions that leave the stack as it was, most of the time. */
  x87(): number[] {
    const rng = this.#rng;
    const at = (digit: number): number[] => this.#x87Operand(digit);
    const kind = rng.below(14);
    const st = rng.below(3);
    if (kind >= 12)
      return rng.pick([
        [0xd9, 0xc8 | st], // fxch
        [0xdd, 0xd0 | st], // fst st
        [0xdb, 0xf0 | st], // fcomi
        [0xd8, 0xd0 | st], // fcom
        [0xdc, 0xc0 | (rng.pick([0, 1, 4, 5, 6, 7]) << 3) | st], // ST(i) op= ST(0)
        [0xd8, ...at(2)], // fcom m32
        [0xdc, ...at(2)], // fcom m64
        [0xdd, ...at(2)], // fst m64
        [0xd9, ...at(2)], // fst m32
        [0xdb, ...at(0), 0xd9, 0xc9, 0xdd, 0xd8], // fild; fxch; fstp st
        [0xd9, 0xe8, 0xde, 0xc1 | (rng.below(2) << 3)], // fld1; faddp or fmulp
        [0xdb, ...at(0), 0xde, rng.pick([0xc1, 0xc9, 0xe1, 0xe9, 0xf1, 0xf9])], // fild; an operation that pops
      ]);
    if (kind <= 2) return [rng.pick([0xd8, 0xdc, 0xda, 0xde]), ...at(rng.pick([0, 1, 4, 5, 6, 7]))];
    if (kind <= 4) return [0xd8, 0xc0 | (rng.pick([0, 1, 4, 5, 6, 7]) << 3) | st];
    if (kind === 5)
      return rng.pick([
        [0xd9, 0xe0],
        [0xd9, 0xe1],
        [0xd9, 0xfa],
        [0xd9, 0xfc],
        [0xd9, 0xc8 | st],
      ]);
    // Something is loaded and something popped.
    const load = rng.pick([
      [0xd9, ...at(0)],
      [0xdd, ...at(0)],
      [0xdb, ...at(0)],
      [0xdf, ...at(0)],
      [0xdb, ...at(5)],
      [0xdf, ...at(5)],
      [0xd9, 0xe8],
      [0xd9, 0xee],
      [0xd9, 0xc0 | st],
    ]);
    const pop = rng.pick([
      [0xd9, ...at(3)],
      [0xdd, ...at(3)],
      [0xdb, ...at(3)],
      [0xdf, ...at(7)],
      [0xdb, ...at(7)],
      [0xde, 0xc1],
      [0xde, 0xc9],
      [0xdf, 0xf1],
      [0xdf, 0xe9],
      [0xdd, 0xd9],
    ]);
    return [...load, ...pop];
  }
}
