import { readRflags, writeRflags, ZF } from '../flags.ts';
import { CS, DS, ES, FS, GS, LDTR, S, SS, TR } from '../layout.ts';
import { type CpuContext, GuestFault, gp, ud, VECTOR } from './context.ts';
import {
  type Descriptor,
  fetchDescriptor,
  findDescriptor,
  isCode,
  isConforming,
  isNull,
  isWritableData,
  limitOf,
  selectorError,
  systemCache,
  TYPE,
} from './descriptors.ts';
import type { SystemInstruction, SystemRoutine } from './instruction.ts';
import { type Bytes, GuestStack, writeSystem } from './memory.ts';
import {
  ATTR,
  CR4,
  cplOf,
  cr4,
  hasParagraphs,
  is64,
  isCanonical,
  isLongActive,
  modeChanged,
  readSegment,
  setRip,
  writeSegment,
} from './registers.ts';
import { nullCache, prepareSegment } from './segments.ts';

export function requireCpl0(ctx: CpuContext): void {
  if (cplOf(ctx) !== 0) throw gp();
}

/** SGDT, SIDT, SLDT, SMSW, STR at CPL > 0 under CR4.UMIP. */
function requireUmip(ctx: CpuContext): void {
  if ((cr4(ctx) & CR4.UMIP) !== 0 && cplOf(ctx) !== 0) throw gp();
}

function holdOffInterrupts(ctx: CpuContext): void {
  ctx.view.setUint32(S.shadow, 2, true);
}

/** MOV Sreg, r/m16: operand 0 the segment register, operand 1 the selector. */
function movToSegment(ctx: CpuContext, insn: SystemInstruction): void {
  const index = insn.registerNumber(0);
  if (index === CS || index > GS) throw ud();
  const next = insn.nextRip;
  const selector = Number(insn.isMemory(1) ? insn.readMemory(1, 2) : insn.readOperand(1) & 0xffffn);
  writeSegment(ctx, index, prepareSegment(ctx, index, selector));
  if (index === SS) {
    holdOffInterrupts(ctx);
    modeChanged(ctx);
  }
  setRip(ctx, next);
}

/** MOV r/m, Sreg: 16 bits to memory, zero-extended to the operand size in a register. */
function movFromSegment(ctx: CpuContext, insn: SystemInstruction): void {
  const index = insn.registerNumber(1);
  if (index > GS) throw ud();
  storeSelector(insn, readSegment(ctx, index).selector);
  setRip(ctx, insn.nextRip);
}

function storeSelector(insn: SystemInstruction, selector: number): void {
  insn.writeOperand(0, BigInt(selector), insn.isMemory(0) ? 16 : insn.opsize);
}

const popSegment =
  (index: number): SystemRoutine =>
  (ctx, insn) => {
    const next = insn.nextRip;
    const stack = GuestStack.current(ctx);
    const selector = Number(stack.pop((insn.opsize / 8) as Bytes) & 0xffffn);
    const cache = prepareSegment(ctx, index, selector);
    stack.commit();
    writeSegment(ctx, index, cache);
    if (index === SS) {
      holdOffInterrupts(ctx);
      modeChanged(ctx);
    }
    setRip(ctx, next);
  };

/** LDS, LES, LFS, LGS, LSS: operand 0 a register, operand 1 memory that holds offset and selector. */
const loadFarPointer =
  (index: number): SystemRoutine =>
  (ctx, insn) => {
    const next = insn.nextRip;
    const bytes = (insn.opsize / 8) as Bytes;
    const offset = insn.readMemory(1, bytes);
    const selector = Number(insn.readMemory(1, 2, bytes));
    const cache = prepareSegment(ctx, index, selector);
    writeSegment(ctx, index, cache);
    insn.writeOperand(0, offset, insn.opsize);
    if (index === SS) modeChanged(ctx);
    setRip(ctx, next);
  };

function loadTableRegister(base: number, limit: number): SystemRoutine {
  return (ctx, insn) => {
    requireCpl0(ctx);
    const wide = is64(ctx);
    const newLimit = Number(insn.readMemory(0, 2));
    let newBase = insn.readMemory(0, wide ? 8 : 4, 2);
    if (wide && !isCanonical(newBase)) throw gp();
    if (insn.opsize === 16 && !wide) newBase &= 0xff_ffffn;
    ctx.view.setBigUint64(base, newBase, true);
    ctx.view.setUint32(limit, newLimit, true);
    setRip(ctx, insn.nextRip);
  };
}

function storeTableRegister(base: number, limit: number): SystemRoutine {
  return (ctx, insn) => {
    requireUmip(ctx);
    const wide = is64(ctx);
    const user = cplOf(ctx) === 3;
    const first = insn.memoryLinear(0, 2, true);
    const second = insn.memoryLinear(0, wide ? 8 : 4, true, 2);
    ctx.probeWrite(first, 2, user);
    ctx.probeWrite(second, wide ? 8 : 4, user);
    ctx.writeLinear(first, 2, BigInt(ctx.view.getUint32(limit, true) & 0xffff), user);
    const value = ctx.view.getBigUint64(base, true);
    ctx.writeLinear(second, wide ? 8 : 4, wide ? value : value & 0xffff_ffffn, user);
    setRip(ctx, insn.nextRip);
  };
}

const selectorOperand = (insn: SystemInstruction, index: number): number =>
  Number(insn.isMemory(index) ? insn.readMemory(index, 2) : insn.readOperand(index) & 0xffffn);

/** #UD in real-address and virtual-8086 mode. */
function requireProtected(ctx: CpuContext): void {
  if (hasParagraphs(ctx)) throw ud();
}

function lldt(ctx: CpuContext, insn: SystemInstruction): void {
  requireProtected(ctx);
  requireCpl0(ctx);
  const selector = selectorOperand(insn, 0);
  if (isNull(selector)) writeSegment(ctx, LDTR, nullCache(selector));
  else {
    if ((selector & 4) !== 0) throw gp(selectorError(selector));
    const descriptor = fetchDescriptor(ctx, selector);
    if (descriptor.isSegment || descriptor.type !== TYPE.ldt) throw gp(selectorError(selector));
    if (!descriptor.present) throw new GuestFault(VECTOR.NP, selectorError(selector));
    writeSegment(ctx, LDTR, systemCache(ctx, descriptor));
  }
  setRip(ctx, insn.nextRip);
}

function ltr(ctx: CpuContext, insn: SystemInstruction): void {
  requireProtected(ctx);
  requireCpl0(ctx);
  const selector = selectorOperand(insn, 0);
  if (isNull(selector)) throw gp();
  if ((selector & 4) !== 0) throw gp(selectorError(selector));
  const descriptor = fetchDescriptor(ctx, selector);
  const available = descriptor.type === TYPE.tss32 || (descriptor.type === TYPE.tss16 && !isLongActive(ctx));
  if (descriptor.isSegment || !available) throw gp(selectorError(selector));
  if (!descriptor.present) throw new GuestFault(VECTOR.NP, selectorError(selector));
  const cache = systemCache(ctx, descriptor);
  setBusy(ctx, descriptor, true);
  writeSegment(ctx, TR, { ...cache, attributes: cache.attributes | 2 });
  setRip(ctx, insn.nextRip);
}

/** Sets or clears the busy bit of a TSS descriptor in the GDT. */
export function setBusy(ctx: CpuContext, descriptor: Descriptor, busy: boolean): void {
  const attributes = descriptor.attributes & 0xff;
  writeSystem(ctx, descriptor.address + 5n, 1, busy ? attributes | 2 : attributes & ~2);
}

const storeSystemSelector =
  (index: number): SystemRoutine =>
  (ctx, insn) => {
    requireProtected(ctx);
    requireUmip(ctx);
    storeSelector(insn, readSegment(ctx, index).selector);
    setRip(ctx, insn.nextRip);
  };

function setZero(ctx: CpuContext, value: boolean): void {
  const flags = readRflags(ctx.view);
  writeRflags(ctx.view, value ? flags | ZF : flags & ~ZF);
}

/** May the current level look at the segment through this selector? */
function visible(ctx: CpuContext, descriptor: Descriptor, selector: number): boolean {
  if (isCode(descriptor) && isConforming(descriptor)) return true;
  return descriptor.dpl >= Math.max(cplOf(ctx), selector & 3);
}

/** System types that LAR (bit set in `lar`) and LSL show (SDM vol. 2, tables 3-53 and 3-54). */
const LAR_TYPES = (1 << 1) | (1 << 2) | (1 << 3) | (1 << 4) | (1 << 5) | (1 << 9) | (1 << 11) | (1 << 12);
const LAR_TYPES_LONG = (1 << 2) | (1 << 9) | (1 << 11) | (1 << 12);
const LSL_TYPES = (1 << 1) | (1 << 2) | (1 << 3) | (1 << 9) | (1 << 11);
const LSL_TYPES_LONG = (1 << 2) | (1 << 9) | (1 << 11);

const examine =
  (types: number, longTypes: number, result: (d: Descriptor) => number): SystemRoutine =>
  (ctx, insn) => {
    requireProtected(ctx);
    const next = insn.nextRip;
    const selector = selectorOperand(insn, 1);
    const descriptor = findDescriptor(ctx, selector);
    const allowed = isLongActive(ctx) ? longTypes : types;
    const good =
      descriptor !== undefined &&
      visible(ctx, descriptor, selector) &&
      (descriptor.isSegment || ((allowed >> descriptor.type) & 1) !== 0);
    if (good) insn.writeOperand(0, BigInt(result(descriptor) >>> 0), insn.opsize);
    setZero(ctx, good);
    setRip(ctx, next);
  };

const verify =
  (write: boolean): SystemRoutine =>
  (ctx, insn) => {
    requireProtected(ctx);
    const next = insn.nextRip;
    const selector = selectorOperand(insn, 0);
    const descriptor = findDescriptor(ctx, selector);
    const permits = (d: Descriptor): boolean =>
      write ? isWritableData(d) : d.isSegment && (!isCode(d) || (d.attributes & ATTR.readable) !== 0);
    setZero(ctx, descriptor !== undefined && permits(descriptor) && visible(ctx, descriptor, selector));
    setRip(ctx, next);
  };

function arpl(ctx: CpuContext, insn: SystemInstruction): void {
  requireProtected(ctx);
  const next = insn.nextRip;
  const destination = selectorOperand(insn, 0);
  const source = Number(insn.readOperand(1)) & 3;
  const lower = (destination & 3) < source;
  if (lower) insn.writeOperand(0, BigInt((destination & ~3) | source), 16);
  else if (insn.isMemory(0)) ctx.probeWrite(insn.memoryLinear(0, 2, true), 2, cplOf(ctx) === 3);
  setZero(ctx, lower);
  setRip(ctx, next);
}

function smsw(ctx: CpuContext, insn: SystemInstruction): void {
  requireUmip(ctx);
  const value = ctx.view.getBigUint64(S.cr0, true);
  insn.writeOperand(0, value, insn.isMemory(0) ? 16 : insn.opsize);
  setRip(ctx, insn.nextRip);
}

export const segmentRoutines: Readonly<Record<string, SystemRoutine>> = {
  mov_to_sreg: movToSegment,
  mov_from_sreg: movFromSegment,
  pop_es: popSegment(ES),
  pop_ss: popSegment(SS),
  pop_ds: popSegment(DS),
  pop_fs: popSegment(FS),
  pop_gs: popSegment(GS),
  les: loadFarPointer(ES),
  lds: loadFarPointer(DS),
  lss: loadFarPointer(SS),
  lfs: loadFarPointer(FS),
  lgs: loadFarPointer(GS),
  lgdt: loadTableRegister(S.gdtrBase, S.gdtrLimit),
  lidt: loadTableRegister(S.idtrBase, S.idtrLimit),
  sgdt: storeTableRegister(S.gdtrBase, S.gdtrLimit),
  sidt: storeTableRegister(S.idtrBase, S.idtrLimit),
  lldt,
  ltr,
  sldt: storeSystemSelector(LDTR),
  str: storeSystemSelector(TR),
  smsw,
  lar: examine(LAR_TYPES, LAR_TYPES_LONG, (d) => d.high & 0x00ff_ff00),
  lsl: examine(LSL_TYPES, LSL_TYPES_LONG, (d) => limitOf(d.low, d.high)),
  verr: verify(false),
  verw: verify(true),
  arpl,
};
