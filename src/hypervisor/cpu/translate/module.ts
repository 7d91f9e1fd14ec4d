import { HANDLER, HANDLER_TABLE } from '../interpret/core-parts.ts';
import { addDigits } from '../interpret/runtime/x87-numbers.ts';
import { addQuick, isQuick } from '../interpret/runtime/x87-quick.ts';
import type { Shift, Size } from '../isa/builder.ts';
import { shifted } from '../isa/integer/flag-parts.ts';
import { FETCH, RECORD, S } from '../layout.ts';
import type { FunctionBuilder, FunctionRef, Global, Local } from '../wasm/function.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import { I32, I64, type ValType } from '../wasm/opcodes.ts';
import { DEFERRED, lazyForm, type ReadableFlags, SIZES } from './flags.ts';

/** What the interpreter's module has for regions. */
export interface CoreFunctions {
  /**
   * (linear, bytes, tag, record) → where RAM can be read or written, 0 when the interpreter must do it. The record is the
   * region's where the look answers for several accesses, else 0. The tag is for V8: of a load that only a comparison uses
   * it makes two.
   */
  readonly regionRead: FunctionRef;
  readonly regionWrite: FunctionRef;
  /** (offset in CS) → code: goes on there, in a region or interpreted. */
  readonly jump64: FunctionRef;
  readonly jump32: FunctionRef;
  /** (record, handler) → code: runs a record by a handler that is not the one in it. */
  readonly resume: FunctionRef;
  /** (record) → code, LEAVE.resume when the instruction is done and the next may run. */
  readonly invoke: FunctionRef;
}

const SIGNATURES = {
  regionRead: [[I64, I32, I64, I32], [I32]],
  regionWrite: [[I64, I32, I64, I32], [I32]],
  jump64: [[I64], [I32]],
  jump32: [[I64], [I32]],
  resume: [[I32, I32], [I32]],
  invoke: [[I32], [I32]],
} as const satisfies Record<keyof CoreFunctions, readonly [readonly ValType[], readonly ValType[]]>;

/** A module of regions under construction. */
export class RegionModule {
  readonly m = new ModuleBuilder();
  readonly core: CoreFunctions;
  /** Address of the records that the regions hand to the interpreter's handlers. */
  readonly records: Global;
  readonly #runtime = new Map<string, FunctionRef>();
  readonly #quick = new Map<string, FunctionRef>();
  readonly #storeFlags = new Map<string, FunctionRef>();

  /** `calls`: runtime functions that its regions use, with their signatures. */
  constructor(calls: ReadonlySet<string>, signatureOf: (name: string) => FunctionRef) {
    const { m } = this;
    m.importMemory('env', 'memory', 1, 65536);
    m.importTable('env', 'table', HANDLER_TABLE);
    this.records = m.importGlobal('env', 'records', I32);
    const core: Partial<Record<keyof CoreFunctions, FunctionRef>> = {};
    for (const [name, [params, results]] of Object.entries(SIGNATURES))
      core[name as keyof CoreFunctions] = m.importFunction('env', name, params, results);
    this.core = core as CoreFunctions; // SIGNATURES has every name
    for (const name of calls) {
      const { params, results } = signatureOf(name);
      this.#runtime.set(name, m.importFunction('env', name, params, results));
    }
  }

  /** A runtime function: the interpreter's, or one of this module's that does the common case and calls that else. */
  runtime(name: string): FunctionRef {
    const ref = this.#runtime.get(name);
    if (!ref) throw new RangeError(`runtime function ${name} is not among the region's calls`);
    if (!isQuick(name)) return ref;
    let quick = this.#quick.get(name);
    if (!quick) {
      quick = addQuick(this.m, name, ref, () => this.digits());
      this.#quick.set(name, quick);
    }
    return quick;
  }

  #digits: FunctionRef | undefined;
  /** What divides for x87 instructions. */
  digits(): FunctionRef {
    this.#digits ??= addDigits(this.m);
    return this.#digits;
  }

  readonly #chains = new Map<boolean, FunctionRef>();

  /**
   * (offset in CS) → code: goes on there, where CS is flat. What the interpreter's jump does, without a call into its instance when all is known.
   */
  chain(long: boolean): FunctionRef {
    const known = this.#chains.get(long);
    if (known) return known;
    const leave = long ? this.core.jump64 : this.core.jump32;
    const ref = this.m.fn(long ? 'chain64' : 'chain32', [I64], [I32], (f, linear) => {
      const jump = (): void => f.returnCall(leave, linear);
      const budget = f.let(f.load('i32.load', S.budget));
      f.unlikely(budget.leS(0), jump);
      const page = f.let(linear.and(-4096n));
      f.if(page.ne(f.load('i64.load', S.pageBase)), () => {
        const index = linear
          .shrU(12)
          .wrap()
          .and(FETCH.entries - 1);
        const entry = f.let(f.load('i32.load', S.fetchView).add(index.mul(FETCH.stride)));
        const tag = page.or(f.load('i64.load', S.fetchGeneration));
        f.unlikely(f.load('i64.load', entry).ne(tag), jump);
        f.store('i64.store', S.pageBase, page);
        f.store('i32.store', S.pageSlots, f.load('i32.load', entry, 8));
      });
      const slot = f.load('i32.load', S.pageSlots).add(linear.wrap().and(0xfff).shl(2));
      const record = f.let(f.load('i32.load', slot));
      f.unlikely(record.eqz(), jump);
      f.store('i32.store', S.budget, budget.add(f.load('i32.load8_u', record, RECORD.ordinal)));
      f.returnCallIndirect(HANDLER, 0, f.load('i32.load16_u', record, RECORD.handler), record);
    });
    this.#chains.set(long, ref);
    return ref;
  }

  /** A function of this module that puts flags into the state block, by what they come from. */
  storeFlags(kind: 'deferred' | 'add' | 'sub', size: Size = 32): FunctionRef {
    const name = kind === 'deferred' ? kind : `${kind}${size}`;
    let ref = this.#storeFlags.get(name);
    if (!ref) {
      ref = kind === 'deferred' ? this.#defineDeferred() : this.#define(name, kind, size);
      this.#storeFlags.set(name, ref);
    }
    return ref;
  }

  #define(name: string, kind: 'add' | 'sub', size: Size): FunctionRef {
    const type = size === 64 ? I64 : I32;
    return this.m.fn(`storeFlags ${name}`, [type, type, type], [], (f, r, x, y) => {
      storeLazy(f, { kind, size, r: r as Local, x: x as Local, y: y as Local, carry: true });
    });
  }

  /** (code, x, y): see DEFERRED. */
  #defineDeferred(): FunctionRef {
    return this.m.fn('storeFlags deferred', [I32, I64, I64], [], (f, code, x, y) => {
      const kind = f.let(code.and(0xf));
      const when = (other: number, store: () => void): void =>
        f.if(kind.eq(other), () => {
          store();
          f.return();
        });
      when(DEFERRED.memory, () => {});
      SIZES.forEach((size, n) => {
        f.if(code.shrU(4).eq(n), () => {
          const first = f.let(size === 64 ? x : x.wrap());
          const second = f.let(size === 64 ? y : y.wrap());
          const store = (flags: ReadableFlags): void => storeLazy(f, flags);
          when(DEFERRED.logic, () => store({ kind: 'logic', size, r: first }));
          for (const [step, delta] of STEPS)
            when(step, () => store({ kind: 'step', size, r: first, delta, cf: y.wrap() }));
          for (const shift of SHIFTS)
            when(DEFERRED[shift], () => {
              const r = f.let(shifted(shift, size, first, second));
              store({ kind: 'shift', shift, size, r, x: first, count: y.wrap() });
            });
          const carry = true;
          when(DEFERRED.addTo, () =>
            store({ kind: 'add', size, r: first, x: f.let(first.sub(second)), y: second, carry }),
          );
          const r = f.local(first.type, first);
          f.if(
            kind.eq(DEFERRED.subFrom),
            () => f.set(first, r.add(second)),
            () => f.set(r, first.sub(second)),
          );
          store({ kind: 'sub', size, r, x: first, y: second, carry });
        });
      });
    });
  }
}

const SHIFTS: readonly Shift[] = ['shl', 'shr', 'sar'];
const STEPS = [
  [DEFERRED.increment, 1],
  [DEFERRED.decrement, -1],
] as const;

/** Puts flags that are not deferred into the state block. */
export function storeLazy(f: FunctionBuilder, flags: ReadableFlags): void {
  const { result, aux } = lazyForm(flags, (value) => f.let(value));
  f.store('i64.store', S.flagResult, result);
  f.store('i32.store', S.flagAux, aux);
}
