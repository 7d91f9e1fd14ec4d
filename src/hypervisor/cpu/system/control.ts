import { AC, readRflags } from '../flags.ts';
import { CS, S, SEG, segment } from '../layout.ts';
import { type CpuContext, GuestFault, gp, ud, VECTOR } from './context.ts';
import { PHYSICAL_ADDRESS_BITS, XCR0 } from './cpuid.ts';
import type { SystemInstruction, SystemRoutine } from './instruction.ts';
import {
  ATTR,
  CR0,
  CR4,
  cplOf,
  cr0,
  cr4,
  EFER,
  efer,
  getGpr,
  getGpr32,
  is64,
  isCanonical,
  isLongActive,
  isV86,
  modeChanged,
  RAX,
  RCX,
  RDX,
  setEflags,
  setRip,
} from './registers.ts';
import { requireCpl0 } from './segment-instructions.ts';

const CR0_WRITABLE =
  (CR0.PE | CR0.MP | CR0.EM | CR0.TS | CR0.NE | CR0.WP | CR0.AM | CR0.NW | CR0.CD | CR0.PG) >>> 0;

/** CR4 bits and the CPUID features that they come with. */
const CR4_FEATURES: readonly (readonly [bit: number, feature: string])[] = [
  [CR4.VME, 'VME'],
  [CR4.PVI, 'VME'],
  [CR4.TSD, 'TSC'],
  [CR4.DE, 'DE'],
  [CR4.PSE, 'PSE'],
  [CR4.PAE, 'PAE'],
  [CR4.MCE, 'MCE'],
  [CR4.PGE, 'PGE'],
  [CR4.PCE, 'MSR'],
  [CR4.OSFXSR, 'FXSR'],
  [CR4.OSXMMEXCPT, 'SSE'],
  [CR4.UMIP, 'UMIP'],
  [CR4.FSGSBASE, 'FSGSBASE'],
  [CR4.PCIDE, 'PCID'],
  [CR4.OSXSAVE, 'XSAVE'],
  [CR4.SMEP, 'SMEP'],
  [CR4.SMAP, 'SMAP'],
];

function cr4Allowed(ctx: CpuContext): number {
  let mask = 0;
  for (const [bit, feature] of CR4_FEATURES) if (ctx.platform.cpuid.has(feature)) mask |= bit;
  return mask;
}

const PHYSICAL_MASK = (1n << BigInt(PHYSICAL_ADDRESS_BITS)) - 1n;
/** PDPTE bits that must be 0 (SDM vol. 3, table 4-8): 2:1, 8:5, and above the physical width. */
const PDPTE_RESERVED = 0x1e6n | (0xffff_ffff_ffff_ffffn & ~PHYSICAL_MASK);

/**
 * Reads the four PDPTEs that CR3 points at, through physical memory as the
 * context's paging sees it. #GP(0) when a present one has reserved bits set.
 */
function readPdptes(ctx: CpuContext, cr3: bigint): bigint[] {
  const base = cr3 & 0xffff_ffe0n;
  const entries = [0n, 8n, 16n, 24n].map((offset) => ctx.readPhysical64(base + offset));
  if (entries.some((entry) => (entry & 1n) !== 0n && (entry & PDPTE_RESERVED) !== 0n)) throw gp();
  return entries;
}

function storePdptes(ctx: CpuContext, entries: readonly bigint[] | undefined): void {
  entries?.forEach((entry, i) => ctx.view.setBigUint64(S.pdpte + i * 8, entry, true));
}

const usesPdptes = (cr0Value: number, cr4Value: number, eferValue: number): boolean =>
  (cr0Value & CR0.PG) !== 0 && (cr4Value & CR4.PAE) !== 0 && (eferValue & EFER.LME) === 0;

/** Checks and writes CR0 (SDM vol. 2, MOV to control registers; vol. 3, 9.8.5 on IA-32e mode). */
function writeCr0(ctx: CpuContext, value: bigint): void {
  if (value >> 32n !== 0n) throw gp();
  const old = cr0(ctx);
  const next = ((Number(value) & CR0_WRITABLE) | CR0.ET) >>> 0;
  const paging = (next & CR0.PG) !== 0;
  if (paging && (next & CR0.PE) === 0) throw gp();
  if ((next & CR0.NW) !== 0 && (next & CR0.CD) === 0) throw gp();
  const codeL = (ctx.view.getUint32(segment(CS) + SEG.attributes, true) & ATTR.l) !== 0;
  let eferValue = efer(ctx);
  if (!paging && (old & CR0.PG) !== 0) {
    if (is64(ctx) || (cr4(ctx) & CR4.PCIDE) !== 0) throw gp();
    eferValue &= ~EFER.LMA;
  } else if (paging && (old & CR0.PG) === 0 && (eferValue & EFER.LME) !== 0) {
    if ((cr4(ctx) & CR4.PAE) === 0 || codeL) throw gp();
    eferValue |= EFER.LMA;
  }
  const changed = old ^ next;
  const reload = usesPdptes(next, cr4(ctx), eferValue) && (changed & (CR0.PG | CR0.CD | CR0.NW)) !== 0;
  storePdptes(ctx, reload ? readPdptes(ctx, ctx.view.getBigUint64(S.cr3, true)) : undefined);
  ctx.view.setBigUint64(S.cr0, BigInt(next), true);
  ctx.view.setBigUint64(S.efer, BigInt(eferValue), true);
  if ((changed & (CR0.PG | CR0.PE | CR0.WP)) !== 0) ctx.flushTlb('all');
  modeChanged(ctx);
}

export function writeCr3(ctx: CpuContext, value: bigint): void {
  let next = value;
  if (isLongActive(ctx)) {
    if ((cr4(ctx) & CR4.PCIDE) !== 0) next &= ~(1n << 63n);
    if ((next & ~PHYSICAL_MASK) !== 0n) throw gp();
  } else {
    next &= 0xffff_ffffn;
    if (usesPdptes(cr0(ctx), cr4(ctx), efer(ctx))) storePdptes(ctx, readPdptes(ctx, next));
  }
  ctx.view.setBigUint64(S.cr3, next, true);
  // The TLB has no PCID tags: every load drops what is not global, which bit 63 allows but does not ask for.
  ctx.flushTlb('non-global');
  modeChanged(ctx);
}

function writeCr4(ctx: CpuContext, value: bigint): void {
  if (value >> 32n !== 0n || (Number(value) & ~cr4Allowed(ctx)) !== 0) throw gp();
  const old = cr4(ctx);
  const next = Number(value);
  const changed = old ^ next;
  if (isLongActive(ctx) && (next & CR4.PAE) === 0) throw gp();
  if ((changed & next & CR4.PCIDE) !== 0) {
    if (!isLongActive(ctx) || (ctx.view.getBigUint64(S.cr3, true) & 0xfffn) !== 0n) throw gp();
  }
  const paging = CR4.PSE | CR4.PAE | CR4.PGE | CR4.SMEP;
  const reload = usesPdptes(cr0(ctx), next, efer(ctx)) && (changed & paging) !== 0;
  storePdptes(ctx, reload ? readPdptes(ctx, ctx.view.getBigUint64(S.cr3, true)) : undefined);
  ctx.view.setBigUint64(S.cr4, value, true);
  if ((changed & (paging | CR4.SMAP | CR4.PCIDE)) !== 0) ctx.flushTlb('all');
  modeChanged(ctx);
}

function readControl(ctx: CpuContext, number: number): bigint {
  switch (number) {
    case 0:
      return ctx.view.getBigUint64(S.cr0, true);
    case 2:
      return ctx.view.getBigUint64(S.cr2, true);
    case 3:
      return ctx.view.getBigUint64(S.cr3, true);
    case 4:
      return ctx.view.getBigUint64(S.cr4, true);
    case 8:
      return BigInt(ctx.platform.tprGet() & 15);
    default:
      throw ud();
  }
}

function writeControl(ctx: CpuContext, number: number, value: bigint): void {
  switch (number) {
    case 0:
      return writeCr0(ctx, value);
    case 2:
      return ctx.view.setBigUint64(S.cr2, value, true);
    case 3:
      return writeCr3(ctx, value);
    case 4:
      return writeCr4(ctx, value);
    case 8:
      if (value > 15n) throw gp();
      ctx.view.setBigUint64(S.cr8, value, true);
      return ctx.platform.tprSet(Number(value));
    default:
      throw ud();
  }
}

const CONTROL_REGISTERS = new Set([0, 2, 3, 4, 8]);

/** MOV r, CRn: operand 0 general, operand 1 control register. */
function movFromControl(ctx: CpuContext, insn: SystemInstruction): void {
  const number = insn.registerNumber(1);
  if (!CONTROL_REGISTERS.has(number)) throw ud();
  requireCpl0(ctx);
  insn.writeOperand(0, readControl(ctx, number), is64(ctx) ? 64 : 32);
  setRip(ctx, insn.nextRip);
}

/** MOV CRn, r. */
function movToControl(ctx: CpuContext, insn: SystemInstruction): void {
  const number = insn.registerNumber(0);
  if (!CONTROL_REGISTERS.has(number)) throw ud();
  requireCpl0(ctx);
  const next = insn.nextRip;
  const value = insn.readOperand(1);
  writeControl(ctx, number, is64(ctx) ? value : value & 0xffff_ffffn);
  setRip(ctx, next);
}

function clts(ctx: CpuContext, insn: SystemInstruction): void {
  requireCpl0(ctx);
  ctx.view.setBigUint64(S.cr0, BigInt((cr0(ctx) & ~CR0.TS) >>> 0), true);
  ctx.modeChanged();
  setRip(ctx, insn.nextRip);
}

/** LMSW: PE, MP, EM and TS alone; PE can be set but not cleared. */
function lmsw(ctx: CpuContext, insn: SystemInstruction): void {
  requireCpl0(ctx);
  const next = insn.nextRip;
  const value = Number((insn.isMemory(0) ? insn.readMemory(0, 2) : insn.readOperand(0)) & 15n);
  const old = cr0(ctx);
  writeCr0(ctx, BigInt(((old & ~14) | value | (old & CR0.PE)) >>> 0));
  setRip(ctx, next);
}

function invlpg(ctx: CpuContext, insn: SystemInstruction): void {
  requireCpl0(ctx);
  const base = ctx.view.getBigUint64(segment(insn.segment) + SEG.base, true);
  const offset = insn.memoryOffset();
  const linear = is64(ctx)
    ? BigInt.asUintN(64, insn.segment === 4 || insn.segment === 5 ? base + offset : offset)
    : BigInt.asUintN(32, base + offset);
  if (isCanonical(linear)) ctx.flushTlb({ linear });
  // The code's own translation may be the one that goes.
  ctx.modeChanged();
  setRip(ctx, insn.nextRip);
}

/** INVPCID: operand 0 the type, operand 1 the 16-byte descriptor. Without PCID tags each type but 0 drops more than it must. */
function invpcid(ctx: CpuContext, insn: SystemInstruction): void {
  if (isV86(ctx)) throw gp();
  requireCpl0(ctx);
  const kind = is64(ctx) ? insn.readOperand(0) : insn.readOperand(0) & 0xffff_ffffn;
  const low = insn.readMemory(1, 8);
  const linear = insn.readMemory(1, 8, 8);
  if (kind > 3n || low >> 12n !== 0n) throw gp();
  const pcid = (cr4(ctx) & CR4.PCIDE) !== 0;
  if (kind <= 1n && !pcid && low !== 0n) throw gp();
  if (kind === 0n) {
    if (!isCanonical(linear)) throw gp();
    ctx.flushTlb({ linear });
  } else ctx.flushTlb(kind === 2n ? 'all' : 'non-global');
  ctx.modeChanged();
  setRip(ctx, insn.nextRip);
}

/** INVD, WBINVD: memory is always coherent. */
function cacheControl(ctx: CpuContext, insn: SystemInstruction): void {
  requireCpl0(ctx);
  setRip(ctx, insn.nextRip);
}

function requireOsxsave(ctx: CpuContext): void {
  if ((cr4(ctx) & CR4.OSXSAVE) === 0) throw ud();
}

function xsetbv(ctx: CpuContext, insn: SystemInstruction): void {
  requireOsxsave(ctx);
  requireCpl0(ctx);
  const value = ((getGpr(ctx, RDX) & 0xffff_ffffn) << 32n) | (getGpr(ctx, RAX) & 0xffff_ffffn);
  const unknown = (value & ~ctx.platform.cpuid.components) !== 0n;
  // AVX's component is only half of the registers: SSE's is the other.
  const half = (value & XCR0.avx) !== 0n && (value & XCR0.sse) === 0n;
  if (getGpr32(ctx, RCX) !== 0 || (value & XCR0.x87) === 0n || unknown || half) throw gp();
  ctx.view.setBigUint64(S.xcr0, value, true);
  ctx.modeChanged();
  setRip(ctx, insn.nextRip);
}

/** CLAC and STAC: EFLAGS.AC decides over supervisor accesses to user pages. */
const setAlignmentFlag =
  (on: boolean): SystemRoutine =>
  (ctx, insn) => {
    if (cplOf(ctx) !== 0) throw ud();
    const flags = readRflags(ctx.view);
    setEflags(ctx, on ? ctx.view.getUint32(S.eflags, true) | AC : ctx.view.getUint32(S.eflags, true) & ~AC);
    if (((flags & AC) !== 0) !== on) ctx.modeChanged();
    setRip(ctx, insn.nextRip);
  };

const DR6_FIXED = 0xffff_0ff0;
const DR6_WRITABLE = 0xe00f;
const DR7_FIXED = 0x400;
const DR7_WRITABLE = 0xffff_23ff;
const DR7_GD = 1 << 13;
const DR6_BD = 1 << 13;

/** DR4 and DR5 are DR6 and DR7, unless CR4.DE says that there are none. */
function debugRegister(ctx: CpuContext, number: number): number {
  if (number > 7) throw ud();
  if (number !== 4 && number !== 5) return number;
  if ((cr4(ctx) & CR4.DE) !== 0) throw ud();
  return number + 2;
}

function requireDebugAccess(ctx: CpuContext): void {
  requireCpl0(ctx);
  if ((readDebug(ctx, 7) & BigInt(DR7_GD)) !== 0n)
    throw new GuestFault(VECTOR.DB, undefined, undefined, DR6_BD);
}

export const readDebug = (ctx: CpuContext, number: number): bigint =>
  ctx.view.getBigUint64(S.dr + number * 8, true);

/** Writes DR0-3, DR6 or DR7 with their fixed bits. #GP(0) for upper halves of DR6 and DR7. */
export function writeDebug(ctx: CpuContext, number: number, value: bigint): void {
  let next = value;
  if (number >= 6) {
    if (value >> 32n !== 0n) throw gp();
    const bits = Number(value);
    next = BigInt(
      number === 6 ? ((bits & DR6_WRITABLE) | DR6_FIXED) >>> 0 : ((bits & DR7_WRITABLE) | DR7_FIXED) >>> 0,
    );
  }
  ctx.view.setBigUint64(S.dr + number * 8, next, true);
}

function movFromDebug(ctx: CpuContext, insn: SystemInstruction): void {
  const number = debugRegister(ctx, insn.registerNumber(1));
  requireDebugAccess(ctx);
  insn.writeOperand(0, readDebug(ctx, number), is64(ctx) ? 64 : 32);
  setRip(ctx, insn.nextRip);
}

function movToDebug(ctx: CpuContext, insn: SystemInstruction): void {
  const number = debugRegister(ctx, insn.registerNumber(0));
  requireDebugAccess(ctx);
  const next = insn.nextRip;
  const value = insn.readOperand(1);
  writeDebug(ctx, number, is64(ctx) ? value : value & 0xffff_ffffn);
  ctx.modeChanged();
  setRip(ctx, next);
}

/** Which kinds of breakpoints DR7 has enabled: of code (R/W 00), of data (01, 11) and, with CR4.DE, of I/O (10). */
export function enabledBreakpoints(view: DataView): { code: boolean; data: boolean; io: boolean } {
  const dr7 = view.getUint32(S.dr + 56, true);
  const found = { code: false, data: false, io: false };
  for (let i = 0; i < 4; i++) {
    if (((dr7 >> (i * 2)) & 3) === 0) continue;
    const kind = (dr7 >> (16 + i * 4)) & 3;
    if (kind === 0) found.code = true;
    else if (kind === 2) found.io = (view.getUint32(S.cr4, true) & CR4.DE) !== 0 || found.io;
    else found.data = true;
  }
  return found;
}

export const controlRoutines: Readonly<Record<string, SystemRoutine>> = {
  mov_to_cr: movToControl,
  mov_from_cr: movFromControl,
  mov_to_dr: movToDebug,
  mov_from_dr: movFromDebug,
  clts,
  lmsw,
  invlpg,
  invpcid,
  invd: cacheControl,
  wbinvd: cacheControl,
  xsetbv,
  clac: setAlignmentFlag(false),
  stac: setAlignmentFlag(true),
};
