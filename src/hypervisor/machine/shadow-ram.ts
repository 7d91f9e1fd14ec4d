import { FRAMES } from '../cpu/layout.ts';
import type { AccessSize, BusDevice } from './bus.ts';
import type { MemoryMapping } from './mapping.ts';
import type { GuestMemory } from './memory.ts';

/** A piece of C0000h-FFFFFh as the host bridge routes it: to DRAM, or to PCI, where the ROM is. */
export interface ShadowSegment {
  readonly start: number;
  readonly length: number;
  readonly readDram: boolean;
  readonly writeDram: boolean;
}

export const SHADOW = { base: 0xc_0000, length: 0x4_0000 } as const;
/** What of the ROM shows below 1 MiB. */
const LOW_ROM_LENGTH = 0x2_0000;
const FOUR_GIB = 0x1_0000_0000;
const MIB = 0x10_0000;
const PAGE = 0x1000;

export const ROM_LIMIT = FRAMES.rom.bytes;

/**
 * Firmware's ROM at the end of the first 4 GiB, its last 128 KiB at E0000h, and
 * the RAM that the host bridge can put in their place (82441FX data sheet,
 * PAM registers): each piece reads ROM or RAM, and writes RAM or nothing.
 * Devices reach the RAM whatever is set.
 *
 * On the bus it is what the processor does not find mapped: writes, and reads
 * where there is no ROM.
 */
export class ShadowRam implements BusDevice {
  readonly #mapping: MemoryMapping;
  readonly #ram: GuestMemory;
  readonly #romLength: number;
  #segments: readonly ShadowSegment[] = [];

  /** `rom` is put into `frames`, the memory of FRAMES.rom; whole pages, at most ROM_LIMIT. */
  constructor(mapping: MemoryMapping, ram: GuestMemory, frames: Uint8Array, rom: Uint8Array) {
    this.#mapping = mapping;
    this.#ram = ram;
    this.#romLength = rom.length;
    frames.set(rom, frames.length - rom.length);
    const base = FOUR_GIB - rom.length;
    mapping.mapMemory({ base, length: rom.length, frame: base, read: true, write: false });
    this.route([{ start: SHADOW.base, length: SHADOW.length, readDram: false, writeDram: false }]);
  }

  /** Takes the host bridge's settings. */
  route(segments: readonly ShadowSegment[]): void {
    this.#segments = segments;
    for (const segment of segments) this.#map(segment);
  }

  read(_offset: number, size: AccessSize): number {
    return size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff;
  }

  write(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size; i++) {
      const at = SHADOW.base + offset + i;
      const segment = this.#segments.find(({ start, length }) => at >= start && at < start + length);
      if (segment?.writeDram) this.#ram.writeU8(at, (value >>> (8 * i)) & 0xff);
    }
  }

  #map({ start, length, readDram, writeDram }: ShadowSegment): void {
    if (readDram) {
      this.#mapping.mapMemory({ base: start, length, frame: start, read: true, write: writeDram });
      return;
    }
    const rom = Math.max(start, MIB - Math.min(this.#romLength, LOW_ROM_LENGTH));
    this.#mapping.unmapMemory(start, length);
    if (rom >= start + length) return;
    const frame = FOUR_GIB - MIB + rom;
    this.#mapping.mapMemory({ base: rom, length: start + length - rom, frame, read: true, write: false });
  }
}

/** Whether a firmware image has a size that a ROM can have. */
export function fitsRom(bytes: number): boolean {
  return bytes >= 0x1_0000 && bytes <= ROM_LIMIT && bytes % PAGE === 0;
}
