import { IOPL, VM } from '../flags.ts';
import { CS, FLAT, GS, gpr, S, SEG, SS, segment } from '../layout.ts';
import type { CpuContext } from './context.ts';

/** Whoever has the state block. */
export type StateHolder = Pick<CpuContext, 'view'>;

export const CR0 = {
  PE: 1 << 0,
  MP: 1 << 1,
  EM: 1 << 2,
  TS: 1 << 3,
  ET: 1 << 4,
  NE: 1 << 5,
  WP: 1 << 16,
  AM: 1 << 18,
  NW: 1 << 29,
  CD: 1 << 30,
  PG: 0x8000_0000,
} as const;
export const CR4 = {
  VME: 1 << 0,
  PVI: 1 << 1,
  TSD: 1 << 2,
  DE: 1 << 3,
  PSE: 1 << 4,
  PAE: 1 << 5,
  MCE: 1 << 6,
  PGE: 1 << 7,
  PCE: 1 << 8,
  OSFXSR: 1 << 9,
  OSXMMEXCPT: 1 << 10,
  UMIP: 1 << 11,
  FSGSBASE: 1 << 16,
  PCIDE: 1 << 17,
  OSXSAVE: 1 << 18,
  SMEP: 1 << 20,
  SMAP: 1 << 21,
} as const;
export const EFER = { SCE: 1 << 0, LME: 1 << 8, LMA: 1 << 10, NXE: 1 << 11 } as const;

/** Descriptor bits as SEG.attributes holds them (the high dword >> 8, without the limit's). */
export const ATTR = {
  accessed: 0x1,
  writable: 0x2,
  readable: 0x2,
  expandDown: 0x4,
  conforming: 0x4,
  code: 0x8,
  type: 0xf,
  s: 0x10,
  dpl: 0x60,
  p: 0x80,
  l: 0x2000,
  db: 0x4000,
  g: 0x8000,
} as const;
export const dplOf = (attributes: number): number => (attributes >> 5) & 3;

/** A segment register, its hidden part included. */
export interface SegmentCache {
  readonly selector: number;
  readonly base: bigint;
  /** In bytes, granularity applied. */
  readonly limit: number;
  readonly attributes: number;
}

export const cr0 = (ctx: StateHolder): number => ctx.view.getUint32(S.cr0, true);
export const cr4 = (ctx: StateHolder): number => ctx.view.getUint32(S.cr4, true);
export const efer = (ctx: StateHolder): number => ctx.view.getUint32(S.efer, true);
export const eflags = (ctx: StateHolder): number => ctx.view.getUint32(S.eflags, true);
export const setEflags = (ctx: StateHolder, value: number): void =>
  ctx.view.setUint32(S.eflags, value >>> 0, true);
export const cplOf = (ctx: StateHolder): number => ctx.view.getUint32(S.cpl, true);
export const setCpl = (ctx: StateHolder, cpl: number): void => ctx.view.setUint32(S.cpl, cpl, true);
export const iopl = (ctx: StateHolder): number => (eflags(ctx) & IOPL) >> 12;

export const isProtected = (ctx: StateHolder): boolean => (cr0(ctx) & CR0.PE) !== 0;
export const isV86 = (ctx: StateHolder): boolean => isProtected(ctx) && (eflags(ctx) & VM) !== 0;
/** Real-address or virtual-8086 mode: selectors are paragraph numbers. */
export const hasParagraphs = (ctx: StateHolder): boolean => !isProtected(ctx) || (eflags(ctx) & VM) !== 0;
export const isLongActive = (ctx: StateHolder): boolean => (efer(ctx) & EFER.LMA) !== 0;
export const is64 = (ctx: StateHolder): boolean =>
  isLongActive(ctx) && (ctx.view.getUint32(segment(CS) + SEG.attributes, true) & ATTR.l) !== 0;

export const getGpr = (ctx: StateHolder, n: number): bigint => ctx.view.getBigUint64(gpr(n), true);
export const setGpr = (ctx: StateHolder, n: number, value: bigint): void =>
  ctx.view.setBigUint64(gpr(n), BigInt.asUintN(64, value), true);
export const getGpr32 = (ctx: StateHolder, n: number): number => ctx.view.getUint32(gpr(n), true);
/** Writes 32 bits; the upper half becomes zero. */
export const setGpr32 = (ctx: StateHolder, n: number, value: number): void =>
  ctx.view.setBigUint64(gpr(n), BigInt(value >>> 0), true);
export const RAX = 0,
  RCX = 1,
  RDX = 2,
  RBX = 3,
  RSP = 4,
  RSI = 6,
  RDI = 7;

export const getRip = (ctx: StateHolder): bigint => ctx.view.getBigUint64(S.rip, true);
export const setRip = (ctx: StateHolder, rip: bigint): void =>
  ctx.view.setBigUint64(S.rip, BigInt.asUintN(64, rip), true);

/** Is an unsigned 64-bit linear address canonical: are bits 63:47 all alike? */
export const isCanonical = (linear: bigint): boolean => linear < LOW_HALF_END || linear >= HIGH_HALF;
const LOW_HALF_END = 0x8000_0000_0000n;
const HIGH_HALF = 0xffff_8000_0000_0000n;

export function readSegment(ctx: StateHolder, index: number): SegmentCache {
  const at = segment(index);
  const { view } = ctx;
  return {
    selector: view.getUint16(at + SEG.selector, true),
    base: view.getBigUint64(at + SEG.base, true),
    limit: view.getUint32(at + SEG.limit, true),
    attributes: view.getUint32(at + SEG.attributes, true),
  };
}

export function writeSegment(ctx: StateHolder, index: number, cache: SegmentCache): void {
  const at = segment(index);
  const { view } = ctx;
  view.setBigUint64(at + SEG.base, BigInt.asUintN(64, cache.base), true);
  view.setUint32(at + SEG.limit, cache.limit >>> 0, true);
  view.setUint32(at + SEG.selector, cache.selector & 0xffff, true);
  view.setUint32(at + SEG.attributes, cache.attributes, true);
  updateChecked(ctx, index);
}

/**
 * SEG.checked: 0 when an access at base + offset, cut to 32 bits outside
 * 64-bit mode, needs no check but paging's. Outside 64-bit mode that is a
 * present, writable, expand-up data segment of limit 4 GiB - 1, whatever its
 * base; in 64-bit mode every segment.
 */
export function updateChecked(ctx: StateHolder, index: number): void {
  const at = segment(index);
  const attributes = ctx.view.getUint32(at + SEG.attributes, true);
  let free: boolean;
  if (index === FLAT || is64(ctx)) free = true;
  else {
    const want = ATTR.p | ATTR.s | ATTR.writable;
    free =
      ctx.view.getUint32(at + SEG.limit, true) === 0xffff_ffff &&
      (attributes & (want | ATTR.code | ATTR.expandDown)) === want;
  }
  ctx.view.setUint32(at + SEG.checked, free ? 0 : 1, true);
  if (index <= GS) ctx.view.setUint8(S.oddSegments + index, isFlat(ctx, index) ? 0 : 1);
}

/**
 * Whether an offset in the segment is a linear address that needs no check but paging's, as translated 32-bit code takes
 * it: base 0, limit 4 GiB - 1, and a stack of 32 bits. `checked` is up to date.
 */
function isFlat({ view }: StateHolder, index: number): boolean {
  const at = segment(index);
  if (view.getBigUint64(at + SEG.base, true) !== 0n) return false;
  if (index === CS) return view.getUint32(at + SEG.limit, true) === 0xffff_ffff;
  if (view.getUint32(at + SEG.checked, true) !== 0) return false;
  return index !== SS || (view.getUint32(at + SEG.attributes, true) & ATTR.db) !== 0;
}

/**
 * After CS or a mode changed: the core recomputes its views. When that led
 * into or out of 64-bit mode (codeMode is still the old one), `checked` of the
 * segments that were not loaded follows.
 */
export function modeChanged(ctx: CpuContext): void {
  if ((ctx.view.getUint32(S.codeMode, true) === CODE64) !== is64(ctx)) {
    for (let i = 0; i <= GS; i++) updateChecked(ctx, i);
  }
  ctx.modeChanged();
}

/** S.codeMode in 64-bit mode. */
const CODE64 = 2;

/** Bits of the stack pointer that count: 64 in 64-bit mode, else by SS.B. */
export function stackBits(ctx: StateHolder): 16 | 32 | 64 {
  if (is64(ctx)) return 64;
  return (ctx.view.getUint32(segment(SS) + SEG.attributes, true) & ATTR.db) !== 0 ? 32 : 16;
}
