import { FORM, operandBits } from '../decode/encoding.ts';
import { FLAT, FS } from '../layout.ts';
import type { GuestInstruction } from './code.ts';
import { registerAt } from './effects.ts';

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
const RBP = 5;
/** Of the page that the region was entered in: RIP-relative addresses hang off it. */
const PAGE_ROOT = 0;

/**
 * What the general registers are to one another while the code of a block is
 * gone through, as far as the instructions say so: RSP behind a push is 8 less
 * than it was. The same instructions give the same places.
 */
export class Addresses {
  readonly #registers: Place[];
  readonly #long: boolean;
  #next: number;

  /** Of 64-bit code or, with flat segments, of 32-bit code; or a copy. */
  constructor(from: boolean | Addresses) {
    this.#long = from instanceof Addresses ? from.#long : from;
    this.#next = from instanceof Addresses ? from.#next : PAGE_ROOT + 1;
    this.#registers = from instanceof Addresses ? [...from.#registers] : [];
    if (!(from instanceof Addresses)) this.forget();
  }

  /** Nothing is known of any register. */
  forget(): void {
    for (let n = 0; n < 16; n++) this.#renew(n);
  }

  /** The same, with numbers that `before` has not used. */
  forgetBehind(before: Addresses): void {
    this.#next = before.#next;
    this.forget();
  }

  #renew(n: number): void {
    this.#registers[n] = { root: this.#next++, offset: 0 };
  }

  #moved(n: number, by: number): Place {
    const { root, offset } = this.#registers[n] ?? { root: this.#next++, offset: 0 };
    return { root, offset: offset + by };
  }

  get #width(): 64 | 32 {
    return this.#long ? 64 : 32;
  }

  stack(delta: number): Place {
    return this.#moved(RSP, delta);
  }

  /** Of the instruction's memory operand, when it is a register or RIP and a number. */
  operand(i: GuestInstruction): Place | undefined {
    if (i.form === FORM.register || i.addressSize !== this.#width || i.index >= 0) return undefined;
    if (i.segment !== FLAT && i.segment >= FS) return undefined;
    if (i.ripRelative) return { root: PAGE_ROOT, offset: i.at + i.displacement };
    return i.base >= 0 ? this.#moved(i.base, i.displacement) : undefined;
  }

  /** What the instruction will access, in no order. */
  accesses(i: GuestInstruction): Access[] {
    const accesses: Access[] = [];
    const add = (place: Place | undefined, bytes: number, write: boolean): void => {
      if (place && bytes > 0) accesses.push({ ...place, bytes, write });
    };
    const { name } = i.encoding.instruction;
    const operand = i.encoding.operands.find(({ what }) => what.kind === 'modrm-rm');
    if (operand && i.form !== FORM.register && operand.width !== 'none' && name !== 'lea')
      add(this.operand(i), operandBits(operand, i.opsize) / 8, operand.access !== 'r');
    const bytes = i.opsize / 8;
    if (EXTENDED.has(name) && operand?.width === 'none') add(this.operand(i), 10, operand.access !== 'r');
    if (PUSHES.has(name)) add(this.stack(-bytes), bytes, true);
    else if (POPS.has(name)) add(this.stack(0), bytes, false);
    else if (name === 'leave') add(this.#moved(RBP, 0), bytes, false);
    return accesses;
  }

  /** Behind the instruction. */
  step(i: GuestInstruction): void {
    const known = this.#known(i);
    for (let n = 0; n < 16; n++) {
      if (((i.gprWrites >> n) & 1) === 0) continue;
      const place = known.get(n);
      if (place) this.#registers[n] = place;
      else this.#renew(n);
    }
  }

  /** Whether the first operand is a whole register. */
  #isWhole(i: GuestInstruction): boolean {
    const [first] = i.encoding.operands;
    return first !== undefined && operandBits(first, i.opsize) === this.#width;
  }

  /** The registers that the instruction leaves a known distance from others. */
  #known(i: GuestInstruction): ReadonlyMap<number, Place> {
    const known = new Map<number, Place>();
    const { name } = i.encoding.instruction;
    const bytes = i.opsize / 8;
    const [to, from] = i.registers.map((address) => numberOf(address));
    if (PUSHES.has(name)) known.set(RSP, this.stack(-bytes));
    else if (POPS.has(name)) {
      if (name !== 'pop' || to !== RSP) known.set(RSP, this.stack(bytes));
    } else if (to === undefined || !this.#isWhole(i)) return known;
    else if (name === 'mov' && from !== undefined) known.set(to, this.#moved(from, 0));
    else if (name === 'lea') {
      const place = this.operand(i);
      if (place) known.set(to, place);
    } else if ((name === 'add' || name === 'sub') && i.form === FORM.register && from === undefined) {
      const by = Number(i.immediates[0]);
      known.set(to, this.#moved(to, name === 'add' ? by : -by));
    } else if (name === 'inc' || name === 'dec') known.set(to, this.#moved(to, name === 'inc' ? 1 : -1));
    return known;
  }
}

/** The general register whose state block entry lies at an address. */
function numberOf(address: number | undefined): number | undefined {
  const register = address === undefined ? undefined : registerAt(address);
  return register?.file === 'gpr' && register.byte === 0 ? register.number : undefined;
}

const PUSHES = new Set(['push', 'push-immediate', 'call', 'call-indirect']);
/** x87 instructions whose operand without a width has 80 bits. */
const EXTENDED = new Set(['fld', 'fstp']);
const POPS = new Set(['pop', 'ret']);

/** The accesses that a block makes, by instruction, as far as they can be told beforehand. */
export function lookAhead(from: Addresses, instructions: readonly GuestInstruction[]): readonly Access[][] {
  const addresses = new Addresses(from);
  return instructions.map((i) => {
    if (i.effects.treatment !== 'native') {
      addresses.forget();
      return [];
    }
    const accesses = addresses.accesses(i);
    addresses.step(i);
    return accesses;
  });
}
