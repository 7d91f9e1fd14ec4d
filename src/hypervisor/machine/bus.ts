/** Size of one bus access, in bytes. The bus splits an 8-byte access into two of 4, low half first. */
export type AccessSize = 1 | 2 | 4;

/**
 * What sits on a bus. It gets an offset from the start of its own range and
 * knows neither where that range lies nor who is asking.
 *
 * Values are unsigned, `size` bytes wide. Neither call may throw, whatever the
 * guest writes: an access a device does not know reads as all ones, or as its
 * own documentation says, and a write to it is ignored.
 */
export interface BusDevice {
  read(offset: number, size: AccessSize): number;
  write(offset: number, size: AccessSize, value: number): void;
  /**
   * What as many reads of `size` bytes at one offset would give as fill
   * `target` (a multiple of `size`), done at once for a repeated INS. Returns
   * how many bytes it was, from the start: fewer when single accesses are to
   * go on. A device whose data pass word by word may have it.
   */
  readMany?(offset: number, size: AccessSize, target: Uint8Array): number;
  /** The same for a repeated OUTS. */
  writeMany?(offset: number, size: AccessSize, source: Uint8Array): number;
}

/** A claim on part of an address space; `move` and `disable` are what a PCI BAR needs. */
export interface BusRange {
  readonly name: string;
  /** First address; undefined while the range answers nowhere. */
  readonly base: number | undefined;
  /** In bytes. */
  readonly length: number;
  move(base: number): void;
  disable(): void;
}

/** An address space: port I/O (64 KiB) or memory-mapped I/O (guest-physical). */
export interface Bus extends BusDevice {
  /** Claims `[base, base + length)`; with `base` undefined the range starts disabled. The newest claim of an address wins. */
  claim(name: string, base: number | undefined, length: number, device: BusDevice): BusRange;
}
