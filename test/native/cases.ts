import { type Encoding, operandBits } from '../../src/hypervisor/cpu/decode/encoding.ts';
import { type EncodingChoice, encode, type MemoryChoice, type MemoryChoice16 } from './encoder.ts';
import { CODE_AREA, GS_BASE, HOST_CODE, SCRATCH, SCRATCH_BYTES } from './places.ts';
import type { Random } from './random.ts';
import { randomFx, randomUpper } from './vector-state.ts';

export { randomFx, randomUpper };

/** One instruction (and perhaps something to jump over) with everything that it works on. */
export interface Case {
  readonly encoding: Encoding;
  readonly mode: 32 | 64;
  readonly opsize: 16 | 32 | 64;
  readonly memory: boolean;
  /** Where the code lies. */
  readonly at: number;
  readonly code: Uint8Array;
  readonly gpr: BigUint64Array;
  readonly rflags: number;
  /** FXSAVE image. */
  readonly fx: Uint8Array;
  /** Upper halves of the YMM registers. */
  readonly upper: Uint8Array;
  /** Bytes of the scratch memory, by offset in it. */
  readonly patches: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
  /** A shift's count, unmasked. */
  readonly count: number;
}

const RAX = 0,
  RCX = 1,
  RDX = 2,
  RBX = 3,
  RSP = 4,
  RBP = 5,
  RSI = 6,
  RDI = 7;
const STRINGS = /^(movs|cmps|stos|lods|scas)b?$/;
const STACK = /^(push|pop|call|ret|enter|leave)/;
const SHIFTS = /^(rol|ror|rcl|rcr|shl|shr|sar|shld|shrd)$/;
/** Instructions whose VEX.vvvv register is a count, or a start and a length. */
const CONTROLLED = /^(bextr|bzhi|s[ah][lr]x)$/;
/** Instructions that look at some elements alone. */
const MASKED = /^vp?maskmov(p[sd]|d|q)$/;
const RELATIVE = /^(j[a-z]+|call|loop[a-z]*)$/;
const MASK64 = (1n << 64n) - 1n;

/** lea r15, [r15+1] and lea eax, [eax+1]: what a taken branch leaves out. */
const FILLER = { 64: [0x4d, 0x8d, 0x7f, 0x01], 32: [0x8d, 0x40, 0x01] } as const;

/** The operand sizes that an encoding can have in a mode. */
export function operandSizes(encoding: Encoding, mode: 32 | 64): (16 | 32 | 64)[] {
  // In VEX rows W alone changes with the operand size, and in 32-bit mode not even that.
  if (encoding.vex !== undefined && mode === 32) return [32];
  const all: (16 | 32 | 64)[] =
    mode === 32
      ? [32, 16]
      : encoding.size64 === 'f64'
        ? [64]
        : encoding.size64 === 'd64'
          ? [64, 16]
          : [32, 64, 16];
  return all.filter((size) => {
    if (encoding.onlySize !== undefined && encoding.onlySize !== size) return false;
    if (size === 16 && (encoding.vex !== undefined || encoding.prefix === 'none' || encoding.prefix === '66'))
      return false;
    if (
      encoding.rexW !== undefined &&
      encoding.size64 === undefined &&
      (encoding.rexW === 1) !== (size === 64)
    )
      return false;
    return true;
  });
}

export function memoryForms(encoding: Encoding): boolean[] {
  const rm = encoding.operands.find((o) => o.what.kind === 'modrm-rm')?.what;
  const out: boolean[] = [];
  if (rm?.kind === 'modrm-rm' ? rm.register && encoding.mod !== 'mem' : encoding.mod !== 'mem')
    out.push(false);
  if (rm?.kind === 'modrm-rm' ? rm.memory && encoding.mod !== 'reg' : encoding.mod === 'mem') out.push(true);
  return out;
}

/**
 * Makes one random case of a form; undefined when the form cannot be run here.
 * `based`: DS and ES begin at the scratch memory and end with it, so that
 * 16-bit addresses reach it (32-bit mode only).
 */
export function makeCase(
  rng: Random,
  encoding: Encoding,
  mode: 32 | 64,
  opsize: 16 | 32 | 64,
  memory: boolean,
  based = false,
): Case | undefined {
  return new CaseMaker(rng, encoding, mode, opsize, memory, based).make();
}

/** Base and index registers of 16-bit addresses. */
const FORMS16: readonly (readonly number[])[] = [[3, 6], [3, 7], [5, 6], [5, 7], [6], [7], [5], [3]];

class CaseMaker {
  readonly #rng: Random;
  readonly #e: Encoding;
  readonly #name: string;
  readonly #mode: 32 | 64;
  readonly #opsize: 16 | 32 | 64;
  readonly #memory: boolean;
  readonly #gpr = new BigUint64Array(16);
  readonly #patches: { offset: number; bytes: Uint8Array }[] = [];
  readonly #prefixes: number[] = [];
  readonly #registers: number;
  #addressOverride = false;
  #gs = false;
  #target = 0;
  #reg = 0;
  #rm = 0;
  #third = 0;
  readonly #fx: Uint8Array;
  readonly #upper: Uint8Array;
  #choice: MemoryChoice | undefined;
  #choice16: MemoryChoice16 | undefined;
  readonly #based: boolean;

  constructor(
    rng: Random,
    encoding: Encoding,
    mode: 32 | 64,
    opsize: 16 | 32 | 64,
    memory: boolean,
    based: boolean,
  ) {
    this.#rng = rng;
    this.#e = encoding;
    this.#name = encoding.instruction.name;
    this.#mode = mode;
    this.#opsize = opsize;
    this.#memory = memory;
    this.#based = based;
    this.#registers = mode === 64 ? 16 : 8;
    this.#fx = randomFx(rng);
    this.#upper = randomUpper(rng);
  }

  make(): Case | undefined {
    const rng = this.#rng;
    const flow = RELATIVE.test(this.#name) || /^(jmp|call)-indirect$|^ret/.test(this.#name);
    if (flow && this.#mode === 32 && this.#opsize === 16) return undefined;
    for (let n = 0; n < 16; n++) this.#gpr[n] = this.#mode === 64 ? rng.value() : rng.value() & 0xffff_ffffn;
    if (STACK.test(this.#name)) this.#gpr[RSP] = BigInt(SCRATCH + this.#middle());
    this.#reg = rng.below(this.#registers);
    this.#rm = rng.below(this.#registers);
    this.#third = this.#e.vex === undefined ? 0 : rng.below(this.#registers);
    if (this.#name === 'call-indirect' && this.#rm === RSP) this.#rm = RBX;
    this.#choosePrefixes();
    if (this.#memory) {
      if (this.#e.vsib) this.#chooseVsib();
      else if (this.#based && this.#addressOverride) this.#chooseMemory16();
      else this.#chooseMemory();
    }
    this.#special();
    // A stack pointer in the host's signal stack would take the kernel's frame for a nested one.
    const rsp = Number((this.#gpr[RSP] ?? 0n) & 0xffff_ffff_ffffn);
    if (rsp >= HOST_CODE - 0x1000 && rsp <= SCRATCH - 0x1000) return undefined;
    return this.#finish(flow);
  }

  /** An offset in the scratch memory with room on both sides, often on a page's edge. */
  #middle(): number {
    const rng = this.#rng;
    if (rng.chance(0.25)) return 0x8000 + (rng.below(5) - 2) * 0x1000 - rng.below(20);
    return 0x4000 + rng.below(0x8000);
  }

  #choosePrefixes(): void {
    const rng = this.#rng;
    const string = STRINGS.test(this.#name) || this.#name === 'xlat';
    const touches = this.#memory || string;
    if (this.#e.lock && this.#memory && rng.chance(0.2)) this.#prefixes.push(0xf0);
    if (this.#mode === 64) {
      if (touches && rng.chance(0.15)) {
        this.#gs = true;
        this.#prefixes.push(0x65);
      } else if (rng.chance(0.04)) {
        this.#prefixes.push(rng.pick([0x26, 0x2e, 0x36, 0x3e]));
      }
      if (rng.chance(touches ? 0.2 : 0.04)) this.#addressOverride = true;
    } else if (touches && rng.chance(0.1)) {
      this.#prefixes.push(rng.pick([0x26, 0x36, 0x3e]));
    }
    if (this.#based && rng.chance(0.5)) {
      // 16-bit addresses reach DS and ES alone.
      this.#addressOverride = true;
      while (this.#prefixes.at(-1) === 0x36) this.#prefixes.pop();
    }
    if (STRINGS.test(this.#name) && rng.chance(0.6)) this.#prefixes.push(rng.pick([0xf2, 0xf3]));
  }

  /** Base of the segment that an operand with this base register lies in. */
  #segmentBase(register?: number): bigint {
    if (this.#gs) return BigInt(GS_BASE);
    if (!this.#based || this.#prefixes.includes(0x36)) return 0n;
    const stack =
      (register === RSP || register === RBP) &&
      !this.#prefixes.includes(0x26) &&
      !this.#prefixes.includes(0x3e);
    return stack ? 0n : BigInt(SCRATCH);
  }

  /** Sets a register that addresses: at the address size, with anything above it. */
  #setAddress(n: number, value: bigint): void {
    const rng = this.#rng;
    if (this.#mode === 32 && this.#addressOverride) {
      this.#gpr[n] = (rng.u64() & 0xffff_0000n) | BigInt.asUintN(16, value);
      return;
    }
    if (this.#mode === 64 && this.#addressOverride)
      this.#gpr[n] = (rng.u64() & ~0xffff_ffffn & MASK64) | BigInt.asUintN(32, value);
    else this.#gpr[n] = BigInt.asUintN(this.#mode === 64 ? 64 : 32, value);
  }

  #operandBytes(): number {
    const spec = this.#e.operands.find((o) => o.what.kind === 'modrm-rm');
    return spec && spec.width !== 'none' ? operandBits(spec, this.#opsize) / 8 : 16;
  }

  #chooseTarget(): number {
    const rng = this.#rng;
    const bytes = this.#operandBytes();
    const spec = this.#e.operands.find((o) => o.what.kind === 'modrm-rm');
    const aligned = spec?.aligned || this.#name === 'cmpxchg16b';
    // Intel's processors check the alignment of SHA's operands, AMD's do not.
    if (this.#name.startsWith('sha')) return (SCRATCH + this.#middle()) & ~15;
    const fault = !STACK.test(this.#name) && rng.chance(MASKED.test(this.#name) ? 0.25 : 0.03);
    if (fault) return SCRATCH + (rng.chance(0.5) ? SCRATCH_BYTES - rng.below(bytes) : -1 - rng.below(16));
    const at = SCRATCH + this.#middle();
    return aligned && !rng.chance(0.03) ? at & -Math.max(bytes, 16) : at;
  }

  /** A base in the middle, and indices that stay near it, all but some; three registers that differ, mostly. */
  #chooseVsib(): void {
    const rng = this.#rng;
    this.#target = SCRATCH + this.#middle();
    const base = rng.below(this.#registers);
    const displacement = rng.below(256) - 128;
    this.#setAddress(base, BigInt(this.#target - displacement) - this.#segmentBase(base));
    const index = rng.below(this.#registers);
    const same = rng.chance(0.02);
    while (!same && this.#reg === index) this.#reg = rng.below(this.#registers);
    while (!same && (this.#third === index || this.#third === this.#reg))
      this.#third = rng.below(this.#registers);
    this.#choice = {
      base,
      index,
      scale: rng.below(4) as 0 | 1 | 2 | 3,
      displacement,
      displacementBytes: 1,
      ripRelative: false,
    };
    const spec = this.#e.operands.find((o) => o.what.kind === 'vsib-index');
    // The size of an index is in the opcode: 90 and 92 have dwords.
    const bytes = (this.#e.opcode & 1) === 0 ? 4 : 8;
    const near = (): bigint =>
      BigInt(rng.chance(0.06) ? rng.below(0x8000) - 0x4000 : rng.below(0x300) - 0x180);
    for (let at = 0; at < (spec?.width === 256 ? 32 : 16); at += bytes)
      this.#setElement(index, at, bytes, near());
  }

  #setElement(register: number, at: number, bytes: 4 | 8, value: bigint): void {
    const half = at < 16 ? this.#fx : this.#upper;
    const view = new DataView(half.buffer, half.byteOffset);
    const offset = at < 16 ? 160 + register * 16 + at : register * 16 + at - 16;
    if (bytes === 4) view.setInt32(offset, Number(value), true);
    else view.setBigInt64(offset, value, true);
  }

  #chooseMemory(): void {
    const rng = this.#rng;
    this.#target = this.#chooseTarget();
    const anywhere = this.#name === 'lea' || this.#name === 'nop';
    const kind = rng.below(10);
    const chosen = kind === 1 ? undefined : rng.below(this.#registers);
    const offset = BigInt(this.#target) - this.#segmentBase(chosen);
    if (this.#mode === 64 && kind === 0) {
      this.#choice = {
        base: undefined,
        index: undefined,
        scale: 0,
        displacement: Number(offset),
        displacementBytes: 4,
        ripRelative: true,
      };
      return;
    }
    const base = chosen;
    let index = kind <= 4 && kind !== 1 ? undefined : rng.below(this.#registers);
    if (index === RSP || index === base || (kind === 1 && rng.chance(0.3))) index = undefined;
    const scale = index === undefined ? 0 : (rng.below(4) as 0 | 1 | 2 | 3);
    const displacementBytes =
      base === undefined ? 4 : (rng.pick((base & 7) === 5 ? [1, 4] : [0, 1, 4]) as 0 | 1 | 4);
    let displacement =
      displacementBytes === 0
        ? 0
        : displacementBytes === 1
          ? rng.below(256) - 128
          : Number(BigInt.asIntN(32, rng.value()));
    if (base === RSP && STACK.test(this.#name)) displacement = displacementBytes === 0 ? 0 : rng.below(128);
    if (base === undefined) {
      if (index === undefined) displacement = Number(offset);
      else {
        const small = BigInt(rng.below(0x1000) - 0x800);
        if (!anywhere) this.#setAddress(index, small);
        displacement = Number(offset - (small << BigInt(scale)));
      }
    } else {
      const added = index === undefined ? 0n : (this.#gpr[index] ?? 0n) << BigInt(scale);
      if (base === RSP && STACK.test(this.#name)) index = undefined;
      if (!anywhere)
        this.#setAddress(base, offset - (index === undefined ? 0n : added) - BigInt(displacement));
    }
    this.#choice = {
      base,
      index,
      scale: index === undefined ? 0 : scale,
      displacement,
      displacementBytes,
      ripRelative: false,
    };
    if (
      this.#mode === 64 &&
      !this.#addressOverride &&
      base !== undefined &&
      base !== RSP &&
      rng.chance(0.01)
    ) {
      // A non-canonical address.
      this.#gpr[base] = (this.#gpr[base] ?? 0n) ^ 0x4000_0000_0000_0000n;
    }
  }

  #chooseMemory16(): void {
    const rng = this.#rng;
    this.#target = this.#chooseTarget();
    const rm = rng.below(8);
    const registers = FORMS16[rm] ?? [];
    const mod = rng.below(3) as 0 | 1 | 2;
    const direct = mod === 0 && rm === 6;
    // An address with BP lies in the stack segment, unless told otherwise.
    if (registers.includes(RBP) && !direct && this.#segmentBase(RBP) === 0n) this.#prefixes.unshift(0x3e);
    // The address wraps at 64 KiB, so that one below the segment lies at its end.
    const offset = (this.#target - SCRATCH) & 0xffff;
    this.#target = SCRATCH + offset;
    let displacement = rng.below(0x100);
    const [fixed = 0, other] = registers;
    if (direct) displacement = offset & 0xffff;
    else {
      const rest = other === undefined ? 0 : Number((this.#gpr[other] ?? 0n) & 0xffffn);
      const signed = mod === 0 ? 0 : (displacement << 24) >> 24;
      if (mod === 2) displacement = (offset - rest - Number((this.#gpr[fixed] ?? 0n) & 0xffffn)) & 0xffff;
      else this.#setAddress(fixed, BigInt(offset - rest - signed));
    }
    this.#choice16 = { mod, rm, displacement };
  }

  #isPinned(n: number): boolean {
    if (this.#choice16) return FORMS16[this.#choice16.rm]?.includes(n) ?? false;
    return n === this.#choice?.base || n === this.#choice?.index;
  }
  #set(n: number, value: bigint): void {
    if (!this.#isPinned(n)) this.#gpr[n] = BigInt.asUintN(this.#mode === 64 ? 64 : 32, value);
  }

  /** Operands with which the instruction does something of interest, and stays where it may. */
  #special(): void {
    const rng = this.#rng;
    const name = this.#name;
    if (SHIFTS.test(name) && rng.chance(0.7))
      this.#set(RCX, ((this.#gpr[RCX] ?? 0n) & ~0xffn) | BigInt(rng.below(72)));
    if (STRINGS.test(name)) {
      const source = this.#segmentBase();
      const destination = this.#based ? BigInt(SCRATCH) : 0n;
      this.#setAddress(RSI, BigInt(SCRATCH + this.#middle()) - source);
      this.#setAddress(
        RDI,
        -destination +
          BigInt(
            SCRATCH +
              (rng.chance(0.3)
                ? Number((this.#gpr[RSI] ?? 0n) & 0xffffn) + rng.below(17) - 8
                : this.#middle()),
          ),
      );
      // Into a page that is not there, perhaps after some repetitions.
      const edge = BigInt(SCRATCH + (rng.chance(0.5) ? SCRATCH_BYTES - rng.below(100) : rng.below(40) - 20));
      if (rng.chance(0.08)) this.#setAddress(RDI, edge - destination);
      else if (rng.chance(0.05)) this.#setAddress(RSI, edge - source);
      this.#setAddress(RCX, BigInt(rng.chance(0.2) ? rng.below(600) : rng.below(12)));
      if (rng.chance(0.5)) this.#set(RAX, 0n);
    }
    if (/^v?maskmov(q|dqu)$/.test(name))
      this.#setAddress(RDI, BigInt(SCRATCH + this.#middle()) - this.#segmentBase());
    if (name === 'xlat')
      this.#setAddress(
        RBX,
        BigInt(SCRATCH + this.#middle()) - ((this.#gpr[RAX] ?? 0n) & 0xffn) - this.#segmentBase(),
      );
    if (name === 'enter' || name === 'leave') this.#gpr[RBP] = BigInt(SCRATCH + this.#middle());
    if ((name === 'div' || name === 'idiv') && rng.chance(0.7)) this.#smallDividend(name === 'idiv');
    if (/^bt[src]?$/.test(name) && this.#memory) {
      while (this.#isPinned(this.#reg)) this.#reg = rng.below(this.#registers);
      this.#set(
        this.#reg,
        BigInt(rng.below(0x8000) - 0x4000) ^ ((rng.u64() << 32n) & (this.#opsize === 64 ? 0n : MASK64)),
      );
    }
    if (/^cmpxchg/.test(name) && this.#memory && rng.chance(0.6)) this.#matchAccumulator();
    if (/^(lar|lsl|verr|verw)$/.test(name)) this.#selector();
    if (CONTROLLED.test(name) && rng.chance(0.7)) this.#set(this.#third, this.#control(name === 'bextr'));
    if (name === 'popf') {
      const bytes = new Uint8Array(8);
      // TF would trap and AC would fault the way back on the host.
      new DataView(bytes.buffer).setUint32(0, (rng.below(0x1000) & ~0x100) | 2, true);
      this.#patch(Number(this.#gpr[RSP]), bytes);
    }
    if (name === 'cmpxchg' && !this.#memory && rng.chance(0.5)) this.#set(RAX, this.#gpr[this.#rm] ?? 0n);
  }

  /** A count of bits with anything above it, and for BEXTR a length. */
  #control(length: boolean): bigint {
    const low = BigInt(this.#rng.below(72)) | (length ? BigInt(this.#rng.below(72)) << 8n : 0n);
    return (this.#rng.u64() & ~0xffffn) | low;
  }

  /** Of segments that Linux gives every program, or none. */
  #selector(): void {
    const value = BigInt(this.#rng.pick([0, 3, 0x20, 0x23, 0x28, 0x2b, 0x30, 0x33]));
    const bytes = Uint8Array.of(Number(value), 0);
    if (this.#memory) this.#patch(this.#target, bytes);
    else this.#gpr[this.#rm] = ((this.#gpr[this.#rm] ?? 0n) & ~0xffffn) | value;
  }

  #smallDividend(signed: boolean): void {
    const rng = this.#rng;
    const operand = this.#e.operands[0];
    if (operand && operandBits(operand, this.#opsize) === 8) {
      this.#set(
        RAX,
        ((this.#gpr[RAX] ?? 0n) & ~0xff00n) | (rng.chance(0.5) ? 0n : BigInt(rng.below(256) << 8) & 0xf00n),
      );
      return;
    }
    const negative = signed && rng.chance(0.5);
    this.#set(RDX, negative ? MASK64 - BigInt(rng.below(3)) : BigInt(rng.below(3)));
  }

  /** Memory that equals the accumulator (or the pair), so that the exchange happens. */
  #matchAccumulator(): void {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    const wide = this.#name === 'cmpxchg16b';
    view.setBigUint64(0, this.#gpr[RAX] ?? 0n, true);
    if (wide) view.setBigUint64(8, this.#gpr[RDX] ?? 0n, true);
    else if (this.#name === 'cmpxchg8b')
      view.setUint32(4, Number((this.#gpr[RDX] ?? 0n) & 0xffff_ffffn), true);
    this.#patch(this.#target, bytes);
  }

  #patch(address: number, bytes: Uint8Array): void {
    const offset = address - SCRATCH;
    if (offset >= 0 && offset + bytes.length <= SCRATCH_BYTES) this.#patches.push({ offset, bytes });
  }

  #immediates(): bigint[] {
    const rng = this.#rng;
    return this.#e.immediates.map((operand, i) => {
      const spec = this.#e.operands[operand];
      if (spec?.what.kind === 'relative') return BigInt(FILLER[this.#mode].length);
      if (spec?.what.kind === 'moffs') return BigInt(SCRATCH + this.#middle()) - this.#segmentBase();
      if (this.#name === 'enter' && i === 0) return BigInt(rng.below(0x2000));
      if (this.#name === 'ret-release') return BigInt(rng.below(0x1000));
      if (SHIFTS.test(this.#name)) return BigInt(rng.below(72));
      // Vectors that no program may call.
      if (this.#name === 'int') return BigInt(rng.pick([0x0d, 0x20, 0x40, 0xff]));
      return rng.value();
    });
  }

  #finish(flow: boolean): Case {
    const rng = this.#rng;
    const at = CODE_AREA + 0x800 + rng.below(64) + (rng.chance(0.15) ? 0x7c0 + rng.below(64) : 0);
    const choice: EncodingChoice = {
      mode: this.#mode,
      opsize: this.#opsize,
      addressOverride: this.#addressOverride,
      prefixes: this.#prefixes,
      rex: this.#mode === 64 && rng.chance(0.3),
      reg: this.#reg,
      rm: this.#rm,
      third: this.#third,
      fourth: rng.below(this.#registers),
      long: rng.chance(0.5),
      memory: this.#choice,
      memory16: this.#choice16,
      immediates: this.#immediates(),
    };
    const { bytes } = encode(this.#e, choice, at);
    const code = flow ? Uint8Array.from([...bytes, ...FILLER[this.#mode]]) : bytes;
    if (flow) this.#aim(at + code.length);
    const stringy = STRINGS.test(this.#name);
    const count = this.#e.operands.some((o) => o.text === 'CL')
      ? Number((this.#gpr[RCX] ?? 0n) & 0xffn)
      : this.#e.operands.at(-1)?.what.kind === 'constant'
        ? 1
        : Number((choice.immediates.at(-1) ?? 0n) & 0xffn);
    return {
      encoding: this.#e,
      mode: this.#mode,
      opsize: this.#opsize,
      memory: this.#memory,
      at,
      code,
      gpr: this.#gpr,
      rflags: (rng.below(0x1000) & (stringy || rng.chance(0.1) ? 0xcd5 : 0x8d5)) | 2,
      fx: this.#fx,
      upper: this.#upper,
      patches: this.#patches,
      count,
    };
  }

  #stackIsThere(): boolean {
    const rsp = this.#gpr[RSP] ?? 0n;
    return rsp >= BigInt(SCRATCH + 64) && rsp <= BigInt(SCRATCH + SCRATCH_BYTES - 64);
  }

  /** Gives an indirect branch or a return its target. */
  #aim(end: number): void {
    const bytes = new Uint8Array(this.#mode / 8);
    const view = new DataView(bytes.buffer);
    // Sometimes a target that is not canonical, where the branch itself faults. When the stack faults besides,
    // Intel's tell of the target (SDM vol. 2, CALL) and AMD's of the stack.
    const wanted = this.#mode === 64 && this.#rng.chance(0.05);
    const wild = wanted && this.#stackIsThere() ? 1n << 62n : 0n;
    if (this.#mode === 64) view.setBigUint64(0, BigInt(end) | wild, true);
    else view.setUint32(0, end, true);
    if (/^ret/.test(this.#name)) this.#patch(Number(this.#gpr[RSP]), bytes);
    else if (/-indirect$/.test(this.#name)) {
      if (this.#memory) this.#patch(this.#target, bytes);
      else this.#gpr[this.#rm] = BigInt(end) | wild;
    }
  }
}
