import { TR } from '../layout.ts';
import { type CpuContext, GuestFault, gp, VECTOR } from './context.ts';
import {
  type Descriptor,
  fetchDescriptor,
  isCode,
  isConforming,
  isNull,
  isWritableData,
  loadedCache,
  selectorError,
} from './descriptors.ts';
import { type Bytes, GuestStack, readSystem, readSystem64, stackBitsOf } from './memory.ts';
import { ATTR, isLongActive, readSegment, type SegmentCache } from './registers.ts';
import { nullCache, prepareStackSegment } from './segments.ts';

/** A stack of an inner level, from the TSS: its segment and the stack to push on. */
export interface InnerStack {
  readonly cache: SegmentCache;
  readonly stack: GuestStack;
}

/** SSn:ESPn of a 16- or 32-bit TSS, checked (SDM vol. 3, 6.12.1). Faults are #TS, #SS and carry `ext`. */
export function legacyInnerStack(ctx: CpuContext, level: number, ext: number): InnerStack {
  const tr = readSegment(ctx, TR);
  const wide = (tr.attributes & 8) !== 0;
  const at = wide ? 4 + level * 8 : 2 + level * 4;
  if (at + (wide ? 5 : 3) > tr.limit) throw new GuestFault(VECTOR.TS, selectorError(tr.selector, ext));
  const pointer = BigInt(readSystem(ctx, tr.base + BigInt(at), wide ? 4 : 2));
  const selector = readSystem(ctx, tr.base + BigInt(at + (wide ? 4 : 2)), 2);
  const cache = prepareStackSegment(ctx, selector, level, VECTOR.TS, ext);
  const stack = new GuestStack(
    ctx,
    cache,
    pointer,
    stackBitsOf(cache),
    level === 3,
    selectorError(selector, ext),
  );
  return { cache, stack };
}

/** RSPn (`ist` 0) or ISTn of a 64-bit TSS; SS becomes null (SDM vol. 3, 6.14.4 and 6.14.5). */
export function longTssPointer(ctx: CpuContext, level: number, ist: number, ext: number): bigint {
  const tr = readSegment(ctx, TR);
  const at = ist === 0 ? 4 + level * 8 : 0x24 + (ist - 1) * 8;
  if (at + 7 > tr.limit) throw new GuestFault(VECTOR.TS, selectorError(tr.selector, ext));
  return readSystem64(ctx, tr.base + BigInt(at));
}

export function longInnerStack(ctx: CpuContext, level: number): InnerStack {
  const cache = nullCache(level, level);
  return { cache, stack: new GuestStack(ctx, cache, longTssPointer(ctx, level, 0, 0), 64, false, 0) };
}

/** The code segment that RETF or IRET goes back to: #GP or #NP of the selector. */
export function returnCode(ctx: CpuContext, selector: number, cpl: number): Descriptor {
  if (isNull(selector)) throw gp();
  const descriptor = fetchDescriptor(ctx, selector);
  const error = selectorError(selector);
  const rpl = selector & 3;
  if (!isCode(descriptor) || rpl < cpl) throw gp(error);
  if (isConforming(descriptor) ? descriptor.dpl > rpl : descriptor.dpl !== rpl) throw gp(error);
  if (isLongActive(ctx) && (descriptor.attributes & (ATTR.l | ATTR.db)) === (ATTR.l | ATTR.db))
    throw gp(error);
  if (!descriptor.present) throw new GuestFault(VECTOR.NP, error);
  return descriptor;
}

/** The stack segment of the level returned to; null is allowed for 64-bit code below level 3. */
export function returnStack(ctx: CpuContext, selector: number, rpl: number, longCode: boolean): SegmentCache {
  if (isNull(selector)) {
    if (longCode && rpl !== 3 && (selector & 3) === rpl) return nullCache(selector, rpl);
    throw gp();
  }
  const descriptor = fetchDescriptor(ctx, selector);
  const error = selectorError(selector);
  if ((selector & 3) !== rpl || !isWritableData(descriptor) || descriptor.dpl !== rpl) throw gp(error);
  if (!descriptor.present) throw new GuestFault(VECTOR.SS, error);
  return loadedCache(ctx, descriptor, selector);
}

/** Bits of the stack pointer once this code and stack segment are loaded. */
export function bitsAfter(ctx: CpuContext, code: number, stack: SegmentCache): 16 | 32 | 64 {
  return isLongActive(ctx) && (code & ATTR.l) !== 0 ? 64 : stackBitsOf(stack);
}

/** Reads `count` stack parameters for a call gate from the stack that is left, first pushed first. */
export function stackParameters(ctx: CpuContext, count: number, bytes: Bytes): bigint[] {
  const old = GuestStack.current(ctx);
  return Array.from({ length: count }, (_, i) => old.peek((count - 1 - i) * bytes, bytes));
}
