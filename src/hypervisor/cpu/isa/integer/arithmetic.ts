import { DIVISION, gpr } from '../../layout.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i32, i64 } from '../../wasm/value.ts';
import type { Builder, Size, Val } from '../builder.ts';
import { type Instruction, instruction } from '../rows.ts';
import { signExtended } from './flag-parts.ts';
import { opcodeHex } from './names.ts';

/** The six encodings that the classic arithmetic instructions share (SDM vol. 2, table A-2), from the first opcode on. */
function classic(base: number, extension: number, access: 'rw' | 'r'): string[] {
  const lock = access === 'rw' ? ' lock' : '';
  return [
    `${opcodeHex(base)} Eb:${access},Gb${lock}`,
    `${opcodeHex(base + 1)} Ev:${access},Gv${lock}`,
    `${opcodeHex(base + 2)} Gb:${access},Eb`,
    `${opcodeHex(base + 3)} Gv:${access},Ev`,
    `${opcodeHex(base + 4)} AL:${access},Ib`,
    `${opcodeHex(base + 5)} rAX:${access},Iz`,
    `80 /${extension} Eb:${access},Ib${lock}`,
    `82 /${extension} Eb:${access},Ib i64${lock}`,
    `81 /${extension} Ev:${access},Iz${lock}`,
    `83 /${extension} Ev:${access},Ib${lock}`,
  ];
}

/** The second operand, an immediate sign-extended to the first's size. */
export function source(b: Builder, index = 1, like = 0): Val {
  const size = b.operandSize(like);
  if (b.operandSize(index) === size) return b.let(b.read(index));
  const value = b.immediate(index, size === 64 ? I64 : I32);
  return b.let(size === 8 ? value.and(0xff) : size === 16 ? value.and(0xffff) : value);
}

const typed = (size: Size, value: Val): Val => (size === 64 ? value.extendU() : value);

function binary(
  name: string,
  base: number,
  extension: number,
  access: 'rw' | 'r',
  semantics: (b: Builder, x: Val, y: Val, size: Size) => void,
  undefinedFlags?: string,
): Instruction {
  return instruction(
    name,
    classic(base, extension, access),
    (b) => {
      const x = b.read(0);
      semantics(b, x, source(b), b.operandSize(0));
    },
    undefinedFlags ? { undefinedFlags } : {},
  );
}

const logic =
  (operation: 'and' | 'or' | 'xor') =>
  (b: Builder, x: Val, y: Val, size: Size): void => {
    const r = b.let(x[operation](y));
    b.write(0, r);
    b.flagsLogic(size, r);
  };

/** INC and DEC leave CF alone. */
function step(b: Builder, delta: 1 | -1): void {
  const size = b.operandSize(0);
  const x = b.read(0);
  const r = b.let(x.add(delta));
  b.write(0, r);
  b.flagsStep(size, r, delta);
}

/** The upper half of an unsigned 64 by 64 bit product, from four 32-bit ones; as few steps one after the other as can be. */
export function upperProduct(b: Builder, x: Val, y: Val): Val {
  const low = 0xffff_ffffn;
  const [x0, x1] = [b.let(x.and(low)), b.let(x.shrU(32n))];
  const [y0, y1] = [b.let(y.and(low)), b.let(y.shrU(32n))];
  const lowHigh = b.let(x0.mul(y1));
  const highLow = b.let(x1.mul(y0));
  const middle = lowHigh.and(low).add(highLow.and(low)).add(x0.mul(y0).shrU(32n));
  const upper = x1.mul(y1).add(lowHigh.shrU(32n).add(highLow.shrU(32n)));
  return b.let(upper.add(middle.shrU(32n)));
}

/** rDX:rAX (or AX) := product; CF and OF tell whether the upper half matters. */
function multiply(b: Builder, signed: boolean): void {
  const size = b.operandSize(0);
  if (size === 64) {
    const x = b.gpr(0, 64);
    const y = b.let(b.read(0));
    const low = b.let(x.mul(y));
    const high = signed ? b.call('mulHighS', x, y) : upperProduct(b, x, y);
    b.setGpr(0, 64, low);
    b.setGpr(2, 64, high);
    const carry = signed ? high.ne(low.shrS(63n)) : high.ne(0n);
    b.flagsResult(64, low, { cf: carry, of: carry });
    return;
  }
  const widen = (v: Val): Val => {
    if (!signed) return v.extendU();
    return (size === 8 ? v.ext8() : size === 16 ? v.ext16() : v).extendS();
  };
  const product = b.let(widen(b.gpr(0, size)).mul(widen(b.read(0))));
  if (size === 8) b.setGpr(0, 16, product.wrap());
  else {
    b.setGpr(0, size, product.wrap());
    b.setGpr(2, size, product.shrU(BigInt(size)).wrap());
  }
  const low = product.wrap();
  const carry = signed ? product.ne(widen(low)) : product.shrU(BigInt(size)).ne(0n);
  b.flagsResult(size, low, { cf: carry, of: carry });
}

/** The two- and three-operand IMUL. */
function multiplySigned(b: Builder, left: number, right: number): void {
  const size = b.operandSize(0);
  const x = b.let(b.operandSize(left) === size ? b.readSigned(left) : b.immediate(left));
  const raw =
    b.operandSize(right) === size ? b.readSigned(right) : b.immediate(right, size === 64 ? I64 : I32);
  const y = b.let(raw);
  if (size === 64) {
    const low = b.let(x.mul(y));
    const carry = b.expression('mulHighS', x, y).ne(low.shrS(63n));
    b.write(0, low);
    b.flagsResult(64, low, { cf: carry, of: carry });
    return;
  }
  const factor = signExtended(size, y);
  const low = b.let(x.mul(factor));
  b.write(0, low);
  const carry = x.extendS().mul(factor.extendS()).ne(signExtended(size, low).extendS());
  b.flagsResult(size, low, { cf: carry, of: carry });
}

/** RDX:RAX by a 64-bit divisor: one of wasm's divisions when the dividend has 64 bits, as it almost always does. */
function divideWide(b: Builder, signed: boolean): void {
  const divisor = b.let(b.read(0));
  const low = b.gpr(0, 64);
  const high = b.gpr(2, 64);
  const quotient = b.local(I64);
  const remainder = b.local(I64);
  const narrow = signed ? high.eq(low.shrS(63n)) : high.eqz();
  // Left out: what faults, and the signed quotient that wasm would trap on.
  const simple = signed ? divisor.add(1n).gtU(1n) : divisor.ne(0n);
  b.if(
    narrow.and(simple),
    () => {
      b.set(quotient, signed ? low.divS(divisor) : low.divU(divisor));
      b.set(remainder, signed ? low.remS(divisor) : low.remU(divisor));
    },
    () => {
      b.callFaulting(signed ? 'divideS' : 'divideU', high, low, divisor);
      b.set(quotient, b.state('i64.load', DIVISION.quotient));
      b.set(remainder, b.state('i64.load', DIVISION.remainder));
    },
  );
  b.setGpr(0, 64, quotient);
  b.setGpr(2, 64, remainder);
}

function divide(b: Builder, signed: boolean): void {
  const size = b.operandSize(0);
  if (size === 64) {
    divideWide(b, signed);
    return;
  }
  const widen = (v: Val): Val => {
    if (!signed) return v.extendU();
    return (size === 8 ? v.ext8() : size === 16 ? v.ext16() : v).extendS();
  };
  const divisor = b.let(widen(b.read(0)));
  b.if(divisor.eqz(), () => b.raise(0));
  let dividend: Val;
  if (size === 8) {
    const ax = b.gpr(0, 16);
    dividend = signed ? ax.ext16().extendS() : ax.extendU();
  } else {
    const joined = b.gpr(2, size).extendU().shl(BigInt(size)).or(b.gpr(0, size).extendU());
    dividend = signed && size === 16 ? joined.wrap().extendS() : joined;
  }
  const x = b.let(dividend);
  if (signed && size === 32) {
    // The one quotient that wasm itself would trap on.
    b.if(x.eq(-(1n << 63n)).and(divisor.eq(-1n)), () => b.raise(0));
  }
  const quotient = b.let(signed ? x.divS(divisor) : x.divU(divisor));
  const remainder = b.let(signed ? x.remS(divisor) : x.remU(divisor));
  const low = quotient.wrap();
  const fits = signed
    ? quotient.eq((size === 8 ? low.ext8() : size === 16 ? low.ext16() : low).extendS())
    : quotient.shrU(BigInt(size)).eqz();
  b.if(fits.eqz(), () => b.raise(0));
  if (size === 8) {
    b.setGpr(0, 16, low.and(0xff).or(remainder.wrap().and(0xff).shl(8)));
  } else {
    b.setGpr(0, size, low);
    b.setGpr(2, size, remainder.wrap());
  }
}

/** CMPXCHG8B and CMPXCHG16B: the accumulator pair against memory; ZF alone changes. */
function compareExchangePair(b: Builder, wide: boolean): void {
  const bytes = wide ? 16 : 8;
  const linear = b.linear(0, bytes, 'rw');
  if (wide) b.checkAligned(linear, 16);
  const half = wide ? 8 : 4;
  const load = wide ? 'i64.load' : 'i32.load';
  const store = wide ? 'i64.store' : 'i32.store';
  const size = wide ? 64 : 32;
  // The store happens either way, so that a read-only page faults either way, and as a write.
  b.callFaulting('probeWrite', linear, i32(bytes));
  const low = b.load(load, linear);
  const high = b.load(load, linear.add(BigInt(half)));
  const same = b.let(low.eq(b.gpr(0, size)).and(high.eq(b.gpr(2, size))));
  const newLow = b.let(b.select(same, b.gpr(3, size), low));
  const newHigh = b.let(b.select(same, b.gpr(1, size), high));
  b.store(store, linear, newLow);
  b.store(store, linear.add(BigInt(half)), newHigh);
  b.if(same.eqz(), () => {
    b.setGpr(0, size, low);
    b.setGpr(2, size, high);
  });
  b.setZf(same);
}

/** BCD adjustments (SDM vol. 2): AL, with AF and CF deciding. */
function decimalAdjust(b: Builder, sign: 1 | -1): void {
  const al = b.gpr(0, 8);
  const cf = b.cf();
  const low = b.let(al.and(0xf).gtU(9).or(b.af()));
  const high = b.let(al.gtU(0x99).or(cf));
  const r = b.let(
    al
      .add(low.mul(6 * sign))
      .add(high.mul(0x60 * sign))
      .and(0xff),
  );
  const borrow = sign === 1 ? i32(0) : low.and(al.ltU(6));
  b.setGpr(0, 8, r);
  b.flagsResult(8, r, { cf: b.let(high.or(borrow)), of: i32(0), af: low });
}

function asciiAdjust(b: Builder, sign: 1 | -1): void {
  const ax = b.gpr(0, 16);
  const adjust = b.let(ax.and(0xf).gtU(9).or(b.af()));
  const moved = b.let(ax.add(adjust.mul(sign * 0x106)));
  const r = b.let(moved.and(0xff0f));
  b.setGpr(0, 16, r);
  b.flagsResult(8, r, { cf: adjust, of: i32(0), af: adjust });
}

export const arithmeticInstructions: readonly Instruction[] = [
  binary('add', 0x00, 0, 'rw', (b, x, y, size) => {
    const r = b.let(x.add(y));
    b.write(0, r);
    b.flagsAdd(size, r, x, y);
  }),
  binary('or', 0x08, 1, 'rw', logic('or'), 'A'),
  binary('adc', 0x10, 2, 'rw', (b, x, y, size) => {
    const carry = b.cf();
    const r = b.let(x.add(y).add(typed(size, carry)));
    b.write(0, r);
    b.flagsAdd(size, r, x, y, carry);
  }),
  binary('sbb', 0x18, 3, 'rw', (b, x, y, size) => {
    const borrow = b.cf();
    const r = b.let(x.sub(y).sub(typed(size, borrow)));
    b.write(0, r);
    b.flagsSub(size, r, x, y, borrow);
  }),
  binary('and', 0x20, 4, 'rw', logic('and'), 'A'),
  binary('sub', 0x28, 5, 'rw', (b, x, y, size) => {
    const r = b.let(x.sub(y));
    b.write(0, r);
    b.flagsSub(size, r, x, y);
  }),
  binary('xor', 0x30, 6, 'rw', logic('xor'), 'A'),
  binary('cmp', 0x38, 7, 'r', (b, x, y, size) => {
    b.flagsSub(size, b.let(x.sub(y)), x, y);
  }),
  instruction(
    'test',
    [
      '84 Eb:r,Gb',
      '85 Ev:r,Gv',
      'A8 AL:r,Ib',
      'A9 rAX:r,Iz',
      'F6 /0 Eb:r,Ib',
      'F6 /1 Eb:r,Ib',
      'F7 /0 Ev:r,Iz',
      'F7 /1 Ev:r,Iz',
    ],
    (b) => {
      const x = b.read(0);
      b.flagsLogic(b.operandSize(0), b.let(x.and(source(b))));
    },
    { undefinedFlags: 'A' },
  ),
  instruction('not', ['F6 /2 Eb lock', 'F7 /2 Ev lock'], (b) => b.write(0, b.read(0).not())),
  instruction('neg', ['F6 /3 Eb lock', 'F7 /3 Ev lock'], (b) => {
    const size = b.operandSize(0);
    const x = b.read(0);
    const zero = size === 64 ? i64(0) : i32(0);
    const r = b.let(zero.sub(x));
    b.write(0, r);
    b.flagsSub(size, r, zero, x);
  }),
  instruction('inc', ['FE /0 Eb lock', 'FF /0 Ev lock', '40+r Zv i64'], (b) => step(b, 1)),
  instruction('dec', ['FE /1 Eb lock', 'FF /1 Ev lock', '48+r Zv i64'], (b) => step(b, -1)),
  instruction('mul', ['F6 /4 Eb:r', 'F7 /4 Ev:r'], (b) => multiply(b, false), { undefinedFlags: 'SZAP' }),
  instruction('imul', ['F6 /5 Eb:r', 'F7 /5 Ev:r'], (b) => multiply(b, true), { undefinedFlags: 'SZAP' }),
  instruction('imul2', '0F AF Gv,Ev', (b) => multiplySigned(b, 0, 1), { undefinedFlags: 'SZAP' }),
  instruction('imul3', ['69 Gv:w,Ev,Iz', '6B Gv:w,Ev,Ib'], (b) => multiplySigned(b, 1, 2), {
    undefinedFlags: 'SZAP',
  }),
  instruction('div', ['F6 /6 Eb:r', 'F7 /6 Ev:r'], (b) => divide(b, false), { undefinedFlags: 'OSZAPC' }),
  instruction('idiv', ['F6 /7 Eb:r', 'F7 /7 Ev:r'], (b) => divide(b, true), { undefinedFlags: 'OSZAPC' }),
  instruction('xadd', ['0F C0 Eb,Gb:rw lock', '0F C1 Ev,Gv:rw lock'], (b) => {
    const size = b.operandSize(0);
    const x = b.read(0);
    const y = b.read(1);
    const r = b.let(x.add(y));
    if (b.isMemory(0)) {
      b.write(0, r);
      b.write(1, x);
    } else {
      // With one register as both operands the sum stays.
      b.write(1, x);
      b.write(0, r);
    }
    b.flagsAdd(size, r, x, y);
  }),
  instruction('cmpxchg', ['0F B0 Eb,Gb lock', '0F B1 Ev,Gv lock'], (b) => {
    const size = b.operandSize(0);
    const x = b.read(0);
    const a = b.gpr(0, size);
    const r = b.let(a.sub(x));
    const same = b.let(a.eq(x));
    const y = b.read(1);
    if (b.isMemory(0)) {
      b.write(0, b.select(same, y, x));
      b.if(same.eqz(), () => b.setGpr(0, size, x));
    } else {
      // A 32-bit accumulator that matched keeps its upper half.
      b.if(
        same,
        () => b.write(0, y),
        () => b.setGpr(0, size, x),
      );
    }
    b.flagsSub(size, r, a, x);
  }),
  instruction('cmpxchg8b', '0F C7 /1 mem Mq:rw w0 lock', (b) => compareExchangePair(b, false), {
    cpuid: 'CX8',
  }),
  instruction('cmpxchg16b', '0F C7 /1 mem Mx:rw w1 o64 lock', (b) => compareExchangePair(b, true), {
    cpuid: 'CX16',
  }),
  instruction('daa', '27 i64', (b) => decimalAdjust(b, 1), { undefinedFlags: 'O' }),
  instruction('das', '2F i64', (b) => decimalAdjust(b, -1), { undefinedFlags: 'O' }),
  instruction('aaa', '37 i64', (b) => asciiAdjust(b, 1), { undefinedFlags: 'OSZP' }),
  instruction('aas', '3F i64', (b) => asciiAdjust(b, -1), { undefinedFlags: 'OSZP' }),
  // Undocumented by Intel, and there since the 8086: AL from CF.
  instruction('salc', 'D6 i64', (b) => b.setGpr(0, 8, b.cf().mul(-1))),
  instruction(
    'aam',
    'D4 Ib:r i64',
    (b) => {
      const base = b.let(b.read(0));
      b.if(base.eqz(), () => b.raise(0));
      const al = b.gpr(0, 8);
      const rest = b.let(al.remU(base));
      b.setState('i32.store16', gpr(0), al.divU(base).shl(8).or(rest));
      b.flagsLogic(8, rest);
    },
    { undefinedFlags: 'OAC' },
  ),
  instruction(
    'aad',
    'D5 Ib:r i64',
    (b) => {
      const r = b.let(
        b
          .gpr(0, 8)
          .add(b.gpr(0, 16).shrU(8).mul(b.read(0)))
          .and(0xff),
      );
      b.setGpr(0, 16, r);
      b.flagsLogic(8, r);
    },
    { undefinedFlags: 'OAC' },
  ),
];
