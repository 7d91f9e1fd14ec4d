import type { Size } from '../isa/builder.ts';
import type { LoadName, StoreName } from '../wasm/opcodes.ts';

/** Bytes that a wasm load or store touches, by what its name says, or by its type. */
export function accessBytes(name: LoadName | StoreName): number {
  const width = /(?:load|store)(8|16|32|64)/.exec(name)?.[1];
  if (width !== undefined) return Number(width) / 8;
  return name.startsWith('v128') ? 16 : name.startsWith('i64') || name.startsWith('f64') ? 8 : 4;
}

/** Loads and stores of integer and vector operands, by size. */
export const INT_LOADS: Partial<Record<Size, LoadName>> = {
  8: 'i32.load8_u',
  16: 'i32.load16_u',
  32: 'i32.load',
  64: 'i64.load',
  128: 'v128.load',
};
export const INT_STORES: Partial<Record<Size, StoreName>> = {
  8: 'i32.store8',
  16: 'i32.store16',
  32: 'i32.store',
  64: 'i64.store',
  128: 'v128.store',
};
