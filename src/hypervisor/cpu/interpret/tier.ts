import type { CodeCache } from './code-cache.ts';
import type { InterpreterExports } from './exports.ts';
import type { GeneratedInterpreter } from './generate.ts';

/** What a tier above the interpreter stands on. */
export interface TierHost {
  readonly view: DataView;
  readonly memory: WebAssembly.Memory;
  readonly interpreter: GeneratedInterpreter;
  /** Exports of this machine's instance of the interpreter. */
  readonly exports: InterpreterExports;
  readonly cache: CodeCache;
  readonly ramBytes: number;
  /** The frame that code at a linear page would be fetched from; undefined when that would fault, or ask a device. */
  readonly codeAddress: (linear: bigint) => number | undefined;
  /** Makes the handlers of an encoding that are generated late, if they were not met before; by its number in the instruction table. */
  readonly haveHandlers: (encoding: number) => void;
}

/**
 * What runs hot code faster: it gives records of the interpreter other
 * handlers, which do more than one instruction, and takes them back when the
 * code changes.
 */
export interface Tier {
  /** Instructions at most between two looks at the budget, those of the interpreter on the way included. */
  readonly overrun: number;
  /** Instructions between two looks at where the guest is, at most; halts in between or not. */
  sliceLimit(): number;
  /** A slice ended at S.rip, which is where a branch led. */
  sliceEnded(): void;
  /** Bytes of one page of RAM that hold decoded code were written; records are dropped already. */
  invalidate(physical: number, bytes: number): void;
  /** All records are gone. */
  flush(): void;
  /** The interpreter's handler of a record, by what stands in the record. */
  handlerBehind(handler: number): number;
  /** Gives its thread back. */
  dispose(): Promise<void>;
  counters(): Readonly<Record<string, number>>;
  /** Instructions that the tier's code retired; undefined when that is not counted. */
  instructions(): number | undefined;
}
