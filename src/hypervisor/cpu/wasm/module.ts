import { nameBytes, sleb, sleb64, uleb } from './encode.ts';
import {
  type FunctionBody,
  FunctionBuilder,
  type FunctionRef,
  Global,
  type Local,
  type Signature,
} from './function.ts';
import { type I32, I64, type ValType } from './opcodes.ts';

interface DefinedFunction {
  readonly ref: FunctionRef;
  body: FunctionBody | undefined;
}

/** A table of functions with one signature, of a size that does not change. */
export interface TableType {
  readonly signature: Signature;
  readonly size: number;
}

/** Emits a function's body; the parameters come behind the builder. */
export type Emit = (f: FunctionBuilder, ...params: Local[]) => void;

/** Assembles one WebAssembly module (binary format: Core Specification, §5.5). */
export class ModuleBuilder {
  readonly #types: Signature[] = [];
  readonly #typeKeys = new Map<string, number>();
  readonly #imports: number[][] = [];
  readonly #functions: DefinedFunction[] = [];
  readonly #globals: number[][] = [];
  readonly #exports: number[][] = [];
  readonly #elements: FunctionRef[] = [];
  #importedFunctions = 0;
  #importedGlobals = 0;
  #importedTables = 0;
  #ownTable: TableType | undefined;
  #elementsAt = 0;
  #reserved = 0;

  /** A shared memory import, limits in 64 KiB pages. */
  importMemory(module: string, name: string, initial: number, maximum: number): void {
    this.#imports.push([
      ...nameBytes(module),
      ...nameBytes(name),
      0x02,
      0x03,
      ...uleb(initial),
      ...uleb(maximum),
    ]);
  }

  importFunction(
    module: string,
    name: string,
    params: readonly ValType[],
    results: readonly ValType[],
  ): FunctionRef {
    if (this.#functions.length > 0) throw new Error('imports come before functions');
    const signature = { params, results };
    this.#imports.push([...nameBytes(module), ...nameBytes(name), 0x00, ...uleb(this.typeIndex(signature))]);
    return { ...signature, name, index: this.#importedFunctions++ };
  }

  /** Imports a table of functions; as table 0 it gets this module's elements, from `elementsAt` on. */
  importTable(module: string, name: string, type: TableType, elementsAt = 0): number {
    if (this.#importedTables === 0) this.#elementsAt = elementsAt;
    this.#imports.push([...nameBytes(module), ...nameBytes(name), 0x01, ...this.#tableType(type)]);
    return this.#importedTables++;
  }

  /** The own table has elements of one signature and a size that stays: a call by it checks nothing but null. */
  tableType(type: TableType): void {
    this.#ownTable = type;
  }

  #tableType({ signature, size }: TableType): number[] {
    return [...this.#reference(signature), 0x01, ...uleb(size), ...uleb(size)];
  }

  /** Of a function with a signature, or null. */
  #reference(signature: Signature): number[] {
    return [0x63, ...sleb(this.typeIndex(signature))];
  }

  /** A global of another module that does not change. */
  importGlobal(module: string, name: string, type: typeof I32 | typeof I64): Global {
    if (this.#globals.length > 0) throw new Error('imports come before globals');
    this.#imports.push([...nameBytes(module), ...nameBytes(name), 0x03, type, 0x00]);
    return new Global(type, this.#importedGlobals++);
  }

  /** A mutable global of this module. */
  global(type: typeof I32 | typeof I64, initial: number): Global {
    const init = type === I64 ? [0x42, ...sleb64(BigInt(initial))] : [0x41, ...sleb(initial)];
    this.#globals.push([type, 0x01, ...init, 0x0b]);
    return new Global(type, this.#importedGlobals + this.#globals.length - 1);
  }

  /** Declares a function so that others can call it; `define` gives its body. */
  declare(name: string, params: readonly ValType[], results: readonly ValType[]): FunctionRef {
    const ref = { params, results, name, index: this.#importedFunctions + this.#functions.length };
    this.#functions.push({ ref, body: undefined });
    return ref;
  }

  define(ref: FunctionRef, emit: Emit): void {
    const slot = this.#functions[ref.index - this.#importedFunctions];
    if (!slot || slot.body) throw new Error(`${ref.name} is not declared here, or defined twice`);
    const builder = new FunctionBuilder(ref, (signature) => this.typeIndex(signature));
    emit(builder, ...builder.params);
    slot.body = builder.finish();
  }

  /** Declares and defines at once. */
  fn(name: string, params: readonly ValType[], results: readonly ValType[], emit: Emit): FunctionRef {
    const ref = this.declare(name, params, results);
    this.define(ref, emit);
    return ref;
  }

  /** A function declared earlier, by name. */
  named(name: string): FunctionRef {
    const found = this.#functions.find(({ ref }) => ref.name === name);
    if (!found) throw new Error(`no function ${name}`);
    return found.ref;
  }

  export(ref: FunctionRef, name = ref.name): void {
    this.#exports.push([...nameBytes(name), 0x00, ...uleb(ref.index)]);
  }

  /** Appends to the elements of table 0, which all have one signature; gives the slot. */
  element(ref: FunctionRef): number {
    if (this.#reserved > 0) throw new Error('elements come before room for more');
    return this.#elementsAt + this.#elements.push(ref) - 1;
  }

  /** Room for `count` more elements of the own table, empty, behind all others: gives the first one's slot. */
  reserveElements(count: number): number {
    this.#reserved += count;
    return this.#elements.length + this.#reserved - count;
  }

  get elementCount(): number {
    return this.#elements.length;
  }

  typeIndex(signature: Signature): number {
    const key = `${signature.params.join()}>${signature.results.join()}`;
    let index = this.#typeKeys.get(key);
    if (index === undefined) {
      index = this.#types.push({ params: signature.params, results: signature.results }) - 1;
      this.#typeKeys.set(key, index);
    }
    return index;
  }

  /**
   * The module's bytes. A table of its own is made when elements were added and
   * none is imported; it is exported as `table`. A name section is added when
   * `names` is set, for profiles and traces.
   */
  finish(options: { names?: boolean } = {}): Uint8Array<ArrayBuffer> {
    const bodies = this.#functions.map(({ ref, body }) => {
      if (!body) throw new Error(`${ref.name} was declared and never defined`);
      return body;
    });
    const ownTable = this.#elements.length > 0 && this.#importedTables === 0;
    const elementType = this.#elements[0] ? this.#reference(this.#elements[0]) : [];
    const tableType = this.#ownTable && this.#tableType(this.#ownTable);
    const signatures = this.#functions.map(({ ref }) => uleb(this.typeIndex(ref)));
    const out: number[] = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
    const chunks: ArrayLike<number>[] = [out];
    const sectionOf = (id: number, count: number, parts: readonly (readonly number[])[]): void => {
      if (count === 0) return;
      const head = uleb(count);
      const size = parts.reduce((sum, part) => sum + part.length, head.length);
      chunks.push([id, ...uleb(size), ...head], ...parts);
    };
    const section = (id: number, items: readonly (readonly number[])[]): void =>
      sectionOf(id, items.length, items);
    section(
      1,
      this.#types.map((t) => [
        0x60,
        ...uleb(t.params.length),
        ...t.params,
        ...uleb(t.results.length),
        ...t.results,
      ]),
    );
    section(2, this.#imports);
    section(3, signatures);
    if (ownTable) {
      const count = this.#elements.length + this.#reserved;
      section(4, [tableType ?? [...elementType, 0x01, ...uleb(count), ...uleb(count)]]);
      this.#exports.push([...nameBytes('table'), 0x01, 0x00]);
    }
    section(6, this.#globals);
    section(7, this.#exports);
    if (this.#elements.length > 0) {
      const expressions = this.#elements.flatMap((ref) => [0xd2, ...uleb(ref.index), 0x0b]);
      const at = [0x41, ...sleb(this.#elementsAt), 0x0b];
      section(9, [[0x06, 0x00, ...at, ...elementType, ...uleb(this.#elements.length), ...expressions]]);
    }
    const hints = this.#branchHints();
    if (hints) chunks.push(hints);
    sectionOf(
      10,
      bodies.length,
      bodies.flatMap(({ parts }) => [uleb(parts.reduce((sum, part) => sum + part.length, 0)), ...parts]),
    );
    if (options.names) chunks.push(this.#nameSection());
    const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
    let at = 0;
    for (const chunk of chunks) {
      bytes.set(chunk, at);
      at += chunk.length;
    }
    return bytes;
  }

  /** The section of the branch hinting proposal; nothing when there are no hints. */
  #branchHints(): Uint8Array | undefined {
    const hinted = this.#functions.filter(({ body }) => (body?.hints.length ?? 0) > 0);
    if (hinted.length === 0) return undefined;
    const section = [...nameBytes('metadata.code.branch_hint'), ...uleb(hinted.length)];
    for (const { ref, body } of hinted) {
      const hints = body?.hints ?? [];
      section.push(...uleb(ref.index), ...uleb(hints.length));
      for (const [at, taken] of hints) section.push(...uleb(at), 1, taken ? 1 : 0);
    }
    return Uint8Array.from([0x00, ...uleb(section.length), ...section]);
  }

  #nameSection(): Uint8Array {
    const entries = this.#functions.flatMap(({ ref }) => [...uleb(ref.index), ...nameBytes(ref.name)]);
    const functions = [...uleb(this.#functions.length), ...entries];
    const body = [...nameBytes('name'), 0x01, ...uleb(functions.length), ...functions];
    return Uint8Array.from([0x00, ...uleb(body.length), ...body]);
  }
}
