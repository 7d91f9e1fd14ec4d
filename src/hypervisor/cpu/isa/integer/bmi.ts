import { OF } from '../../flags.ts';
import { i32, i64 } from '../../wasm/value.ts';
import type { Builder, Size, Val } from '../builder.ts';
import { type Instruction, instruction } from '../rows.ts';
import { upperProduct } from './arithmetic.ts';
import { byteSwap } from './move.ts';

/** LZCNT, BMI1, BMI2, ADX and MOVBE (SDM vol. 1, 5.1.16; vol. 2). */

const zero = (size: Size): Val => (size === 64 ? i64(0) : i32(0));
const one = (size: Size): Val => (size === 64 ? i64(1) : i32(1));
/** A number of bits, an i32, in the type of the operand. */
const typed = (size: Size, count: Val): Val => (size === 64 ? count.extendU() : count);
/** Widened to i64 by zeroes, and back. */
const narrow = (size: Size, value: Val): Val => (size === 64 ? value : value.wrap());

/** LZCNT and TZCNT: of zero, the operand's size. */
function countZeroes(leading: boolean) {
  return (b: Builder): void => {
    const size = b.operandSize(0);
    const x = b.let(b.read(1));
    let r: Val;
    // A 16-bit operand is zero-extended: 16 too many zeroes lead it, and a bit above it ends the trailing ones.
    if (leading) r = size === 16 ? x.clz().sub(16) : x.clz();
    else r = size === 16 ? x.or(0x1_0000).ctz() : x.ctz();
    const count = b.let(r);
    b.write(0, count);
    b.setCf(x.eqz());
    b.setZf(count.eqz());
  };
}

function andNot(b: Builder): void {
  const size = b.operandSize(0);
  const y = b.read(2);
  const r = b.let(b.read(1).not().and(y));
  b.write(0, r);
  b.flagsLogic(size, r);
}

/** BLSI, BLSMSK, BLSR: what becomes of the lowest bit set, and CF when the source is zero (BLSI: when it is not). */
function lowestBit(make: (x: Val, size: Size) => Val, carryWhenZero: boolean) {
  return (b: Builder): void => {
    const size = b.operandSize(0);
    const x = b.let(b.read(1));
    const r = b.let(make(x, size));
    b.write(0, r);
    b.flagsResult(size, r, { cf: carryWhenZero ? x.eqz() : x.eqz().eqz(), of: i32(0) });
  };
}

/** The low `count` bits of x; all of them from the operand's size on. */
function lowBits(b: Builder, size: Size, x: Val, count: Val): Val {
  const mask = one(size).shl(typed(size, count)).sub(1);
  return b.select(count.ltU(size), x.and(mask), x);
}

function extractField(b: Builder): void {
  const size = b.operandSize(0);
  const x = b.let(b.read(1));
  const control = b.let(b.read(2).wrap());
  const start = b.let(control.and(0xff));
  const length = b.let(control.shrU(8).and(0xff));
  const moved = b.let(b.select(start.ltU(size), x.shrU(typed(size, start)), zero(size)));
  const r = b.let(lowBits(b, size, moved, length));
  b.write(0, r);
  b.flagsLogic(size, r);
}

function zeroHigh(b: Builder): void {
  const size = b.operandSize(0);
  const x = b.let(b.read(1));
  const count = b.let(b.read(2).wrap().and(0xff));
  const r = b.let(lowBits(b, size, x, count));
  b.write(0, r);
  b.flagsResult(size, r, { cf: count.geU(size), of: i32(0) });
}

/** MULX: with one register for both halves, it holds the upper one. */
function multiplyNoFlags(b: Builder): void {
  const size = b.operandSize(0);
  const x = b.gpr(2, size);
  const y = b.let(b.read(2));
  if (size === 64) {
    const high = upperProduct(b, x, y);
    b.write(1, b.let(x.mul(y)));
    b.write(0, high);
    return;
  }
  const product = b.let(x.extendU().mul(y.extendU()));
  b.write(1, product.wrap());
  b.write(0, product.shrU(32n).wrap());
}

function bitShuffle(target: string) {
  return (b: Builder): void => {
    const mask = b.read(2);
    const r = b.call(target, b.read(1).extendU(), mask.extendU());
    b.write(0, narrow(b.operandSize(0), r));
  };
}

/** SARX, SHLX, SHRX: no flags. */
function shiftNoFlags(operation: 'shl' | 'shrU' | 'shrS') {
  return (b: Builder): void => {
    const size = b.operandSize(0);
    const x = b.read(1);
    const count = b.read(2).and(size - 1);
    b.write(0, x[operation](count));
  };
}

/** ADCX and ADOX: an addition whose carry goes in and out by one flag, and no other changes. */
function addFlag(overflow: boolean) {
  return (b: Builder): void => {
    const size = b.operandSize(0);
    const y = b.read(1);
    const x = b.read(0);
    const carry = overflow ? b.of() : b.cf();
    const partial = b.let(x.add(y));
    const r = b.let(partial.add(typed(size, carry)));
    const out = b.let(partial.ltU(x).or(r.ltU(partial)));
    b.write(0, r);
    if (overflow) b.setArithmeticFlags(b.rflags().and(~OF).or(out.shl(11)));
    else b.setCf(out);
  };
}

const BMI1 = { cpuid: 'BMI1' } as const;
const BMI2 = { cpuid: 'BMI2' } as const;

export const bmiInstructions: readonly Instruction[] = [
  instruction('lzcnt', 'F3 0F BD Gv:w,Ev', countZeroes(true), { cpuid: 'LZCNT', undefinedFlags: 'OSAP' }),
  instruction('tzcnt', 'F3 0F BC Gv:w,Ev', countZeroes(false), { ...BMI1, undefinedFlags: 'OSAP' }),
  instruction('andn', 'VEX.LZ.0F38 F2 Gy:w,By,Ey', andNot, { ...BMI1, undefinedFlags: 'AP' }),
  instruction(
    'blsr',
    'VEX.LZ.0F38 F3 /1 By:w,Ey',
    lowestBit((x) => x.and(x.sub(1)), true),
    { ...BMI1, undefinedFlags: 'AP' },
  ),
  instruction(
    'blsmsk',
    'VEX.LZ.0F38 F3 /2 By:w,Ey',
    lowestBit((x) => x.xor(x.sub(1)), true),
    { ...BMI1, undefinedFlags: 'AP' },
  ),
  instruction(
    'blsi',
    'VEX.LZ.0F38 F3 /3 By:w,Ey',
    lowestBit((x, size) => x.and(zero(size).sub(x)), false),
    {
      ...BMI1,
      undefinedFlags: 'AP',
    },
  ),
  instruction('bextr', 'VEX.LZ.0F38 F7 Gy:w,Ey,By', extractField, { ...BMI1, undefinedFlags: 'SAP' }),
  instruction('bzhi', 'VEX.LZ.0F38 F5 Gy:w,Ey,By', zeroHigh, { ...BMI2, undefinedFlags: 'AP' }),
  instruction('mulx', 'VEX.LZ.F2.0F38 F6 Gy:w,By:w,Ey', multiplyNoFlags, BMI2),
  instruction('pdep', 'VEX.LZ.F2.0F38 F5 Gy:w,By,Ey', bitShuffle('bitDeposit'), BMI2),
  instruction('pext', 'VEX.LZ.F3.0F38 F5 Gy:w,By,Ey', bitShuffle('bitExtract'), BMI2),
  instruction(
    'rorx',
    'VEX.LZ.F2.0F3A F0 Gy:w,Ey,Ib',
    (b) => {
      const x = b.read(1);
      b.write(0, x.rotr(typed(b.operandSize(0), b.read(2))));
    },
    BMI2,
  ),
  instruction('sarx', 'VEX.LZ.F3.0F38 F7 Gy:w,Ey,By', shiftNoFlags('shrS'), BMI2),
  instruction('shlx', 'VEX.LZ.66.0F38 F7 Gy:w,Ey,By', shiftNoFlags('shl'), BMI2),
  instruction('shrx', 'VEX.LZ.F2.0F38 F7 Gy:w,Ey,By', shiftNoFlags('shrU'), BMI2),
  instruction('adcx', '66 0F 38 F6 Gy,Ey', addFlag(false), { cpuid: 'ADX' }),
  instruction('adox', 'F3 0F 38 F6 Gy,Ey', addFlag(true), { cpuid: 'ADX' }),
  instruction(
    'movbe',
    ['NFx 0F 38 F0 Gv:w,Mv', 'NFx 0F 38 F1 Mv:w,Gv'],
    (b) => b.write(0, byteSwap(b.operandSize(0), b.let(b.read(1)))),
    {
      cpuid: 'MOVBE',
    },
  ),
];
