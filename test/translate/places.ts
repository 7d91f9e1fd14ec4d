/** Where things lie for random programs, on the host and in the machine alike. */

/** Trampoline of the host's processor, and the scratch page that it asks for. */
export const HOST_CODE = 0x70f0_0000;
export const HOST_SCRATCH = 0x70e0_0000;

/** The program: pages that may be written too. */
export const CODE = 0x7100_0000;
export const CODE_BYTES = 0x4000;

/** What the program works on. Around it, and in the hole, nothing is mapped. */
export const DATA = 0x7200_0000;
export const DATA_BYTES = 0xa000;
/** Offsets in the data. */
export const D = {
  /** Numbers that random operands lie in. */
  numbers: 0x0000,
  /** Tables of jumps, counters and other places that random operands stay out of. */
  tables: 0x3000,
  hole: 0x4000,
  behindHole: 0x5000,
  readOnly: 0x6000,
  behindReadOnly: 0x7000,
  stack: 0x8000,
} as const;

/** Parts of the data by what may be done with them. */
export const DATA_AREAS = [
  { offset: D.numbers, bytes: D.hole, readOnly: false },
  { offset: D.behindHole, bytes: 0x1000, readOnly: false },
  { offset: D.readOnly, bytes: 0x1000, readOnly: true },
  { offset: D.behindReadOnly, bytes: DATA_BYTES - D.behindReadOnly, readOnly: false },
] as const;

/** A device that user code may touch: no RAM is there. */
export const DEVICE = 0x7300_0000;
export const DEVICE_BYTES = 0x1000;

/** Faults within this of the data are the host's too: nothing else of its lies there. */
export const RESERVE = 0x10000;
