import { CS, DS, ES, FS, GS, SS } from '../layout.ts';
import { type CpuContext, GuestFault, VECTOR } from './context.ts';
import {
  fetchDescriptor,
  isCode,
  isConforming,
  isNull,
  isWritableData,
  loadedCache,
  selectorError,
} from './descriptors.ts';
import {
  ATTR,
  cplOf,
  dplOf,
  hasParagraphs,
  is64,
  isProtected,
  readSegment,
  type SegmentCache,
  setCpl,
  writeSegment,
} from './registers.ts';

/** The hidden part after a null selector. The base of FS and GS becomes 0, as on Intel's processors. */
export const nullCache = (selector: number, dpl = 0): SegmentCache => ({
  selector,
  base: 0n,
  limit: 0,
  attributes: dpl << 5,
});

/** Attributes of a segment in virtual-8086 mode: a present, writable 64 KiB data segment of DPL 3. */
const V86_ATTRIBUTES = 0xf3;

export const v86Cache = (selector: number): SegmentCache => ({
  selector,
  base: BigInt(selector) << 4n,
  limit: 0xffff,
  attributes: V86_ATTRIBUTES,
});

/**
 * A segment register by paragraph number. Real-address mode leaves the limit
 * and the attributes as they were (a 4 GiB limit loaded in protected mode
 * stays: "unreal" mode), but what is loaded is writable data again.
 */
export function paragraphCache(ctx: CpuContext, index: number, selector: number): SegmentCache {
  if (isProtected(ctx)) return v86Cache(selector);
  const old = readSegment(ctx, index);
  const kept = old.attributes & (ATTR.db | ATTR.g);
  return {
    selector,
    base: BigInt(selector) << 4n,
    limit: (old.attributes & ATTR.p) === 0 ? 0xffff : old.limit,
    attributes: kept | 0x93,
  };
}

/** Checks of SS (SDM vol. 2, MOV); `vector` and `ext` serve stack switches, which report #TS. */
export function prepareStackSegment(
  ctx: CpuContext,
  selector: number,
  cpl: number,
  vector: number = VECTOR.GP,
  ext = 0,
): SegmentCache {
  if (isNull(selector)) throw new GuestFault(vector, ext);
  const error = selectorError(selector, ext);
  const descriptor = fetchDescriptor(ctx, selector, vector, ext);
  if ((selector & 3) !== cpl || !isWritableData(descriptor) || descriptor.dpl !== cpl)
    throw new GuestFault(vector, error);
  if (!descriptor.present) throw new GuestFault(VECTOR.SS, error);
  return loadedCache(ctx, descriptor, selector);
}

/** Checks of DS, ES, FS and GS with a selector that is not null; `vector` and `ext` serve task switches. */
export function prepareDataSegment(
  ctx: CpuContext,
  selector: number,
  cpl: number,
  vector: number = VECTOR.GP,
  ext = 0,
): SegmentCache {
  const error = selectorError(selector, ext);
  const descriptor = fetchDescriptor(ctx, selector, vector, ext);
  const code = isCode(descriptor);
  const readable = descriptor.isSegment && (!code || (descriptor.attributes & ATTR.readable) !== 0);
  if (!readable) throw new GuestFault(vector, error);
  const conforming = code && isConforming(descriptor);
  if (!conforming && Math.max(selector & 3, cpl) > descriptor.dpl) throw new GuestFault(vector, error);
  if (!descriptor.present) throw new GuestFault(VECTOR.NP, error);
  return loadedCache(ctx, descriptor, selector);
}

/**
 * What loading ES, SS, DS, FS or GS with a selector would give, in any mode.
 * Throws GuestFault (#GP, #SS, #NP); changes no register.
 */
export function prepareSegment(ctx: CpuContext, index: number, selector: number): SegmentCache {
  if (hasParagraphs(ctx)) return paragraphCache(ctx, index, selector);
  const cpl = cplOf(ctx);
  if (index === SS) {
    if (isNull(selector) && is64(ctx) && cpl < 3 && (selector & 3) === cpl) return nullCache(selector, cpl);
    return prepareStackSegment(ctx, selector, cpl);
  }
  if (isNull(selector)) return nullCache(selector);
  return prepareDataSegment(ctx, selector, cpl);
}

/**
 * On a return to an outer level: data segments that it may not use become null
 * (SDM vol. 2, RET). Their base stays, as processors have it: 64-bit code may go
 * on using a base of FS or GS that an MSR has set.
 */
export function dropInnerSegments(ctx: CpuContext, cpl: number): void {
  for (const index of [ES, DS, FS, GS]) {
    const cache = readSegment(ctx, index);
    if ((cache.attributes & ATTR.s) === 0) continue;
    const conforming = (cache.attributes & ATTR.code) !== 0 && (cache.attributes & ATTR.conforming) !== 0;
    if (!conforming && dplOf(cache.attributes) < cpl)
      writeSegment(ctx, index, { ...nullCache(0), base: cache.base });
  }
}

/** Loads CS and with it CPL. Whoever calls it calls `modeChanged` once all is loaded. */
export function commitCode(ctx: CpuContext, cache: SegmentCache, cpl: number): void {
  writeSegment(ctx, CS, { ...cache, selector: (cache.selector & ~3) | cpl });
  setCpl(ctx, cpl);
}

/** A flat segment as SYSCALL and SYSENTER load it: base 0, limit 4 GiB, accessed. */
export const flatCode = (selector: number, dpl: number, long: boolean): SegmentCache => ({
  selector,
  base: 0n,
  limit: 0xffff_ffff,
  attributes: 0x809b | (dpl << 5) | (long ? ATTR.l : ATTR.db),
});
export const flatData = (selector: number, dpl: number): SegmentCache => ({
  selector,
  base: 0n,
  limit: 0xffff_ffff,
  attributes: 0xc093 | (dpl << 5),
});
