import { I32, I64, NUMERIC, OP, SIMD, V128 } from '../wasm/opcodes.ts';
import { constant, type Value, vconst } from '../wasm/value.ts';

/**
 * Folds expressions over constants. A translator's immediates are constants; what
 * a semantics derives from them (byte numbers of a shuffle, masks of a blend) must then be one
 * too, for V8 does not fold vector arithmetic. An expression with anything else in it stays as it is.
 */
type Item = bigint | Uint8Array;

const NUMERIC_NAMES = new Map([...NUMERIC].map(([name, op]) => [op, name]));
const SIMD_NAMES = new Map(Object.entries(SIMD).map(([name, op]) => [op, name]));
const V128_CONST = 12;
const SHUFFLE = 13;

/** LEB128 at `at`: the value and where it ends. */
function leb(code: readonly number[], at: number, signed: boolean): [bigint, number] {
  let value = 0n;
  let shift = 0n;
  for (let i = at; ; i += 1) {
    const byte = code[i] ?? 0;
    value |= BigInt(byte & 0x7f) << shift;
    shift += 7n;
    if (byte & 0x80) continue;
    return [signed ? BigInt.asIntN(Number(shift), value) : value, i + 1];
  }
}

const INTEGER: Readonly<Record<string, (a: bigint, b: bigint, bits: number) => bigint>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  shl: (a, b, bits) => a << (b % BigInt(bits)),
  shr_u: (a, b, bits) => a >> (b % BigInt(bits)),
  lt_u: (a, b) => (a < b ? 1n : 0n),
  eq: (a, b) => (a === b ? 1n : 0n),
};

/** A scalar operator by its text-format name; false when it is not one of those folded. */
function scalar(stack: Item[], name: string): boolean {
  const [type, operator = ''] = name.split('.');
  if (operator === 'extend_i32_u' || operator === 'wrap_i64') {
    const value = stack.pop();
    if (typeof value !== 'bigint') return false;
    return stack.push(BigInt.asUintN(32, value)) > 0;
  }
  const apply = INTEGER[operator];
  const right = stack.pop();
  const left = stack.pop();
  if (!apply || typeof right !== 'bigint' || typeof left !== 'bigint') return false;
  const bits = type === 'i64' ? 64 : 32;
  return stack.push(BigInt.asUintN(bits, apply(left, right, bits))) > 0;
}

function lanesOf(v: Uint8Array, bytes: number): bigint[] {
  return Array.from({ length: 16 / bytes }, (_, lane) => {
    let value = 0n;
    for (let i = bytes - 1; i >= 0; i -= 1) value = (value << 8n) | BigInt(v[lane * bytes + i] ?? 0);
    return value;
  });
}

function fromLanes(values: readonly bigint[], bytes: number): Uint8Array {
  return Uint8Array.from({ length: 16 }, (_, i) =>
    Number(((values[Math.floor(i / bytes)] ?? 0n) >> BigInt(8 * (i % bytes))) & 255n),
  );
}

function vector(stack: Item[], name: string): boolean {
  const [shape = '', operator = ''] = name.split('.');
  const bytes = shape === 'v128' ? 8 : 16 / Number(shape.slice(shape.indexOf('x') + 1));
  const right = stack.pop();
  if (operator === 'splat') {
    if (typeof right !== 'bigint') return false;
    return stack.push(fromLanes(new Array<bigint>(16 / bytes).fill(right), bytes)) > 0;
  }
  const left = stack.pop();
  const apply = INTEGER[operator];
  if (right === undefined || !(left instanceof Uint8Array)) return false;
  if (operator === 'swizzle') {
    if (!(right instanceof Uint8Array)) return false;
    return stack.push(right.map((index) => left[index] ?? 0)) > 0;
  }
  if (!apply) return false;
  const others = right instanceof Uint8Array ? lanesOf(right, bytes) : undefined;
  const results = lanesOf(left, bytes).map((lane, i) => {
    const result = apply(lane, others ? (others[i] ?? 0n) : (right as bigint), bytes * 8);
    return operator === 'eq' ? -result : result;
  });
  return stack.push(fromLanes(results, bytes)) > 0;
}

/** The value of an expression over constants: a scalar without sign, or 16 bytes; undefined for any other. */
export function evaluate({ code }: Value): Item | undefined {
  const stack: Item[] = [];
  for (let at = 0; at < code.length; ) {
    const op = code[at] ?? 0;
    at += 1;
    if (op === OP['i32.const'] || op === OP['i64.const']) {
      const [value, next] = leb(code, at, true);
      stack.push(BigInt.asUintN(op === OP['i32.const'] ? 32 : 64, value));
      at = next;
    } else if (op === OP.select) {
      const [left, right, condition] = stack.splice(-3);
      if (left === undefined || right === undefined || condition === undefined) return undefined;
      stack.push(condition === 0n ? right : left);
    } else if (op === 0xfd) {
      const [sub, next] = leb(code, at, false);
      at = next;
      if (Number(sub) === V128_CONST) {
        stack.push(Uint8Array.from(code.slice(at, at + 16)));
        at += 16;
      } else if (Number(sub) === SHUFFLE) {
        const [left, right] = stack.splice(-2);
        if (!(left instanceof Uint8Array) || !(right instanceof Uint8Array)) return undefined;
        const pair = [...left, ...right];
        stack.push(Uint8Array.from(code.slice(at, at + 16), (index) => pair[index] ?? 0));
        at += 16;
      } else if (!vector(stack, SIMD_NAMES.get(Number(sub)) ?? '')) return undefined;
    } else if (!scalar(stack, NUMERIC_NAMES.get(op) ?? '')) return undefined;
  }
  return stack.length === 1 ? stack[0] : undefined;
}

/** The same value as one constant when it can be; else the expression itself. */
export function folded(value: Value): Value {
  const known = evaluate(value);
  if (known === undefined) return value;
  if (known instanceof Uint8Array) return value.type === V128 ? vconst([...known]) : value;
  return value.type === I32 || value.type === I64 ? constant(value.type, known) : value;
}
