import { MAP, RECORD, S, SCRATCH } from '../layout.ts';
import type { FunctionBuilder, FunctionRef, Local, Signature } from '../wasm/function.ts';
import type { TableType } from '../wasm/module.ts';
import { I32 } from '../wasm/opcodes.ts';
import { i32, type Value } from '../wasm/value.ts';

/** What a handler returns to the loop that called it. */
export const LEAVE = {
  /** Look up S.rip again; the budget may be used up. */
  next: 0,
  /** An exception is recorded; S.record is the instruction, or 0 when it was the fetch at S.rip. */
  fault: 1,
  /** S.systemRoutine is to be run for S.record. */
  system: 2,
  /** Nothing is decoded at S.rip; S.pageBase and S.pageSlots are right. */
  decode: 3,
  /** The page of S.rip has no entry in the fetch TLB. */
  fetch: 4,
  /** Asked to stop behind an instruction; S.rip is right. */
  stop: 5,
  /** The one instruction that a translated region asked for is done. */
  resume: 6,
} as const;

export const HANDLER: Signature = { params: [I32], results: [I32] };
/** The handlers, and behind them what translation adds: a record has 16 bits for an element's number. */
export const HANDLER_TABLE: TableType = { signature: HANDLER, size: 0x10000 };

/** Functions of the core that handlers call. */
export interface Core {
  readonly readable: FunctionRef;
  readonly writable: FunctionRef;
  readonly commit: FunctionRef;
  /** (keep global pages), and (linear): see core-tlb.ts. */
  readonly flush: FunctionRef;
  readonly flushPage: FunctionRef;
  /** (rip: i64) → code: continue at an offset in CS; the two differ in the width of addresses. */
  readonly jump64: FunctionRef;
  readonly jump32: FunctionRef;
  /** (record) → code: a relative branch whose target is not linked yet. */
  readonly branch64: FunctionRef;
  readonly branch32: FunctionRef;
  /** (segment index, offset, bytes, access bits) → 1 when a fault was recorded. */
  readonly checkSegment: FunctionRef;
  /** Table slots of the handlers that are not instructions. */
  readonly slots: {
    readonly goto: number;
    readonly stale: number;
    readonly stop: number;
    readonly cross: number;
    readonly invalid: number;
    readonly tooLong: number;
    readonly resume: number;
  };
}

/** The imports from JavaScript. */
export interface CoreImports {
  /** (physical, bytes): reads a device into SCRATCH. */
  readonly mmioRead: FunctionRef;
  /** (physical, bytes): writes SCRATCH + 64 to a device. */
  readonly mmioWrite: FunctionRef;
  /** (physical, bytes): code was overwritten. */
  readonly invalidate: FunctionRef;
  /** (physical page) → its slot table for the current code mode. */
  readonly codePage: FunctionRef;
  /** () → 0 to go on, else leave: decode at S.rip. */
  readonly decode: FunctionRef;
  readonly fault: FunctionRef;
  readonly system: FunctionRef;
}

export const WRITE_SCRATCH = SCRATCH + 64;

/** Loads a 32-bit field of the state block. */
export const state = (f: FunctionBuilder, offset: number): Value => f.load('i32.load', offset);
export const state64 = (f: FunctionBuilder, offset: number): Value => f.load('i64.load', offset);

/** Notes an exception in the state block. */
export function recordFault(f: FunctionBuilder, vector: number, code: Value | number | undefined): void {
  f.store('i32.store', S.faultVector, i32(vector));
  f.store('i32.store', S.faultHasCode, i32(code === undefined ? 0 : 1));
  if (code !== undefined) f.store('i32.store', S.faultCode, typeof code === 'number' ? i32(code) : code);
}

/** Set, above the 32 bits of an address, in that of a device: without it, it is a frame's. */
export const DEVICE = 0x1_0000_0000n;

/** Emits the look into MAP: frame and access bits of a guest-physical page below 4 GiB. */
export function mapped(f: FunctionBuilder, physical: Value): Local {
  const found = f.local(I32, physical.and(-4096).or(MAP.read | MAP.write));
  f.if(physical.sub(0x10_0000).geU(state(f, S.highRam)), () =>
    f.set(found, f.load('i32.load', physical.shrU(12).shl(2), MAP.base)),
  );
  return found;
}

export function dispatch(f: FunctionBuilder, record: Value): void {
  f.returnCallIndirect(HANDLER, 0, f.load('i32.load16_u', record, RECORD.handler), record);
}
