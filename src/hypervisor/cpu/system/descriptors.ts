import { LDTR, S } from '../layout.ts';
import { type CpuContext, GuestFault, VECTOR } from './context.ts';
import { readSystem, readSystem64, writeSystem } from './memory.ts';
import { ATTR, dplOf, isCanonical, isLongActive, readSegment, type SegmentCache } from './registers.ts';

/** System descriptor types (SDM vol. 3, table 3-2). */
export const TYPE = {
  tss16: 1,
  ldt: 2,
  tss16Busy: 3,
  callGate16: 4,
  taskGate: 5,
  intGate16: 6,
  trapGate16: 7,
  tss32: 9,
  tss32Busy: 11,
  callGate32: 12,
  intGate32: 14,
  trapGate32: 15,
} as const;

/** A descriptor as it stands in the GDT or an LDT. */
export interface Descriptor {
  readonly selector: number;
  /** Linear address. */
  readonly address: bigint;
  readonly low: number;
  readonly high: number;
  readonly attributes: number;
  readonly dpl: number;
  readonly present: boolean;
  /** Code or data, not system. */
  readonly isSegment: boolean;
  readonly type: number;
}

export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0;

/** Where a selector's `bytes` bytes of descriptor are, or undefined when they are beyond the table's limit. */
function descriptorAddress(ctx: CpuContext, selector: number, bytes: number): bigint | undefined {
  let base: bigint;
  let limit: number;
  if ((selector & 4) !== 0) {
    const ldt = readSegment(ctx, LDTR);
    if ((ldt.attributes & ATTR.p) === 0) return undefined;
    ({ base, limit } = ldt);
  } else {
    base = ctx.view.getBigUint64(S.gdtrBase, true);
    limit = ctx.view.getUint32(S.gdtrLimit, true);
  }
  const index = selector & 0xfff8;
  return index + bytes - 1 > limit ? undefined : base + BigInt(index);
}

/** The two dwords of a descriptor-table entry. */
export function readEntry(ctx: CpuContext, address: bigint): { readonly low: number; readonly high: number } {
  const entry = readSystem64(ctx, address);
  return { low: Number(entry & 0xffff_ffffn), high: Number(entry >> 32n) };
}

/** Reads a descriptor, or undefined when the selector is null or beyond its table. May fault on paging. */
export function findDescriptor(ctx: CpuContext, selector: number): Descriptor | undefined {
  if (isNull(selector)) return undefined;
  const address = descriptorAddress(ctx, selector, 8);
  if (address === undefined) return undefined;
  const { low, high } = readEntry(ctx, address);
  const attributes = (high >>> 8) & 0xf0ff;
  return {
    selector,
    address,
    low,
    high,
    attributes,
    dpl: dplOf(attributes),
    present: (attributes & ATTR.p) !== 0,
    isSegment: (attributes & ATTR.s) !== 0,
    type: attributes & ATTR.type,
  };
}

/** The same; `vector` with the selector as error code when there is none. `ext` is the error code's bit 0. */
export function fetchDescriptor(
  ctx: CpuContext,
  selector: number,
  vector: number = VECTOR.GP,
  ext = 0,
): Descriptor {
  const descriptor = findDescriptor(ctx, selector);
  if (!descriptor) throw new GuestFault(vector, selectorError(selector, ext));
  return descriptor;
}

/** A selector as an error code. */
export const selectorError = (selector: number, ext = 0): number => (selector & 0xfffc) | ext;

export function limitOf(low: number, high: number): number {
  const raw = (low & 0xffff) | (high & 0xf_0000);
  return (high & 0x80_0000) !== 0 ? ((raw << 12) | 0xfff) >>> 0 : raw;
}

export const baseOf = (low: number, high: number): bigint =>
  BigInt(((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0);

/** The hidden part that a code or data descriptor gives. */
export function cacheOf(descriptor: Descriptor, selector: number): SegmentCache {
  const { low, high, attributes } = descriptor;
  return { selector, base: baseOf(low, high), limit: limitOf(low, high), attributes };
}

/** Sets the accessed bit in the table where it is not set; gives the attributes with it. */
export function markAccessed(ctx: CpuContext, descriptor: Descriptor): number {
  if ((descriptor.attributes & ATTR.accessed) === 0) {
    writeSystem(ctx, descriptor.address + 5n, 1, (descriptor.attributes & 0xff) | ATTR.accessed);
  }
  return descriptor.attributes | ATTR.accessed;
}

/** The hidden part of a code or data segment being loaded; marks the descriptor accessed. */
export function loadedCache(ctx: CpuContext, descriptor: Descriptor, selector: number): SegmentCache {
  const { low, high } = descriptor;
  return {
    selector,
    base: baseOf(low, high),
    limit: limitOf(low, high),
    attributes: markAccessed(ctx, descriptor),
  };
}

/** Base bits 63:32 of a 16-byte system descriptor; #GP(selector) when it does not fit or its upper type is not 0. */
function upperBase(ctx: CpuContext, descriptor: Descriptor, vector: number): bigint {
  const { selector } = descriptor;
  if (descriptorAddress(ctx, selector, 16) === undefined)
    throw new GuestFault(vector, selectorError(selector));
  if ((readSystem(ctx, descriptor.address + 12n, 4) & 0x1f00) !== 0)
    throw new GuestFault(vector, selectorError(selector));
  return BigInt(readSystem(ctx, descriptor.address + 8n, 4)) << 32n;
}

/**
 * The hidden part of an LDT or TSS descriptor; 16 bytes of it in IA-32e mode,
 * where its base must be canonical (else #GP(selector), as processors have it).
 */
export function systemCache(
  ctx: CpuContext,
  descriptor: Descriptor,
  vector: number = VECTOR.GP,
): SegmentCache {
  const cache = cacheOf(descriptor, descriptor.selector);
  if (!isLongActive(ctx)) return cache;
  const base = cache.base | upperBase(ctx, descriptor, vector);
  if (!isCanonical(base)) throw new GuestFault(vector, selectorError(descriptor.selector));
  return { ...cache, base };
}

export const isCode = (d: Descriptor): boolean => d.isSegment && (d.attributes & ATTR.code) !== 0;
export const isConforming = (d: Descriptor): boolean => (d.attributes & ATTR.conforming) !== 0;
export const isWritableData = (d: Descriptor): boolean =>
  d.isSegment && (d.attributes & (ATTR.code | ATTR.writable)) === ATTR.writable;

/** A call gate of 8 bytes, or 16 in IA-32e mode. */
export interface Gate {
  readonly selector: number;
  readonly offset: bigint;
  readonly parameters: number;
}

/** Reads the fields of a call, interrupt or trap gate from its dwords. */
export function gateFields(low: number, high: number, offset32: boolean): Gate {
  const offset = BigInt((low & 0xffff) | 0) | (offset32 ? BigInt((high & 0xffff_0000) >>> 0) : 0n);
  return { selector: low >>> 16, offset, parameters: high & 0x1f };
}

/** A 64-bit call gate: #GP(selector) when its second half does not fit or is not of type 0. */
export function longCallGate(ctx: CpuContext, descriptor: Descriptor): Gate {
  const gate = gateFields(descriptor.low, descriptor.high, true);
  return { ...gate, offset: gate.offset | upperBase(ctx, descriptor, VECTOR.GP) };
}
