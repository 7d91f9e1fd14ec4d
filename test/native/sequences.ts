import { type Encoding, type OpcodeTable, operandBits } from '../../src/hypervisor/cpu/decode/encoding.ts';
import { memoryForms, operandSizes } from './cases.ts';
import type { Program } from './differential.ts';
import type { MemoryChoice } from './encoder.ts';
import { CODE_AREA, SCRATCH } from './places.ts';
import type { Random } from './random.ts';
import { encodeRandom, plainEncodings, vectorEncodings } from './random-instructions.ts';
import { randomFx, randomUpper } from './vector-state.ts';

const RBX = 3,
  RSP = 4,
  R10 = 10,
  R12 = 12,
  R14 = 14;
/** Registers that hold neither an address nor a count, by mode. */
const FREE = { 64: [0, 1, 2, 5, 6, 7, 8, 9, 11, 13, 15], 32: [0, 1, 2, 5, 6] } as const;

/** Bytes, and how many of the chunks behind are to be jumped over. */
interface Chunk {
  bytes: number[];
  skip?: { readonly over: number; readonly opcode: number };
}

/**
 * A run of instructions with branches, loops, string and stack instructions
 * and code that changes itself. RBX, R12 (ESI's place in 32-bit mode is EDI)
 * hold addresses, R14 a small index, R10 a loop's count: no instruction
 * writes these, so every access lies in the scratch memory.
 */
export class SequenceMaker {
  readonly #rng: Random;
  readonly #mode: 32 | 64;
  readonly #plain: readonly Encoding[];
  readonly #vectors: readonly Encoding[];

  constructor(rng: Random, mode: 32 | 64, table: OpcodeTable) {
    this.#rng = rng;
    this.#mode = mode;
    this.#plain = plainEncodings(table, mode);
    this.#vectors = vectorEncodings(table, mode);
  }

  make(): Program {
    const rng = this.#rng;
    const length = 5 + rng.below(16);
    const chunks: Chunk[] = [];
    for (let i = 0; i < length; i++) chunks.push(...this.#chunk());
    const code = link(chunks);
    const page = rng.below(2) * 0x1000;
    // Often so that the code, and perhaps one of its instructions, lies on two pages.
    const offset = rng.chance(0.6) ? 0x1000 - rng.below(code.length + 1) : 0x400 + rng.below(0x400);
    const gpr = new BigUint64Array(16);
    for (let n = 0; n < 16; n++) gpr[n] = this.#mode === 64 ? rng.value() : rng.value() & 0xffff_ffffn;
    gpr[RBX] = BigInt(SCRATCH + 0x8000);
    gpr[RSP] = BigInt(SCRATCH + 0xc000 + (rng.chance(0.2) ? rng.below(8) : 8 * rng.below(64)));
    gpr[R10] = 1n;
    gpr[this.#second] = BigInt(SCRATCH + 0x5000 - rng.below(24));
    gpr[R14] = BigInt(rng.below(64));
    return {
      mode: this.#mode,
      at: CODE_AREA + page + offset,
      code,
      gpr,
      rflags: (rng.below(0x1000) & 0x8d5) | 2,
      fx: randomFx(rng),
      upper: randomUpper(rng),
      patches: [],
    };
  }

  get #second(): number {
    return this.#mode === 64 ? R12 : 7;
  }

  #chunk(): Chunk[] {
    const kind = this.#rng.below(20);
    if (this.#rng.chance(0.01)) return [{ bytes: this.#fault() }];
    if (kind === 0) return [{ bytes: this.#string() }];
    if (kind === 1) return [this.#branch()];
    if (kind === 2) return [{ bytes: this.#selfModifying() }];
    if (kind === 3) return [{ bytes: this.#loop() }];
    if (kind <= 5) return [{ bytes: this.#stack() }];
    if (kind <= 9) return [{ bytes: this.#vector() }];
    return [{ bytes: this.#instruction() }];
  }

  /** Something that faults, or may: an access with its end behind the scratch memory. */
  #fault(): number[] {
    const d32 = (n: number): number[] => [n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, (n >> 24) & 0xff];
    const outside = d32(0x8000 - this.#rng.below(8));
    return this.#rng.pick([
      [0x0f, 0x0b],
      [0x31, 0xc9, 0xf7, 0xf1],
      [0xf4],
      [0x8b, 0x83, ...outside],
      [0x01, 0x83, ...outside],
      [0xff, 0xb3, ...outside],
      [0xc7, 0x83, ...outside, 1, 2, 3, 4],
    ]);
  }

  #free(): number {
    return this.#rng.pick(FREE[this.#mode]);
  }

  #memory(): MemoryChoice {
    const rng = this.#rng;
    const index = this.#mode === 64 && rng.chance(0.4) ? R14 : undefined;
    const displacementBytes = rng.pick([1, 4] as const);
    return {
      base: rng.chance(0.5) ? RBX : this.#second,
      index,
      scale: index === undefined ? 0 : (rng.below(4) as 0 | 1 | 2 | 3),
      displacement: displacementBytes === 1 ? rng.below(256) - 128 : rng.below(0x2000) - 0x1000,
      displacementBytes,
      ripRelative: false,
    };
  }

  #instruction(avoidCount = false): number[] {
    const rng = this.#rng;
    for (;;) {
      const e = rng.pick(this.#plain);
      const opsizes = e.onlySize
        ? [e.onlySize]
        : this.#mode === 64
          ? ([16, 32, 64] as const)
          : ([16, 32] as const);
      const opsize = rng.pick(opsizes);
      const rm = e.operands.find((o) => o.what.kind === 'modrm-rm')?.what;
      const memory = rm?.kind === 'modrm-rm' && rm.memory && (!rm.register || rng.chance(0.5));
      const narrow = e.operands.some((o) => operandBits(o, opsize) === 8);
      // Without REX, byte registers 4 to 7 are the second bytes of 0 to 3, RBX among them.
      const pick = (): number => {
        const n = this.#free();
        return narrow && this.#mode === 32 ? n % 3 : n;
      };
      if (e.instruction.name === 'bswap' && opsize === 16) continue;
      const reg = pick();
      const rmRegister = pick();
      if (avoidCount && (reg === R10 || rmRegister === R10)) continue;
      return encodeRandom(rng, e, {
        mode: this.#mode,
        opsize,
        rex: this.#mode === 64 && narrow,
        reg,
        rm: rmRegister,
        third: pick(),
        memory: memory ? this.#memory() : undefined,
      });
    }
  }

  /** A vector instruction; a memory operand is aligned, as most of them must be. */
  #vector(): number[] {
    const rng = this.#rng;
    const e = rng.pick(this.#vectors);
    const opsize = rng.pick(operandSizes(e, this.#mode));
    const memory: MemoryChoice = {
      base: RBX,
      index: undefined,
      scale: 0,
      displacement: (rng.below(0x100) - 0x80) * 32,
      displacementBytes: 4,
      ripRelative: false,
    };
    return encodeRandom(rng, e, {
      mode: this.#mode,
      opsize,
      reg: this.#free(),
      rm: this.#free(),
      third: this.#free(),
      fourth: this.#free(),
      memory: rng.pick(memoryForms(e)) ? memory : undefined,
    });
  }

  #branch(): Chunk {
    const rng = this.#rng;
    return {
      bytes: [],
      skip: { over: 1 + rng.below(4), opcode: rng.chance(0.15) ? 0xeb : 0x70 + rng.below(16) },
    };
  }

  /** Addresses and a count, then a string instruction, perhaps backwards and repeated. */
  #string(): number[] {
    const rng = this.#rng;
    const wide = this.#mode === 64 ? [0x48] : [];
    const d32 = (n: number): number[] => [n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, (n >> 24) & 0xff];
    const backwards = rng.chance(0.3);
    const size = rng.pick(this.#mode === 64 ? [[], [0x66], [0x48]] : [[], [0x66]]);
    const repeat = rng.pick([[], [0xf2], [0xf3], [0xf3]]);
    const count = rng.chance(0.3) ? rng.below(300) : rng.below(10);
    const near = rng.below(0x400);
    // In 32-bit mode EDI is the second address register, so only RSI and what EDI is already are used.
    const to = this.#mode === 64 ? [0x48, 0x8d, 0xbb, ...d32(near + rng.below(40) - 20)] : [];
    const from = [...wide, 0x8d, 0xb3, ...d32(near)];
    const restore = this.#mode === 64 ? [] : [0x8d, 0xbb, ...d32(-0x3000 - rng.below(24))];
    return [
      ...from,
      ...to,
      0xb9,
      ...d32(count),
      backwards ? 0xfd : 0xfc,
      ...(size[0] === 0x48 ? [...repeat, ...size] : [...size, ...repeat]),
      rng.pick([0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf]),
      0xfc,
      ...restore,
    ];
  }

  #stack(): number[] {
    const rng = this.#rng;
    const n = this.#rng.pick([0, 1, 2, 5, 6] as const);
    switch (rng.below(6)) {
      case 0:
        return [0x50 + n];
      case 1:
        return [0x58 + n];
      case 2:
        return [0x66, 0x50 + n, 0x66, 0x58 + this.#rng.pick([0, 1, 2] as const)];
      case 3:
        return [0x9c, 0x58 + n];
      // A call of what lies behind it, whose address is then popped away.
      case 4:
        return this.#mode === 64
          ? [0xe8, 0, 0, 0, 0, 0x48, 0x8d, 0x64, 0x24, 8]
          : [0xe8, 0, 0, 0, 0, 0x8d, 0x64, 0x24, 4];
      // call +2; jmp +1; ret
      default:
        return [0xe8, 2, 0, 0, 0, 0xeb, 1, 0xc3];
    }
  }

  /** mov byte [the immediate of a later mov], imm8, something between, and that mov. */
  #selfModifying(): number[] {
    const rng = this.#rng;
    const between = rng.chance(0.5) ? this.#instruction() : [];
    const victim = [0xb8 + rng.below(3), rng.below(256), rng.below(256), 0, 0];
    const which = rng.below(4);
    if (this.#mode === 64) {
      const distance = 1 + between.length + 1 + which;
      return [0xc6, 0x05, distance - 1, 0, 0, 0, rng.below(256), ...between, ...victim];
    }
    // call +0; pop ecx; mov byte [ecx+n], imm8
    return [0xe8, 0, 0, 0, 0, 0x59, 0xc6, 0x41, 1 + 4 + 1 + which, rng.below(256), ...victim];
  }

  /** mov r10d (ecx), count; body; dec; jnz body. The body may change itself, too. */
  #loop(): number[] {
    const rng = this.#rng;
    const count = 1 + rng.below(5);
    const body: number[] = [];
    if (this.#mode === 64 && rng.chance(0.4)) {
      // inc byte [imm]; mov eax, imm
      body.push(0xfe, 0x05, 1 + rng.below(4), 0, 0, 0, 0xb8, rng.below(256), 1, 2, 3);
    }
    if (this.#mode === 64) {
      for (let i = rng.below(3); i >= 0; i--) body.push(...this.#instruction(true));
      const back = body.length + 3 + 2;
      return [0x41, 0xba, count, 0, 0, 0, ...body, 0x41, 0xff, 0xca, 0x75, -back & 0xff];
    }
    body.push(0x01, 0xca, 0xd1, 0xc0, 0x13, 0x13); // add edx, ecx; rol eax, 1; adc edx, [ebx]
    return [0xb9, count, 0, 0, 0, ...body, 0x49, 0x75, -(body.length + 3) & 0xff];
  }
}

/** Puts the chunks in a row and gives the branches their distances. */
function link(chunks: readonly Chunk[]): Uint8Array {
  const parts: number[][] = [];
  for (let i = chunks.length - 1; i >= 0; i--) {
    const chunk = chunks[i];
    if (!chunk) continue;
    if (!chunk.skip) {
      parts.unshift(chunk.bytes);
      continue;
    }
    const distance = parts.slice(0, chunk.skip.over).reduce((sum, part) => sum + part.length, 0);
    if (distance < 128) parts.unshift([chunk.skip.opcode, distance]);
    else if (chunk.skip.opcode === 0xeb) parts.unshift([0xe9, distance & 0xff, distance >> 8, 0, 0]);
    else parts.unshift([0x0f, chunk.skip.opcode + 0x10, distance & 0xff, distance >> 8, 0, 0]);
  }
  return Uint8Array.from(parts.flat());
}
