import { type Encoding, immediateBytes } from '../../src/hypervisor/cpu/decode/encoding.ts';

/** A memory operand as ModRM, SIB and displacement say it. Register numbers 0..15. */
export interface MemoryChoice {
  readonly base: number | undefined;
  readonly index: number | undefined;
  readonly scale: 0 | 1 | 2 | 3;
  readonly displacement: number;
  readonly displacementBytes: 0 | 1 | 4;
  /** Displacement from the next instruction; `displacement` is then the target's address. */
  readonly ripRelative: boolean;
}

/** A memory operand with 16-bit addressing (SDM vol. 2, table 2-1). */
export interface MemoryChoice16 {
  readonly mod: 0 | 1 | 2;
  readonly rm: number;
  readonly displacement: number;
}

/** What is free in an encoding. */
export interface EncodingChoice {
  readonly mode: 32 | 64;
  readonly opsize: 16 | 32 | 64;
  /** 67h. */
  readonly addressOverride: boolean;
  /** Prefixes in front: segment, LOCK, REP. */
  readonly prefixes: readonly number[];
  /** A REX prefix even when no bit of it is needed: SPL..DIL instead of AH..BH. */
  readonly rex: boolean;
  readonly reg: number;
  /** Register in VEX.vvvv. */
  readonly third?: number;
  /** Register in the upper half of a last immediate byte. */
  readonly fourth?: number;
  /** VEX.L where it does not matter. */
  readonly long?: boolean;
  /** Register in rm, or in the opcode. */
  readonly rm: number;
  readonly memory: MemoryChoice | undefined;
  readonly memory16?: MemoryChoice16 | undefined;
  readonly immediates: readonly bigint[];
}

/** An encoded instruction, for the address where it shall lie. */
export interface Encoded {
  readonly bytes: Uint8Array;
  readonly immediateBytes: readonly number[];
}

const PREFIX_BYTE = { none: undefined, '66': 0x66, F3: 0xf3, F2: 0xf2 } as const;

function pushNumber(out: number[], value: bigint, bytes: number): void {
  for (let i = 0; i < bytes; i++) out.push(Number((value >> BigInt(8 * i)) & 0xffn));
}

function modrmBytes(reg: number, c: EncodingChoice): { bytes: number[]; ripAt: number | undefined } {
  const m = c.memory;
  const field = (reg & 7) << 3;
  if (c.memory16) {
    const { mod, rm, displacement } = c.memory16;
    const out = [(mod << 6) | field | rm];
    pushNumber(out, BigInt(displacement), mod === 1 ? 1 : mod === 2 || rm === 6 ? 2 : 0);
    return { bytes: out, ripAt: undefined };
  }
  if (!m) return { bytes: [0xc0 | field | (c.rm & 7)], ripAt: undefined };
  const out: number[] = [];
  if (m.ripRelative) {
    out.push(field | 5, 0, 0, 0, 0);
    return { bytes: out, ripAt: 1 };
  }
  const mod = m.displacementBytes === 0 ? 0 : m.displacementBytes === 1 ? 1 : 2;
  if (m.base === undefined) {
    // In 64-bit mode an address without base and index has a SIB byte too, for rm 5 is RIP-relative.
    if (m.index === undefined && c.mode === 32) out.push(field | 5);
    else out.push(field | 4, (m.scale << 6) | (((m.index ?? 4) & 7) << 3) | 5);
    pushNumber(out, BigInt(m.displacement), 4);
    return { bytes: out, ripAt: undefined };
  }
  if ((m.base & 7) === 5 && mod === 0) throw new RangeError('a base of rBP or R13 needs a displacement');
  if (m.index !== undefined || (m.base & 7) === 4) {
    out.push((mod << 6) | field | 4, (m.scale << 6) | (((m.index ?? 4) & 7) << 3) | (m.base & 7));
  } else {
    out.push((mod << 6) | field | (m.base & 7));
  }
  pushNumber(out, BigInt(m.displacement), m.displacementBytes);
  return { bytes: out, ripAt: undefined };
}

/** REX as the choice needs it; 0 when it needs none. */
function rexOf(encoding: Encoding, c: EncodingChoice): number {
  if (c.mode !== 64) return 0;
  const implied = encoding.size64 !== undefined;
  const w = encoding.rexW ?? (c.opsize === 64 && !implied ? 1 : 0);
  const r = encoding.extension === undefined && encoding.hasModrm ? c.reg >> 3 : 0;
  const x = (c.memory?.index ?? 0) >> 3;
  const b = (c.memory ? (c.memory.base ?? 0) : c.rm) >> 3;
  const bits = (w << 3) | (r << 2) | (x << 1) | b;
  return bits !== 0 || c.rex ? 0x40 | bits : 0;
}

const PREFIX_BITS = { none: 0, '66': 1, F3: 2, F2: 3 } as const;

const lengthBit = (encoding: Encoding, c: EncodingChoice): number =>
  encoding.vex === 1 || (encoding.vex === 'ignored' && c.long === true) ? 1 : 0;

/** The VEX prefix, in two bytes where they suffice and no `rex` is asked for. */
function vexBytes(encoding: Encoding, c: EncodingChoice): number[] {
  const bits = rexOf(encoding, c) | (encoding.rexW === 1 ? 8 : 0);
  const used = encoding.operands.some((o) => o.what.kind === 'vex-reg');
  const vvvv = ~(used ? (c.third ?? 0) : 0) & 15;
  const last = (vvvv << 3) | (lengthBit(encoding, c) << 2) | PREFIX_BITS[encoding.prefix ?? 'none'];
  if (encoding.map === 1 && (bits & 11) === 0 && !c.rex) return [0xc5, ((~bits & 4) << 5) | last];
  return [0xc4, ((~bits & 7) << 5) | encoding.map, ((bits & 8) << 4) | last];
}

/** Machine code of an encoding, to lie at `address` (which only RIP-relative operands see). */
export function encode(encoding: Encoding, c: EncodingChoice, address: number): Encoded {
  const out: number[] = [...c.prefixes];
  const legacy = encoding.vex === undefined;
  if (legacy && c.opsize === 16 && encoding.prefix !== '66') out.push(0x66);
  if (c.addressOverride) out.push(0x67);
  const mandatory = PREFIX_BYTE[encoding.prefix ?? 'none'];
  if (legacy) {
    if (mandatory !== undefined) out.push(mandatory);
    const rex = rexOf(encoding, c);
    if (rex !== 0) out.push(rex);
    if (encoding.map > 0) out.push(0x0f);
    if (encoding.map === 2) out.push(0x38);
    if (encoding.map === 3) out.push(0x3a);
  } else out.push(...vexBytes(encoding, c));
  out.push(encoding.opcodeRegister ? encoding.opcode + (c.rm & 7) : encoding.opcode);
  let ripAt: number | undefined;
  if (encoding.modrm !== undefined) {
    out.push(encoding.modrmRegister ? encoding.modrm | (c.rm & 7) : encoding.modrm);
  } else if (encoding.hasModrm) {
    const { bytes, ripAt: at } = modrmBytes(encoding.extension ?? c.reg, c);
    if (at !== undefined) ripAt = out.length + at;
    out.push(...bytes);
  }
  const addressSize = c.mode === 64 ? (c.addressOverride ? 32 : 64) : c.addressOverride ? 16 : 32;
  const sizes = encoding.immediates.map((operand) => {
    const spec = encoding.operands[operand];
    if (!spec) throw new RangeError(`no operand ${operand}`);
    return immediateBytes(spec, c.opsize, addressSize);
  });
  sizes.forEach((bytes, i) => pushNumber(out, c.immediates[i] ?? 0n, bytes));
  if (encoding.is4) out.push((c.fourth ?? 0) << 4);
  if (ripAt !== undefined) {
    const relative = (c.memory?.displacement ?? 0) - (address + out.length);
    const field: number[] = [];
    pushNumber(field, BigInt(relative), 4);
    out.splice(ripAt, 4, ...field);
  }
  return { bytes: Uint8Array.from(out), immediateBytes: sizes };
}
