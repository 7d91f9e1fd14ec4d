import { C0, C1, C2, C3 } from '../interpret/runtime/x87-core.ts';
import {
  ARITHMETIC,
  compared,
  FORMATS,
  FORMS,
  integer,
  narrowed,
  type Operand,
  refuse,
  storedFlags,
} from '../interpret/runtime/x87-numbers.ts';
import { COMMON, CONTROL } from '../interpret/runtime/x87-quick.ts';
import { S } from '../layout.ts';
import type { FunctionBuilder, FunctionRef, Label, Local } from '../wasm/function.ts';
import { I32, I64 } from '../wasm/opcodes.ts';
import { i32, type Value } from '../wasm/value.ts';
import type { RegionModule } from './module.ts';
import { X87Registers } from './x87-registers.ts';

/**
 * x87 instructions in a region, one after the other: what the runtime's quick
 * functions do each for itself (interpret/runtime/x87-quick.ts), with what is
 * known since the first of them in a block: where the stack's registers lie,
 * which are empty, their values, that the control word is the common one.
 *
 * Whatever changes goes to the state block at once, so nothing has to be
 * written back. What is not common is done by the functions; what is known
 * then holds no longer, which a local of the region says: all that follow
 * take the functions as well, up to the next look.
 */
export class RegionX87 {
  readonly #f: FunctionBuilder;
  readonly #module: RegionModule;
  #holds: Local | undefined;

  constructor(f: FunctionBuilder, module: RegionModule) {
    this.#f = f;
    this.#module = module;
  }

  /** Begins with what can be known from now on. */
  look(): X87Registers {
    const f = this.#f;
    const holds = this.#known();
    const registers = new X87Registers(
      f.local(I32, f.load('i32.load', S.fpuTop)),
      f.local(I32, f.load('i32.load', S.fpuStatus)),
      f.local(I32, f.load('i32.load', S.fpuEmpty)),
    );
    f.set(holds, f.load('i32.load', S.fpuControl).and(CONTROL).eq(COMMON));
    return registers;
  }
  /** Something has changed the state without what is known following it. */
  forget(): void {
    this.#f.set(this.#known(), 0);
  }
  #known(): Local {
    this.#holds ??= this.#f.local(I32);
    return this.#holds;
  }

  /**
   * Emits a runtime function's common case, and a call of the function for the rest.
   * @returns its result; undefined when it has none; false when that is not known here
   */
  emit(x: X87Registers, name: string, args: readonly Value[]): Local | undefined | false {
    const stack = new Stack(this.#f, x);
    const common = commonCase(stack, name, args, () => this.#module.digits());
    if (!common) return false;
    const f = this.#f;
    const target = this.#module.runtime(name);
    const type = target.results[0];
    const result = type === undefined ? undefined : f.local(type);
    const before = x.locals();
    f.block((done) => {
      f.block((slow) => {
        refuse(f, slow, this.#known().eqz());
        common(slow, (value) => {
          if (result) f.set(result, value);
          f.br(done);
        });
        if (!result) f.br(done);
      });
      if (result) f.set(result, f.call(target, ...args));
      else f.run(target, ...args);
      this.forget();
      // Else they would be those of a loop's last turn here, and V8 would keep all of them all the time.
      for (const local of x.locals()) if (!before.has(local)) f.set(local, 0);
    });
    return result;
  }
}

/** Emits what is to be done; `give` ends it with a result. */
type Common = (slow: Label, give: (value: Value) => void) => void;

/** The common case of a runtime function, by its name and arguments. */
function commonCase(
  stack: Stack,
  name: string,
  args: readonly Value[],
  digits: () => FunctionRef,
): Common | undefined {
  const [, operation = '', form] = name.split('_');
  const number = (n: number): number => Number(args[n]?.known ?? Number.NaN);
  const widen = FORMS.find(([one]) => one === form)?.[2];
  const f = stack.f;
  const apply = ARITHMETIC[operation];
  if (apply && (form === undefined || widen)) {
    return (slow) => {
      const d = form === undefined ? number(0) : 0;
      const other = widen ? widen(f, slow, f.let(args[0] as Value)) : undefined;
      const a = stack.value(slow, d);
      const b = other ?? stack.value(slow, number(1));
      const result = apply(f, slow, a, b, digits);
      stack.write(d, result);
      stack.report(result.flags);
      if (form === undefined && number(2) > 0) stack.pop();
    };
  }
  if (operation === 'fld' && widen)
    return (slow) => stack.push(slow, widen(f, slow, f.let(args[0] as Value)));
  if ((operation === 'quick' || operation === 'quickStored') && (form === 'm32' || form === 'm64')) {
    const format = FORMATS[form];
    if (operation === 'quick') return (slow, give) => narrowed(f, slow, format, stack.value(slow, 0), give);
    return (slow) => {
      stack.report(storedFlags(format, stack.value(slow, 0).m));
      if (number(0) > 0) stack.pop();
    };
  }
  if (operation === 'fcom' && widen)
    return (slow) => {
      const other = widen(f, slow, f.let(args[0] as Value));
      stack.conditions(compared(f, slow, stack.value(slow, 0), other));
      for (let n = number(1); n > 0; n--) stack.pop();
    };
  return registerCase(stack, name, args, number);
}

/** The same for those without a memory operand, or with an extended one. */
function registerCase(
  stack: Stack,
  name: string,
  args: readonly Value[],
  number: (n: number) => number,
): Common | undefined {
  const f = stack.f;
  switch (name) {
    case 'x87_fild':
      return (slow) => stack.push(slow, integer(f, slow, f.let(args[0] as Value)));
    case 'x87_fld_m80':
    case 'x87_fld_constant': {
      const [m, e] = args as readonly [Value, Value];
      return (slow) => stack.push(slow, { m: f.local(I64, m), e: f.local(I32, e) });
    }
    case 'x87_holds':
      return (slow, give) => {
        stack.full(slow, 0);
        give(i32(1));
      };
    case 'x87_significand':
      return (slow, give) => give(stack.value(slow, 0).m);
    case 'x87_exponent':
      return (slow, give) => give(stack.value(slow, 0).e);
    case 'x87_quickStored_m80':
      return () => {
        stack.clear();
        if (number(0) > 0) stack.pop();
      };
    case 'x87_fld':
      return (slow) => stack.push(slow, stack.value(slow, number(0)));
    case 'x87_fst':
      return (slow) => {
        if (number(0) === 0) stack.full(slow, 0);
        else stack.replace(number(0), stack.value(slow, 0));
        stack.clear();
        if (number(1) > 0) stack.pop();
      };
    case 'x87_fxch':
      return (slow) => {
        const a = stack.value(slow, 0);
        const b = stack.value(slow, number(0));
        stack.write(0, b);
        stack.write(number(0), a);
        stack.clear();
      };
    case 'x87_fabs':
      return (slow) => stack.sign(slow, (e) => e.and(0x7fff));
    case 'x87_fchs':
      return (slow) => stack.sign(slow, (e) => e.xor(0x8000));
    case 'x87_fcom':
      return (slow) => {
        stack.conditions(compared(f, slow, stack.value(slow, 0), stack.value(slow, number(0))));
        for (let n = number(2); n > 0; n--) stack.pop();
      };
    case 'x87_fcomi':
      return (slow, give) => {
        const c = compared(f, slow, stack.value(slow, 0), stack.value(slow, number(0)));
        stack.clear();
        if (number(2) > 0) stack.pop();
        give(c);
      };
    default:
      return undefined;
  }
}

/** The register stack in the common case. */
class Stack {
  readonly f: FunctionBuilder;
  readonly #x: X87Registers;

  constructor(f: FunctionBuilder, x: X87Registers) {
    this.f = f;
    this.#x = x;
  }

  #register(i: number): number {
    return (this.#x.top + i) & 7;
  }
  #number(k: number): Local {
    const { numbers, base } = this.#x;
    const number = numbers[k] ?? (k === 0 ? base : this.f.local(I32, base.add(k).and(7)));
    numbers[k] = number;
    return number;
  }
  #address(k: number): Local {
    const { addresses } = this.#x;
    const address = addresses[k] ?? this.f.local(I32, this.#number(k).shl(4));
    addresses[k] = address;
    return address;
  }
  #bit(k: number): Local {
    const { bits } = this.#x;
    const bit = bits[k] ?? this.f.local(I32, i32(1).shl(this.#number(k)));
    bits[k] = bit;
    return bit;
  }

  /** Refuses an empty ST(i). */
  full(slow: Label, i: number): void {
    const { tags, empty } = this.#x;
    const k = this.#register(i);
    if (tags[k] === 'full') return;
    refuse(this.f, slow, tags[k] === 'empty' ? i32(1) : empty.and(this.#bit(k)));
    tags[k] = 'full';
  }
  /** ST(i). */
  value(slow: Label, i: number): Operand {
    const { f } = this;
    this.full(slow, i);
    const k = this.#register(i);
    const known = this.#x.values[k];
    if (known) return known;
    const at = this.#address(k);
    const value = {
      m: f.local(I64, f.load('i64.load', at, S.fpr)),
      e: f.local(I32, f.load('i32.load16_u', at, S.fpr + 8)),
    };
    this.#x.values[k] = value;
    return value;
  }
  /** ST(i), which is not empty. */
  write(i: number, { m, e, exponent }: Operand): void {
    const k = this.#register(i);
    const at = this.#address(k);
    this.f.store('i64.store', at, m, S.fpr);
    this.f.store('i32.store16', at, e, S.fpr + 8);
    this.#x.values[k] = { m, e, exponent };
  }
  /** ST(i), empty or not. */
  replace(i: number, value: Operand): void {
    const k = this.#register(i);
    if (this.#x.tags[k] !== 'full') this.#mark(this.#x.empty.and(this.#bit(k).not()));
    this.#x.tags[k] = 'full';
    this.write(i, value);
  }
  sign(slow: Label, change: (e: Value) => Value): void {
    const { m, e, exponent } = this.value(slow, 0);
    const k = this.#register(0);
    const changed = this.f.local(I32, change(e));
    this.f.store('i32.store16', this.#address(k), changed, S.fpr + 8);
    this.#x.values[k] = { m, e: changed, exponent };
    this.clear();
  }

  #mark(empty: Value): void {
    this.f.set(this.#x.empty, empty);
    this.f.store('i32.store', S.fpuEmpty, this.#x.empty);
  }
  #turn(k: number): void {
    this.#x.top = k;
    this.f.store('i32.store', S.fpuTop, this.#number(k));
  }
  pop(): void {
    const k = this.#register(0);
    this.#mark(this.#x.empty.or(this.#bit(k)));
    this.#x.tags[k] = 'empty';
    this.#x.values[k] = undefined;
    this.#turn((k + 1) & 7);
  }
  /** Pushes where the register is free. */
  push(slow: Label, value: Operand): void {
    const { tags, empty } = this.#x;
    const k = this.#register(7);
    const bit = this.#bit(k);
    if (tags[k] !== 'empty') refuse(this.f, slow, tags[k] === 'full' ? i32(1) : empty.and(bit).eqz());
    tags[k] = 'full';
    this.#mark(empty.xor(bit));
    this.#turn(k);
    this.write(0, value);
    this.clear();
  }

  #setStatus(value: Value): void {
    this.f.set(this.#x.status, value);
    this.f.store('i32.store', S.fpuStatus, this.#x.status);
  }
  /** C1 and exceptions. */
  report(flags: Value): void {
    const { status, cleared } = this.#x;
    this.#setStatus((cleared ? status : status.and(~C1)).or(flags));
    this.#x.cleared = false;
  }
  /** C1 = 0. */
  clear(): void {
    if (this.#x.cleared) return;
    this.#setStatus(this.#x.status.and(~C1));
    this.#x.cleared = true;
  }
  conditions(c: Value): void {
    this.#setStatus(this.#x.status.and(~(C0 | C1 | C2 | C3)).or(c));
    this.#x.cleared = true;
  }
}
