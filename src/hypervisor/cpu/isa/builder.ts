import type { Label, Local } from '../wasm/function.ts';
import type { LoadName, StoreName, ValType } from '../wasm/opcodes.ts';
import type { Value } from '../wasm/value.ts';

/** A value of the semantics: a typed expression with arithmetic methods (see cpu/wasm/value.ts). */
export type Val = Value;

export type Size = 8 | 16 | 32 | 64 | 128 | 256;
export type Shift = 'shl' | 'shr' | 'sar';

/** Condition codes in the order of Jcc's opcode bits (SDM vol. 1, appendix B). */
export type Condition = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15;

/** Names of functions that the wasm runtime offers to semantics (x87, string operations, …): see cpu/interpret/runtime.ts. */
export type RuntimeName = string;

/**
 * What an instruction's semantics are written against. The interpreter's
 * builder takes operands from a pre-decoded record, the translator's has them
 * as constants; the semantics cannot tell.
 *
 * Types: an operand of 8, 16 or 32 bits is an i32 (8 and 16 zero-extended when
 * read, truncated when written), of 64 bits an i64, of 128 bits a v128; `ss`
 * is f32, `sd` f64 (see rows.ts for the operand letters). An operand of 256
 * bits is a pair of v128, the lower half first: `readPair` and `writePair`.
 *
 * Rules for precise exceptions: everything that can fault comes before the
 * first write to a register, to flags or to memory. Loads and operand reads
 * happen at the call (they return locals); arithmetic is a pure expression
 * evaluated at each use, so share it with `let`.
 */
/** Lanes of a vector register: the lowest single or double, or all. */
export type FloatLanes = 'ss' | 'sd' | 'ps' | 'pd';

export interface Builder {
  /** Operand size of this form in bits, from prefixes: 16, 32 or 64 (for `b` operands rows read 8 from `operandSize(i)`). */
  readonly opsize: 16 | 32 | 64;
  /** 16, 32 or 64: the code segment's mode is 64-bit only when this is true. */
  readonly long: boolean;
  /** Number of explicit operands. */
  readonly operandCount: number;
  operandSize(index: number): Size;
  /** Whether a memory operand has its address from one or two registers and no segment's base, outside of 64-bit mode where segments are flat. */
  readonly flat: boolean;
  isMemory(index: number): boolean;

  /** Reads operand `index`; zero-extended. May fault. */
  read(index: number): Val;
  /** The same, sign-extended within its wasm type (i32 for 8/16/32, i64 for 64). */
  readSigned(index: number): Val;
  /**
   * Writes operand `index`; a 32-bit register write clears the upper half of the 64, and that of a vector
   * register by a VEX-encoded row bits 128 to 255 of it. May fault, except behind a read of an operand declared rw.
   */
  write(index: number, value: Val): void;
  /** Reads operand `index` of 256 bits, or the whole YMM register whose lower half is operand `index`. May fault. */
  readPair(index: number): readonly [Val, Val];
  /** Writes operand `index` of 256 bits (memory: declared w), or such a register. May fault, and then has stored nothing. */
  writePair(index: number, low: Val, high: Val): void;
  /** Effective address of memory operand `index`, i64, without the segment (LEA). */
  offset(index: number): Val;
  /** Linear address of memory operand `index`, i64, segment base added and limit checked for `bytes` bytes. May fault. */
  linear(index: number, bytes: number, access: 'r' | 'w' | 'rw'): Val;
  /** The linear address `bytes` behind one that `linear` gave, in the same operand. */
  further(linear: Val, bytes: number): Val;
  /** Linear address of memory operand `index` moved by `delta` bytes (i64): a bit string's word. */
  bitString(index: number, delta: Val, bytes: number, access: 'r' | 'w'): Val;
  /** Linear address of memory operand `index` for one `element` (i64, not yet scaled) of its vector of indices: see row letter X. Segment and limit as `linear`. May fault. */
  vsib(index: number, element: Val, bytes: number): Val;
  /** The operand's immediate as a number operand at run time: i64 (sign-extended), or i32 when asked. */
  immediate(index: number, type?: ValType): Val;

  /** Loads from a linear address at the current privilege. May fault. `name` is the wasm load, which gives size and type. */
  load(name: LoadName, linear: Val): Val;
  store(name: StoreName, linear: Val, value: Val): void;
  /** #GP(0) unless the linear address is a multiple of `bytes`. */
  checkAligned(linear: Val, bytes: number): void;

  /**
   * Linear address of the stack at SP + delta (i64), SS base added and limit
   * checked for `bytes` bytes; SP's width is the stack segment's (64 in long
   * mode). May fault, with #SS.
   */
  stack(delta: number | Val, bytes: number, access: 'r' | 'w'): Val;
  /** SP += delta, at the stack's width. */
  adjustStack(delta: number | Val): void;
  /** Stores below SP, then moves SP. `size` is 16, 32 or 64. */
  push(size: Size, value: Val): void;
  /** Loads at SP; SP moves only by a later `adjustStack`. */
  top(size: Size): Val;

  /** 0 none, 1 REPNE, 2 REP: i32. */
  repPrefix(): Val;
  /** 16, 32 or 64 at run time (the address-size attribute): i32. */
  addressSize(): Val;
  /** Linear address of `offset` (i64) in the segment of the record (DS unless overridden), or in ES. Limit checked. */
  segmented(which: 'record' | 'es', offset: Val, bytes: number, access: 'r' | 'w'): Val;

  /** General register `n` by number: i64, i32 or zero-extended i32 by size. Not for AH..BH. */
  gpr(n: number, size: Size): Val;
  setGpr(n: number, size: Size, value: Val): void;
  /** Fields of the state block, by byte offset (cpu/layout.ts); reads return locals. */
  state(name: LoadName, offset: number): Val;
  setState(name: StoreName, offset: number, value: Val): void;
  /** Byte address in linear memory of a register operand (XMM: 16 bytes; GPR: 8), i32. */
  registerAddress(index: number): Val;

  /**
   * Arithmetic flags from an operation; `r`, `x`, `y` of the operand's wasm type, `size` its bits. `carry` when
   * `r` has a carry or borrow in it as well: comparing x and y then does not tell the flags.
   */
  flagsAdd(size: Size, r: Val, x: Val, y: Val, carry?: Val): void;
  flagsSub(size: Size, r: Val, x: Val, y: Val, carry?: Val): void;
  /** ZF SF PF from r; CF OF AF cleared. */
  flagsLogic(size: Size, r: Val): void;
  /** ZF SF PF from r; the rest from i32 truth values (0 or 1), AF 0 when not given. */
  flagsResult(size: Size, r: Val, flags: { cf: Val; of: Val; af?: Val }): void;
  /** From a shift of `x` by `count`, an i32 that is not 0; AF 0. */
  flagsShift(shift: Shift, size: Size, r: Val, x: Val, count: Val): void;
  /** All but CF, which stays, from r, which had `delta` added. */
  flagsStep(size: Size, r: Val, delta: 1 | -1): void;
  /** All six at once, each an i32 0 or 1. */
  flagsAll(flags: { cf: Val; pf: Val; af: Val; zf: Val; sf: Val; of: Val }): void;
  setCf(value: Val): void;
  /** CF and OF alone. */
  setCfOf(cf: Val, of: Val): void;
  /** ZF alone; the others stay. */
  setZf(value: Val): void;
  cf(): Val;
  of(): Val;
  af(): Val;
  /** i32 0 or 1. */
  condition(cc: Condition | Val): Val;
  /** RFLAGS as a whole, i32, bit 1 set. */
  rflags(): Val;
  /** Writes the six arithmetic flags from RFLAGS' positions in an i32. */
  setArithmeticFlags(rflags: Val): void;

  let(value: Val): Local;
  local(type: ValType, initial?: Val | number | bigint): Local;
  set(local: Local, value: Val | number | bigint): void;
  if(condition: Val, then: (label: Label) => void, otherwise?: (label: Label) => void): void;
  /** An `if` whose condition is rarely true. */
  unlikely(condition: Val, then: (label: Label) => void): void;
  /** An `if` whose condition is rarely true, with nothing done yet: translated code leaves then, and the interpreter does it. */
  leaveIf(condition: Val, then: () => void, otherwise: () => void): void;
  loop(body: (label: Label) => void): void;
  block(body: (label: Label) => void): void;
  br(label: Label): void;
  brIf(label: Label, condition: Val): void;
  select(condition: Val, whenTrue: Val, whenFalse: Val): Val;

  /** Ends the instruction with an exception; nothing of it has happened. */
  raise(vector: number, errorCode?: Val | number): void;
  /** Continues at an absolute offset in CS (i64, already truncated to the operand size); ends the instruction. */
  jump(target: Val): void;
  /** Ends the handler; the instruction begins anew, from the loop around all handlers: so often as it likes, for nothing nests. */
  again(): void;
  /** Continues at the relative target of operand `index` (a J operand); ends the instruction. */
  jumpRelative(index: number): void;
  /** RIP of the next instruction, i64. */
  nextRip(): Val;
  /** RIP of this instruction, i64. */
  thisRip(): Val;

  /** What is called next is outside of the processor, and may ask it to stop behind this instruction. */
  outside(): void;
  /**
   * Calls a function of the wasm runtime (cpu/interpret/runtime.ts and the
   * groups that add to it) that cannot fault. i32/i64/f32/f64/v128 arguments.
   */
  call(name: RuntimeName, ...args: Val[]): Val;
  run(name: RuntimeName, ...args: Val[]): void;
  /** The same as an expression, evaluated where it is used, if it is: for functions of their arguments alone. */
  expression(name: RuntimeName, ...args: Val[]): Val;
  /**
   * Calls a runtime function returning i32: 0 to go on, 1 when it raised
   * (fault fields are set, nothing else changed).
   */
  callFaulting(name: RuntimeName, ...args: Val[]): void;
  /** 1 when MXCSR rounds to nearest, masks everything and has PE set, and nothing odd was met that `holdsNumbers` does not know of. */
  settledMxcsr(): Val;
  /** What was computed the exact way may have given or met NaNs or denormals, or changed MXCSR. */
  wentExactly(): void;
  /**
   * Whether a vector register that is operand `index` is known to hold numbers (no NaN), none of them denormal, in those
   * lanes, as long as `settledMxcsr` gives 1.
   */
  holdsNumbers(index: number, lanes: FloatLanes): boolean;
  /** From here on it does, behind a check of it or by what it was computed from. */
  nowNumbers(index: number, lanes: FloatLanes): void;
  /**
   * Leaves to TypeScript (cpu/system/): the named routine gets the record and
   * the state block, does the whole instruction including RIP, and the run ends.
   */
  system(name: string): void;
}
