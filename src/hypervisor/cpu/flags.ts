import { S } from './layout.ts';

/**
 * The arithmetic flags are kept lazily, in two fields of the state block:
 *
 * `flagResult` (i64): the last result, sign-extended from its operand size.
 *   ZF is `flagResult == 0`.
 * `flagAux` (i32): bit 31 CF; bit 30 CF xor OF; bit 3 AF; bit 0 inverts SF
 *   (which else is the sign of `flagResult`); bit 8 inverts PF (which else is
 *   the parity of the low byte of `flagResult`).
 *
 * An addition stores its result and its carry vector's top bits and bit 3, so
 * that no reader needs to know which operation set the flags.
 */
export const CF = 0x0001,
  PF = 0x0004,
  AF = 0x0010,
  ZF = 0x0040,
  SF = 0x0080,
  OF = 0x0800;
export const TF = 0x0100,
  IF = 0x0200,
  DF = 0x0400,
  IOPL = 0x3000,
  NT = 0x4000;
export const RF = 0x1_0000,
  VM = 0x2_0000,
  AC = 0x4_0000,
  VIF = 0x8_0000,
  VIP = 0x10_0000,
  ID = 0x20_0000;
export const ARITHMETIC = CF | PF | AF | ZF | SF | OF;

/** Aux bits. */
export const AUX = { carry: 0x8000_0000, overflow: 0x4000_0000, adjust: 8, sign: 1, parity: 0x100 } as const;

function evenParity(byte: number): boolean {
  let v = byte & 0xff;
  v ^= v >> 4;
  v ^= v >> 2;
  v ^= v >> 1;
  return (v & 1) === 0;
}

/** RFLAGS as software sees it, bit 1 set. */
export function readRflags(view: DataView): number {
  const result = view.getBigInt64(S.flagResult, true);
  const aux = view.getInt32(S.flagAux, true);
  let flags = (view.getUint32(S.eflags, true) & ~ARITHMETIC) | 2;
  if (aux < 0) flags |= CF;
  if ((aux ^ (aux << 1)) < 0) flags |= OF;
  if (aux & AUX.adjust) flags |= AF;
  if (result === 0n) flags |= ZF;
  if (result < 0n !== ((aux & AUX.sign) !== 0)) flags |= SF;
  if (evenParity(Number(result & 0xffn)) !== ((aux & AUX.parity) !== 0)) flags |= PF;
  return flags >>> 0;
}

/** Sets all of RFLAGS; bits 1, 3, 5 and 15 are forced. */
export function writeRflags(view: DataView, value: number): void {
  const zero = (value & ZF) !== 0;
  const cf = (value & CF) !== 0;
  const of = (value & OF) !== 0;
  let aux = 0;
  if (cf) aux |= AUX.carry;
  if (cf !== of) aux |= AUX.overflow;
  if (value & AF) aux |= AUX.adjust;
  if (value & SF) aux |= AUX.sign;
  // The result is 0 (even parity) or 1 (odd).
  if (((value & PF) !== 0) !== zero) aux |= AUX.parity;
  view.setBigInt64(S.flagResult, zero ? 0n : 1n, true);
  view.setInt32(S.flagAux, aux, true);
  view.setUint32(S.eflags, ((value & 0x3f_7fd7 & ~ARITHMETIC) | 2) >>> 0, true);
}
