import { SS } from '../layout.ts';
import { type CpuContext, GuestFault, VECTOR } from './context.ts';
import {
  ATTR,
  cplOf,
  getGpr,
  hasParagraphs,
  is64,
  isCanonical,
  isLongActive,
  RSP,
  readSegment,
  type SegmentCache,
  setGpr,
  stackBits,
} from './registers.ts';

export type Bytes = 1 | 2 | 4 | 8;

/** Is `[offset, offset + bytes)` inside the segment (SDM vol. 3, 5.3)? */
export function withinLimit(cache: SegmentCache, offset: bigint, bytes: number): boolean {
  const last = offset + BigInt(bytes - 1);
  const { attributes } = cache;
  const expandDown = (attributes & (ATTR.s | ATTR.code | ATTR.expandDown)) === (ATTR.s | ATTR.expandDown);
  if (!expandDown) return last <= BigInt(cache.limit);
  return offset > BigInt(cache.limit) && last <= ((attributes & ATTR.db) !== 0 ? 0xffff_ffffn : 0xffffn);
}

/** Linear addresses have 32 bits outside 64-bit mode. */
export const truncateLinear = (long: boolean, linear: bigint): bigint =>
  BigInt.asUintN(long ? 64 : 32, linear);

/**
 * Linear address of `bytes` bytes at an offset in a segment register, checked
 * as a data access: #SS(0) for SS, else #GP(0).
 */
export function dataLinear(
  ctx: CpuContext,
  index: number,
  offset: bigint,
  bytes: number,
  write: boolean,
): bigint {
  const cache = readSegment(ctx, index);
  const fault = (): GuestFault => new GuestFault(index === SS ? VECTOR.SS : VECTOR.GP, 0);
  if (is64(ctx)) {
    const linear = BigInt.asUintN(64, index === 4 || index === 5 ? cache.base + offset : offset);
    if (!isCanonical(linear) || !isCanonical(linear + BigInt(bytes - 1))) throw fault();
    return linear;
  }
  if (!hasParagraphs(ctx)) {
    const { attributes } = cache;
    if ((attributes & ATTR.p) === 0) throw fault();
    const code = (attributes & ATTR.code) !== 0;
    if (write ? code || (attributes & ATTR.writable) === 0 : code && (attributes & ATTR.readable) === 0)
      throw fault();
  }
  if (!withinLimit(cache, offset, bytes)) throw fault();
  return truncateLinear(false, cache.base + offset);
}

/** Reads a descriptor table, a TSS or a page-directory pointer: a supervisor's access whatever CPL is. */
export const readSystem = (ctx: CpuContext, linear: bigint, bytes: Bytes): number =>
  Number(ctx.readLinear(truncateLinear(isLongActive(ctx), linear), bytes, false));
export const readSystem64 = (ctx: CpuContext, linear: bigint): bigint =>
  ctx.readLinear(truncateLinear(isLongActive(ctx), linear), 8, false);
export const writeSystem = (ctx: CpuContext, linear: bigint, bytes: Bytes, value: number): void =>
  ctx.writeLinear(truncateLinear(isLongActive(ctx), linear), bytes, BigInt(value >>> 0), false);

/** May execution continue at this offset? #GP(error) unless within CS's limit, or canonical in 64-bit code. */
export function checkTarget(ctx: CpuContext, code: SegmentCache, rip: bigint, errorCode = 0): void {
  const long = isLongActive(ctx) && (code.attributes & ATTR.l) !== 0;
  if (long ? !isCanonical(rip) : rip > BigInt(code.limit)) throw new GuestFault(VECTOR.GP, errorCode);
}

/**
 * A stack being pushed to or popped from, which need not be the current one.
 * Nothing reaches a register before `commit`.
 */
export class GuestStack {
  pointer: bigint;
  readonly #ctx: CpuContext;
  readonly #segment: SegmentCache;
  readonly #bits: 16 | 32 | 64;
  readonly #user: boolean;
  readonly #errorCode: number;

  constructor(
    ctx: CpuContext,
    cache: SegmentCache,
    pointer: bigint,
    bits: 16 | 32 | 64,
    user: boolean,
    errorCode = 0,
  ) {
    this.#ctx = ctx;
    this.#segment = cache;
    this.#bits = bits;
    this.#user = user;
    this.#errorCode = errorCode;
    this.pointer = this.#mask(pointer);
  }

  /** The stack of SS:rSP at the current privilege; stack faults carry `errorCode`. */
  static current(ctx: CpuContext, errorCode = 0): GuestStack {
    return new GuestStack(
      ctx,
      readSegment(ctx, SS),
      getGpr(ctx, RSP),
      stackBits(ctx),
      cplOf(ctx) === 3,
      errorCode,
    );
  }

  /** Pushes the values, the first one first; all of them or, with a fault, none. */
  push(values: readonly bigint[], bytes: Bytes): void {
    const step = BigInt(bytes);
    let pointer = this.pointer;
    this.#probe(values.length, bytes);
    for (const value of values) {
      pointer = this.#mask(pointer - step);
      this.#ctx.writeLinear(
        this.#linear(pointer, bytes),
        bytes,
        BigInt.asUintN(bytes * 8, value),
        this.#user,
      );
    }
    this.pointer = pointer;
  }

  /** Throws unless `count` values can be pushed. */
  #probe(count: number, bytes: Bytes): void {
    const span = count * bytes;
    const end = this.#mask(this.pointer - BigInt(span));
    if (end + BigInt(span) === this.pointer) {
      // Each item lies in the segment when the lowest and the highest do.
      this.#linear(this.pointer - BigInt(bytes), bytes);
      this.#ctx.probeWrite(this.#linear(end, bytes), span, this.#user);
      return;
    }
    for (let i = 1; i <= count; i++) {
      this.#ctx.probeWrite(
        this.#linear(this.#mask(this.pointer - BigInt(i * bytes)), bytes),
        bytes,
        this.#user,
      );
    }
  }

  pop(bytes: Bytes): bigint {
    const value = this.peek(0, bytes);
    this.pointer = this.#mask(this.pointer + BigInt(bytes));
    return value;
  }

  /** The value `offset` bytes above the top. */
  peek(offset: number, bytes: Bytes): bigint {
    return this.#ctx.readLinear(
      this.#linear(this.#mask(this.pointer + BigInt(offset)), bytes),
      bytes,
      this.#user,
    );
  }

  release(bytes: number): void {
    this.pointer = this.#mask(this.pointer + BigInt(bytes));
  }

  /** Writes rSP: all of it, ESP zero-extended, or SP alone. */
  commit(): void {
    const { pointer } = this;
    setGpr(this.#ctx, RSP, this.#bits === 16 ? (getGpr(this.#ctx, RSP) & ~0xffffn) | pointer : pointer);
  }

  #mask(pointer: bigint): bigint {
    return BigInt.asUintN(this.#bits, pointer);
  }

  #linear(offset: bigint, bytes: number): bigint {
    if (this.#bits === 64) {
      if (!isCanonical(offset) || !isCanonical(offset + BigInt(bytes - 1)))
        throw new GuestFault(VECTOR.SS, this.#errorCode);
      return offset;
    }
    if (!withinLimit(this.#segment, offset, bytes)) throw new GuestFault(VECTOR.SS, this.#errorCode);
    return truncateLinear(false, this.#segment.base + offset);
  }
}

/** Bits of a stack in a segment outside 64-bit code. */
export const stackBitsOf = (cache: SegmentCache): 16 | 32 => ((cache.attributes & ATTR.db) !== 0 ? 32 : 16);
