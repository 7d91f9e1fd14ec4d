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
  /** i32: 1 while the exact path works on the lower half of 256 bits: nothing is told yet. */
  hold: BASE + 4,
  /** i32: exceptions that were not told for that. */
  held: BASE + 8,
  /** i32: MXCSR as VCVTPS2PH sees it, with the rounding of its immediate. */
  control: BASE + 12,
  /** v128: the result of an exact operation; of one on 256 bits, the upper half behind it. */
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

/**
 * Truth of the predicates of CMPPS and VCMPPS, four bits each from predicate 0 on: of less, equal, greater,
 * unordered from bit 0 on. Predicates from 16 on are 0-15 with the other answer to quiet NaNs.
 */
export const PREDICATES = [2, 1, 3, 8, 13, 14, 12, 7, 10, 9, 11, 0, 5, 6, 4, 15].reduceRight(
  (all, nibble) => (all << 4n) | BigInt(nibble),
  0n,
);

/** Numbers of the lane operations of the exact path; a comparison is `compare` + predicate (0-31). */
export const LANE_OP = {
  add: 0,
  sub: 1,
  mul: 2,
  div: 3,
  sqrt: 4,
  min: 5,
  max: 6,
  comis: 16,
  ucomis: 17,
  compare: 32,
} as const;

/** Signs of a fused multiplication and addition: of the product, and of what is added in even and odd elements. */
export const FMA = { negateProduct: 1, subtractEven: 2, subtractOdd: 4 } as const;
