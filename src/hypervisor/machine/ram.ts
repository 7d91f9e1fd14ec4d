import type { GuestMemory } from './memory.ts';

/** RAM inside the machine's linear memory. */
export class Ram implements GuestMemory {
  readonly size: number;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #onWritten: (gpa: number, length: number) => void = () => {};

  /** `size` bytes at `offset` of `buffer`. */
  constructor(buffer: ArrayBufferLike, offset: number, size: number) {
    this.size = size;
    this.#bytes = new Uint8Array(buffer, offset, size);
    this.#view = new DataView(buffer, offset, size);
  }

  /** Who is told of writes. Replaces an earlier listener. */
  onWritten(listener: (gpa: number, length: number) => void): void {
    this.#onWritten = listener;
  }

  #holds(gpa: number, length: number): boolean {
    return Number.isInteger(gpa) && gpa >= 0 && length >= 0 && gpa + length <= this.size;
  }

  view(gpa: number, length: number): Uint8Array | undefined {
    return this.#holds(gpa, length) ? this.#bytes.subarray(gpa, gpa + length) : undefined;
  }

  written(gpa: number, length: number): void {
    if (gpa >= this.size || length <= 0) return;
    this.#onWritten(gpa, Math.min(length, this.size - gpa));
  }

  readU8(gpa: number): number {
    return this.#holds(gpa, 1) ? this.#view.getUint8(gpa) : 0;
  }
  readU16(gpa: number): number {
    return this.#holds(gpa, 2) ? this.#view.getUint16(gpa, true) : 0;
  }
  readU32(gpa: number): number {
    return this.#holds(gpa, 4) ? this.#view.getUint32(gpa, true) : 0;
  }
  readU64(gpa: number): bigint {
    return this.#holds(gpa, 8) ? this.#view.getBigUint64(gpa, true) : 0n;
  }

  writeU8(gpa: number, value: number): void {
    if (!this.#holds(gpa, 1)) return;
    this.#view.setUint8(gpa, value);
    this.#onWritten(gpa, 1);
  }
  writeU16(gpa: number, value: number): void {
    if (!this.#holds(gpa, 2)) return;
    this.#view.setUint16(gpa, value, true);
    this.#onWritten(gpa, 2);
  }
  writeU32(gpa: number, value: number): void {
    if (!this.#holds(gpa, 4)) return;
    this.#view.setUint32(gpa, value, true);
    this.#onWritten(gpa, 4);
  }
  writeU64(gpa: number, value: bigint): void {
    if (!this.#holds(gpa, 8)) return;
    this.#view.setBigUint64(gpa, BigInt.asUintN(64, value), true);
    this.#onWritten(gpa, 8);
  }

  readBytes(gpa: number, target: Uint8Array): boolean {
    const whole = this.view(gpa, target.length);
    if (whole) {
      target.set(whole);
      return true;
    }
    target.fill(0);
    const there = Number.isInteger(gpa) && gpa >= 0 && gpa < this.size ? this.size - gpa : 0;
    if (there > 0) target.set(this.#bytes.subarray(gpa, gpa + there));
    return false;
  }

  writeBytes(gpa: number, source: Uint8Array): boolean {
    const there =
      Number.isInteger(gpa) && gpa >= 0 && gpa < this.size ? Math.min(source.length, this.size - gpa) : 0;
    if (there > 0) {
      this.#bytes.set(there === source.length ? source : source.subarray(0, there), gpa);
      this.#onWritten(gpa, there);
    }
    return there === source.length;
  }
}
