import { S } from '../../layout.ts';
import type { FunctionBuilder, FunctionRef, Label, Local } from '../../wasm/function.ts';
import type { ModuleBuilder } from '../../wasm/module.ts';
import { I32, I64, type ValType } from '../../wasm/opcodes.ts';
import { i32, i64, type Value } from '../../wasm/value.ts';
import {
  C0,
  C1,
  C2,
  C3,
  field,
  isEmpty,
  loadE,
  loadM,
  physical,
  setField,
  storeRegister,
} from './x87-core.ts';
import {
  ARITHMETIC,
  addDigits,
  compared,
  type Digits,
  double,
  FORMATS,
  FORMS,
  integer,
  narrowed,
  type Operand,
  type Rounded,
  refuse,
  single,
  storedFlags,
} from './x87-numbers.ts';

/**
 * The common case of x87 functions, in one piece and without a call: registers
 * that are not empty, normal numbers, results in range, everything masked and,
 * where something is rounded, to nearest and to 64 bits. What is not so goes
 * to the function that does it all, with nothing done yet.
 *
 * They are in the interpreter's module, and in each module of regions that
 * calls them, where V8 can inline them.
 */

type Emit = (f: FunctionBuilder, slow: Label, digits: Digits) => void;

interface Quick {
  readonly params: readonly ValType[];
  readonly results: readonly ValType[];
  readonly emit: Emit;
}

/** A value that no store of a double or a single in the quick way has. */
export const NOT_QUICK = -1n;

const QUICK = new Map<string, Quick>();

/** Whether a runtime function has a common case of its own. */
export const isQuick = (name: string): boolean => QUICK.has(name);

/**
 * Defines a function that does the common case itself.
 * @param general does all cases: parameters and results are the quick one's
 * @param digits of `addDigits`
 */
export function addQuick(
  m: ModuleBuilder,
  name: string,
  general: FunctionRef | undefined,
  digits: Digits,
): FunctionRef {
  const quick = QUICK.get(name);
  if (!quick) throw new RangeError(`${name} has no quick form`);
  return m.fn(name, quick.params, quick.results, (f) => {
    f.block((slow) => quick.emit(f, slow, digits));
    if (!general) f.return(...quick.results.map((type) => (type === I64 ? i64(NOT_QUICK) : i32(0))));
    else if (general.results.length > 0) f.return(f.call(general, ...f.params));
    else f.run(general, ...f.params);
  });
}

/** The quick forms over what does all cases, by name. */
export function addAllQuick(
  m: ModuleBuilder,
  general: Readonly<Record<string, FunctionRef>>,
): Record<string, FunctionRef> {
  const divides = addDigits(m);
  const digits = (): FunctionRef => divides;
  return Object.fromEntries(
    [...QUICK.keys()].map((name) => [name, addQuick(m, name, general[name], digits)]),
  );
}

function define(
  name: string,
  params: readonly ValType[],
  emit: Emit,
  results: readonly ValType[] = [],
): void {
  QUICK.set(name, { params, results, emit });
}

// What the common case is

/** RC, PC and the masks: to nearest, to 64 bits, everything masked. */
export const CONTROL = 0xf3f,
  COMMON = 0x33f;
/** The same without PC, which stores do not ask. */
const CONTROL_STORE = 0xc3f,
  COMMON_STORE = 0x3f;

const rounds = (f: FunctionBuilder, slow: Label): void =>
  refuse(f, slow, field(f, S.fpuControl).and(CONTROL).ne(COMMON));

const register = (f: FunctionBuilder, at: Value): Operand => ({ m: loadM(f, at), e: loadE(f, at) });
const top = (f: FunctionBuilder): Local => f.let(field(f, S.fpuTop));
function pop(f: FunctionBuilder, at: Value): void {
  setField(f, S.fpuEmpty, field(f, S.fpuEmpty).or(i32(1).shl(at)));
  setField(f, S.fpuTop, at.add(1).and(7));
}
/** C1 and exceptions. */
const report = (f: FunctionBuilder, flags: Value | 0): void => {
  const status = field(f, S.fpuStatus).and(~C1);
  setField(f, S.fpuStatus, flags === 0 ? status : status.or(flags));
};

const write = (f: FunctionBuilder, at: Value, { m, e, flags }: Rounded): void => {
  storeRegister(f, at, m, e);
  report(f, flags);
};
for (const [name, apply] of Object.entries(ARITHMETIC)) {
  define(`x87_${name}`, [I32, I32, I32], (f, slow, digits) => {
    const [d, s, pops] = f.params as [Local, Local, Local];
    rounds(f, slow);
    const st0 = top(f);
    const to = f.let(st0.add(d).and(7));
    const from = f.let(st0.add(s).and(7));
    refuse(f, slow, isEmpty(f, to).or(isEmpty(f, from)));
    write(f, to, apply(f, slow, register(f, to), register(f, from), digits));
    f.if(pops, () => pop(f, st0));
    f.return();
  });
  for (const [form, type, widen] of FORMS)
    define(`x87_${name}_${form}`, [type], (f, slow, digits) => {
      rounds(f, slow);
      const st0 = top(f);
      refuse(f, slow, isEmpty(f, st0));
      const operand = widen(f, slow, f.params[0] as Local);
      write(f, st0, apply(f, slow, register(f, st0), operand, digits));
      f.return();
    });
}

// Loads

/** Pushes where the register is free. */
function push(f: FunctionBuilder, slow: Label, { m, e }: { m: Value; e: Value }): void {
  const at = physical(f, 7);
  const empty = f.let(field(f, S.fpuEmpty));
  const bit = f.let(i32(1).shl(at));
  refuse(f, slow, empty.and(bit).eqz());
  storeRegister(f, at, m, e);
  setField(f, S.fpuEmpty, empty.xor(bit));
  setField(f, S.fpuTop, at);
  report(f, 0);
  f.return();
}
define('x87_fld_m32', [I32], (f, slow) => push(f, slow, single(f, slow, f.params[0] as Local)));
define('x87_fld_m64', [I64], (f, slow) => push(f, slow, double(f, slow, f.params[0] as Local)));
define('x87_fild', [I64], (f, slow) => push(f, slow, integer(f, slow, f.params[0] as Local)));
define('x87_fld_m80', [I64, I32], (f, slow) => {
  const [m, e] = f.params as [Local, Local];
  push(f, slow, { m, e });
});
define('x87_fld', [I32], (f, slow) => {
  const from = physical(f, f.params[0] as Local);
  refuse(f, slow, isEmpty(f, from));
  push(f, slow, register(f, from));
});
// To nearest a constant is as it is given.
define('x87_fld_constant', [I64, I32, I32], (f, slow) => {
  const [m, e] = f.params as [Local, Local, Local];
  refuse(f, slow, field(f, S.fpuControl).and(0xc00).ne(0));
  push(f, slow, { m, e });
});

// Moves between registers

define('x87_fst', [I32, I32], (f, slow) => {
  const [i, pops] = f.params as [Local, Local];
  const st0 = top(f);
  const empty = f.let(field(f, S.fpuEmpty));
  refuse(f, slow, empty.shrU(st0).and(1));
  const to = f.let(st0.add(i).and(7));
  const { m, e } = register(f, st0);
  storeRegister(f, to, m, e);
  setField(f, S.fpuEmpty, empty.and(i32(1).shl(to).not()));
  report(f, 0);
  f.if(pops, () => pop(f, st0));
  f.return();
});
define('x87_fxch', [I32], (f, slow) => {
  const st0 = top(f);
  const other = physical(f, f.params[0] as Local);
  refuse(f, slow, isEmpty(f, st0).or(isEmpty(f, other)));
  const a = register(f, st0);
  const b = register(f, other);
  storeRegister(f, st0, b.m, b.e);
  storeRegister(f, other, a.m, a.e);
  report(f, 0);
  f.return();
});
for (const [name, change] of [
  ['x87_fabs', (e: Value): Value => e.and(0x7fff)],
  ['x87_fchs', (e: Value): Value => e.xor(0x8000)],
] as const)
  define(name, [], (f, slow) => {
    const st0 = top(f);
    refuse(f, slow, isEmpty(f, st0));
    f.store('i32.store16', st0.shl(4), change(loadE(f, st0)), S.fpr + 8);
    report(f, 0);
    f.return();
  });

// Stores to memory: what is stored, and behind it flags and pop

for (const [form, format] of Object.entries(FORMATS)) {
  // () → the bits of ST(0) as a double or single, or NOT_QUICK.
  define(
    `x87_quick_${form}`,
    [],
    (f, slow) => {
      refuse(f, slow, field(f, S.fpuControl).and(CONTROL_STORE).ne(COMMON_STORE));
      const st0 = top(f);
      refuse(f, slow, isEmpty(f, st0));
      narrowed(f, slow, format, register(f, st0), (bits) => f.return(bits));
    },
    [I64],
  );
  // (pops): behind a store that was quick.
  define(`x87_quickStored_${form}`, [I32], (f) => {
    const st0 = top(f);
    report(f, storedFlags(format, loadM(f, st0)));
    f.if(f.params[0] as Local, () => pop(f, st0));
    f.return();
  });
}

// () → 1 when ST(0) is not empty: then its parts can be stored.
define('x87_holds', [], (f) => f.return(isEmpty(f, top(f)).eqz()), [I32]);
define('x87_significand', [], (f) => f.return(loadM(f, top(f))), [I64]);
define('x87_exponent', [], (f) => f.return(loadE(f, top(f))), [I32]);
// (pops): behind that.
define('x87_quickStored_m80', [I32], (f) => {
  report(f, 0);
  f.if(f.params[0] as Local, () => pop(f, top(f)));
  f.return();
});

// Comparisons

function conditions(f: FunctionBuilder, c: Value): void {
  setField(
    f,
    S.fpuStatus,
    field(f, S.fpuStatus)
      .and(~(C0 | C1 | C2 | C3))
      .or(c),
  );
}
const pops = (f: FunctionBuilder, st0: Local, count: Local): void => {
  f.if(count.gtU(0), () => pop(f, st0));
  f.if(count.gtU(1), () => pop(f, f.let(st0.add(1).and(7))));
};
define('x87_fcom', [I32, I32, I32], (f, slow) => {
  const [i, , count] = f.params as [Local, Local, Local];
  const st0 = top(f);
  const other = physical(f, i);
  refuse(f, slow, isEmpty(f, st0).or(isEmpty(f, other)));
  conditions(f, compared(f, slow, register(f, st0), register(f, other)));
  pops(f, st0, count);
  f.return();
});
define(
  'x87_fcomi',
  [I32, I32, I32],
  (f, slow) => {
    const [i, , count] = f.params as [Local, Local, Local];
    const st0 = top(f);
    const other = physical(f, i);
    refuse(f, slow, isEmpty(f, st0).or(isEmpty(f, other)));
    const c = compared(f, slow, register(f, st0), register(f, other));
    report(f, 0);
    pops(f, st0, count);
    f.return(c);
  },
  [I32],
);
for (const [form, type, widen] of FORMS)
  define(`x87_fcom_${form}`, [type, I32], (f, slow) => {
    const [value, count] = f.params as [Local, Local];
    const st0 = top(f);
    refuse(f, slow, isEmpty(f, st0));
    const operand = widen(f, slow, value);
    conditions(f, compared(f, slow, register(f, st0), operand));
    pops(f, st0, count);
    f.return();
  });
