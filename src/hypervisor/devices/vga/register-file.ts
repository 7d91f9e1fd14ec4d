export type RegisterFileState = { readonly index: number; readonly values: Uint8Array };

/**
 * Registers behind an index port and a data port. There is one for each bit
 * mask given; the bits outside it are zero. Beyond the last one reads are zero
 * and writes are lost.
 */
export class RegisterFile {
  readonly values: Uint8Array;
  index = 0;
  readonly #masks: readonly number[];
  readonly #indexMask: number;

  constructor(indexMask: number, masks: readonly number[]) {
    this.values = new Uint8Array(masks.length);
    this.#masks = masks;
    this.#indexMask = indexMask;
  }

  select(index: number): void {
    this.index = index & this.#indexMask;
  }

  /** The selected register. */
  read(): number {
    return this.values[this.index] ?? 0;
  }

  /** Writes the selected register; whether it has another value now. */
  write(value: number): boolean {
    const mask = this.#masks[this.index];
    if (mask === undefined || this.values[this.index] === (value & mask)) return false;
    this.values[this.index] = value & mask;
    return true;
  }

  reset(): void {
    this.index = 0;
    this.values.fill(0);
  }

  save(): RegisterFileState {
    return { index: this.index, values: this.values.slice() };
  }

  restore(state: RegisterFileState): void {
    this.select(state.index);
    this.#masks.forEach((mask, i) => {
      this.values[i] = (state.values[i] ?? 0) & mask;
    });
  }
}
