import { AUX } from '../flags.ts';
import type { Condition, Shift, Size, Val } from '../isa/builder.ts';
import { shiftFlags, signExtended, signed64, stepFlags, topBit } from '../isa/integer/flag-parts.ts';
import { I64 } from '../wasm/opcodes.ts';
import { i32, i64 } from '../wasm/value.ts';

/**
 * The arithmetic flags while a region is translated: what they come from, not
 * what they are. They are computed where something reads them, and where the
 * state must be whole.
 *
 * All values are expressions over locals that do not change any more, so they
 * may be evaluated at any later place of the same path.
 */
export type Flags =
  /** The state block has them. */
  | { readonly kind: 'memory' }
  | {
      readonly kind: 'add' | 'sub';
      readonly size: Size;
      readonly r: Val;
      readonly x: Val;
      readonly y: Val;
      readonly carry: boolean;
      /** The result is not kept anywhere else, as that of CMP. */
      readonly compares?: boolean;
    }
  | { readonly kind: 'logic'; readonly size: Size; readonly r: Val }
  | {
      readonly kind: 'parts';
      readonly size: Size;
      readonly r: Val;
      readonly cf: Val;
      readonly of: Val;
      readonly af: Val;
    }
  | {
      readonly kind: 'all';
      readonly cf: Val;
      readonly pf: Val;
      readonly af: Val;
      readonly zf: Val;
      readonly sf: Val;
      readonly of: Val;
    }
  | {
      readonly kind: 'shift';
      readonly shift: Shift;
      readonly size: Size;
      readonly r: Val;
      readonly x: Val;
      readonly count: Val;
    }
  /** INC and DEC: all but CF from the result. */
  | { readonly kind: 'step'; readonly size: Size; readonly r: Val; readonly delta: 1 | -1; readonly cf: Val }
  /** The same where CF is in flags that cannot be read as they are. */
  | {
      readonly kind: 'step-over';
      readonly size: Size;
      readonly r: Val;
      readonly delta: 1 | -1;
      readonly before: UnreadableFlags;
    }
  /** As the state block keeps them (cpu/flags.ts). */
  | { readonly kind: 'lazy'; readonly result: Val; readonly aux: Val }
  /** One of several, told apart by a number at run time: see DEFERRED. */
  | { readonly kind: 'deferred'; readonly code: Val; readonly x: Val; readonly y: Val };

/** Flags that are in the state block, or can be put there. */
export type UnreadableFlags = Extract<Flags, { kind: 'memory' } | { kind: 'deferred' }>;
/** Flags whose parts can be read. */
export type ReadableFlags = Exclude<Flags, UnreadableFlags | { kind: 'step-over' }>;

/**
 * Numbers of what deferred flags come from; operations have the size in bits 4 and up: 0 for 8 bits to 3 for 64. Two
 * values are enough: the operands of `compare`, the result and the second operand of `addTo` and `subFrom`, whose
 * result a register has anyway, the result and CF of an increment or decrement, what a shift shifts and its count.
 */
export const DEFERRED = {
  memory: 0,
  logic: 1,
  compare: 2,
  addTo: 3,
  subFrom: 4,
  increment: 5,
  decrement: 6,
  shl: 7,
  shr: 8,
  sar: 9,
} as const;
export const SIZES: readonly Size[] = [8, 16, 32, 64];

/** An operand as an unsigned number; results may have bits above their size. */
function unsigned(size: Size, value: Val): Val {
  return size === 8 ? value.and(0xff) : size === 16 ? value.and(0xffff) : value;
}

function partsOfShift(flags: Extract<Flags, { kind: 'shift' }>): { cf: Val; of: Val } {
  return shiftFlags(flags.shift, flags.size, flags.r, flags.x, flags.count);
}

/** Bits that were carried out of each position of x + y, or borrowed into it. */
function carries(flags: { kind: 'add' | 'sub'; r: Val; x: Val; y: Val }): Val {
  const { r, x, y } = flags;
  return flags.kind === 'add' ? x.and(y).or(x.or(y).and(r.not())) : x.not().and(y).or(x.xor(y).not().and(r));
}

/** `flagAux` from a carry vector. */
export function carryAux(size: Size, vector: Val): Val {
  if (size === 64) {
    return vector
      .shrU(32n)
      .wrap()
      .and(AUX.carry | AUX.overflow)
      .or(vector.wrap().and(AUX.adjust));
  }
  if (size === 32) return vector.and(AUX.carry | AUX.overflow | AUX.adjust);
  return vector
    .shl(32 - size)
    .and(AUX.carry | AUX.overflow)
    .or(vector.and(AUX.adjust));
}

/** Flags in the form of the state block: `flagResult` (i64) and `flagAux` (i32). `share` evaluates once. */
export function lazyForm(flags: ReadableFlags, share: (value: Val) => Val): { result: Val; aux: Val } {
  switch (flags.kind) {
    case 'lazy':
      return flags;
    case 'add':
    case 'sub':
      return {
        result: signed64(flags.size, flags.r),
        aux: carryAux(flags.size, share(carries(flags))),
      };
    case 'logic':
      return { result: signed64(flags.size, flags.r), aux: i32(0) };
    case 'parts':
      return {
        result: signed64(flags.size, flags.r),
        aux: (flags.of === flags.cf
          ? flags.cf.shl(31)
          : flags.cf.shl(31).or(flags.cf.xor(flags.of).shl(30))
        ).or(flags.af.shl(3)),
      };
    case 'shift':
      return lazyForm({ ...flags, kind: 'parts', ...partsOfShift(flags), af: i32(0) }, share);
    case 'step':
      return lazyForm({ ...flags, kind: 'parts', ...stepFlags(flags.size, flags.r, flags.delta) }, share);
    case 'all': {
      const zf = share(flags.zf);
      const aux = flags.cf
        .shl(31)
        .or(flags.cf.xor(flags.of).shl(30))
        .or(flags.af.shl(3))
        .or(flags.sf)
        .or(flags.pf.xor(zf).shl(8));
      return { result: zf.eqz().extendU(), aux };
    }
  }
}

export function carryFlag(flags: ReadableFlags): Val {
  switch (flags.kind) {
    case 'lazy':
      return flags.aux.shrU(31);
    case 'add':
      if (flags.size === 8 || flags.size === 16) return flags.r.shrU(flags.size).and(1);
      return flags.carry ? topBit(flags.size, carries(flags)) : flags.r.ltU(flags.x);
    case 'sub':
      if (!flags.carry) return flags.x.ltU(flags.y);
      if (flags.size === 8 || flags.size === 16) return flags.r.shrU(flags.size).and(1);
      return topBit(flags.size, carries(flags));
    case 'logic':
      return i32(0);
    case 'shift':
      return partsOfShift(flags).cf;
    case 'step':
    case 'parts':
    case 'all':
      return flags.cf;
  }
}

export function overflowFlag(flags: ReadableFlags): Val {
  switch (flags.kind) {
    case 'lazy':
      return flags.aux.xor(flags.aux.shl(1)).shrU(31);
    case 'add':
      return topBit(flags.size, flags.x.xor(flags.r).and(flags.y.xor(flags.r)));
    case 'sub':
      return topBit(flags.size, flags.x.xor(flags.y).and(flags.x.xor(flags.r)));
    case 'logic':
      return i32(0);
    case 'shift':
      return partsOfShift(flags).of;
    case 'step':
      return stepFlags(flags.size, flags.r, flags.delta).of;
    case 'parts':
    case 'all':
      return flags.of;
  }
}

export function zeroFlag(flags: ReadableFlags): Val {
  switch (flags.kind) {
    case 'lazy':
      return flags.result.eqz();
    case 'all':
      return flags.zf;
    case 'sub':
      return flags.carry ? unsigned(flags.size, flags.r).eqz() : flags.x.eq(flags.y);
    default:
      return unsigned(flags.size, flags.r).eqz();
  }
}

export function signFlag(flags: ReadableFlags): Val {
  switch (flags.kind) {
    case 'lazy':
      return flags.result.shrU(63n).wrap().xor(flags.aux).and(1);
    case 'all':
      return flags.sf;
    default:
      return topBit(flags.size, flags.r);
  }
}

export function parityFlag(flags: ReadableFlags): Val {
  switch (flags.kind) {
    case 'lazy':
      return flags.result.wrap().and(0xff).popcnt().xor(flags.aux.shrU(8)).xor(1).and(1);
    case 'all':
      return flags.pf;
    default:
      return flags.r.wrap().and(0xff).popcnt().xor(1).and(1);
  }
}

export function adjustFlag(flags: ReadableFlags): Val {
  switch (flags.kind) {
    case 'lazy':
      return flags.aux.shrU(3).and(1);
    case 'add':
    case 'sub':
      return flags.x.xor(flags.y).xor(flags.r).wrap().shrU(4).and(1);
    case 'logic':
    case 'shift':
      return i32(0);
    case 'step':
      return stepFlags(flags.size, flags.r, flags.delta).af;
    case 'parts':
    case 'all':
      return flags.af;
  }
}

/** All parts, for flags of which some are to be replaced. */
export function allParts(flags: ReadableFlags): Extract<Flags, { kind: 'all' }> {
  return {
    kind: 'all',
    cf: carryFlag(flags),
    pf: parityFlag(flags),
    af: adjustFlag(flags),
    zf: zeroFlag(flags),
    sf: signFlag(flags),
    of: overflowFlag(flags),
  };
}

/** i32 0 or 1. After a comparison it is one comparison. */
export function conditionValue(flags: ReadableFlags, cc: Condition): Val {
  const value = positive(flags, cc >> 1);
  return (cc & 1) === 1 ? value.eqz() : value;
}

/** Whether a condition looks at CF: B and BE, and their opposites (SDM vol. 1, appendix B). */
export function readsCarry(cc: Condition): boolean {
  return cc >> 1 === 1 || cc >> 1 === 3;
}

function positive(flags: ReadableFlags, pair: number): Val {
  if (flags.kind === 'sub' && !flags.carry) {
    const { size, x, y } = flags;
    if (pair === 3) return x.leU(y);
    if (pair === 6) return signExtended(size, x).ltS(signExtended(size, y));
    if (pair === 7) return signExtended(size, x).leS(signExtended(size, y));
  }
  if (flags.kind === 'logic') {
    const r = signExtended(flags.size, flags.r);
    if (pair === 3) return zeroFlag(flags);
    if (pair === 4 || pair === 6) return r.ltS(r.type === I64 ? i64(0) : i32(0));
    if (pair === 7) return r.leS(r.type === I64 ? i64(0) : i32(0));
  }
  switch (pair) {
    case 0:
      return overflowFlag(flags);
    case 1:
      return carryFlag(flags);
    case 2:
      return zeroFlag(flags);
    case 3:
      return zeroFlag(flags).or(carryFlag(flags));
    case 4:
      return signFlag(flags);
    case 5:
      return parityFlag(flags);
    case 6:
      return signFlag(flags).xor(overflowFlag(flags));
    default:
      return zeroFlag(flags).or(signFlag(flags).xor(overflowFlag(flags)));
  }
}
