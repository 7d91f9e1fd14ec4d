import type { AccessSize } from '../../machine/bus.ts';

/** Reads `size` bytes of a device configuration, little-endian; outside it, zero. */
export function readBytes(image: Uint8Array, offset: number, size: AccessSize): number {
  let value = 0;
  for (let i = 0; i < size; i++) value += (image[offset + i] ?? 0) * 2 ** (8 * i);
  return value;
}
