/**
 * Where things lie for the tested code, on the host and in the machine alike: below 2 GiB, for 32-bit code and addresses of
 * 32 bits with a sign, and above what the process's heap may take, which Linux begins anywhere in the GiB behind the
 * program.
 */

/** Trampoline of the host's processor. */
export const HOST_CODE = 0x6ff0_0000;
/** The tested code: whole pages that may be written too. */
export const CODE_AREA = 0x6fe0_0000;
export const CODE_AREA_BYTES = 0x4000;
/** Memory that the tested code works on; nothing is mapped around it. */
export const SCRATCH = 0x7000_0000;
export const SCRATCH_BYTES = 0x1_0000;
/** GS base of tested 64-bit code. */
export const GS_BASE = SCRATCH + 0x1230;
