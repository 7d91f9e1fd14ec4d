/** A whole program with its state, for every engine. */
export interface Program {
  readonly seed: number;
  readonly mode: 32 | 64;
  /** Everything in it is defined, so that it may be compared with the host's processor. */
  readonly native: boolean;
  /** Address of the first instruction. */
  readonly start: number;
  /** Address where it ends: EXIT_BYTES are kept free there. */
  readonly end: number;
  /** Address of the code, and the code. */
  readonly at: number;
  readonly code: Uint8Array;
  /** Addresses where it goes on after the first fault, the second, and so on. */
  readonly pads: readonly number[];
  /** Bytes of the data, by offset in it. */
  readonly patches: readonly { readonly offset: number; readonly bytes: Uint8Array }[];
  readonly gpr: BigUint64Array;
  readonly rflags: number;
  readonly fx: Uint8Array;
  readonly upper: Uint8Array;
  /** What is not as programs of the host have it. */
  readonly variant?: Variant | undefined;
}

/** Room for the jump out of a program. */
export const EXIT_BYTES = 8;

/** CR0.TS is set; DS and ES have a base; a data breakpoint watches the numbers; the program is checked for alignment. */
export type Variant = 'task-switched' | 'based' | 'watched' | 'alignment';
