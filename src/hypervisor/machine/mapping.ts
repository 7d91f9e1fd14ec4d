/** What a stretch of guest-physical addresses leads to, and what the processor may do there without asking a device. */
export interface MappedRange {
  /** Guest-physical, of whole pages. */
  readonly base: number;
  /** Bytes, of whole pages. */
  readonly length: number;
  /** Its first frame: see FRAMES in cpu/layout.ts. */
  readonly frame: number;
  readonly read: boolean;
  /** Without it writes go to the bus. */
  readonly write: boolean;
}

/** What the processor finds behind guest-physical addresses; changes count from the next access on. */
export interface MemoryMapping {
  /** Not for RAM above 1 MiB, which stays where it is. */
  mapMemory(range: MappedRange): void;
  /** Back to what is on the bus. */
  unmapMemory(base: number, length: number): void;
  /**
   * Pages of a mapped range that the processor wrote to since the last call, by
   * their numbers in it; at the first call all of them. From then on the first
   * write to each page after a call takes the slow path.
   */
  writtenPages(range: MappedRange): readonly number[];
  /** Ends that: writes cost nothing again. */
  forgetWrites(range: MappedRange): void;
}
