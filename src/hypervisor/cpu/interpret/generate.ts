import {
  type Encoding,
  FORM,
  type FormKind,
  handlerKey,
  hasCommonForms,
  OpcodeTable,
} from '../decode/encoding.ts';
import { allInstructions } from '../isa/index.ts';
import type { FormInfo, OperandInfo } from '../system/instruction.ts';
import type { FunctionRef } from '../wasm/function.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import { F64, I32 } from '../wasm/opcodes.ts';
import { type Form, InterpreterBuilder, type Traits } from './builder.ts';
import { addCore } from './core.ts';
import { type Core, HANDLER, HANDLER_TABLE } from './core-parts.ts';
import { addRuntime } from './runtime/index.ts';

/** A generated handler: the form it was made for, and whether a run ends with it. */
export class Handler {
  readonly form: Form;
  readonly ends: boolean;
  #info: FormInfo | undefined;

  constructor(form: Form, ends: boolean) {
    this.form = form;
    this.ends = ends;
  }

  /** What its record means to TypeScript: few of thousands are ever asked. */
  get info(): FormInfo {
    this.#info ??= formInfo(this.form);
    return this.#info;
  }
}

/** The interpreter: its module's bytes and the tables that go with them. */
export interface GeneratedInterpreter {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly table: OpcodeTable;
  /** By element of the function table; undefined for the core's own. Extensions add to it. */
  readonly handlers: readonly (Handler | undefined)[];
  /** Names of the TypeScript routines, by S.systemRoutine. */
  readonly routines: readonly string[];
  readonly slots: Core['slots'];
  readonly core: Core;
  /** Functions that semantics call, by name; the instance exports each as `lateName` says. */
  readonly runtime: ReadonlyMap<string, FunctionRef>;
  /** Generates the handlers of an encoding that has none yet. */
  extend(encoding: Encoding): Extension;
}

/** Handlers of one row, in a module of their own: it takes the interpreter's table and functions, and fills elements from `at` on that were kept free. */
export interface Extension {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly at: number;
}

/**
 * Rows whose handlers are made when the first of their instructions is
 * decoded: AVX has as many rows as all others, and a guest uses few of them.
 */
export const isGeneratedLate = (encoding: Encoding): boolean => encoding.instruction.unit === 'avx';

const REGISTER_SLOT_NAMES = ['r1', 'r2', 'r3'] as const;

/** Operand facts for the routines of cpu/system. */
function formInfo(form: Form): FormInfo {
  let slot = 0;
  const operands = form.encoding.operands.map((spec): OperandInfo => {
    const { kind } = spec.what;
    const size = operandSizeOf(spec.width, form.opsize);
    if (kind === 'immediate') return { kind: 'imm', size };
    if (kind === 'relative') return { kind: 'rel', size };
    if (kind === 'moffs' || (kind === 'modrm-rm' && form.form !== FORM.register))
      return { kind: 'mem', size };
    if (kind === 'constant') return { kind: 'imm', size };
    const name = REGISTER_SLOT_NAMES[slot++] ?? 'r3';
    return { kind: 'reg', size, slot: name };
  });
  return { opsize: form.opsize, operands };
}

function operandSizeOf(width: Encoding['operands'][number]['width'], opsize: 16 | 32 | 64): 8 | 16 | 32 | 64 {
  switch (width) {
    case 8:
    case 16:
    case 32:
    case 64:
      return width;
    case 'z':
      return opsize === 16 ? 16 : 32;
    case 'y':
      return opsize === 64 ? 64 : 32;
    case 'ss':
      return 32;
    case 'sd':
      return 64;
    default:
      return opsize;
  }
}

/** The forms that an encoding can take. */
function* formsOf(encoding: Encoding): Generator<Form> {
  const rm = encoding.operands.find((o) => o.what.kind === 'modrm-rm')?.what;
  const memory = rm?.kind === 'modrm-rm' ? rm.memory && encoding.mod !== 'reg' : encoding.mod === 'mem';
  const register = rm?.kind === 'modrm-rm' ? rm.register && encoding.mod !== 'mem' : encoding.mod !== 'mem';
  for (const long of [true, false]) {
    if (encoding.mode === (long ? 'i64' : 'o64')) continue;
    for (const opsize of long ? ([32, 64, 16] as const) : ([32, 16] as const)) {
      if (encoding.onlySize !== undefined && encoding.onlySize !== opsize) continue;
      if (encoding.vex !== undefined && opsize === 16) continue;
      const kinds: FormKind[] = [];
      if (register) kinds.push(FORM.register);
      const common = hasCommonForms(encoding, long, opsize);
      if (memory && common) kinds.push(FORM.base);
      if (memory && common && !encoding.vsib) kinds.push(FORM.indexed);
      if (memory) kinds.push(FORM.general);
      for (const form of kinds) yield { encoding, long, opsize, form };
    }
  }
}

/** Generates the interpreter from the instruction table. Deterministic: the same table gives the same bytes. */
export function generateInterpreter(): GeneratedInterpreter {
  const table = new OpcodeTable(allInstructions);
  const m = new ModuleBuilder();
  m.importMemory('env', 'memory', 1, 65536);
  const imported = (name: string, params: number): FunctionRef =>
    m.importFunction(
      'env',
      name,
      new Array(params).fill(I32),
      name.startsWith('mmio') || name === 'invalidate' ? [] : [I32],
    );
  m.tableType(HANDLER_TABLE);
  const elapsed = m.importFunction('env', 'elapsed', [], [F64]);
  const core = addCore(m, {
    mmioRead: imported('mmioRead', 2),
    mmioWrite: imported('mmioWrite', 2),
    invalidate: imported('invalidate', 2),
    codePage: imported('codePage', 1),
    decode: imported('decode', 0),
    fault: imported('fault', 0),
    system: imported('system', 0),
  });
  const runtime = addRuntime(m, { ...core, elapsed });
  const routines: string[] = [];
  const handlers: (Handler | undefined)[] = new Array(m.elementCount).fill(undefined);
  const shared: Shared = { core, runtime, routine: routineNumbers(routines), handlers };
  for (const encoding of table.encodings) {
    if (!isGeneratedLate(encoding)) generateEncoding(encoding, m, shared);
  }
  for (const ref of lateImports(shared)) m.export(ref, lateName(ref));
  const places = latePlaces(table, m.elementCount);
  m.reserveElements(places.end - m.elementCount);
  return { bytes: m.finish(), table, routines, core, ...withLate(shared, places.at) };
}

/** What of a generated interpreter is not in its module, as plain data. */
export interface DescribedInterpreter {
  readonly routines: readonly string[];
  readonly core: Core;
  readonly runtime: readonly (readonly [string, FunctionRef])[];
  /** By element: number of the encoding in the table, mode, operand size, kind of form, whether a run ends with it. */
  readonly handlers: readonly (readonly [number, boolean, 16 | 32 | 64, FormKind, boolean] | null)[];
  /** Elements by encoding and form. */
  readonly elements: readonly (readonly number[])[];
}

export function describeInterpreter(generated: GeneratedInterpreter): DescribedInterpreter {
  const { table, handlers, routines, core, runtime } = generated;
  const numbers = new Map(table.encodings.map((encoding, number) => [encoding, number]));
  return {
    routines,
    core,
    runtime: [...runtime],
    handlers: Array.from(handlers, (handler) => {
      if (!handler) return null;
      const { encoding, long, opsize, form } = handler.form;
      return [numbers.get(encoding) ?? -1, long, opsize, form, handler.ends] as const;
    }),
    elements: table.encodings.map((encoding) => [...encoding.handlers]),
  };
}

/** The interpreter that was described, with the bytes of its module. The instruction table must be the same. */
export function reviveInterpreter(
  description: DescribedInterpreter,
  bytes: Uint8Array<ArrayBuffer>,
): GeneratedInterpreter {
  const table = new OpcodeTable(allInstructions);
  const { core } = description;
  if (description.elements.length !== table.encodings.length) throw new RangeError('another table');
  table.encodings.forEach((encoding, number) => {
    encoding.handlers.set(description.elements[number] ?? []);
  });
  const handlers = description.handlers.map((described): Handler | undefined => {
    if (!described) return undefined;
    const [number, long, opsize, form, ends] = described;
    const encoding = table.encodings[number];
    if (!encoding) throw new RangeError('another table');
    return new Handler({ encoding, long, opsize, form }, ends);
  });
  const routines = [...description.routines];
  const shared = { core, runtime: new Map(description.runtime), routine: routineNumbers(routines), handlers };
  return { bytes, table, routines, core, ...withLate(shared, latePlaces(table, handlers.length).at) };
}

const routineNumbers =
  (routines: string[]) =>
  (name: string): number => {
    const known = routines.indexOf(name);
    return known >= 0 ? known : routines.push(name) - 1;
  };

/** Which elements, from `first` on, are kept free for the encodings that are generated late, and where they end. */
function latePlaces(
  table: OpcodeTable,
  first: number,
): { readonly at: ReadonlyMap<Encoding, number>; readonly end: number } {
  const at = new Map<Encoding, number>();
  let end = first;
  for (const encoding of table.encodings.filter(isGeneratedLate)) {
    at.set(encoding, end);
    end += [...formsOf(encoding)].length;
  }
  return { at, end };
}

function withLate(
  shared: Shared,
  places: ReadonlyMap<Encoding, number>,
): Pick<GeneratedInterpreter, 'handlers' | 'slots' | 'runtime' | 'extend'> {
  const extend = (encoding: Encoding): Extension => {
    const at = places.get(encoding);
    if (at === undefined) throw new RangeError(`${encoding.text} is not generated late`);
    return { bytes: generateExtension(encoding, shared, at), at };
  };
  return { handlers: shared.handlers, slots: shared.core.slots, runtime: shared.runtime, extend };
}

/** What handlers are generated against. */
interface Shared {
  readonly core: Core;
  readonly runtime: ReadonlyMap<string, FunctionRef>;
  readonly routine: (name: string) => number;
  readonly handlers: (Handler | undefined)[];
}

/** Under which name extensions import a function; others are exported for JavaScript, some of them the same. */
export const lateName = ({ name }: Pick<FunctionRef, 'name'>): string => `late ${name}`;

/** The interpreter's functions that an extension may call. */
function lateImports({ core, runtime }: Shared): FunctionRef[] {
  return [core.readable, core.writable, core.commit, core.checkSegment, ...runtime.values()];
}

function generateExtension(encoding: Encoding, shared: Shared, at: number): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder();
  m.importMemory('env', 'memory', 1, 65536);
  m.importTable('interpreter', 'table', HANDLER_TABLE, at);
  const imported = new Map(
    lateImports(shared).map((ref) => [
      ref.name,
      m.importFunction('interpreter', lateName(ref), ref.params, ref.results),
    ]),
  );
  const own = (ref: FunctionRef): FunctionRef => imported.get(ref.name) ?? ref;
  const { readable, writable, commit, checkSegment } = shared.core;
  const core: Core = {
    ...shared.core,
    readable: own(readable),
    writable: own(writable),
    commit: own(commit),
    checkSegment: own(checkSegment),
  };
  const runtime = new Map([...shared.runtime].map(([name, ref]) => [name, own(ref)]));
  generateEncoding(encoding, m, { ...shared, core, runtime });
  return m.finish();
}

/** One function for each form whose semantics differ: forms that ask for neither mode nor operand size share. */
function generateEncoding(encoding: Encoding, m: ModuleBuilder, shared: Shared): void {
  const { core, runtime, routine, handlers } = shared;
  const made: { form: Form; traits: Traits; slot: number }[] = [];
  for (const form of formsOf(encoding)) {
    const same = made.find(
      (other) =>
        other.form.form === form.form &&
        (other.form.long === form.long || !other.traits.readsLong) &&
        (other.form.opsize === form.opsize || !other.traits.readsOpsize),
    );
    const key = handlerKey(form.long, form.opsize, form.form);
    if (same) {
      encoding.handlers[key] = same.slot;
      continue;
    }
    const name = `${encoding.instruction.name} ${encoding.text} ${form.long ? 64 : 32}/${form.opsize}/${form.form}`;
    const ref = m.declare(name, HANDLER.params, HANDLER.results);
    let traits: Traits = { readsLong: false, readsOpsize: false, ends: false };
    try {
      m.define(ref, (f) => {
        const builder = new InterpreterBuilder(f, form, core, runtime, routine);
        builder.emit();
        traits = builder.traits;
      });
    } catch (cause) {
      throw new Error(`${name}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    }
    const slot = m.element(ref);
    handlers[slot] = new Handler(form, traits.ends);
    encoding.handlers[key] = slot;
    made.push({ form, traits, slot });
  }
}
