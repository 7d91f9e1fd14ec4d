import type { AccessSize, BusDevice } from '../machine/bus.ts';

/**
 * A device of byte-wide registers. Wider accesses become byte accesses, low
 * address first, as an ISA bus splits them; bytes past `length` read as all
 * ones and swallow writes.
 */
export function byteWide(
  length: number,
  read: (offset: number) => number,
  write: (offset: number, value: number) => void,
): BusDevice {
  return {
    read(offset: number, size: AccessSize): number {
      let value = 0;
      for (let i = 0; i < size; i++) {
        const byte = offset + i < length ? read(offset + i) & 0xff : 0xff;
        value |= byte << (8 * i);
      }
      return value >>> 0;
    },
    write(offset: number, size: AccessSize, value: number): void {
      for (let i = 0; i < size && offset + i < length; i++) {
        write(offset + i, (value >>> (8 * i)) & 0xff);
      }
    },
  };
}

/** All ones, `size` bytes wide: what a bus without an answer reads as. */
export function allOnes(size: AccessSize): number {
  return size === 4 ? 0xffffffff : size === 2 ? 0xffff : 0xff;
}
