import { S } from '../layout.ts';
import { GuestFault, VECTOR } from '../system/context.ts';

/** What the interpreter's module offers to JavaScript. */
export interface InterpreterExports {
  run(): number;
  readable(linear: bigint, bytes: number): number;
  writable(linear: bigint, bytes: number, keep: number): number;
  commit(): void;
  /** Where memory lies that can be read or written without more ado, up to its page's end; 0: not so simple. */
  regionRead(linear: bigint, bytes: number): number;
  regionWrite(linear: bigint, bytes: number): number;
  translate(linear: bigint, access: number): bigint;
  fetch(linear: bigint): number;
  flush(keepGlobal: number): void;
  flushPage(linear: bigint): void;
  flushFetch(): void;
  protect(frame: number, bytes: number): void;
  enterHandler(vector: number, code: number, hasCode: number, setFlags: number): number;
  /** The handlers, by their numbers in records; regions are added behind them. */
  readonly table: WebAssembly.Table;
}

/** The fault that the module noted in the state block. */
export function recordedFault(view: DataView): GuestFault {
  const vector = view.getInt32(S.faultVector, true);
  const code = view.getInt32(S.faultHasCode, true) !== 0 ? view.getInt32(S.faultCode, true) : undefined;
  return new GuestFault(
    vector,
    code,
    vector === VECTOR.PF ? view.getBigUint64(S.faultAddress, true) : undefined,
  );
}

/** Adds to a 64-bit counter of the state block. */
export function bump(view: DataView, counter: number, by = 1): void {
  view.setBigUint64(counter, view.getBigUint64(counter, true) + BigInt(by), true);
}
