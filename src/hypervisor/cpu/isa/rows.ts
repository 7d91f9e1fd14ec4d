import type { Builder } from './builder.ts';

export type Unit = 'x87' | 'mmx' | 'sse' | 'avx';

/**
 * One instruction: its encodings and what it does.
 *
 * An encoding is written as in the SDM's opcode tables (vol. 2, appendix A):
 *
 *   '00 Eb,Gb'            opcode, operands
 *   '80 /0 Eb,Ib'         opcode extension in ModRM.reg
 *   '50+r Zv'             register in the opcode's low three bits (Z)
 *   '66 0F 6F Vx,Wx'      mandatory prefix 66, F3 or F2; NP: none of them allowed to mean another row
 *   '0F 01 D0'            (third byte is ModRM as a whole, when written as two hex digits after /m:) '0F 01 /m=D0'
 *   '0F AE /0 mem M'      only with a memory operand; `reg`: only with a register
 *   'NFx 0F 38 F0 Gv:w,Mv'  no F2 or F3 in front; 66 keeps its general meaning
 *   'VEX.LZ.0F38.W0 F2 Gy:w,By,Ey'  a VEX prefix: length (LZ, L0 or 128: 0; L1 or 256: 1; LIG: either), 66, F3 or F2 when
 *                         VEX.pp has one, map, and W0 or W1 when W is not free (it then is the operand size)
 *
 * then words: `i64` invalid in 64-bit mode, `o64` valid only there, `d64`
 * operand size defaults to 64 there, `f64` is forced to 64 there, `lock` LOCK
 * is allowed with a memory destination, `w0`/`w1` REX.W must be so, `os16`,
 * `os32`, `os64` only with that operand size.
 *
 * Operand letters: E register or memory by ModRM.rm; G register by ModRM.reg;
 * B register by VEX.vvvv; Z register in the opcode; M memory only; R register by rm only; I immediate;
 * J relative branch; O moffs; S segment, C control, D debug register by
 * ModRM.reg; V XMM by reg; W XMM or memory; U XMM by rm only; P MMX by reg;
 * Q MMX or memory; N MMX by rm only; T x87 ST(i) by rm; of VEX rows H XMM by VEX.vvvv, L XMM by the
 * upper half of a last immediate byte (/is4), X XMM that a SIB byte has as its index (VSIB). Fixed: AL CL rAX DX
 * (register operands), 1.
 * Sizes: b 8, w 16, d 32, q 64, v by operand size, z 16 or 32 (an immediate
 * is sign-extended to 64), y 32 or 64 (REX.W); x 128 aligned in memory, u 128
 * unaligned; qx and qq the same of 256; ss f32, sd f64 (register: the low lane; memory: that many bytes);
 * none: address only (M).
 * Behind an operand, its access when it is not the default: `:r`, `:w`, `:rw`.
 * Default: the first operand is rw, the others r.
 */
export interface Instruction {
  readonly name: string;
  readonly encodings: readonly string[];
  /** CPUID feature the row needs, in the SDM's name; none: always there. */
  readonly cpuid?: string;
  /** Arithmetic flags that are undefined afterwards, letters of OSZAPC; 'AF only' style functions are not needed: tests mask these. */
  readonly undefinedFlags?: string;
  /** 0: CPL 0 only, else #GP(0). */
  readonly privilege?: 0;
  /** What to check before anything: x87/MMX/SSE availability (CR0.EM/TS, CR4.OSFXSR), AVX's (mode, CR4.OSXSAVE, XCR0, CR0.TS). */
  readonly unit?: Unit;
  readonly semantics: (b: Builder) => void;
}

export interface InstructionOptions {
  readonly cpuid?: string;
  readonly undefinedFlags?: string;
  readonly privilege?: 0;
  readonly unit?: Unit;
}

export function instruction(
  name: string,
  encodings: string | readonly string[],
  semantics: (b: Builder) => void,
  options: InstructionOptions = {},
): Instruction {
  return { name, encodings: typeof encodings === 'string' ? [encodings] : encodings, semantics, ...options };
}
