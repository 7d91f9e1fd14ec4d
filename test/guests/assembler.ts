/** A very small assembler for test guests: bytes, labels and the few fix-ups that these need. */
export class Assembler {
  readonly #base: number;
  readonly #bytes: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #fixups: { readonly at: number; readonly label: string; readonly kind: 'abs32' | 'rel32' }[] = [];

  /** `base` is the address at which the first byte will stand. */
  constructor(base: number) {
    this.#base = base;
  }

  label(name: string): this {
    this.#labels.set(name, this.#base + this.#bytes.length);
    return this;
  }

  bytes(...bytes: readonly number[]): this {
    this.#bytes.push(...bytes);
    return this;
  }

  u16(value: number): this {
    return this.bytes(value & 0xff, (value >>> 8) & 0xff);
  }

  u32(value: number): this {
    return this.u16(value & 0xffff).u16(value >>> 16);
  }

  /** The address of a label, 32 bits. */
  abs32(label: string): this {
    this.#fixups.push({ at: this.#bytes.length, label, kind: 'abs32' });
    return this.u32(0);
  }

  /** An opcode and the 32-bit distance to a label, as near jumps and calls have it. */
  branch(opcode: readonly number[], label: string): this {
    this.bytes(...opcode);
    this.#fixups.push({ at: this.#bytes.length, label, kind: 'rel32' });
    return this.u32(0);
  }

  align(boundary: number): this {
    while ((this.#base + this.#bytes.length) % boundary !== 0) this.#bytes.push(0);
    return this;
  }

  address(label: string): number {
    const address = this.#labels.get(label);
    if (address === undefined) throw new Error(`no label ${label}`);
    return address;
  }

  assemble(): Buffer {
    const image = Buffer.from(this.#bytes);
    for (const { at, label, kind } of this.#fixups) {
      const target = this.address(label);
      if (kind === 'abs32') image.writeUInt32LE(target, at);
      else image.writeInt32LE(target - (this.#base + at + 4), at);
    }
    return image;
  }
}
