import type { Operand } from '../interpret/runtime/x87-numbers.ts';
import type { Local } from '../wasm/function.ts';

/** What a region's code has found out about the register stack. Registers are numbered from the one that was ST(0) then. */
export class X87Registers {
  /** ST(0)'s physical register when all this was begun with. */
  readonly base: Local;
  /** The status word, and which registers are empty, as the state block has them: set whenever that is. */
  readonly status: Local;
  readonly empty: Local;
  /** ST(0) now. */
  top = 0;
  /** C1 is zero in the status word. */
  cleared = false;
  /** Values, as the state block has them too. */
  readonly values: (Operand | undefined)[] = new Array(8).fill(undefined);
  readonly tags: ('full' | 'empty' | undefined)[] = new Array(8).fill(undefined);
  /** Physical numbers, and what comes of them. */
  readonly numbers: (Local | undefined)[] = new Array(8).fill(undefined);
  readonly addresses: (Local | undefined)[] = new Array(8).fill(undefined);
  readonly bits: (Local | undefined)[] = new Array(8).fill(undefined);

  constructor(base: Local, status: Local, empty: Local) {
    this.base = base;
    this.status = status;
    this.empty = empty;
  }

  /** What holds all that, but for what is set anew again and again. */
  locals(): Set<Local> {
    const { values, numbers, addresses, bits } = this;
    const held = [...numbers, ...addresses, ...bits];
    for (const value of values) if (value) held.push(value.m, value.e, value.exponent);
    return new Set(held.filter((local) => local !== undefined));
  }

  copy(): X87Registers {
    const copy = new X87Registers(this.base, this.status, this.empty);
    copy.top = this.top;
    copy.cleared = this.cleared;
    for (let k = 0; k < 8; k++) {
      const value = this.values[k];
      copy.values[k] = value && { ...value };
      copy.tags[k] = this.tags[k];
      copy.numbers[k] = this.numbers[k];
      copy.addresses[k] = this.addresses[k];
      copy.bits[k] = this.bits[k];
    }
    return copy;
  }
}
