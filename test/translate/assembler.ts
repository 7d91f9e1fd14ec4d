/** A place in the program that is being assembled. */
export interface Label {
  at: number | undefined;
}

interface Fixup {
  /** Offset of the field. */
  readonly at: number;
  readonly kind: 'relative8' | 'relative32' | 'absolute32';
  readonly label: Label;
  readonly delta: number;
  /** Bytes of the instruction behind the field. */
  readonly behind: number;
}

/** A short branch whose target is too far away. */
export class TooFar extends Error {}

/** Machine code with labels, to lie at an address. */
export class Assembler {
  readonly bytes: number[] = [];
  readonly #fixups: Fixup[] = [];

  label(): Label {
    return { at: undefined };
  }
  bind(label: Label): Label {
    if (label.at !== undefined) throw new Error('a label in two places');
    label.at = this.bytes.length;
    return label;
  }
  here(): Label {
    return this.bind(this.label());
  }
  emit(...bytes: readonly number[]): void {
    for (const byte of bytes) this.bytes.push(byte & 0xff);
  }
  emit32(value: number): void {
    this.emit(value, value >> 8, value >> 16, value >> 24);
  }
  emit64(value: bigint): void {
    this.emit32(Number(BigInt.asIntN(32, value)));
    this.emit32(Number(BigInt.asIntN(32, value >> 32n)));
  }

  #field(kind: Fixup['kind'], label: Label, delta: number, behind: number): void {
    this.#fixups.push({ at: this.bytes.length, kind, label, delta, behind });
    this.emit(...new Array<number>(kind === 'relative8' ? 1 : 4).fill(0));
  }
  /** A branch with a displacement of one byte. */
  short(opcode: number, label: Label): void {
    this.emit(opcode);
    this.#field('relative8', label, 0, 0);
  }
  /** A branch with a displacement of four bytes. */
  near(label: Label, ...opcode: readonly number[]): void {
    this.emit(...opcode);
    this.#field('relative32', label, 0, 0);
  }
  /** An address relative to the end of the instruction, with `behind` bytes of it following. */
  relative(label: Label, delta: number, behind: number): void {
    this.#field('relative32', label, delta, behind);
  }
  absolute(label: Label, delta = 0): void {
    this.#field('absolute32', label, delta, 0);
  }

  /** The code, to lie at `address`. Throws TooFar when a short branch does not reach. */
  link(address: number): Uint8Array {
    const code = Uint8Array.from(this.bytes);
    const view = new DataView(code.buffer);
    for (const { at, kind, label, delta, behind } of this.#fixups) {
      if (label.at === undefined) throw new Error('a label without a place');
      const to = label.at + delta;
      if (kind === 'absolute32') view.setUint32(at, address + to, true);
      else if (kind === 'relative32') view.setInt32(at, to - (at + 4 + behind), true);
      else {
        const distance = to - (at + 1 + behind);
        if (distance < -128 || distance > 127) throw new TooFar();
        view.setInt8(at, distance);
      }
    }
    return code;
  }
}
