import { type Block, type Frame, newBlock, type Region, type Target } from './blocks.ts';
import { branchTarget, type GuestInstruction, type RegionCode } from './code.ts';
import { finish } from './region-order.ts';

/**
 * A function that calls itself within the region, directly or through others.
 * All calls of it from itself lead to the same blocks, and its RETs to one
 * block that finds the way by the return address: recursion is a loop.
 */
interface Recursion {
  /** Its blocks as it is entered; undefined when that is where the region begins. */
  readonly into: Frame | undefined;
  /** Its blocks behind those calls: others than `into`'s, so that the loop has one way in. */
  readonly behind: Frame;
  /** Where its RETs may go back to. */
  readonly sites: Set<number>;
}

export interface RegionLimits {
  readonly instructions: number;
  readonly callDepth: number;
  /** Whether a function that calls itself becomes a loop; else it is followed as any other. */
  readonly recursion: boolean;
  /** Whether code at an offset has been run or decoded before: what never was stays outside. */
  readonly seen: (at: number) => boolean;
  /** Where an indirect jump or call was seen to go. */
  readonly observed: (at: number) => readonly number[];
}

/** Numbers of frames that are not a call's: above those of calls. */
const OPEN_FRAMES = 10_000;

/** One number for an instruction in its frame; offsets lie within a few pages of the entry's. */
const key = (frame: Frame | undefined, at: number): number =>
  (frame?.id ?? 0) * 0x1_0000_0000 + at + 0x8000_0000;

/** Follows the code from an offset on. Undefined when not even the first instruction can be translated. */
export function findRegion(code: RegionCode, start: number, limits: RegionLimits): Region | undefined {
  const finder = new Finder(code, limits);
  return finder.find(start);
}

class Finder {
  readonly #code: RegionCode;
  readonly #limits: RegionLimits;
  readonly #visited = new Map<number, GuestInstruction>();
  readonly #leaders = new Map<number, Block>();
  readonly #frames = new Map<number, Frame>();
  readonly #continuations = new Set<number>();
  readonly #work: { frame: Frame | undefined; at: number }[] = [];
  #start = 0;
  #opened = 0;
  #recursion: Recursion | undefined;

  constructor(code: RegionCode, limits: RegionLimits) {
    this.#code = code;
    this.#limits = limits;
  }

  find(start: number): Region | undefined {
    this.#start = start;
    this.#lead(undefined, start);
    for (let item = this.#work.shift(); item; item = this.#work.shift()) this.#walk(item.frame, item.at);
    const entry = this.#leaders.get(key(undefined, start));
    if (!entry || !this.#visited.has(key(undefined, start))) return undefined;
    const dispatch = this.#dispatch();
    for (const [name, block] of this.#leaders) {
      if (this.#visited.has(name)) this.#fill(block, dispatch);
    }
    return finish(entry, [...this.#continuations]);
  }

  #lead(frame: Frame | undefined, at: number): void {
    const name = key(frame, at);
    if (this.#leaders.has(name)) return;
    this.#leaders.set(name, newBlock(frame, at));
    this.#work.push({ frame, at });
  }

  /** Visits instructions in a row. */
  #walk(frame: Frame | undefined, start: number): void {
    for (let at = start; ; ) {
      const name = key(frame, at);
      if (this.#visited.has(name)) {
        // A block ends where another one begins.
        this.#lead(frame, at);
        return;
      }
      if (this.#visited.size >= this.#limits.instructions) return;
      const i = this.#code.instruction(at);
      if (!i || !this.#fits(i)) {
        if (i && !isTransfer(i)) this.#continuations.add(at + i.length);
        return;
      }
      this.#visited.set(name, i);
      const after = at + i.length;
      if (i.effects.flow === 'conditional') {
        const to = branchTarget(i);
        if (this.#limits.seen(to)) this.#lead(frame, to);
        this.#lead(frame, after);
        return;
      }
      if (i.effects.flow === 'jump') {
        const to = branchTarget(i);
        if (!this.#limits.seen(to)) return;
        if (i.encoding.instruction.name !== 'call') this.#lead(frame, to);
        else {
          const inner = this.#follow(frame, i, to);
          if (inner) this.#lead(inner.frame, to);
        }
        return;
      }
      if (i.effects.flow === 'indirect') {
        if (isReturn(i)) {
          if (frame?.returnsTo !== undefined) this.#lead(frame.parent, frame.returnsTo);
          return;
        }
        for (const to of this.#limits.observed(at)) {
          const inner = isCall(i) ? this.#follow(frame, i, to) : { frame };
          if (inner) this.#lead(inner.frame, to);
        }
        return;
      }
      if (i.effects.flow === 'ends') return;
      if (after >> 12 !== at >> 12) {
        // Blocks end with their page: on the way into another one it is looked at whether it still lies there.
        this.#lead(frame, after);
        return;
      }
      at = after;
    }
  }

  #fits(i: GuestInstruction): boolean {
    if (i.effects.treatment === 'leave') return false;
    // A handler finds its instruction by the page that the region was entered in.
    return i.effects.treatment === 'native' || (i.at >= 0 && i.at + i.length <= 4096);
  }

  /** The frame in which a call's target is followed, if it is. */
  #follow(
    frame: Frame | undefined,
    call: GuestInstruction,
    to: number,
  ): { readonly frame: Frame | undefined } | undefined {
    const returnsTo = call.at + call.length;
    const active = this.#limits.recursion ? this.#active(frame, to) : undefined;
    if (active) return this.#recur(active.frame, frame, returnsTo);
    const depth = (frame?.depth ?? 0) + 1;
    if (depth > this.#limits.callDepth) return undefined;
    // Several targets of one call share the way back, and their blocks differ by offset.
    const name = key(frame, call.at);
    let inner = this.#frames.get(name);
    if (!inner) {
      inner = { id: this.#frames.size + 1, parent: frame, returnsTo, entry: to, depth };
      this.#frames.set(name, inner);
    }
    return { frame: inner };
  }

  /** The outermost frame, from a frame inwards, in which a function is being run; that of the region's beginning is undefined. */
  #active(frame: Frame | undefined, entry: number): { readonly frame: Frame | undefined } | undefined {
    let found: { readonly frame: Frame | undefined } | undefined;
    let outermost = frame;
    for (let at = frame; at; at = at.parent) {
      if (at.entry === entry) found = { frame: at };
      outermost = at;
    }
    const fromStart = outermost === undefined || outermost.returnsTo !== undefined;
    return fromStart && entry === this.#start ? { frame: undefined } : found;
  }

  /** A function that is being run is called again: only the first such function of a region becomes a loop. */
  #recur(
    into: Frame | undefined,
    frame: Frame | undefined,
    returnsTo: number,
  ): { readonly frame: Frame | undefined } | undefined {
    const entry = into?.entry ?? this.#start;
    this.#recursion ??= {
      into: into && this.#open(entry),
      behind: this.#open(entry),
      sites: new Set(),
    };
    const recursion = this.#recursion;
    if (recursion.behind.entry !== entry) return undefined;
    const site = (at: number): void => {
      recursion.sites.add(at);
      this.#lead(recursion.behind, at);
    };
    site(returnsTo);
    // Callers in between return to places that only their frames know.
    for (let at = frame; at && at.entry !== entry; at = at.parent)
      if (at.returnsTo !== undefined) site(at.returnsTo);
    return { frame: recursion.into };
  }

  /** A frame of blocks whose RETs may go back to several places. */
  #open(entry: number): Frame {
    this.#opened += 1;
    return { id: OPEN_FRAMES + this.#opened, parent: undefined, returnsTo: undefined, entry, depth: 0 };
  }

  /** The block that finds the way back from a recursive function. */
  #dispatch(): Block | undefined {
    const recursion = this.#recursion;
    if (!recursion) return undefined;
    const block = newBlock(recursion.behind, this.#start);
    block.cases = [...recursion.sites]
      .toSorted((a, b) => a - b)
      .map((at) => this.#target(recursion.behind, at));
    return block;
  }

  /** Collects a leader's instructions and where they lead. */
  #fill(block: Block, dispatch: Block | undefined): void {
    const { frame } = block;
    for (let at = block.at; ; ) {
      const i = this.#visited.get(key(frame, at));
      if (!i || (at !== block.at && this.#leaders.has(key(frame, at)))) {
        block.next = this.#target(frame, at);
        return;
      }
      block.instructions.push(i);
      const after = at + i.length;
      switch (i.effects.flow) {
        case 'conditional':
          block.taken = this.#target(frame, branchTarget(i));
          block.next = this.#target(frame, after);
          return;
        case 'jump': {
          const call = i.encoding.instruction.name === 'call';
          const to = branchTarget(i);
          const inner = call ? this.#follow(frame, i, to) : { frame };
          block.taken = inner
            ? this.#target(inner.frame, to)
            : { at: to, frame: undefined, block: undefined };
          return;
        }
        case 'indirect':
          this.#fillIndirect(block, i, dispatch);
          return;
        case 'ends':
          return;
        default:
          at = after;
      }
    }
  }

  #fillIndirect(block: Block, i: GuestInstruction, dispatch: Block | undefined): void {
    const { frame } = block;
    if (!isReturn(i)) {
      const targets = this.#limits.observed(i.at).toSorted((a, b) => a - b);
      block.cases = targets.flatMap((to) => {
        const inner = isCall(i) ? this.#follow(frame, i, to) : { frame };
        const target = inner && this.#target(inner.frame, to);
        return target?.block ? [target] : [];
      });
      return;
    }
    if (frame?.returnsTo !== undefined) block.returns = this.#target(frame.parent, frame.returnsTo);
    const recursion = this.#recursion;
    const recursive = recursion && (frame === recursion.into || frame === recursion.behind);
    if (dispatch && recursive) block.dispatch = { at: i.at, frame, block: dispatch };
  }

  #target(frame: Frame | undefined, at: number): Target {
    const name = key(frame, at);
    const block = this.#visited.has(name) ? this.#leaders.get(name) : undefined;
    return { at, frame, block };
  }
}

export function isReturn(i: GuestInstruction): boolean {
  const { name } = i.encoding.instruction;
  return name === 'ret' || name === 'ret-release';
}

function isCall(i: GuestInstruction): boolean {
  return i.encoding.instruction.name === 'call-indirect';
}

/** Whether control does not go on behind an instruction that leaves: far transfers, and what raises. */
function isTransfer(i: GuestInstruction): boolean {
  return TRANSFERS.test(i.encoding.instruction.name);
}
const TRANSFERS = /^(syscall|sysret|sysenter|sysexit|iret|retf.*|(jmp|call)-far.*|int.*|ud|hlt)$/;
