import type { AccessSize, Bus, BusDevice, BusRange } from './bus.ts';

interface Range {
  readonly name: string;
  base: number | undefined;
  readonly length: number;
  readonly device: BusDevice;
}

/** All ones, `size` bytes wide: what nobody answers. */
export function ones(size: AccessSize): number {
  return size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff;
}

/**
 * An address space of devices. Ranges are few, and accesses come in bursts to
 * one of them, so the range that answered last is tried first.
 */
export class AddressSpace implements Bus {
  /** Newest first. */
  readonly #ranges: Range[] = [];
  #last: Range | undefined;
  /** Accesses so far, answered or not. */
  accesses = 0;

  claim(name: string, base: number | undefined, length: number, device: BusDevice): BusRange {
    if (!(length > 0)) throw new RangeError(`${name} claims ${length} bytes`);
    const range: Range = { name, base, length, device };
    this.#ranges.unshift(range);
    this.#last = undefined;
    const moved = (to: number | undefined): void => {
      range.base = to;
      this.#last = undefined;
    };
    return {
      name,
      length,
      get base() {
        return range.base;
      },
      move: moved,
      disable: () => moved(undefined),
    };
  }

  read(address: number, size: AccessSize): number {
    this.accesses += 1;
    const range = this.#find(address);
    if (!range) return ones(size);
    const offset = address - (range.base ?? 0);
    if (offset + size <= range.length) return range.device.read(offset, size) >>> 0;
    return this.#split(address, size);
  }

  write(address: number, size: AccessSize, value: number): void {
    this.accesses += 1;
    const range = this.#find(address);
    if (!range) return;
    const offset = address - (range.base ?? 0);
    if (offset + size <= range.length) range.device.write(offset, size, value >>> 0);
    else for (let i = 0; i < size; i++) this.write(address + i, 1, (value >>> (8 * i)) & 0xff);
  }

  /** Whether the device at an address moves many values at once. */
  takesMany(address: number): boolean {
    return this.#find(address)?.device.readMany !== undefined;
  }

  readMany(address: number, size: AccessSize, target: Uint8Array): number {
    const range = this.#find(address);
    const moved = range?.device.readMany?.(address - (range.base ?? 0), size, target) ?? 0;
    this.accesses += moved / size;
    return moved;
  }

  writeMany(address: number, size: AccessSize, source: Uint8Array): number {
    const range = this.#find(address);
    const moved = range?.device.writeMany?.(address - (range.base ?? 0), size, source) ?? 0;
    this.accesses += moved / size;
    return moved;
  }

  /** An access that reaches past the end of a range, byte by byte. */
  #split(address: number, size: AccessSize): number {
    let value = 0;
    for (let i = 0; i < size; i++) value |= this.read(address + i, 1) << (8 * i);
    return value >>> 0;
  }

  #find(address: number): Range | undefined {
    const last = this.#last;
    if (last && holds(last, address)) return last;
    for (const range of this.#ranges) {
      if (!holds(range, address)) continue;
      this.#last = range;
      return range;
    }
    return undefined;
  }
}

function holds(range: Range, address: number): boolean {
  return range.base !== undefined && address >= range.base && address - range.base < range.length;
}
