import type { OperandSpec } from '../decode/encoding.ts';
import { LOADS, type LoadName, STORES, type StoreName } from '../wasm/opcodes.ts';
import type { Size } from './builder.ts';

/** By what a name says after `load` or `store`, or by its type. */
function bytesOf(name: string): number {
  const width = /(?:load|store)(8|16|32|64)/.exec(name)?.[1];
  if (width !== undefined) return Number(width) / 8;
  return name.startsWith('v128') ? 16 : name.startsWith('i64') || name.startsWith('f64') ? 8 : 4;
}

const BYTES = new Map(
  [...Object.keys(LOADS), ...Object.keys(STORES)].map((name): [string, number] => [name, bytesOf(name)]),
);

/** Bytes that a wasm load or store touches. */
export function accessBytes(name: LoadName | StoreName): number {
  return BYTES.get(name) ?? bytesOf(name);
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

/** The load that reads an operand of so many bits. */
export function loadFor(spec: OperandSpec, bits: Size): LoadName {
  if (spec.width === 'ss') return 'f32.load';
  if (spec.width === 'sd') return 'f64.load';
  return INT_LOADS[bits] ?? 'i64.load';
}

/** The store that writes one. */
export function storeFor(spec: OperandSpec, bits: Size): StoreName {
  if (spec.width === 'ss') return 'f32.store';
  if (spec.width === 'sd') return 'f64.store';
  return INT_STORES[bits] ?? 'i64.store';
}
