/**
 * Guest-physical memory as devices see it (DMA). Addresses are guest-physical,
 * in bytes, plain numbers. Nothing here throws for a guest's address: what is
 * not RAM reads as zero and swallows writes.
 */
export interface GuestMemory {
  /** Bytes of RAM, which starts at guest-physical 0 and is contiguous. */
  readonly size: number;
  /**
   * A live view of `[gpa, gpa + length)`, or undefined when any of it is not
   * RAM. Whoever writes through it calls `written` afterwards.
   */
  view(gpa: number, length: number): Uint8Array | undefined;
  /** Tells the processor that bytes changed behind its back (pre-decoded code is dropped). */
  written(gpa: number, length: number): void;
  readU8(gpa: number): number;
  readU16(gpa: number): number;
  readU32(gpa: number): number;
  readU64(gpa: number): bigint;
  writeU8(gpa: number, value: number): void;
  writeU16(gpa: number, value: number): void;
  writeU32(gpa: number, value: number): void;
  writeU64(gpa: number, value: bigint): void;
  /** Copies out of RAM; false, with `target` zeroed where there is no RAM. */
  readBytes(gpa: number, target: Uint8Array): boolean;
  /** Copies into RAM; false when any of it is not RAM (the rest is written). */
  writeBytes(gpa: number, source: Uint8Array): boolean;
}
