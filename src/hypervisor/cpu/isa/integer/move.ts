import { i32 } from '../../wasm/value.ts';
import type { Builder, Condition, Size, Val } from '../builder.ts';
import { type Instruction, instruction } from '../rows.ts';
import { source } from './arithmetic.ts';
import { CONDITION_NAMES, opcodeHex } from './names.ts';

/** MOVZX, MOVSX and MOVSXD: the source is narrower than the destination. */
function extend(signed: boolean) {
  return (b: Builder): void => {
    const value = b.let(signed ? b.readSigned(1) : b.read(1));
    if (b.operandSize(0) === 64) b.write(0, signed ? value.extendS() : value.extendU());
    else b.write(0, value);
  };
}

/** The bytes of x, a local, in the other order. */
export function byteSwap(size: Size, x: Val): Val {
  const swap32 = (v: Val): Val =>
    v
      .rotl(8)
      .and(0x00ff_00ff)
      .or(v.rotr(8).and(0xff00_ff00 | 0));
  if (size === 16) return x.shl(8).or(x.shrU(8)).and(0xffff);
  if (size === 32) return swap32(x);
  return swap32(x.wrap())
    .extendU()
    .shl(32n)
    .or(swap32(x.shrU(32n).wrap()).extendU());
}

function byteSwapRegister(b: Builder): void {
  const size = b.operandSize(0);
  // Of 16 bits: undefined by the manual; processors give zero.
  b.write(0, size === 16 ? i32(0) : byteSwap(size, b.let(b.read(0))));
}

function exchange(b: Builder): void {
  const x = b.read(0);
  const y = b.read(1);
  b.write(0, y);
  b.write(1, x);
}

/** CBW, CWDE, CDQE: the accumulator's lower half, sign-extended. */
function extendAccumulator(b: Builder): void {
  const half = b.gpr(0, (b.opsize / 2) as Size);
  if (b.opsize === 16) b.setGpr(0, 16, half.ext8());
  else if (b.opsize === 32) b.setGpr(0, 32, half.ext16());
  else b.setGpr(0, 64, half.extendS());
}

/** CWD, CDQ, CQO: the accumulator's sign into rDX. */
function signIntoData(b: Builder): void {
  const x = b.gpr(0, b.opsize);
  if (b.opsize === 64) b.setGpr(2, 64, x.shrS(63n));
  else b.setGpr(2, b.opsize, (b.opsize === 16 ? x.ext16() : x).shrS(31));
}

function conditional(make: (cc: Condition) => Instruction): Instruction[] {
  return Array.from({ length: 16 }, (_, cc) => make(cc as Condition));
}

function conditionalMove(cc: Condition): Instruction {
  return instruction(
    `cmov${CONDITION_NAMES[cc]}`,
    `0F ${opcodeHex(0x40 + cc)} Gv,Ev`,
    (b) => {
      const old = b.read(0);
      const moved = b.let(b.read(1));
      b.write(0, b.select(b.condition(cc), moved, old));
    },
    { cpuid: 'CMOV' },
  );
}

function setOnCondition(cc: Condition): Instruction {
  return instruction(`set${CONDITION_NAMES[cc]}`, `0F ${opcodeHex(0x90 + cc)} Eb:w`, (b) =>
    b.write(0, b.condition(cc)),
  );
}

export const moveInstructions: readonly Instruction[] = [
  instruction(
    'mov',
    [
      '88 Eb:w,Gb',
      '89 Ev:w,Gv',
      '8A Gb:w,Eb',
      '8B Gv:w,Ev',
      'B0+r Zb:w,Ib',
      'C6 /0 Eb:w,Ib',
      'A0 AL:w,Ob',
      'A1 rAX:w,Ov',
      'A2 Ob:w,AL',
      'A3 Ov:w,rAX',
    ],
    (b) => b.write(0, b.read(1)),
  ),
  instruction('mov-immediate', ['B8+r Zv:w,Iv', 'C7 /0 Ev:w,Iz'], (b) => b.write(0, source(b))),
  instruction('movzx', ['0F B6 Gv:w,Eb', '0F B7 Gv:w,Ew'], extend(false)),
  instruction('movsx', ['0F BE Gv:w,Eb', '0F BF Gv:w,Ew'], extend(true)),
  instruction('movsxd', ['63 Gv:w,Ed o64'], (b) => {
    const value = b.read(1);
    b.write(0, b.operandSize(0) === 64 ? value.extendS() : value);
  }),
  instruction('lea', '8D Gv:w,M', (b) => {
    const offset = b.offset(1);
    b.write(0, b.operandSize(0) === 64 ? offset : offset.wrap());
  }),
  instruction('xchg', ['86 Eb,Gb:rw lock', '87 Ev,Gv:rw lock', '90+r rAX,Zv:rw'], exchange),
  instruction('bswap', '0F C8+r Zv', byteSwapRegister),
  instruction('cbw', '98', extendAccumulator),
  instruction('cwd', '99', signIntoData),
  instruction('xlat', 'D7', (b) => {
    const sum = b.let(b.gpr(3, 64).add(b.gpr(0, 8).extendU()));
    b.setGpr(0, 8, b.load('i32.load8_u', b.segmented('record', maskAddress(b, sum), 1, 'r')));
  }),
  ...conditional(conditionalMove),
  ...conditional(setOnCondition),
];

/** An offset cut to the address size. */
export function maskAddress(b: Builder, offset: Val): Val {
  if (b.long) {
    return b.let(b.select(b.addressSize().eq(32), offset.and(0xffff_ffffn), offset));
  }
  return b.let(b.select(b.addressSize().eq(16), offset.and(0xffffn), offset.and(0xffff_ffffn)));
}

/** Sets general register `n` at the address size. */
export function setAddressRegister(b: Builder, n: number, value: Val): void {
  if (b.long) {
    b.setGpr(n, 64, b.select(b.addressSize().eq(32), value.and(0xffff_ffffn), value));
    return;
  }
  b.if(
    b.addressSize().eq(16),
    () => b.setGpr(n, 16, value.wrap()),
    () => b.setGpr(n, 32, value.wrap()),
  );
}
