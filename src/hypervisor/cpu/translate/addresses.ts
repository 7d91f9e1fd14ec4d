import type { Base } from './address-effects.ts';
import type { GuestInstruction } from './code.ts';

/** An address that is a number away from another one, whatever that is. */
export interface Place {
  readonly root: number;
  readonly offset: number;
}

/** An access to memory that an instruction of a block will make, if nothing comes between. */
export interface Access extends Place {
  readonly bytes: number;
  readonly write: boolean;
}

const RSP = 4;
/** Of the page that the region was entered in: RIP-relative addresses hang off it. */
const PAGE_ROOT = 0;

/** What a register holds where a number stands for it that no other register has there, nor this one elsewhere. */
export function rootOf(where: number, register: number): Place {
  return { root: PAGE_ROOT + 1 + where * 16 + register, offset: 0 };
}

export function isRootOf({ root }: Place, where: number, register: number): boolean {
  return root === PAGE_ROOT + 1 + where * 16 + register;
}

/**
 * What the general registers are to one another while code is gone through,
 * as far as the instructions say so: RSP behind a push is 8 less than it was.
 * What is not known begins anew with a root of its own, which is named by
 * where that is: the same code gives the same places.
 */
export class Addresses {
  readonly #registers: Place[];

  /** With the registers' places, or a copy; without, where nothing is known of any. */
  constructor(from: Addresses | readonly Place[] = ALL_UNKNOWN) {
    this.#registers = [...(from instanceof Addresses ? from.#registers : from)];
  }

  register(n: number): Place {
    const place = this.#registers[n];
    if (!place) throw new RangeError(`no register ${n}`);
    return place;
  }

  #place({ base, by }: Base): Place {
    if (base === 'page') return { root: PAGE_ROOT, offset: by };
    const { root, offset } = this.register(base);
    return { root, offset: offset + by };
  }

  stack(delta: number): Place {
    return this.#place({ base: RSP, by: delta });
  }

  /** Of the instruction's memory operand, when it is a register or RIP and a number. */
  operand(i: GuestInstruction): Place | undefined {
    const { operand } = i.addressEffects;
    return operand && this.#place(operand);
  }

  /** What the instruction will access, in no order. */
  accesses(i: GuestInstruction): Access[] {
    return i.addressEffects.accesses.map((access) => ({
      ...this.#place(access),
      bytes: access.bytes,
      write: access.write,
    }));
  }

  /** Behind the instruction, which stands at `where`. */
  step(i: GuestInstruction, where: number): void {
    const registers = this.#registers;
    if (i.effects.treatment !== 'native') {
      for (let n = 0; n < 16; n++) registers[n] = rootOf(where, n);
      return;
    }
    if (i.gprWrites === 0) return;
    const { moves } = i.addressEffects;
    const place = moves && this.#place(moves);
    for (let n = 0; n < 16; n++)
      if ((i.gprWrites >> n) & 1) registers[n] = place && n === moves.register ? place : rootOf(where, n);
  }
}

const ALL_UNKNOWN = Array.from({ length: 16 }, (_, n) => rootOf(0, n));
