const ENTRIES = 256;
/** What the state register says of the last index written. */
const READING = 3;
const WRITING = 0;

export type DacState = {
  readonly values: Uint8Array;
  readonly mask: number;
  readonly readIndex: number;
  readonly writeIndex: number;
  readonly component: number;
  readonly reading: boolean;
  readonly pending: Uint8Array;
};

/**
 * The video DAC: 256 colours of red, green and blue, 6 bits each, or 8 when the
 * VBE extensions ask for it. Ports 3C6h to 3C9h (IBM VGA Technical Reference,
 * "Video Digital-to-Analog Converter").
 */
export class Dac {
  /** As written: three bytes a colour, of which 6-bit colours use the lower six bits. */
  readonly #values = new Uint8Array(3 * ENTRIES);
  readonly #pending = new Uint8Array(3);
  #mask = 0xff;
  #readIndex = 0;
  #writeIndex = 0;
  #component = 0;
  #reading = false;

  /** Offset 0 (mask) to 3 (data) from port 3C6h. `wide`: 8 bits a component. */
  read(offset: number, wide: boolean): number {
    switch (offset) {
      case 0:
        return this.#mask;
      case 1:
        return this.#reading ? READING : WRITING;
      case 2:
        return this.#writeIndex;
      default: {
        const value = this.#values[3 * this.#readIndex + this.#component];
        this.#component += 1;
        if (this.#component === 3) {
          this.#component = 0;
          this.#readIndex = (this.#readIndex + 1) & 0xff;
        }
        return wide ? value : value & 0x3f;
      }
    }
  }

  /** Whether a colour may be another one now. A colour changes when its third component is written. */
  write(offset: number, value: number): boolean {
    switch (offset) {
      case 0: {
        const changed = this.#mask !== value;
        this.#mask = value;
        return changed;
      }
      case 1:
        this.#readIndex = value;
        this.#reading = true;
        this.#component = 0;
        return false;
      case 2:
        this.#writeIndex = value;
        this.#reading = false;
        this.#component = 0;
        return false;
      default:
        this.#pending[this.#component] = value;
        this.#component += 1;
        if (this.#component < 3) return false;
        this.#component = 0;
        this.#values.set(this.#pending, 3 * this.#writeIndex);
        this.#writeIndex = (this.#writeIndex + 1) & 0xff;
        return true;
    }
  }

  /** Fills `target` with the 256 colours as pixels of a surface, as seen through the mask. */
  colours(target: Uint32Array, wide: boolean): void {
    for (let i = 0; i < ENTRIES; i++) {
      const at = 3 * (i & this.#mask);
      let pixel = 0;
      for (let c = 0; c < 3; c++) {
        const value = this.#values[at + c];
        // The upper bits again below, so that full stays full.
        pixel = (pixel << 8) | (wide ? value : ((value & 0x3f) << 2) | ((value >> 4) & 3));
      }
      target[i] = pixel;
    }
  }

  reset(): void {
    this.#values.fill(0);
    this.#pending.fill(0);
    this.#mask = 0xff;
    this.#readIndex = 0;
    this.#writeIndex = 0;
    this.#component = 0;
    this.#reading = false;
  }

  save(): DacState {
    return {
      values: this.#values.slice(),
      mask: this.#mask,
      readIndex: this.#readIndex,
      writeIndex: this.#writeIndex,
      component: this.#component,
      reading: this.#reading,
      pending: this.#pending.slice(),
    };
  }

  restore(state: DacState): void {
    this.#values.fill(0);
    this.#values.set(state.values.subarray(0, this.#values.length));
    this.#pending.set(state.pending.subarray(0, 3));
    this.#mask = state.mask & 0xff;
    this.#readIndex = state.readIndex & 0xff;
    this.#writeIndex = state.writeIndex & 0xff;
    this.#component = Math.min(state.component & 3, 2);
    this.#reading = state.reading;
  }
}
