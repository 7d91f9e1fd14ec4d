import type { CodeMode, Decoder } from '../decode/decoder.ts';
import type { Encoding } from '../decode/encoding.ts';
import { type GeneratedInterpreter, isGeneratedLate } from './generate.ts';

/** Modules of the rows that some machine of the process has met: their handlers' slots are the same in every machine. */
const compiled = new Map<Encoding, WebAssembly.Module>();

/**
 * The handlers of one machine: those of the interpreter's module, and those of
 * rows that are generated late, by the first machine of the process that
 * decodes them.
 */
export class Handlers {
  readonly #interpreter: GeneratedInterpreter;
  readonly #imports: WebAssembly.Imports;
  /** Late rows whose handlers are in this machine's table. */
  readonly #taken = new Set<Encoding>();

  /** `exports`: what the machine's instance of the interpreter exports. */
  constructor(interpreter: GeneratedInterpreter, exports: WebAssembly.Exports, memory: WebAssembly.Memory) {
    this.#interpreter = interpreter;
    this.#imports = { env: { memory }, interpreter: exports };
  }

  /** Element of the machine's table for what was decoded; 0 when the form has none. */
  of(decoder: Decoder, mode: CodeMode): number {
    this.have(decoder.encoding);
    return decoder.handler(mode);
  }

  /** Makes the handlers of an encoding that are generated late. */
  have(encoding: Encoding | undefined): void {
    if (encoding && isGeneratedLate(encoding) && !this.#taken.has(encoding)) this.#take(encoding);
  }

  #take(encoding: Encoding): void {
    let module = compiled.get(encoding);
    if (!module) {
      module = new WebAssembly.Module(this.#interpreter.extend(encoding).bytes);
      compiled.set(encoding, module);
    }
    new WebAssembly.Instance(module, this.#imports);
    this.#taken.add(encoding);
  }
}
