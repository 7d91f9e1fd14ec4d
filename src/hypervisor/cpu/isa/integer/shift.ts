import { I32, I64 } from '../../wasm/opcodes.ts';
import { i32, i64 } from '../../wasm/value.ts';
import type { Builder, Shift, Size, Val } from '../builder.ts';
import { type Instruction, instruction } from '../rows.ts';
import { shifted, topBit } from './flag-parts.ts';

/** The encodings of group 2 (SDM vol. 2, table A-6) for one of its members. */
function group2(extension: number): string[] {
  return [
    `C0 /${extension} Eb,Ib`,
    `C1 /${extension} Ev,Ib`,
    `D0 /${extension} Eb,1`,
    `D1 /${extension} Ev,1`,
    `D2 /${extension} Eb,CL`,
    `D3 /${extension} Ev,CL`,
  ];
}

/** The count as i32, masked as the processor does: 6 bits for 64-bit operands, else 5. */
function shiftCount(b: Builder, index: number, size: Size): Val {
  return b.let(b.read(index).and(size === 64 ? 63 : 31));
}

const widen = (size: Size, v: Val): Val => (size === 64 ? v : v.extendU());
/** A count in the type of 64-bit arithmetic. */
const wide = (count: Val): Val => count.extendU();
const narrow = (size: Size, v: Val): Val => (size === 64 ? v : v.wrap());
const bit = (v: Val): Val => (v.type === I64 ? v.wrap() : v).and(1);

/** Semantics of a shift: the flags stay when the count is zero, the destination is written either way. */
function shift(operation: Shift) {
  return (b: Builder): void => {
    const size = b.operandSize(0);
    const x = b.read(0);
    const count = shiftCount(b, 1, size);
    const r = b.let(shifted(operation, size, x, size === 64 ? wide(count) : count));
    b.write(0, r);
    b.if(count, () => b.flagsShift(operation, size, r, x, count));
  };
}

/** ROL and ROR: only CF and OF change, and only when the masked count is not zero. */
function rotate(left: boolean) {
  return (b: Builder): void => {
    const size = b.operandSize(0);
    const x = b.read(0);
    const count = shiftCount(b, 1, size);
    let r: Val;
    if (size === 64) r = left ? x.rotl(wide(count)) : x.rotr(wide(count));
    else if (size === 32) r = left ? x.rotl(count) : x.rotr(count);
    else {
      // Two copies side by side shift as one rotates.
      const n = count.and(size - 1);
      const copies = b.let(x.or(x.shl(size)));
      r = left ? copies.shrU(i32(size).sub(n).and(31)) : copies.shrU(n);
      if (left && size === 16) r = b.select(n.eqz(), x, r);
    }
    const result = b.let(r);
    b.write(0, result);
    b.if(count, () => {
      const top = topBit(size, result);
      const cf = left ? bit(result) : top;
      const next = size === 64 ? result.shrU(62n).wrap().and(1) : result.shrU(size - 2).and(1);
      b.setCfOf(cf, left ? top.xor(bit(result)) : top.xor(next));
    });
  };
}

/** RCL and RCR rotate through CF, by the count modulo one more than the size. */
function rotateCarry(left: boolean) {
  return (b: Builder): void => {
    const size = b.operandSize(0);
    const x = b.read(0);
    const masked = shiftCount(b, 1, size);
    const count = b.let(size === 8 ? masked.remU(9) : size === 16 ? masked.remU(17) : masked);
    const cf = b.cf();
    const v = b.let(widen(size, x));
    const carry = b.let(cf.extendU());
    const result = b.local(I64, v);
    const out = b.local(I32, cf);
    b.if(count, () => {
      const n = b.let(wide(count));
      const bits = BigInt(size);
      // Bits that come around: CF, then those shifted out but for the last. A shift by 64 must give 0.
      const around = b.let(i64(bits + 1n).sub(n));
      const rest = left ? v.shrU(around) : v.shl(around);
      const wrapped = b.let(b.select(around.geU(64n), i64(0), rest));
      if (left) {
        b.set(
          result,
          v
            .shl(n)
            .or(carry.shl(n.sub(1n)))
            .or(wrapped),
        );
        b.set(out, bit(v.shrU(i64(bits).sub(n))));
      } else {
        b.set(
          result,
          v
            .shrU(n)
            .or(carry.shl(i64(bits).sub(n)))
            .or(wrapped),
        );
        b.set(out, bit(v.shrU(n.sub(1n))));
      }
    });
    const r = b.let(narrow(size, result));
    b.write(0, r);
    b.if(count, () => {
      const top = topBit(size, r);
      const next = size === 64 ? r.shrU(62n).wrap().and(1) : r.shrU(size - 2).and(1);
      b.setCfOf(out, left ? top.xor(out) : top.xor(next));
    });
  };
}

/** SHLD and SHRD. A count above a 16-bit operand's size has an undefined result; bits of the source repeat, as processors do. */
function doubleShift(left: boolean) {
  return (b: Builder): void => {
    const size = b.operandSize(0);
    const x = b.read(0);
    const y = b.read(1);
    const count = shiftCount(b, 2, size);
    let r: Val;
    let cf: Val;
    if (size === 64) {
      const n = b.let(wide(count));
      const back = b.let(i64(64).sub(n));
      const shifted = left ? x.shl(n).or(y.shrU(back)) : x.shrU(n).or(y.shl(back));
      r = b.select(count, shifted, x);
      cf = bit(left ? x.shrU(back) : x.shrU(n.sub(1n)));
    } else if (size === 32) {
      const n = b.let(wide(count));
      const pair = b.let(left ? x.extendU().shl(32n).or(y.extendU()) : y.extendU().shl(32n).or(x.extendU()));
      r = left ? pair.shl(n).shrU(32n).wrap() : pair.shrU(n).wrap();
      cf = bit(left ? pair.shrU(i64(64).sub(n)) : pair.shrU(n.sub(1n)));
    } else {
      const n = b.let(wide(count));
      const X = x.extendU();
      const Y = y.extendU();
      const triple = b.let(left ? X.shl(32n).or(Y.shl(16n)).or(X) : X.shl(32n).or(Y.shl(16n)).or(X));
      r = left ? triple.shl(n).shrU(32n).wrap() : triple.shrU(n).wrap();
      cf = bit(left ? triple.shrU(i64(48).sub(n)) : triple.shrU(n.sub(1n)));
    }
    const result = b.let(r);
    b.write(0, result);
    b.if(count, () => b.flagsResult(size, result, { cf, of: topBit(size, result).xor(topBit(size, x)) }));
  };
}

/** Where a bit string's bit lies when the bit offset is a register: the operand's address moves with it (SDM vol. 2, BT). */
function bitTest(change: 'none' | 'set' | 'reset' | 'complement') {
  return (b: Builder): void => {
    const size = b.operandSize(0);
    const byRegister = b.operandSize(1) === size;
    const access = change === 'none' ? 'r' : 'rw';
    const selector = byRegister
      ? b.let(b.read(1))
      : b.let(size === 64 ? b.immediate(1) : b.immediate(1, I32));
    const position = b.let(selector.and(size - 1));
    const apply = (x: Val): Val => {
      const one = size === 64 ? i64(1) : i32(1);
      const mask = one.shl(position);
      if (change === 'set') return x.or(mask);
      if (change === 'reset') return x.and(mask.not());
      return x.xor(mask);
    };
    if (byRegister && b.isMemory(0)) {
      const signed = size === 64 ? selector : (size === 16 ? selector.ext16() : selector).extendS();
      const bytes = size / 8;
      const moved = signed.shrS(BigInt(Math.log2(size))).mul(BigInt(bytes));
      const linear = b.bitString(0, moved, bytes, access === 'r' ? 'r' : 'w');
      const load = size === 64 ? 'i64.load' : size === 32 ? 'i32.load' : 'i32.load16_u';
      // What will be written must be writable from the start: the fault is a write's.
      if (change !== 'none') b.callFaulting('probeWrite', linear, i32(bytes));
      const x = b.load(load, linear);
      if (change !== 'none')
        b.store(size === 64 ? 'i64.store' : size === 32 ? 'i32.store' : 'i32.store16', linear, apply(x));
      b.setCf(b.let(bit(x.shrU(position))));
      return;
    }
    const x = b.read(0);
    if (change !== 'none') b.write(0, apply(x));
    b.setCf(b.let(bit(x.shrU(position))));
  };
}

function scan(forward: boolean) {
  return (b: Builder): void => {
    const size = b.operandSize(0);
    const x = b.let(b.read(1));
    b.if(
      x.eqz(),
      () => b.setZf(i32(1)),
      () => {
        const top = size === 64 ? i64(63) : i32(31);
        b.write(0, forward ? x.ctz() : top.sub(x.clz()));
        b.setZf(i32(0));
      },
    );
  };
}

export const shiftInstructions: readonly Instruction[] = [
  instruction('rol', group2(0), rotate(true)),
  instruction('ror', group2(1), rotate(false)),
  instruction('rcl', group2(2), rotateCarry(true)),
  instruction('rcr', group2(3), rotateCarry(false)),
  instruction('shl', [...group2(4), ...group2(6)], shift('shl'), { undefinedFlags: 'A' }),
  instruction('shr', group2(5), shift('shr'), { undefinedFlags: 'A' }),
  instruction('sar', group2(7), shift('sar'), { undefinedFlags: 'A' }),
  instruction('shld', ['0F A4 Ev,Gv,Ib', '0F A5 Ev,Gv,CL'], doubleShift(true), { undefinedFlags: 'A' }),
  instruction('shrd', ['0F AC Ev,Gv,Ib', '0F AD Ev,Gv,CL'], doubleShift(false), { undefinedFlags: 'A' }),
  instruction('bt', ['0F A3 Ev:r,Gv', '0F BA /4 Ev:r,Ib'], bitTest('none'), { undefinedFlags: 'OSAP' }),
  instruction('bts', ['0F AB Ev,Gv lock', '0F BA /5 Ev,Ib lock'], bitTest('set'), { undefinedFlags: 'OSAP' }),
  instruction('btr', ['0F B3 Ev,Gv lock', '0F BA /6 Ev,Ib lock'], bitTest('reset'), {
    undefinedFlags: 'OSAP',
  }),
  instruction('btc', ['0F BB Ev,Gv lock', '0F BA /7 Ev,Ib lock'], bitTest('complement'), {
    undefinedFlags: 'OSAP',
  }),
  instruction('bsf', '0F BC Gv,Ev', scan(true), { undefinedFlags: 'OSAPC' }),
  instruction('bsr', '0F BD Gv,Ev', scan(false), { undefinedFlags: 'OSAPC' }),
  instruction(
    'popcnt',
    'F3 0F B8 Gv:w,Ev',
    (b) => {
      const x = b.let(b.read(1));
      b.write(0, x.popcnt());
      const zero = i32(0);
      b.flagsAll({ cf: zero, pf: zero, af: zero, zf: x.eqz(), sf: zero, of: zero });
    },
    { cpuid: 'POPCNT' },
  ),
];
