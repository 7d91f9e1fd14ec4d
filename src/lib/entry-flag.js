/**
 * A flag of V8's for each process that may run a machine: the targets of WebAssembly's indirect calls are not counted, for
 * inlining. Here those are other regions of translated code, and each first entry of one would pay for it. Code that
 * counts and code that does not must not meet in one process, so it comes before any is compiled, Node's compiler of
 * TypeScript included. JavaScript, for launch.js runs on any Node.
 */
export const ENTRY_FLAG = '--no-wasm-inlining-call-indirect';
