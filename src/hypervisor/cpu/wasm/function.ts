import { uleb } from './encode.ts';
import { assignLocals, SYMBOL } from './locals.ts';
import {
  F32,
  F64,
  I32,
  I64,
  LOADS,
  type LoadName,
  OP,
  STORES,
  type StoreName,
  TYPE_NAMES,
  V128,
  type ValType,
} from './opcodes.ts';
import { type Operand, toValue, Value } from './value.ts';

export interface Signature {
  readonly params: readonly ValType[];
  readonly results: readonly ValType[];
}

/** A function's code. */
export interface FunctionBody {
  readonly parts: readonly (readonly number[])[];
  /** Branch hints: offsets from its first byte, ascending, and whether the branch there is likely to be taken. */
  readonly hints: readonly (readonly [number, boolean])[];
}

/** Something that can be called: an import or a function of the module under construction. */
export interface FunctionRef extends Signature {
  readonly name: string;
  readonly index: number;
}

/** A local variable: a value that can be set. */
export class Local extends Value {
  readonly index: number;
  constructor(type: ValType, index: number) {
    super(type, [SYMBOL.get(index)]);
    this.index = index;
  }
}

export class Global extends Value {
  readonly index: number;
  constructor(type: ValType, index: number) {
    super(type, [OP['global.get'], ...uleb(index)]);
    this.index = index;
  }
}

/** Where a branch may go: made by `block`, `loop` and `if`. */
export interface Label {
  readonly depth: number;
}

/**
 * Emits one function's body, statement by statement. Values are expressions;
 * statements happen in the order of the calls.
 */
export class FunctionBuilder {
  readonly params: readonly Local[];
  readonly signature: Signature;
  /** Of all locals, the parameters first, as they are while the function is emitted: see locals.ts. */
  readonly #types: ValType[];
  /** Offsets in the code of branches on which there is a hint, and whether they are likely to be taken. */
  readonly #hints = new Map<number, boolean>();
  /** Offsets of the `if`s that are open, and which arm is. */
  readonly #open: { readonly at: number; otherwise: boolean }[] = [];
  #code: number[] = [];
  #depth = 0;
  #typeIndex: (signature: Signature) => number;

  constructor(signature: Signature, typeIndex: (signature: Signature) => number) {
    this.signature = signature;
    this.#types = [...signature.params];
    this.#typeIndex = typeIndex;
    this.params = signature.params.map((type, index) => new Local(type, index));
  }

  /** A new local, zero unless given a first value. */
  local(type: ValType, initial?: Operand): Local {
    const local = new Local(type, this.#types.length);
    this.#types.push(type);
    if (initial !== undefined) this.set(local, initial);
    return local;
  }

  /** Evaluates `value` now and keeps it. */
  let(value: Value): Local {
    return value instanceof Local ? value : this.local(value.type, value);
  }

  set(local: Local, value: Operand): void {
    this.#push(this.#typed(value, local.type), SYMBOL.set(local.index));
  }

  setGlobal(global: Global, value: Operand): void {
    this.#push(this.#typed(value, global.type), OP['global.set'], ...uleb(global.index));
  }

  /** A load as an expression: evaluated where it is used, so `let` it when a store may come between. */
  load(name: LoadName, address: Operand, offset = 0): Value {
    const [op, type, align] = LOADS[name];
    const at = toValue(address, I32);
    const page = op > 0xff ? [0xfd, ...uleb(op & 0xff)] : [op];
    return new Value(type, [...page, ...uleb(alignOf(align)), ...uleb(offset)], [at]);
  }

  store(name: StoreName, address: Operand, value: Operand, offset = 0): void {
    const [op, type, align] = STORES[name];
    toValue(address, I32).write(this.#code);
    this.#typed(value, type).write(this.#code);
    if (op > 0xff) this.#code.push(0xfd);
    this.#code.push(op & 0xff, alignOf(align), ...uleb(offset));
  }

  memoryCopy(destination: Operand, source: Operand, length: Operand): void {
    for (const operand of [destination, source, length]) toValue(operand, I32).write(this.#code);
    this.#code.push(0xfc, 10, 0, 0);
  }

  memoryFill(destination: Operand, byte: Operand, length: Operand): void {
    for (const operand of [destination, byte, length]) toValue(operand, I32).write(this.#code);
    this.#code.push(0xfc, 11, 0);
  }

  if(condition: Value, then: (label: Label) => void, otherwise?: (label: Label) => void): void {
    if (condition.type !== I32) throw new TypeError('a condition is an i32');
    condition.write(this.#code);
    const open = { at: this.#code.length, otherwise: false };
    this.#open.push(open);
    this.#code.push(SYMBOL.open(OP.if));
    this.#nest(then);
    if (otherwise) {
      open.otherwise = true;
      this.#code.push(SYMBOL.otherwise);
      this.#nest(otherwise);
    }
    this.#open.pop();
    this.#code.push(SYMBOL.end);
  }

  /** An `if` whose condition is rarely true: the engine moves its body out of the way of what follows. */
  unlikely(condition: Value, then: (label: Label) => void): void {
    this.if(condition, (label) => {
      this.rare();
      then(label);
    });
  }

  /** The innermost arm of an `if` that is being emitted is one that rarely runs. */
  rare(): void {
    const open = this.#open.at(-1);
    if (open) this.#hints.set(open.at, open.otherwise);
  }

  /** `br` to its label leaves it. */
  block(body: (label: Label) => void): void {
    this.#code.push(SYMBOL.open(OP.block));
    this.#nest(body);
    this.#code.push(SYMBOL.end);
  }

  /** `br` to its label starts it again; falling off its end leaves it. */
  loop(body: (label: Label) => void): void {
    this.#code.push(SYMBOL.open(OP.loop));
    this.#nest(body);
    this.#code.push(SYMBOL.end);
  }

  br(label: Label): void {
    this.#code.push(OP.br, ...uleb(this.#depth - label.depth));
  }

  brIf(label: Label, condition: Value): void {
    this.#push(condition, OP.br_if, ...uleb(this.#depth - label.depth));
  }

  /** Runs `cases[index]`, or `otherwise` when the index is past them; each case ends by leaving the switch. */
  switch(index: Value, cases: readonly (() => void)[], otherwise: () => void): void {
    this.block((done) => {
      const open = (remaining: number): void => {
        if (remaining < 0) {
          const targets = cases.map((_, i) => i);
          this.#push(
            index,
            OP.br_table,
            ...uleb(targets.length),
            ...targets.flatMap(uleb),
            ...uleb(cases.length),
          );
          return;
        }
        this.block(() => open(remaining - 1));
        const body = cases[remaining];
        if (body) body();
        else otherwise();
        this.br(done);
      };
      open(cases.length);
    });
  }

  /** A call as an expression; with effects, `let` or `run` it at once. */
  call(target: FunctionRef, ...args: Operand[]): Value {
    const result = target.results[0];
    if (result === undefined) throw new TypeError(`${target.name} has no result: use run`);
    return new Value(result, [OP.call, ...uleb(target.index)], this.#args(target, args));
  }

  /** Calls now, dropping results. */
  run(target: FunctionRef, ...args: Operand[]): void {
    for (const arg of this.#args(target, args)) arg.write(this.#code);
    this.#code.push(OP.call, ...uleb(target.index));
    for (const _ of target.results) this.#code.push(OP.drop);
  }

  callIndirect(signature: Signature, table: number, index: Value, ...args: Operand[]): Value {
    const result = signature.results[0];
    if (result === undefined) throw new TypeError('call_indirect as an expression needs a result');
    const operands = [...this.#args({ ...signature, name: 'call_indirect', index: -1 }, args), index];
    return new Value(
      result,
      [OP.call_indirect, ...uleb(this.#typeIndex(signature)), ...uleb(table)],
      operands,
    );
  }

  returnCall(target: FunctionRef, ...args: Operand[]): void {
    for (const arg of this.#args(target, args)) arg.write(this.#code);
    this.#code.push(OP.return_call, ...uleb(target.index));
  }

  returnCallIndirect(signature: Signature, table: number, index: Value, ...args: Operand[]): void {
    const operands = this.#args({ ...signature, name: 'return_call_indirect', index: -1 }, args);
    for (const operand of operands) operand.write(this.#code);
    index.write(this.#code);
    this.#code.push(OP.return_call_indirect, ...uleb(this.#typeIndex(signature)), ...uleb(table));
  }

  return(...values: Operand[]): void {
    const results = this.signature.results;
    if (values.length !== results.length) throw new TypeError('as many results as the signature has');
    values.forEach((value, i) => {
      this.#typed(value, results[i] ?? I32).write(this.#code);
    });
    this.#code.push(OP.return);
  }

  unreachable(): void {
    this.#code.push(OP.unreachable);
  }

  /** The finished body with its locals, in parts, and its branch hints; throws when a block is left open. */
  finish(): FunctionBody {
    if (this.#depth !== 0) throw new Error('a block is still open');
    const hinted = [...this.#hints].sort(([a], [b]) => a - b);
    const { code, types, places } = assignLocals(
      this.#code,
      this.#types,
      this.params.length,
      hinted.map(([at]) => at),
    );
    const groups: [number, ValType][] = [];
    for (const type of types) {
      const last = groups.at(-1);
      if (last && last[1] === type) last[0] += 1;
      else groups.push([1, type]);
    }
    const locals = uleb(groups.length);
    for (const [count, type] of groups) locals.push(...uleb(count), type);
    // A function with results ends in a return of its own on every path; the unreachable satisfies the validator.
    const tail = this.signature.results.length > 0 ? [OP.unreachable, OP.end] : [OP.end];
    return {
      parts: [locals, code, tail],
      hints: hinted.map(([, taken], n) => [locals.length + (places[n] ?? 0), taken]),
    };
  }

  #nest(body: (label: Label) => void): void {
    this.#depth += 1;
    body({ depth: this.#depth });
    this.#depth -= 1;
  }

  #args(target: FunctionRef, args: readonly Operand[]): Value[] {
    if (args.length !== target.params.length) {
      throw new TypeError(`${target.name} takes ${target.params.length} arguments, not ${args.length}`);
    }
    return args.map((arg, i) => this.#typed(arg, target.params[i] ?? I32));
  }

  #typed(operand: Operand, type: ValType): Value {
    const value = toValue(operand, type);
    if (value.type !== type)
      throw new TypeError(`a ${TYPE_NAMES[value.type]} where ${TYPE_NAMES[type]} is due`);
    return value;
  }

  #push(value: Value, ...code: number[]): void {
    value.write(this.#code);
    for (const byte of code) this.#code.push(byte);
  }
}

/** Guest addresses are not aligned, so every access says so (alignment hint 0). */
function alignOf(_natural: number): number {
  return 0;
}

export { F32, F64, I32, I64, V128 };
