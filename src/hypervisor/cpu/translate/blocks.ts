import type { GuestInstruction } from './code.ts';

/** What a region is made of: see region.ts, which finds it, and region-order.ts. */

/** A call that the region follows. */
export interface Frame {
  readonly id: number;
  readonly parent: Frame | undefined;
  /** Offset behind the CALL, which a RET goes back to; undefined where it is not one place: see Recursion. */
  readonly returnsTo: number | undefined;
  /** Offset of what was called. */
  readonly entry: number;
  readonly depth: number;
}

/** Where control may go: a block of the region, or outside at this offset. */
export interface Target {
  readonly at: number;
  readonly frame: Frame | undefined;
  block: Block | undefined;
}

/** Instructions in a row that are entered at the first one only. */
export interface Block {
  readonly at: number;
  readonly frame: Frame | undefined;
  readonly instructions: GuestInstruction[];
  /** Behind the last instruction, when it goes on there. */
  next: Target | undefined;
  /** Of a direct branch or call. */
  taken: Target | undefined;
  /** Of a RET whose CALL the region followed. */
  returns: Target | undefined;
  /** Where else an indirect branch may go, in ascending order. */
  cases: readonly Target[];
  /** Of a RET of a recursive function: the block that finds the way. It has no instructions, only cases. */
  dispatch: Target | undefined;
  /** In reverse postorder. */
  order: number;
  dominator: Block | undefined;
  /** Blocks that this one dominates immediately. */
  readonly children: Block[];
  /** Predecessors in front of it in the order, and whether a branch comes back to it. */
  forward: number;
  loop: boolean;
  /** Registers that may differ from the state block when it is entered. */
  dirtyGprs: number;
  dirtyXmms: number;
  /** The arithmetic flags are read before they are written. */
  flagsLive: boolean;
}

export interface Region {
  readonly entry: Block;
  /** Offsets behind instructions that the interpreter does: where it could come back to translated code. */
  readonly continuations: readonly number[];
  /** In reverse postorder. */
  readonly blocks: readonly Block[];
  readonly instructions: number;
  /** General and vector registers that it touches, and writes: bits by number. */
  readonly gprs: number;
  readonly xmms: number;
  readonly gprWrites: number;
  readonly xmmWrites: number;
}

export function newBlock(frame: Frame | undefined, at: number): Block {
  return {
    at,
    frame,
    instructions: [],
    next: undefined,
    taken: undefined,
    returns: undefined,
    cases: [],
    dispatch: undefined,
    order: -1,
    dominator: undefined,
    children: [],
    forward: 0,
    loop: false,
    dirtyGprs: 0,
    dirtyXmms: 0,
    flagsLive: false,
  };
}

export function targetsOf(block: Block): Target[] {
  return [block.next, block.taken, block.returns, block.dispatch, ...block.cases].filter(
    (t) => t !== undefined,
  );
}
