/**
 * WebAssembly's binary encodings by their text-format names.
 * Source: WebAssembly Core Specification 3.0, §5.4 (instructions) and §5.3 (types).
 */

export const I32 = 0x7f;
export const I64 = 0x7e;
export const F32 = 0x7d;
export const F64 = 0x7c;
export const V128 = 0x7b;
export type ValType = typeof I32 | typeof I64 | typeof F32 | typeof F64 | typeof V128;

export const TYPE_NAMES: Readonly<Record<ValType, string>> = {
  [I32]: 'i32',
  [I64]: 'i64',
  [F32]: 'f32',
  [F64]: 'f64',
  [V128]: 'v128',
};

/** Opcodes of one byte. */
export const OP = {
  unreachable: 0x00,
  nop: 0x01,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  br_if: 0x0d,
  br_table: 0x0e,
  return: 0x0f,
  call: 0x10,
  call_indirect: 0x11,
  return_call: 0x12,
  return_call_indirect: 0x13,
  drop: 0x1a,
  select: 0x1b,
  'local.get': 0x20,
  'local.set': 0x21,
  'local.tee': 0x22,
  'global.get': 0x23,
  'global.set': 0x24,
  'i32.const': 0x41,
  'i64.const': 0x42,
  'f32.const': 0x43,
  'f64.const': 0x44,
} as const;

/** Loads: opcode (a SIMD one carries the 0xfd page in its high byte), result type, natural alignment as a power of two. */
export const LOADS = {
  'i32.load': [0x28, I32, 2],
  'i64.load': [0x29, I64, 3],
  'f32.load': [0x2a, F32, 2],
  'f64.load': [0x2b, F64, 3],
  'i32.load8_s': [0x2c, I32, 0],
  'i32.load8_u': [0x2d, I32, 0],
  'i32.load16_s': [0x2e, I32, 1],
  'i32.load16_u': [0x2f, I32, 1],
  'i64.load8_s': [0x30, I64, 0],
  'i64.load8_u': [0x31, I64, 0],
  'i64.load16_s': [0x32, I64, 1],
  'i64.load16_u': [0x33, I64, 1],
  'i64.load32_s': [0x34, I64, 2],
  'i64.load32_u': [0x35, I64, 2],
  'v128.load': [0xfd00, V128, 4],
  'v128.load32_zero': [0xfd5c, V128, 2],
  'v128.load64_zero': [0xfd5d, V128, 3],
} as const satisfies Record<string, readonly [number, ValType, number]>;
export type LoadName = keyof typeof LOADS;

/** Stores: opcode, operand type, natural alignment as a power of two. */
export const STORES = {
  'i32.store': [0x36, I32, 2],
  'i64.store': [0x37, I64, 3],
  'f32.store': [0x38, F32, 2],
  'f64.store': [0x39, F64, 3],
  'i32.store8': [0x3a, I32, 0],
  'i32.store16': [0x3b, I32, 1],
  'i64.store8': [0x3c, I64, 0],
  'i64.store16': [0x3d, I64, 1],
  'i64.store32': [0x3e, I64, 2],
  'v128.store': [0xfd0b, V128, 4],
} as const satisfies Record<string, readonly [number, ValType, number]>;
export type StoreName = keyof typeof STORES;

/** Operators with operands of one type, by type: opcode and whether the result is an i32 truth value or of the operand's type. */
const INT_OPS = [
  'eqz', 'eq', 'ne', 'lt_s', 'lt_u', 'gt_s', 'gt_u', 'le_s', 'le_u', 'ge_s', 'ge_u',
] as const;
const INT_ARITH = [
  'clz', 'ctz', 'popcnt', 'add', 'sub', 'mul', 'div_s', 'div_u', 'rem_s', 'rem_u', 'and', 'or', 'xor',
  'shl', 'shr_s', 'shr_u', 'rotl', 'rotr',
] as const;
const FLOAT_OPS = ['eq', 'ne', 'lt', 'gt', 'le', 'ge'] as const;
const FLOAT_ARITH = [
  'abs', 'neg', 'ceil', 'floor', 'trunc', 'nearest', 'sqrt', 'add', 'sub', 'mul', 'div', 'min', 'max', 'copysign',
] as const;

function table(start: number, names: readonly string[]): [string, number][] {
  return names.map((name, index) => [name, start + index]);
}

/** `numeric.get('i32.add')` is the opcode; conversions are named as in the text format. */
export const NUMERIC: ReadonlyMap<string, number> = new Map<string, number>([
  ...table(0x45, INT_OPS.map((n) => `i32.${n}`)),
  ...table(0x50, INT_OPS.map((n) => `i64.${n}`)),
  ...table(0x5b, FLOAT_OPS.map((n) => `f32.${n}`)),
  ...table(0x61, FLOAT_OPS.map((n) => `f64.${n}`)),
  ...table(0x67, INT_ARITH.map((n) => `i32.${n}`)),
  ...table(0x79, INT_ARITH.map((n) => `i64.${n}`)),
  ...table(0x8b, FLOAT_ARITH.map((n) => `f32.${n}`)),
  ...table(0x99, FLOAT_ARITH.map((n) => `f64.${n}`)),
  ...table(0xa7, [
    'i32.wrap_i64', 'i32.trunc_f32_s', 'i32.trunc_f32_u', 'i32.trunc_f64_s', 'i32.trunc_f64_u',
    'i64.extend_i32_s', 'i64.extend_i32_u', 'i64.trunc_f32_s', 'i64.trunc_f32_u', 'i64.trunc_f64_s',
    'i64.trunc_f64_u', 'f32.convert_i32_s', 'f32.convert_i32_u', 'f32.convert_i64_s', 'f32.convert_i64_u',
    'f32.demote_f64', 'f64.convert_i32_s', 'f64.convert_i32_u', 'f64.convert_i64_s', 'f64.convert_i64_u',
    'f64.promote_f32', 'i32.reinterpret_f32', 'i64.reinterpret_f64', 'f32.reinterpret_i32',
    'f64.reinterpret_i64', 'i32.extend8_s', 'i32.extend16_s', 'i64.extend8_s', 'i64.extend16_s',
    'i64.extend32_s',
  ]),
  ...table(0xfc00, [
    'i32.trunc_sat_f32_s', 'i32.trunc_sat_f32_u', 'i32.trunc_sat_f64_s', 'i32.trunc_sat_f64_u',
    'i64.trunc_sat_f32_s', 'i64.trunc_sat_f32_u', 'i64.trunc_sat_f64_s', 'i64.trunc_sat_f64_u',
  ]),
]);

/** SIMD operators without immediates: sub-opcode behind the 0xfd prefix. */
export const SIMD: Readonly<Record<string, number>> = {
  'i8x16.swizzle': 14,
  'i8x16.splat': 15, 'i16x8.splat': 16, 'i32x4.splat': 17, 'i64x2.splat': 18, 'f32x4.splat': 19, 'f64x2.splat': 20,
  'i8x16.eq': 35, 'i8x16.ne': 36, 'i8x16.lt_s': 37, 'i8x16.lt_u': 38, 'i8x16.gt_s': 39, 'i8x16.gt_u': 40,
  'i8x16.le_s': 41, 'i8x16.le_u': 42, 'i8x16.ge_s': 43, 'i8x16.ge_u': 44,
  'i16x8.eq': 45, 'i16x8.ne': 46, 'i16x8.lt_s': 47, 'i16x8.lt_u': 48, 'i16x8.gt_s': 49, 'i16x8.gt_u': 50,
  'i16x8.le_s': 51, 'i16x8.le_u': 52, 'i16x8.ge_s': 53, 'i16x8.ge_u': 54,
  'i32x4.eq': 55, 'i32x4.ne': 56, 'i32x4.lt_s': 57, 'i32x4.lt_u': 58, 'i32x4.gt_s': 59, 'i32x4.gt_u': 60,
  'i32x4.le_s': 61, 'i32x4.le_u': 62, 'i32x4.ge_s': 63, 'i32x4.ge_u': 64,
  'f32x4.eq': 65, 'f32x4.ne': 66, 'f32x4.lt': 67, 'f32x4.gt': 68, 'f32x4.le': 69, 'f32x4.ge': 70,
  'f64x2.eq': 71, 'f64x2.ne': 72, 'f64x2.lt': 73, 'f64x2.gt': 74, 'f64x2.le': 75, 'f64x2.ge': 76,
  'v128.not': 77, 'v128.and': 78, 'v128.andnot': 79, 'v128.or': 80, 'v128.xor': 81, 'v128.bitselect': 82,
  'v128.any_true': 83, 'f32x4.demote_f64x2_zero': 94, 'f64x2.promote_low_f32x4': 95,
  'i8x16.abs': 96, 'i8x16.neg': 97, 'i8x16.popcnt': 98, 'i8x16.all_true': 99, 'i8x16.bitmask': 100,
  'i8x16.narrow_i16x8_s': 101, 'i8x16.narrow_i16x8_u': 102,
  'i8x16.shl': 107, 'i8x16.shr_s': 108, 'i8x16.shr_u': 109, 'i8x16.add': 110, 'i8x16.add_sat_s': 111,
  'i8x16.add_sat_u': 112, 'i8x16.sub': 113, 'i8x16.sub_sat_s': 114, 'i8x16.sub_sat_u': 115,
  'i8x16.min_s': 118, 'i8x16.min_u': 119, 'i8x16.max_s': 120, 'i8x16.max_u': 121, 'i8x16.avgr_u': 123,
  'i16x8.extadd_pairwise_i8x16_s': 124, 'i16x8.extadd_pairwise_i8x16_u': 125,
  'i32x4.extadd_pairwise_i16x8_s': 126, 'i32x4.extadd_pairwise_i16x8_u': 127,
  'i16x8.abs': 128, 'i16x8.neg': 129, 'i16x8.q15mulr_sat_s': 130, 'i16x8.all_true': 131, 'i16x8.bitmask': 132,
  'i16x8.narrow_i32x4_s': 133, 'i16x8.narrow_i32x4_u': 134,
  'i16x8.extend_low_i8x16_s': 135, 'i16x8.extend_high_i8x16_s': 136,
  'i16x8.extend_low_i8x16_u': 137, 'i16x8.extend_high_i8x16_u': 138,
  'i16x8.shl': 139, 'i16x8.shr_s': 140, 'i16x8.shr_u': 141, 'i16x8.add': 142, 'i16x8.add_sat_s': 143,
  'i16x8.add_sat_u': 144, 'i16x8.sub': 145, 'i16x8.sub_sat_s': 146, 'i16x8.sub_sat_u': 147, 'i16x8.mul': 149,
  'i16x8.min_s': 150, 'i16x8.min_u': 151, 'i16x8.max_s': 152, 'i16x8.max_u': 153, 'i16x8.avgr_u': 155,
  'i16x8.extmul_low_i8x16_s': 156, 'i16x8.extmul_high_i8x16_s': 157,
  'i16x8.extmul_low_i8x16_u': 158, 'i16x8.extmul_high_i8x16_u': 159,
  'i32x4.abs': 160, 'i32x4.neg': 161, 'i32x4.all_true': 163, 'i32x4.bitmask': 164,
  'i32x4.extend_low_i16x8_s': 167, 'i32x4.extend_high_i16x8_s': 168,
  'i32x4.extend_low_i16x8_u': 169, 'i32x4.extend_high_i16x8_u': 170,
  'i32x4.shl': 171, 'i32x4.shr_s': 172, 'i32x4.shr_u': 173, 'i32x4.add': 174, 'i32x4.sub': 177, 'i32x4.mul': 181,
  'i32x4.min_s': 182, 'i32x4.min_u': 183, 'i32x4.max_s': 184, 'i32x4.max_u': 185, 'i32x4.dot_i16x8_s': 186,
  'i32x4.extmul_low_i16x8_s': 188, 'i32x4.extmul_high_i16x8_s': 189,
  'i32x4.extmul_low_i16x8_u': 190, 'i32x4.extmul_high_i16x8_u': 191,
  'i64x2.abs': 192, 'i64x2.neg': 193, 'i64x2.all_true': 195, 'i64x2.bitmask': 196,
  'i64x2.extend_low_i32x4_s': 199, 'i64x2.extend_high_i32x4_s': 200,
  'i64x2.extend_low_i32x4_u': 201, 'i64x2.extend_high_i32x4_u': 202,
  'i64x2.shl': 203, 'i64x2.shr_s': 204, 'i64x2.shr_u': 205, 'i64x2.add': 206, 'i64x2.sub': 209, 'i64x2.mul': 213,
  'i64x2.eq': 214, 'i64x2.ne': 215, 'i64x2.lt_s': 216, 'i64x2.gt_s': 217, 'i64x2.le_s': 218, 'i64x2.ge_s': 219,
  'i64x2.extmul_low_i32x4_s': 220, 'i64x2.extmul_high_i32x4_s': 221,
  'i64x2.extmul_low_i32x4_u': 222, 'i64x2.extmul_high_i32x4_u': 223,
  'f32x4.ceil': 103, 'f32x4.floor': 104, 'f32x4.trunc': 105, 'f32x4.nearest': 106,
  'f64x2.ceil': 116, 'f64x2.floor': 117, 'f64x2.trunc': 122, 'f64x2.nearest': 148,
  'f32x4.abs': 224, 'f32x4.neg': 225, 'f32x4.sqrt': 227, 'f32x4.add': 228, 'f32x4.sub': 229, 'f32x4.mul': 230,
  'f32x4.div': 231, 'f32x4.min': 232, 'f32x4.max': 233, 'f32x4.pmin': 234, 'f32x4.pmax': 235,
  'f64x2.abs': 236, 'f64x2.neg': 237, 'f64x2.sqrt': 239, 'f64x2.add': 240, 'f64x2.sub': 241, 'f64x2.mul': 242,
  'f64x2.div': 243, 'f64x2.min': 244, 'f64x2.max': 245, 'f64x2.pmin': 246, 'f64x2.pmax': 247,
  'i32x4.trunc_sat_f32x4_s': 248, 'i32x4.trunc_sat_f32x4_u': 249,
  'f32x4.convert_i32x4_s': 250, 'f32x4.convert_i32x4_u': 251,
  'i32x4.trunc_sat_f64x2_s_zero': 252, 'i32x4.trunc_sat_f64x2_u_zero': 253,
  'f64x2.convert_low_i32x4_s': 254, 'f64x2.convert_low_i32x4_u': 255,
};

/** SIMD lane access: sub-opcode, scalar type, lanes. */
export const LANES = {
  'i8x16.extract_lane_s': [21, I32, 16],
  'i8x16.extract_lane_u': [22, I32, 16],
  'i8x16.replace_lane': [23, I32, 16],
  'i16x8.extract_lane_s': [24, I32, 8],
  'i16x8.extract_lane_u': [25, I32, 8],
  'i16x8.replace_lane': [26, I32, 8],
  'i32x4.extract_lane': [27, I32, 4],
  'i32x4.replace_lane': [28, I32, 4],
  'i64x2.extract_lane': [29, I64, 2],
  'i64x2.replace_lane': [30, I64, 2],
  'f32x4.extract_lane': [31, F32, 4],
  'f32x4.replace_lane': [32, F32, 4],
  'f64x2.extract_lane': [33, F64, 2],
  'f64x2.replace_lane': [34, F64, 2],
} as const satisfies Record<string, readonly [number, ValType, number]>;
export type LaneName = keyof typeof LANES;
