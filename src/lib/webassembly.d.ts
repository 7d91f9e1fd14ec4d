// The WebAssembly JavaScript interface, which TypeScript declares only together with the whole of a browser's DOM
// (WebAssembly JavaScript Interface, W3C; threads, exception handling and tail calls as V8 has them).

declare namespace WebAssembly {
  type ValueType = 'i32' | 'i64' | 'f32' | 'f64' | 'v128' | 'externref' | 'anyfunc';
  type ImportExportKind = 'function' | 'table' | 'memory' | 'global' | 'tag';
  type TableKind = 'anyfunc' | 'externref';
  type ExportValue = ((...args: never[]) => unknown) | Global | Memory | Table | Tag;
  type ImportValue = ExportValue | number | bigint;
  type Exports = Record<string, ExportValue>;
  type Imports = Record<string, Record<string, ImportValue>>;

  interface ModuleExportDescriptor {
    name: string;
    kind: ImportExportKind;
  }

  interface ModuleImportDescriptor extends ModuleExportDescriptor {
    module: string;
  }

  class Module {
    /** Compiles at once. @throws CompileError when the bytes are not a valid module */
    constructor(bytes: ArrayBufferView<ArrayBufferLike> | ArrayBufferLike);
    static customSections(module: Module, name: string): ArrayBuffer[];
    static exports(module: Module): ModuleExportDescriptor[];
    static imports(module: Module): ModuleImportDescriptor[];
  }

  class Instance {
    /** @throws LinkError when an import is missing or of another type */
    constructor(module: Module, imports?: Imports);
    readonly exports: Exports;
  }

  interface MemoryDescriptor {
    /** In pages of 64 KiB. */
    initial: number;
    maximum?: number;
    shared?: boolean;
  }

  class Memory {
    constructor(descriptor: MemoryDescriptor);
    /** A SharedArrayBuffer when the memory is shared. */
    readonly buffer: ArrayBuffer;
    /** @returns the size before, in pages */
    grow(pages: number): number;
  }

  interface TableDescriptor {
    element: TableKind;
    initial: number;
    maximum?: number;
  }

  class Table {
    constructor(descriptor: TableDescriptor, value?: unknown);
    readonly length: number;
    get(index: number): unknown;
    grow(count: number, value?: unknown): number;
    set(index: number, value?: unknown): void;
  }

  interface GlobalDescriptor {
    value: ValueType;
    mutable?: boolean;
  }

  class Global {
    constructor(descriptor: GlobalDescriptor, value?: number | bigint);
    value: number | bigint;
    valueOf(): number | bigint;
  }

  class Tag {
    constructor(type: { parameters: ValueType[] });
  }

  class Exception extends Error {
    constructor(tag: Tag, payload: unknown[], options?: { traceStack?: boolean });
    is(tag: Tag): boolean;
    getArg(tag: Tag, index: number): unknown;
  }

  class CompileError extends Error {}
  class LinkError extends Error {}
  class RuntimeError extends Error {}

  interface InstantiatedSource {
    module: Module;
    instance: Instance;
  }

  function compile(bytes: ArrayBufferView<ArrayBufferLike> | ArrayBufferLike): Promise<Module>;
  function validate(bytes: ArrayBufferView<ArrayBufferLike> | ArrayBufferLike): boolean;
  function instantiate(module: Module, imports?: Imports): Promise<Instance>;
  function instantiate(
    bytes: ArrayBufferView<ArrayBufferLike> | ArrayBufferLike,
    imports?: Imports,
  ): Promise<InstantiatedSource>;
}
