import { SCRATCH } from '../layout.ts';

const BASE = SCRATCH + 0x800;

/**
 * Linear memory through which the SSE semantics and their runtime functions
 * hand each other what does not fit a wasm result. Nothing in it lives longer
 * than one instruction, except the CRC table, which is computed once.
 */
export const SSE = {
  /** i32: exceptions raised so far by the running instruction, in MXCSR's flag positions. */
  exceptions: BASE,
  /** v128: the result of an exact operation. */
  result: BASE + 16,
  /** 1024 bytes: an FXSAVE or XSAVE image in transit. */
  image: BASE + 0x100,
  /** 256 × u32: remainders of CRC-32C; all zero until first used. */
  crcTable: BASE + 0x800,
} as const;

/** MXCSR bits (SDM vol. 1, 10.2.3). */
export const MXCSR = {
  ie: 0x01,
  de: 0x02,
  ze: 0x04,
  oe: 0x08,
  ue: 0x10,
  pe: 0x20,
  daz: 0x40,
  masks: 0x1f80,
  maskShift: 7,
  um: 0x0800,
  om: 0x0400,
  pm: 0x1000,
  rcShift: 13,
  ftz: 0x8000,
  /** Bits that may be set; any other in LDMXCSR, FXRSTOR or XRSTOR is #GP(0). */
  valid: 0xffff,
} as const;

/** Numbers of the lane operations of the exact path; a comparison is `compare` + predicate. */
export const LANE_OP = {
  add: 0,
  sub: 1,
  mul: 2,
  div: 3,
  sqrt: 4,
  min: 5,
  max: 6,
  compare: 8,
  comis: 16,
  ucomis: 17,
} as const;
