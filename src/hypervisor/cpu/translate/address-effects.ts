import { FORM, operandBits } from '../decode/encoding.ts';
import { FLAT, FS } from '../layout.ts';
import type { GuestInstruction } from './code.ts';
import { registerAt } from './effects.ts';

/** Some bytes from a general register, or from the page that the region was entered in. */
export interface Base {
  readonly base: number | 'page';
  readonly by: number;
}

/** What an instruction does to addresses, whatever they are. */
export interface AddressEffects {
  /** Of its memory operand, when that is a register or RIP and a number. */
  readonly operand: Base | undefined;
  /** The general register that becomes a known distance from another one, or from what it was. */
  readonly moves: (Base & { readonly register: number }) | undefined;
  /** What it accesses, in no order. */
  readonly accesses: readonly (Base & { readonly bytes: number; readonly write: boolean })[];
}

const RSP = 4;
const RBP = 5;

type Instruction = Omit<GuestInstruction, 'addressEffects' | 'gprs' | 'gprWrites' | 'xmms' | 'xmmWrites'>;

/** Of 64-bit code or, with flat segments, of 32-bit code. */
export function addressEffectsOf(i: Instruction, long: boolean): AddressEffects {
  const operand = operandBase(i, long);
  return { operand, moves: movesOf(i, operand, long), accesses: accessesOf(i, operand) };
}

function operandBase(i: Instruction, long: boolean): Base | undefined {
  if (i.form === FORM.register || i.addressSize !== (long ? 64 : 32) || i.index >= 0) return undefined;
  if (i.segment !== FLAT && i.segment >= FS) return undefined;
  if (i.ripRelative) return { base: 'page', by: i.at + i.displacement };
  return i.base >= 0 ? { base: i.base, by: i.displacement } : undefined;
}

function accessesOf(i: Instruction, operand: Base | undefined): AddressEffects['accesses'] {
  const { name } = i.encoding.instruction;
  const bytes = i.opsize / 8;
  const accesses: AddressEffects['accesses'][number][] = [];
  const spec = i.encoding.operands.find(({ what }) => what.kind === 'modrm-rm');
  if (operand && spec && spec.width !== 'none' && name !== 'lea') {
    const size = operandBits(spec, i.opsize) / 8;
    if (size > 0) accesses.push({ ...operand, bytes: size, write: spec.access !== 'r' });
  } else if (operand && spec && EXTENDED.has(name))
    accesses.push({ ...operand, bytes: 10, write: spec.access !== 'r' });
  if (PUSHES.has(name)) accesses.push({ base: RSP, by: -bytes, bytes, write: true });
  else if (POPS.has(name)) accesses.push({ base: RSP, by: 0, bytes, write: false });
  else if (name === 'leave') accesses.push({ base: RBP, by: 0, bytes, write: false });
  return accesses;
}

function movesOf(i: Instruction, operand: Base | undefined, long: boolean): AddressEffects['moves'] {
  const { name } = i.encoding.instruction;
  const bytes = i.opsize / 8;
  const [to, from] = i.registers.map(numberOf);
  if (PUSHES.has(name)) return { register: RSP, base: RSP, by: -bytes };
  if (POPS.has(name))
    return name === 'pop' && to === RSP ? undefined : { register: RSP, base: RSP, by: bytes };
  if (name === 'leave') return { register: RSP, base: RBP, by: bytes };
  const [first] = i.encoding.operands;
  const whole = first !== undefined && operandBits(first, i.opsize) === (long ? 64 : 32);
  if (to === undefined || !whole) return undefined;
  switch (name) {
    case 'mov':
      return from === undefined ? undefined : { register: to, base: from, by: 0 };
    case 'lea':
      return operand && { register: to, ...operand };
    case 'add':
    case 'sub': {
      if (i.form !== FORM.register || from !== undefined) return undefined;
      const by = Number(i.immediates[0]);
      return { register: to, base: to, by: name === 'add' ? by : -by };
    }
    case 'inc':
    case 'dec':
      return { register: to, base: to, by: name === 'inc' ? 1 : -1 };
    default:
      return undefined;
  }
}

/** The general register whose state block entry lies at an address. */
function numberOf(address: number | undefined): number | undefined {
  const register = address === undefined ? undefined : registerAt(address);
  return register?.file === 'gpr' && register.byte === 0 ? register.number : undefined;
}

/** x87 instructions whose operand without a width has 80 bits. */
const EXTENDED = new Set(['fld', 'fstp']);
const PUSHES = new Set(['push', 'push-immediate', 'call', 'call-indirect']);
const POPS = new Set(['pop', 'ret']);
