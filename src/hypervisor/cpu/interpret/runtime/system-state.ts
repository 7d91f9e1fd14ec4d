import { AF, ARITHMETIC, CF, OF, PF, SF, ZF } from '../../flags.ts';
import { CS, DS, ES, FS, GS, S, SEG, segment } from '../../layout.ts';
import type { FunctionBuilder } from '../../wasm/function.ts';
import { i32, i64, type Value } from '../../wasm/value.ts';

/** The state block as the short ways of the kernel's entries read and write it: see system.ts. */

export const word = (f: FunctionBuilder, offset: number): Value => f.load('i32.load', offset);
export const quad = (f: FunctionBuilder, offset: number): Value => f.load('i64.load', offset);
/** All of RFLAGS, as software sees them; see `readRflags` in cpu/flags.ts. */
export function emitRflags(f: FunctionBuilder): Value {
  const aux = f.let(word(f, S.flagAux));
  const result = f.let(quad(f, S.flagResult));
  const parity = result.wrap().and(0xff).popcnt().xor(aux.shrU(8)).xor(1).and(1);
  const sign = result.shrU(63n).wrap().xor(aux).and(1);
  return word(f, S.eflags)
    .and(~ARITHMETIC)
    .or(2)
    .or(aux.shrU(31))
    .or(parity.shl(2))
    .or(aux.shrU(3).and(1).shl(4))
    .or(result.eqz().shl(6))
    .or(sign.shl(7))
    .or(aux.xor(aux.shl(1)).shrU(31).shl(11));
}

/** All of RFLAGS; see `writeRflags` in cpu/flags.ts. */
export function emitSetRflags(f: FunctionBuilder, flags: Value): void {
  const bit = (mask: number): Value => flags.shrU(Math.log2(mask)).and(1);
  const aux = bit(CF)
    .shl(31)
    .or(bit(CF).xor(bit(OF)).shl(30))
    .or(bit(AF).shl(3))
    .or(bit(SF))
    .or(bit(PF).xor(bit(ZF)).shl(8));
  f.store('i64.store', S.flagResult, bit(ZF).eqz().extendU());
  f.store('i32.store', S.flagAux, aux);
  f.store('i32.store', S.eflags, flags.and(0x3f_7fd7 & ~ARITHMETIC).or(2));
}

/** A flat segment's register, its hidden part included but for S.oddSegments. */
export function emitSegment(
  f: FunctionBuilder,
  index: number,
  selector: Value,
  limit: Value,
  attributes: Value,
): void {
  const at = segment(index);
  f.store('i64.store', at + SEG.base, i64(0));
  f.store('i32.store', at + SEG.limit, limit);
  f.store('i32.store', at + SEG.selector, selector);
  f.store('i32.store', at + SEG.attributes, attributes);
}

/** CS of flat code at a level (i32, 0 or 3) with SEG.attributes as of level 0, and CPL. */
export function emitCode(f: FunctionBuilder, selector: Value, level: Value, attributes: number): void {
  emitSegment(f, CS, selector.and(0xfffc).or(level), i32(-1), i32(attributes).or(level.shl(5)));
  f.store('i32.store8', S.oddSegments + CS, i32(0));
  f.store('i32.store', S.cpl, level);
}

/** Data segments that level 3 may not use would have to be dropped on the way there. */
export const dropsSegments = (f: FunctionBuilder): Value =>
  [ES, DS, FS, GS]
    .map((index) => {
      const attributes = f.let(word(f, segment(index) + SEG.attributes));
      return attributes.and(0x10).ne(0).and(attributes.and(0x60).ne(0x60));
    })
    .reduce((any, one) => any.or(one));
