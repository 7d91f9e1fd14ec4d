import { f32Bytes, f64Bytes, sleb, sleb64, uleb } from './encode.ts';
import {
  F32,
  F64,
  I32,
  I64,
  LANES,
  type LaneName,
  NUMERIC,
  OP,
  SIMD,
  TYPE_NAMES,
  V128,
  type ValType,
} from './opcodes.ts';

/** An operand: a value, or a number that becomes a constant of the other operand's type. */
export type Operand = Value | number | bigint;

/**
 * A WebAssembly expression: its type and the code that leaves it on the stack.
 * It is evaluated anew wherever it is used; `FunctionBuilder.let` evaluates it
 * once, there and then, and gives back a local.
 */
export class Value {
  readonly type: ValType;
  readonly code: readonly number[];

  constructor(type: ValType, code: readonly number[]) {
    this.type = type;
    this.code = code;
  }

  add(other: Operand): Value {
    return this.binary('add', other);
  }
  sub(other: Operand): Value {
    return this.binary('sub', other);
  }
  mul(other: Operand): Value {
    return this.binary('mul', other);
  }
  divS(other: Operand): Value {
    return this.binary('div_s', other);
  }
  divU(other: Operand): Value {
    return this.binary('div_u', other);
  }
  remS(other: Operand): Value {
    return this.binary('rem_s', other);
  }
  remU(other: Operand): Value {
    return this.binary('rem_u', other);
  }
  and(other: Operand): Value {
    return this.binary('and', other);
  }
  or(other: Operand): Value {
    return this.binary('or', other);
  }
  xor(other: Operand): Value {
    return this.binary('xor', other);
  }
  shl(other: Operand): Value {
    return this.binary('shl', other);
  }
  shrS(other: Operand): Value {
    return this.binary('shr_s', other);
  }
  shrU(other: Operand): Value {
    return this.binary('shr_u', other);
  }
  rotl(other: Operand): Value {
    return this.binary('rotl', other);
  }
  rotr(other: Operand): Value {
    return this.binary('rotr', other);
  }
  eq(other: Operand): Value {
    return this.compare('eq', other);
  }
  ne(other: Operand): Value {
    return this.compare('ne', other);
  }
  ltS(other: Operand): Value {
    return this.compare('lt_s', other);
  }
  ltU(other: Operand): Value {
    return this.compare('lt_u', other);
  }
  gtS(other: Operand): Value {
    return this.compare('gt_s', other);
  }
  gtU(other: Operand): Value {
    return this.compare('gt_u', other);
  }
  leS(other: Operand): Value {
    return this.compare('le_s', other);
  }
  leU(other: Operand): Value {
    return this.compare('le_u', other);
  }
  geS(other: Operand): Value {
    return this.compare('ge_s', other);
  }
  geU(other: Operand): Value {
    return this.compare('ge_u', other);
  }
  /** Floating-point operators. */
  div(other: Operand): Value {
    return this.binary('div', other);
  }
  lt(other: Operand): Value {
    return this.compare('lt', other);
  }
  gt(other: Operand): Value {
    return this.compare('gt', other);
  }
  le(other: Operand): Value {
    return this.compare('le', other);
  }
  ge(other: Operand): Value {
    return this.compare('ge', other);
  }

  eqz(): Value {
    return this.unary('eqz', I32);
  }
  clz(): Value {
    return this.unary('clz', this.type);
  }
  ctz(): Value {
    return this.unary('ctz', this.type);
  }
  popcnt(): Value {
    return this.unary('popcnt', this.type);
  }
  sqrt(): Value {
    return this.unary('sqrt', this.type);
  }
  not(): Value {
    return this.xor(-1);
  }
  neg(): Value {
    return this.type === I32 || this.type === I64
      ? constant(this.type, 0).sub(this)
      : this.unary('neg', this.type);
  }

  /** i64 to i32, the low half; an i32 stays. */
  wrap(): Value {
    return this.type === I32 ? this : this.convert('i32.wrap_i64', I32);
  }
  /** i32 to i64 by sign; an i64 stays. */
  extendS(): Value {
    return this.type === I64 ? this : this.convert('i64.extend_i32_s', I64);
  }
  /** i32 to i64 by zeroes; an i64 stays. */
  extendU(): Value {
    return this.type === I64 ? this : this.convert('i64.extend_i32_u', I64);
  }
  /** Sign-extends the low 8 bits in place. */
  ext8(): Value {
    return this.convert(`${TYPE_NAMES[this.type]}.extend8_s`, this.type);
  }
  ext16(): Value {
    return this.convert(`${TYPE_NAMES[this.type]}.extend16_s`, this.type);
  }
  ext32(): Value {
    return this.convert('i64.extend32_s', I64);
  }
  /** Any conversion by its text-format name, such as `f64.promote_f32`. */
  convert(name: string, type: ValType): Value {
    return new Value(type, [...this.code, ...numericOp(name)]);
  }
  /** Same bits as another type of the same width. */
  reinterpret(): Value {
    switch (this.type) {
      case I32:
        return this.convert('f32.reinterpret_i32', F32);
      case I64:
        return this.convert('f64.reinterpret_i64', F64);
      case F32:
        return this.convert('i32.reinterpret_f32', I32);
      case F64:
        return this.convert('i64.reinterpret_f64', I64);
      default:
        throw new TypeError('v128 has no reinterpretation as a scalar');
    }
  }

  unary(name: string, result: ValType): Value {
    return new Value(result, [...this.code, ...numericOp(`${TYPE_NAMES[this.type]}.${name}`)]);
  }
  binary(name: string, other: Operand): Value {
    return this.combine(name, other, this.type);
  }
  compare(name: string, other: Operand): Value {
    return this.combine(name, other, I32);
  }

  private combine(name: string, other: Operand, result: ValType): Value {
    const right = toValue(other, this.type);
    if (right.type !== this.type) {
      throw new TypeError(`${TYPE_NAMES[this.type]}.${name} with a ${TYPE_NAMES[right.type]} operand`);
    }
    return new Value(result, [...this.code, ...right.code, ...numericOp(`${TYPE_NAMES[this.type]}.${name}`)]);
  }
}

export function constant(type: ValType, value: number | bigint): Value {
  switch (type) {
    case I32:
      return new Value(I32, [
        OP['i32.const'],
        ...sleb(typeof value === 'number' ? value | 0 : Number(BigInt.asIntN(32, value))),
      ]);
    case I64:
      return new Value(I64, [OP['i64.const'], ...sleb64(BigInt(value))]);
    case F32:
      return new Value(F32, [OP['f32.const'], ...f32Bytes(Number(value))]);
    case F64:
      return new Value(F64, [OP['f64.const'], ...f64Bytes(Number(value))]);
    default:
      throw new TypeError('use vconst for v128');
  }
}

export const i32 = (value: number): Value => constant(I32, value);
export const i64 = (value: number | bigint): Value => constant(I64, value);
export const f32 = (value: number): Value => constant(F32, value);
export const f64 = (value: number): Value => constant(F64, value);

/** A v128 constant from its 16 bytes, lowest first. */
export function vconst(bytes: readonly number[]): Value {
  if (bytes.length !== 16) throw new RangeError('a v128 constant has 16 bytes');
  return new Value(V128, [0xfd, 12, ...bytes]);
}

export function toValue(operand: Operand, type: ValType): Value {
  return operand instanceof Value ? operand : constant(type, operand);
}

/** `condition ? whenTrue : whenFalse`, both evaluated. */
export function select(condition: Value, whenTrue: Value, whenFalse: Value): Value {
  if (whenTrue.type !== whenFalse.type) throw new TypeError('select between two types');
  const op = whenTrue.type === V128 ? [0x1c, 1, V128] : [OP.select];
  return new Value(whenTrue.type, [...whenTrue.code, ...whenFalse.code, ...condition.code, ...op]);
}

/** A SIMD operator without immediates, by its text-format name; the result is v128 unless said otherwise. */
export function simd(name: string, args: readonly Value[], result: ValType = V128): Value {
  const sub = SIMD[name];
  if (sub === undefined) throw new RangeError(`no SIMD operator ${name}`);
  return new Value(result, [...args.flatMap((a) => a.code), 0xfd, ...uleb(sub)]);
}

export function extractLane(name: LaneName, vector: Value, lane: number): Value {
  const [sub, type, lanes] = LANES[name];
  if (lane < 0 || lane >= lanes) throw new RangeError(`${name} ${lane}`);
  return new Value(type, [...vector.code, 0xfd, sub, lane]);
}

export function replaceLane(name: LaneName, vector: Value, lane: number, scalar: Value): Value {
  const [sub, type, lanes] = LANES[name];
  if (lane < 0 || lane >= lanes || scalar.type !== type) throw new RangeError(`${name} ${lane}`);
  return new Value(V128, [...vector.code, ...scalar.code, 0xfd, sub, lane]);
}

/** `i8x16.shuffle`: byte i of the result is byte `lanes[i]` of the pair (0-15 from `a`, 16-31 from `b`). */
export function shuffle(a: Value, b: Value, lanes: readonly number[]): Value {
  if (lanes.length !== 16) throw new RangeError('a shuffle has 16 lanes');
  return new Value(V128, [...a.code, ...b.code, 0xfd, 13, ...lanes]);
}

function numericOp(name: string): number[] {
  const op = NUMERIC.get(name);
  if (op === undefined) throw new RangeError(`no operator ${name}`);
  return op > 0xff ? [op >> 8, op & 0xff] : [op];
}
