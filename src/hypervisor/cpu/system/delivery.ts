import { AC, IF, NT, RF, readRflags, TF, VIF, VM, writeRflags } from '../flags.ts';
import { CS, DS, ES, FS, GS, S, SS, TR } from '../layout.ts';
import { type CpuContext, GuestFault, gp, TripleFault, VECTOR } from './context.ts';
import {
  fetchDescriptor,
  gateFields,
  isCode,
  isConforming,
  isNull,
  loadedCache,
  readEntry,
  selectorError,
  TYPE,
} from './descriptors.ts';
import { virtualImage } from './general.ts';
import { type Bytes, checkTarget, GuestStack, readSystem } from './memory.ts';
import {
  ATTR,
  CR4,
  cplOf,
  cr4,
  dplOf,
  getGpr,
  getRip,
  iopl,
  isLongActive,
  isProtected,
  isV86,
  modeChanged,
  RSP,
  readSegment,
  type SegmentCache,
  setRip,
  writeSegment,
} from './registers.ts';
import { commitCode, nullCache, paragraphCache } from './segments.ts';
import { legacyInnerStack, longTssPointer } from './stack-switch.ts';
import { switchTask, tssDescriptor } from './task.ts';

/**
 * What is to be delivered. `external`: an interrupt from outside, NMI
 * included; `fault` and `trap`: an exception; `software`: INT n, INT3, INTO;
 * `int1`: the F1 opcode.
 */
export interface DeliveredEvent {
  readonly vector: number;
  readonly errorCode?: number | undefined;
  readonly kind: 'external' | 'fault' | 'trap' | 'software' | 'int1';
  /** RIP to return to; without it, that of the state block. */
  readonly nextRip?: bigint | undefined;
  /** For #PF. */
  readonly cr2?: bigint | undefined;
  /** For #DB: bits to set in DR6 (B0-B3, BD, BS, BT). */
  readonly dr6?: number | undefined;
  /** It came between two iterations of a repeated string instruction. */
  readonly repeating?: boolean | undefined;
}

/** A fault that a routine threw, as an event. */
export const faultEvent = (fault: GuestFault): DeliveredEvent => ({
  vector: fault.vector,
  errorCode: fault.errorCode,
  kind: 'fault',
  cr2: fault.cr2,
  dr6: fault.dr6,
});

type FaultClass = 'benign' | 'contributory' | 'page' | 'double';

function classOf(event: DeliveredEvent): FaultClass {
  if (event.kind !== 'fault' && event.kind !== 'trap') return 'benign';
  switch (event.vector) {
    case VECTOR.DE:
    case VECTOR.TS:
    case VECTOR.NP:
    case VECTOR.SS:
    case VECTOR.GP:
      return 'contributory';
    case VECTOR.PF:
      return 'page';
    case VECTOR.DF:
      return 'double';
    default:
      return 'benign';
  }
}

/** A fault while delivering `first` (SDM vol. 3, table 6-5). */
function combine(first: DeliveredEvent, fault: GuestFault): DeliveredEvent {
  const second = faultEvent(fault);
  const a = classOf(first);
  const b = classOf(second);
  if (a === 'double') throw new TripleFault();
  const double = b !== 'benign' && (a === 'page' || (a === 'contributory' && b === 'contributory'));
  return double ? { vector: VECTOR.DF, errorCode: 0, kind: 'fault' } : second;
}

/** Registers that an exception sets before its handler is entered, whatever becomes of the delivery. */
function noteCause(ctx: CpuContext, event: DeliveredEvent): void {
  if (event.kind !== 'fault' && event.kind !== 'trap') return;
  if (event.cr2 !== undefined) ctx.view.setBigUint64(S.cr2, BigInt.asUintN(64, event.cr2), true);
  if (event.vector === VECTOR.DB) {
    // B0-B3 tell of this exception alone; the other bits stay until software clears them.
    const dr6 = ctx.view.getBigUint64(S.dr + 48, true) & ~0xfn;
    ctx.view.setBigUint64(S.dr + 48, dr6 | BigInt(event.dr6 ?? 0), true);
    // DR7.GD is cleared so that the handler may use the debug registers.
    ctx.view.setBigUint64(S.dr + 56, ctx.view.getBigUint64(S.dr + 56, true) & ~0x2000n, true);
  }
}

/** A delivery meets at most a fault or two; a longer chain would be one of benign faults that feed themselves. */
const MOST_NESTED = 8;

/**
 * Delivers an interrupt or exception: the handler's CS:RIP, stack and flags
 * are in place afterwards, and a halted processor runs. Faults on the way are
 * delivered in turn, up to the double fault. Throws TripleFault when that
 * fails too. (SDM vol. 3, chapter 6.)
 */
export function deliver(ctx: CpuContext, event: DeliveredEvent): void {
  let current = event;
  noteCause(ctx, event);
  for (let i = 0; i < MOST_NESTED; i++) {
    try {
      deliverOnce(ctx, current);
      ctx.view.setUint32(S.halted, 0, true);
      ctx.view.setUint32(S.shadow, 0, true);
      return;
    } catch (error) {
      if (!(error instanceof GuestFault)) throw error;
      noteCause(ctx, faultEvent(error));
      current = combine(current, error);
    }
  }
  throw new TripleFault();
}

function deliverOnce(ctx: CpuContext, event: DeliveredEvent): void {
  const ip = event.nextRip ?? getRip(ctx);
  if (!isProtected(ctx)) deliverReal(ctx, event, ip);
  else if (isLongActive(ctx)) deliverLong(ctx, event, ip);
  else deliverProtected(ctx, event, ip);
}

/** DR6.BD: an access to a debug register under DR7.GD. */
const BD = 0x2000;

/**
 * RFLAGS as pushed: RF is set for faults, those of instruction breakpoints
 * excepted, and between iterations of a string instruction, so that it is not
 * caught by its own breakpoint again (SDM vol. 3, 19.3.1.1).
 */
function flagsImage(ctx: CpuContext, event: DeliveredEvent): number {
  const flags = readRflags(ctx.view);
  const restarts = event.kind === 'fault' && (event.vector !== VECTOR.DB || ((event.dr6 ?? 0) & BD) !== 0);
  return restarts || event.repeating === true ? flags | RF : flags;
}

function deliverReal(ctx: CpuContext, event: DeliveredEvent, ip: bigint): void {
  const at = event.vector * 4;
  if (at + 3 > ctx.view.getUint32(S.idtrLimit, true)) throw gp((event.vector << 3) | 2);
  enterVector(ctx, ctx.view.getBigUint64(S.idtrBase, true) + BigInt(at), readRflags(ctx.view), ip, false);
  writeRflags(ctx.view, readRflags(ctx.view) & ~(IF | TF | AC | RF));
  ctx.modeChanged();
}

/** Pushes FLAGS, CS and IP, and goes where the vector in the table of real-address mode points. */
function enterVector(ctx: CpuContext, at: bigint, flags: number, ip: bigint, user: boolean): void {
  const read = (linear: bigint): number => Number(ctx.readLinear(BigInt.asUintN(32, linear), 2, user));
  const offset = BigInt(read(at));
  const selector = read(at + 2n);
  const code = paragraphCache(ctx, CS, selector);
  checkTarget(ctx, code, offset);
  const stack = GuestStack.current(ctx);
  stack.push([BigInt(flags), BigInt(readSegment(ctx, CS).selector), ip], 2);
  stack.commit();
  writeSegment(ctx, CS, code);
  setRip(ctx, offset);
}

/**
 * INT n in virtual-8086 mode under CR4.VME: goes to the program's own handler
 * when the redirection bitmap says so (SDM vol. 3, 21.3.3.4). False when the
 * interrupt is the monitor's.
 */
export function redirectSoftwareInterrupt(ctx: CpuContext, vector: number, nextRip: bigint): boolean {
  if ((cr4(ctx) & CR4.VME) === 0) return false;
  const tr = readSegment(ctx, TR);
  // The bitmap is the 32 bytes below the I/O permission bitmap.
  const at = readSystem(ctx, tr.base + 0x66n, 2) - 32 + (vector >> 3);
  if (tr.limit < 0x67 || at < 0 || at > tr.limit) throw gp();
  if (((readSystem(ctx, tr.base + BigInt(at), 1) >> (vector & 7)) & 1) !== 0) return false;
  const flags = readRflags(ctx.view);
  const direct = iopl(ctx) === 3;
  enterVector(ctx, BigInt(vector * 4), direct ? flags : virtualImage(flags), nextRip, true);
  writeRflags(ctx.view, flags & ~(TF | RF | (direct ? IF : VIF)));
  modeChanged(ctx);
  return true;
}

/** 1 for what did not come from an INT instruction: bit 0 of the error codes. */
const extOf = (event: DeliveredEvent): number => (event.kind === 'software' ? 0 : 1);

/** The gate's own checks, common to all modes with an IDT. */
function checkGate(
  ctx: CpuContext,
  event: DeliveredEvent,
  attributes: number,
  types: readonly number[],
): void {
  const error = (event.vector << 3) | 2 | extOf(event);
  if ((attributes & ATTR.s) !== 0 || !types.includes(attributes & ATTR.type)) throw gp(error);
  if (event.kind === 'software' && dplOf(attributes) < cplOf(ctx)) throw gp(error);
  if ((attributes & ATTR.p) === 0) throw new GuestFault(VECTOR.NP, error);
}

function gateAddress(ctx: CpuContext, event: DeliveredEvent, bytes: number): bigint {
  const at = event.vector * bytes;
  if (at + bytes - 1 > ctx.view.getUint32(S.idtrLimit, true))
    throw gp((event.vector << 3) | 2 | extOf(event));
  return ctx.view.getBigUint64(S.idtrBase, true) + BigInt(at);
}

interface Handler {
  readonly code: SegmentCache;
  /** CPL of the handler. */
  readonly level: number;
}

/** The handler's code segment: #GP or #NP of its selector. */
function handlerCode(ctx: CpuContext, selector: number, ext: number, long: boolean): Handler {
  if (isNull(selector)) throw gp(ext);
  const descriptor = fetchDescriptor(ctx, selector, VECTOR.GP, ext);
  const error = selectorError(selector, ext);
  const cpl = cplOf(ctx);
  if (!isCode(descriptor) || descriptor.dpl > cpl) throw gp(error);
  if (long && (descriptor.attributes & (ATTR.l | ATTR.db)) !== ATTR.l) throw gp(error);
  if (!descriptor.present) throw new GuestFault(VECTOR.NP, error);
  const conforming = isConforming(descriptor);
  if (isV86(ctx) && (conforming || descriptor.dpl !== 0)) throw gp(error);
  return { code: loadedCache(ctx, descriptor, selector), level: conforming ? cpl : descriptor.dpl };
}

function enterHandler(
  ctx: CpuContext,
  handler: Handler,
  stack: GuestStack,
  offset: bigint,
  trap: boolean,
): void {
  stack.commit();
  commitCode(ctx, handler.code, handler.level);
  writeRflags(ctx.view, readRflags(ctx.view) & ~(TF | NT | VM | RF | (trap ? 0 : IF)));
  setRip(ctx, offset);
  modeChanged(ctx);
}

const IDT_TYPES_LONG = [TYPE.intGate32, TYPE.trapGate32];
const IDT_TYPES = [TYPE.taskGate, TYPE.intGate16, TYPE.trapGate16, TYPE.intGate32, TYPE.trapGate32];

function deliverProtected(ctx: CpuContext, event: DeliveredEvent, ip: bigint): void {
  const at = gateAddress(ctx, event, 8);
  const { low, high } = readEntry(ctx, at);
  const type = (high >>> 8) & ATTR.type;
  checkGate(ctx, event, high >>> 8, IDT_TYPES);
  if (type === TYPE.taskGate) return deliverTask(ctx, event, low >>> 16, ip);
  const ext = extOf(event);
  const wide = type >= TYPE.intGate32;
  const gate = gateFields(low, high, wide);
  const handler = handlerCode(ctx, gate.selector, ext, false);
  const inner = handler.level < cplOf(ctx) ? legacyInnerStack(ctx, handler.level, ext) : undefined;
  const stack = inner?.stack ?? GuestStack.current(ctx, ext);
  const v86 = isV86(ctx);
  const selector = (index: number): bigint => BigInt(readSegment(ctx, index).selector);
  const frame = v86 ? [GS, FS, DS, ES].map(selector) : [];
  if (inner) frame.push(selector(SS), getGpr(ctx, RSP));
  frame.push(BigInt(flagsImage(ctx, event)), selector(CS), ip);
  if (event.errorCode !== undefined) frame.push(BigInt(event.errorCode));
  checkTarget(ctx, handler.code, gate.offset, ext);
  stack.push(frame, wide ? 4 : 2);
  if (inner) writeSegment(ctx, SS, inner.cache);
  if (v86) for (const index of [ES, DS, FS, GS]) writeSegment(ctx, index, nullCache(0));
  enterHandler(ctx, handler, stack, gate.offset, (type & 1) !== 0);
}

function deliverTask(ctx: CpuContext, event: DeliveredEvent, selector: number, ip: bigint): void {
  const ext = extOf(event);
  const target = tssDescriptor(ctx, selector, false, VECTOR.GP, ext);
  switchTask(ctx, target, 'interrupt', ip, ext);
  if (event.errorCode === undefined) return;
  const bytes: Bytes = (target.type & 8) !== 0 ? 4 : 2;
  const stack = GuestStack.current(ctx, ext);
  stack.push([BigInt(event.errorCode)], bytes);
  stack.commit();
}

function deliverLong(ctx: CpuContext, event: DeliveredEvent, ip: bigint): void {
  const at = gateAddress(ctx, event, 16);
  const { low, high } = readEntry(ctx, at);
  checkGate(ctx, event, high >>> 8, IDT_TYPES_LONG);
  const ext = extOf(event);
  const offset = gateFields(low, high, true).offset | (BigInt(readSystem(ctx, at + 8n, 4)) << 32n);
  const handler = handlerCode(ctx, low >>> 16, ext, true);
  const inner = handler.level < cplOf(ctx);
  const ist = high & 7;
  const top = inner || ist !== 0 ? longTssPointer(ctx, handler.level, ist, ext) : getGpr(ctx, RSP);
  const newStack = inner ? nullCache(handler.level, handler.level) : readSegment(ctx, SS);
  const stack = new GuestStack(ctx, newStack, top & ~0xfn, 64, handler.level === 3, ext);
  const frame = [
    BigInt(readSegment(ctx, SS).selector),
    getGpr(ctx, RSP),
    BigInt(flagsImage(ctx, event)),
    BigInt(readSegment(ctx, CS).selector),
    ip,
  ];
  if (event.errorCode !== undefined) frame.push(BigInt(event.errorCode));
  checkTarget(ctx, handler.code, offset, ext);
  stack.push(frame, 8);
  if (inner) writeSegment(ctx, SS, newStack);
  enterHandler(ctx, handler, stack, offset, (high & 0x100) !== 0);
}
