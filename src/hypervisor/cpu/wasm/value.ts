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
 * A WebAssembly expression: its type, its operands, and the code that takes
 * them from the stack and leaves the result there. It is evaluated anew
 * wherever it is used; `FunctionBuilder.let` evaluates it once, there and then,
 * and gives back a local. Integer arithmetic on constants is done at once.
 */
export class Value {
  readonly type: ValType;
  /** Operands, evaluated first to last in front of `tail`. */
  readonly operands: readonly Value[];
  /** Opcode and immediates. */
  readonly tail: readonly number[];
  /** The number, when it is a constant: an i32 as a signed number, an i64 as a signed bigint. */
  readonly known: number | bigint | undefined;

  constructor(
    type: ValType,
    tail: readonly number[],
    operands: readonly Value[] = NONE,
    known?: number | bigint,
  ) {
    this.type = type;
    this.tail = tail;
    this.operands = operands;
    this.known = known;
  }

  /** Appends the expression's code. */
  write(out: number[]): void {
    for (const operand of this.operands) operand.write(out);
    for (const byte of this.tail) out.push(byte);
  }

  get code(): readonly number[] {
    const out: number[] = [];
    this.write(out);
    return out;
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
    if (this.known !== undefined && (this.type === I32 || this.type === I64))
      return constant(I32, BigInt(this.known) === 0n ? 1 : 0);
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
    if (this.type === I32) return this;
    if (typeof this.known === 'bigint') return constant(I32, this.known);
    const [half] = this.operands;
    if (half && (this.tail === EXTEND_U || this.tail === EXTEND_S)) return half;
    return this.convert('i32.wrap_i64', I32);
  }
  /** i32 to i64 by sign; an i64 stays. */
  extendS(): Value {
    if (this.type === I64) return this;
    return typeof this.known === 'number' ? constant(I64, this.known) : this.convert('i64.extend_i32_s', I64);
  }
  /** i32 to i64 by zeroes; an i64 stays. */
  extendU(): Value {
    if (this.type === I64) return this;
    return typeof this.known === 'number'
      ? constant(I64, this.known >>> 0)
      : this.convert('i64.extend_i32_u', I64);
  }
  /** Sign-extends the low 8 bits in place. */
  ext8(): Value {
    if (typeof this.known === 'number') return constant(I32, (this.known << 24) >> 24);
    return this.convert(`${TYPE_NAMES[this.type]}.extend8_s`, this.type);
  }
  ext16(): Value {
    if (typeof this.known === 'number') return constant(I32, (this.known << 16) >> 16);
    return this.convert(`${TYPE_NAMES[this.type]}.extend16_s`, this.type);
  }
  ext32(): Value {
    return this.convert('i64.extend32_s', I64);
  }
  /** Any conversion by its text-format name, such as `f64.promote_f32`. */
  convert(name: string, type: ValType): Value {
    return new Value(type, numericOp(name), [this]);
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
    return new Value(result, typedOp(this.type, name), [this]);
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
    const simpler =
      right.known === undefined && this.known === undefined ? undefined : fold(name, this, right);
    return simpler ?? new Value(result, typedOp(this.type, name), [this, right]);
  }
}

const NONE: readonly Value[] = [];

export function constant(type: ValType, value: number | bigint): Value {
  switch (type) {
    case I32: {
      const number = typeof value === 'number' ? value | 0 : Number(BigInt.asIntN(32, value));
      return new Value(I32, [OP['i32.const'], ...sleb(number)], NONE, number);
    }
    case I64: {
      const number = BigInt.asIntN(64, BigInt(value));
      return new Value(I64, [OP['i64.const'], ...sleb64(number)], NONE, number);
    }
    case F32:
      return new Value(F32, [OP['f32.const'], ...f32Bytes(Number(value))]);
    case F64:
      return new Value(F64, [OP['f64.const'], ...f64Bytes(Number(value))]);
    default:
      throw new TypeError('use vconst for v128');
  }
}

const FOLD32: Readonly<Record<string, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: Math.imul,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b) => a << b,
  shr_s: (a, b) => a >> b,
  shr_u: (a, b) => a >>> b,
  eq: (a, b) => Number(a === b),
  ne: (a, b) => Number(a !== b),
  lt_s: (a, b) => Number(a < b),
  gt_s: (a, b) => Number(a > b),
  le_s: (a, b) => Number(a <= b),
  ge_s: (a, b) => Number(a >= b),
  lt_u: (a, b) => Number(a >>> 0 < b >>> 0),
  gt_u: (a, b) => Number(a >>> 0 > b >>> 0),
  le_u: (a, b) => Number(a >>> 0 <= b >>> 0),
  ge_u: (a, b) => Number(a >>> 0 >= b >>> 0),
};
const unsigned = (value: bigint): bigint => BigInt.asUintN(64, value);
const FOLD64: Readonly<Record<string, (a: bigint, b: bigint) => bigint>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b) => a << (b & 63n),
  shr_s: (a, b) => a >> (b & 63n),
  shr_u: (a, b) => unsigned(a) >> (b & 63n),
};
const COMPARE64: Readonly<Record<string, (a: bigint, b: bigint) => boolean>> = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  lt_s: (a, b) => a < b,
  gt_s: (a, b) => a > b,
  le_s: (a, b) => a <= b,
  ge_s: (a, b) => a >= b,
  lt_u: (a, b) => unsigned(a) < unsigned(b),
  gt_u: (a, b) => unsigned(a) > unsigned(b),
  le_u: (a, b) => unsigned(a) <= unsigned(b),
  ge_u: (a, b) => unsigned(a) >= unsigned(b),
};
/** Operators for which a zero, or all ones, on the right changes nothing. */
const ZERO_IS_NEUTRAL = new Set(['add', 'sub', 'or', 'xor', 'shl', 'shr_s', 'shr_u']);
const COMMUTES_WITH_ZERO = new Set(['add', 'or', 'xor']);

/** The simpler expression of the same value, if there is one; an operand is dropped only when it is a constant. */
function fold(name: string, left: Value, right: Value): Value | undefined {
  const a = left.known;
  const b = right.known;
  if (typeof a === 'number' && typeof b === 'number') {
    const apply = FOLD32[name];
    if (apply) return constant(I32, apply(a, b));
  } else if (typeof a === 'bigint' && typeof b === 'bigint') {
    const apply = FOLD64[name];
    if (apply) return constant(I64, apply(a, b));
    const compare = COMPARE64[name];
    if (compare) return constant(I32, Number(compare(a, b)));
  } else if (name === 'add' && b !== undefined && left.tail === typedOp(left.type, 'add')) {
    const [inner, number] = left.operands;
    if (inner && typeof number?.known === 'number' && typeof b === 'number')
      return inner.add(i32(number.known + b));
    if (inner && typeof number?.known === 'bigint' && typeof b === 'bigint')
      return inner.add(i64(number.known + b));
  }
  if ((b === 0 || b === 0n) && ZERO_IS_NEUTRAL.has(name)) {
    return left;
  } else if ((b === -1 || b === -1n) && name === 'and') {
    return left;
  } else if ((a === 0 || a === 0n) && COMMUTES_WITH_ZERO.has(name)) {
    return right;
  }
  return undefined;
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

const SELECT: readonly number[] = [OP.select];
const SELECT_V128: readonly number[] = [0x1c, 1, V128];

/** `condition ? whenTrue : whenFalse`, both evaluated (but when the condition is a constant). */
export function select(condition: Value, whenTrue: Value, whenFalse: Value): Value {
  if (whenTrue.type !== whenFalse.type) throw new TypeError('select between two types');
  if (condition.known !== undefined) return condition.known === 0 ? whenFalse : whenTrue;
  const op = whenTrue.type === V128 ? SELECT_V128 : SELECT;
  return new Value(whenTrue.type, op, [whenTrue, whenFalse, condition]);
}

/** A SIMD operator without immediates, by its text-format name; the result is v128 unless said otherwise. */
export function simd(name: string, args: readonly Value[], result: ValType = V128): Value {
  const sub = SIMD[name];
  if (sub === undefined) throw new RangeError(`no SIMD operator ${name}`);
  return new Value(result, [0xfd, ...uleb(sub)], args);
}

export function extractLane(name: LaneName, vector: Value, lane: number): Value {
  const [sub, type, lanes] = LANES[name];
  if (lane < 0 || lane >= lanes) throw new RangeError(`${name} ${lane}`);
  return new Value(type, [0xfd, sub, lane], [vector]);
}

export function replaceLane(name: LaneName, vector: Value, lane: number, scalar: Value): Value {
  const [sub, type, lanes] = LANES[name];
  if (lane < 0 || lane >= lanes || scalar.type !== type) throw new RangeError(`${name} ${lane}`);
  return new Value(V128, [0xfd, sub, lane], [vector, scalar]);
}

/** `i8x16.shuffle`: byte i of the result is byte `lanes[i]` of the pair (0-15 from `a`, 16-31 from `b`). */
export function shuffle(a: Value, b: Value, lanes: readonly number[]): Value {
  if (lanes.length !== 16) throw new RangeError('a shuffle has 16 lanes');
  return new Value(V128, [0xfd, 13, ...lanes], [a, b]);
}

const OPERATORS = new Map(
  [...NUMERIC].map(([name, op]): [string, readonly number[]] => [
    name,
    op > 0xff ? [op >> 8, op & 0xff] : [op],
  ]),
);

function numericOp(name: string): readonly number[] {
  const op = OPERATORS.get(name);
  if (op === undefined) throw new RangeError(`no operator ${name}`);
  return op;
}

const EXTEND_S = numericOp('i64.extend_i32_s');
const EXTEND_U = numericOp('i64.extend_i32_u');

/** The same by type and bare name. */
const BY_TYPE: Readonly<Record<ValType, Map<string, readonly number[]>>> = {
  [I32]: new Map(),
  [I64]: new Map(),
  [F32]: new Map(),
  [F64]: new Map(),
  [V128]: new Map(),
};

function typedOp(type: ValType, name: string): readonly number[] {
  const known = BY_TYPE[type].get(name);
  if (known) return known;
  const op = numericOp(`${TYPE_NAMES[type]}.${name}`);
  BY_TYPE[type].set(name, op);
  return op;
}
