import type { FunctionRef } from '../../wasm/function.ts';

/**
 * What a group of runtime functions may call besides its own. Memory is the
 * module's memory 0; state lies at the offsets of cpu/layout.ts.
 */
export interface RuntimeEnv {
  /** (linear: i64, bytes: i32) → i32: where the bytes can be read in linear memory, or 0 after a fault was recorded. Valid until the next call. */
  readonly readable: FunctionRef;
  /** (linear: i64, bytes: i32, keep: i32) → i32: where they can be written, 0 after a fault; `keep` when old bytes must be there. `commit` after writing. */
  readonly writable: FunctionRef;
  /** () → nothing: finishes what `writable` began. */
  readonly commit: FunctionRef;
}

/** What a group may drop of the TLB. */
export interface FlushEnv {
  /** (keep global pages: i32). */
  readonly flush: FunctionRef;
  /** (linear: i64). */
  readonly flushPage: FunctionRef;
}

/** What a group may call outside of the processor. */
export interface OutsideEnv {
  /** () → f64: ticks of the time-stamp counter since power-on. May ask the engine to stop. */
  readonly elapsed: FunctionRef;
}
