import type { StateValue } from '../../machine/state.ts';
import { readRflags, writeRflags } from '../flags.ts';
import { FLAT, gpr, S, xmm } from '../layout.ts';
import { readSegment, updateChecked, writeSegment } from './registers.ts';

/** General registers by number. */
export const GPR_NAMES = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const;
const SEGMENT_NAMES = ['es', 'cs', 'ss', 'ds', 'fs', 'gs', 'ldtr', 'tr'] as const;
const XMM_BYTES = 64;

/** Fields of the state block of 64 and of 32 bits, by the name that a snapshot gives them: the block's own. */
const QUADS = [
  'rip',
  'gdtrBase',
  'idtrBase',
  'cr0',
  'cr2',
  'cr3',
  'cr4',
  'cr8',
  'efer',
  'star',
  'lstar',
  'cstar',
  'sfmask',
  'kernelGsBase',
  'tscAux',
  'sysenterCs',
  'sysenterEsp',
  'sysenterEip',
  'xcr0',
  'fpuIp',
  'fpuDp',
] as const satisfies readonly (keyof typeof S)[];
const WORDS = [
  'gdtrLimit',
  'idtrLimit',
  'cpl',
  'codeMode',
  'shadow',
  'halted',
  'nmiBlocked',
  'pendingDebug',
  'mxcsr',
  'fpuTop',
  'fpuStatus',
  'fpuControl',
  'fpuEmpty',
  'fpuOpcode',
  'fpuCs',
  'fpuDs',
] as const satisfies readonly (keyof typeof S)[];

export interface SavedSegment {
  readonly selector: number;
  readonly base: bigint;
  readonly limit: number;
  readonly attributes: number;
  readonly [name: string]: StateValue;
}

/** The architectural state, every field by name. MSRs without a place in the block are in MsrStore's own `save`. */
export interface ArchitecturalState {
  readonly registers: { readonly [name: string]: bigint };
  readonly rflags: number;
  readonly segments: { readonly [name: string]: SavedSegment };
  readonly quads: { readonly [name: string]: bigint };
  readonly words: { readonly [name: string]: number };
  readonly pdptes: readonly bigint[];
  readonly debug: readonly bigint[];
  /** 16 registers, 64 bytes each. */
  readonly vector: Uint8Array;
  /** Physical x87 registers R0..R7, 16 bytes each. */
  readonly x87: Uint8Array;
  readonly [name: string]: StateValue;
}

const bytesAt = (view: DataView, at: number, length: number): Uint8Array =>
  new Uint8Array(view.buffer, view.byteOffset + at, length);

export function saveArchitecturalState(view: DataView): ArchitecturalState {
  const quad = (at: number): bigint => view.getBigUint64(at, true);
  return {
    registers: Object.fromEntries(GPR_NAMES.map((name, n) => [name, quad(gpr(n))])),
    rflags: readRflags(view),
    segments: Object.fromEntries(SEGMENT_NAMES.map((name, n) => [name, { ...readSegment({ view }, n) }])),
    quads: Object.fromEntries(QUADS.map((name) => [name, quad(S[name])])),
    words: Object.fromEntries(WORDS.map((name) => [name, view.getUint32(S[name], true)])),
    pdptes: [0, 1, 2, 3].map((n) => quad(S.pdpte + n * 8)),
    debug: [0, 1, 2, 3, 4, 5, 6, 7].map((n) => quad(S.dr + n * 8)),
    vector: bytesAt(view, xmm(0), 16 * XMM_BYTES).slice(),
    x87: bytesAt(view, S.fpr, 8 * 16).slice(),
  };
}

function restoreBytes(view: DataView, at: number, bytes: Uint8Array, length: number): void {
  if (bytes.length !== length)
    throw new RangeError(`processor state: ${bytes.length} bytes where ${length} belong`);
  bytesAt(view, at, length).set(bytes);
}

/**
 * Brings back what `saveArchitecturalState` wrote. The caller then flushes the
 * TLB and calls the context's `modeChanged`. Throws RangeError when a field is
 * missing.
 */
export function restoreArchitecturalState(view: DataView, state: ArchitecturalState): void {
  const field = <T>(group: { readonly [name: string]: T }, name: string): T => {
    const value = group[name];
    if (value === undefined) throw new RangeError(`processor state without ${name}`);
    return value;
  };
  const quad = (at: number, value: bigint | undefined): void =>
    view.setBigUint64(at, BigInt.asUintN(64, value ?? 0n), true);
  for (const [n, name] of GPR_NAMES.entries()) quad(gpr(n), field(state.registers, name));
  for (const name of QUADS) quad(S[name], field(state.quads, name));
  for (const name of WORDS) view.setUint32(S[name], field(state.words, name), true);
  quad(S.zero, 0n);
  writeRflags(view, state.rflags);
  for (const [n, name] of SEGMENT_NAMES.entries()) writeSegment({ view }, n, field(state.segments, name));
  writeSegment({ view }, FLAT, { selector: 0, base: 0n, limit: 0xffff_ffff, attributes: 0xc093 });
  for (let n = 0; n < SEGMENT_NAMES.length; n++) updateChecked({ view }, n);
  for (let n = 0; n < 4; n++) quad(S.pdpte + n * 8, state.pdptes[n]);
  for (let n = 0; n < 8; n++) quad(S.dr + n * 8, state.debug[n]);
  restoreBytes(view, xmm(0), state.vector, 16 * XMM_BYTES);
  restoreBytes(view, S.fpr, state.x87, 8 * 16);
}
