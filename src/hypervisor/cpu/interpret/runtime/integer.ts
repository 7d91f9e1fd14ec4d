import { DIVISION, S, TLB } from '../../layout.ts';
import type { FunctionBuilder, FunctionRef, Local } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { I32, I64 } from '../../wasm/opcodes.ts';
import { i32, i64, select, type Value } from '../../wasm/value.ts';
import { recordFault } from '../core-parts.ts';
import type { RuntimeEnv } from './env.ts';

/** The upper half of an unsigned 64 by 64 bit product, from four 32-bit ones. */
function mulHighUnsigned(f: FunctionBuilder, x: Value, y: Value): Value {
  const low = 0xffff_ffffn;
  const x0 = f.let(x.and(low));
  const x1 = f.let(x.shrU(32n));
  const y0 = f.let(y.and(low));
  const y1 = f.let(y.shrU(32n));
  const t = f.let(x0.mul(y0));
  const u = f.let(x1.mul(y0).add(t.shrU(32n)));
  const v = f.let(x0.mul(y1).add(u.and(low)));
  return x1.mul(y1).add(u.shrU(32n)).add(v.shrU(32n));
}

/** A 128-bit dividend by a 64-bit divisor, one bit at a time when the upper half is not empty. Leaves quotient and remainder in the two locals. */
function divide128(
  f: FunctionBuilder,
  high: Value,
  low: Value,
  divisor: Value,
): { quotient: Value; remainder: Value } {
  const quotient = f.local(I64);
  const remainder = f.local(I64, high);
  f.if(
    high.eqz(),
    () => {
      f.set(quotient, low.divU(divisor));
      f.set(remainder, low.remU(divisor));
    },
    () => {
      const bits = f.local(I32, i32(64));
      const rest = f.local(I64, low);
      f.loop((again) => {
        const carry = f.let(remainder.shrU(63n).wrap());
        f.set(remainder, remainder.shl(1n).or(rest.shrU(63n)));
        f.set(rest, rest.shl(1n));
        f.set(quotient, quotient.shl(1n));
        f.if(carry.or(remainder.geU(divisor)), () => {
          f.set(remainder, remainder.sub(divisor));
          f.set(quotient, quotient.or(1n));
        });
        f.set(bits, bits.sub(1));
        f.brIf(again, bits);
      });
    },
  );
  return { quotient, remainder };
}

function addDivision(m: ModuleBuilder): Record<string, FunctionRef> {
  const raiseDivide = (f: FunctionBuilder): void => {
    recordFault(f, 0, undefined);
    f.return(1);
  };
  const results = (f: FunctionBuilder, quotient: Value, remainder: Value): void => {
    f.store('i64.store', DIVISION.quotient, quotient);
    f.store('i64.store', DIVISION.remainder, remainder);
    f.return(0);
  };
  /** (high, low, divisor) → 1 after #DE; else the results are in the scratch area. */
  const divideU = m.fn('divideU', [I64, I64, I64], [I32], (f, high, low, divisor) => {
    f.if(divisor.leU(high), () => raiseDivide(f));
    const { quotient, remainder } = divide128(f, high, low, divisor);
    results(f, quotient, remainder);
  });
  const divideS = m.fn('divideS', [I64, I64, I64], [I32], (f, upper, lower, divisor) => {
    f.if(divisor.eqz(), () => raiseDivide(f));
    const high = f.local(I64, upper);
    const low = f.local(I64, lower);
    const negative = f.let(high.ltS(0n));
    f.if(negative, () => {
      f.set(low, i64(0).sub(low));
      f.set(high, high.not().add(low.eqz().extendU()));
    });
    const magnitude = f.let(select(divisor.ltS(0n), i64(0).sub(divisor), divisor));
    f.if(magnitude.leU(high), () => raiseDivide(f));
    const { quotient, remainder } = divide128(f, high, low, magnitude);
    const opposite = f.let(negative.ne(divisor.ltS(0n)));
    // 2^63 fits only as a negative quotient.
    f.if(
      quotient
        .shrU(63n)
        .wrap()
        .and(opposite.eqz().or(quotient.shl(1n).ne(0n))),
      () => raiseDivide(f),
    );
    results(
      f,
      select(opposite, i64(0).sub(quotient), quotient),
      select(negative, i64(0).sub(remainder), remainder),
    );
  });
  return { divideU, divideS };
}

/** Where an access of at least one byte lies in linear memory when the TLB has its page; 0 when not. */
function lookUp(f: FunctionBuilder, linear: Value, tag: number): Value {
  const entry = f.let(
    f.load('i32.load', S.tlbView).add(
      linear
        .wrap()
        .shrU(12)
        .and(TLB.entries - 1)
        .shl(5),
    ),
  );
  const hit = f.load('i64.load', entry, tag).eq(linear.and(-4096n));
  return f.let(select(hit, linear.wrap().add(f.load('i32.load', entry, TLB.addend)), i32(0)));
}

/** Bytes up to which a loop is quicker than the host's function, which V8 reaches by a call out of WebAssembly. */
const FEW = 64;

function addBulk(m: ModuleBuilder): Record<string, FunctionRef> {
  const minimum = (a: Value, b: Value): Value => select(a.ltU(b), a, b);
  const toPageEnd = (linear: Value): Value => i32(4096).sub(linear.wrap().and(0xfff));
  /** Elements up to the end of the page. */
  const withinPage = (linear: Value, element: Value): Value => toPageEnd(linear).and(element.neg());
  /** Runs `word` for each 8 bytes of a few, but for the last of them. */
  const words = (f: FunctionBuilder, end: Local, at: Local, word: () => void): void =>
    f.block((done) => {
      f.loop((again) => {
        f.brIf(done, at.geU(end));
        word();
        f.set(at, at.add(8));
        f.br(again);
      });
    });
  /**
   * (to, from, element bytes, bytes) → bytes copied, at least 8, in whole elements and to the end of a page at most; 0 when
   * it is not that simple.
   */
  const bulkCopy = m.fn('bulkCopy', [I64, I64, I32, I32], [I32], (f, to, from, element, bytes) => {
    const target = f.local(I32, lookUp(f, to, TLB.writeTag));
    const origin = f.local(I32, lookUp(f, from, TLB.readTag));
    f.if(target.eqz().or(origin.eqz()), () => f.return(0));
    const pages = minimum(f.let(withinPage(to, element)), f.let(withinPage(from, element)));
    const some = f.let(minimum(bytes, f.let(pages)));
    // Where the target lies ahead within the length, the copy repeats what it wrote.
    f.if(some.ltU(8).or(target.sub(origin).ltU(some)), () => f.return(0));
    f.if(some.gtU(FEW), () => {
      f.memoryCopy(target, origin, some);
      f.return(some);
    });
    // The last 8 bytes may have been read already, and what is behind the origin may lie in the target.
    const end = f.let(target.add(some).sub(8));
    const last = f.let(f.load('i64.load', origin.add(some).sub(8)));
    words(f, end, target, () => {
      f.store('i64.store', target, f.load('i64.load', origin));
      f.set(origin, origin.add(8));
    });
    f.store('i64.store', end, last);
    f.return(some);
  });
  /** (to, value, element bytes, bytes) → bytes filled, as `bulkCopy` has it. */
  const bulkFill = m.fn('bulkFill', [I64, I64, I32, I32], [I32], (f, to, value, element, bytes) => {
    const target = f.local(I32, lookUp(f, to, TLB.writeTag));
    f.if(target.eqz(), () => f.return(0));
    const some = f.let(minimum(bytes, f.let(withinPage(to, element))));
    f.if(some.ltU(8), () => f.return(0));
    const pattern = f.local(I64, value);
    f.if(element.eq(1), () => f.set(pattern, value.and(0xffn).mul(0x0101_0101_0101_0101n)));
    f.if(element.eq(2), () => f.set(pattern, value.and(0xffffn).mul(0x0001_0001_0001_0001n)));
    f.if(element.eq(4), () => f.set(pattern, value.and(0xffff_ffffn).mul(0x0000_0001_0000_0001n)));
    f.if(some.gtU(FEW).and(pattern.eq(pattern.and(0xffn).mul(0x0101_0101_0101_0101n))), () => {
      f.memoryFill(target, pattern.wrap().and(0xff), some);
      f.return(some);
    });
    const end = f.let(target.add(some).sub(8));
    words(f, end, target, () => f.store('i64.store', target, pattern));
    f.store('i64.store', end, pattern);
    f.return(some);
  });
  return { bulkCopy, bulkFill };
}

/** Runtime functions of the integer instructions. */
export function addIntegerRuntime(m: ModuleBuilder, env: RuntimeEnv): Record<string, FunctionRef> {
  const mulHighS = m.fn('mulHighS', [I64, I64], [I64], (f, x, y) => {
    const high = f.let(mulHighUnsigned(f, x, y));
    f.return(high.sub(x.shrS(63n).and(y)).sub(y.shrS(63n).and(x)));
  });
  /** (linear, bytes) → 1 when a write there would fault. */
  const probeWrite = m.fn('probeWrite', [I64, I32], [I32], (f, linear, bytes) => {
    f.return(f.call(env.writable, linear, bytes, 0).eqz());
  });
  /** (unit bit) → 1: #UD or #NM, by what keeps the unit from working (SDM vol. 3, tables 2-2 and 14-1; AVX: #NM when it is CR0.TS alone). */
  const unitFault = m.fn('unitFault', [I32], [I32], (f, bit) => {
    const emulated = f.load('i32.load', S.cr0).and(4);
    const noFxsr = f.load('i32.load', S.cr4).and(0x200).eqz();
    const legacy = bit.ne(1).and(emulated.ne(0)).or(bit.eq(4).and(noFxsr));
    const noAvx = f.load('i32.load', S.unitTrap).shrU(4).and(1);
    const undefinedOpcode = select(bit.eq(8), noAvx, legacy);
    f.store('i32.store', S.faultVector, select(undefinedOpcode, i32(6), i32(7)));
    f.store('i32.store', S.faultHasCode, i32(0));
    f.return(1);
  });
  return { mulHighS, probeWrite, unitFault, ...addDivision(m), ...addBulk(m) };
}
