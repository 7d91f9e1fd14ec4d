import type { IrqLine } from '../machine/irq.ts';

/** Several sources on one wire: asserted while any of them asserts. Level-triggered sharing, as PCI INTx and the SCI need it. */
export class WiredOr {
  readonly #output: IrqLine;
  #asserted = 0;

  constructor(output: IrqLine) {
    this.#output = output;
  }

  /** A new source on this wire, released at first. */
  input(): IrqLine {
    let level = false;
    return {
      set: (asserted) => {
        if (asserted === level) return;
        level = asserted;
        this.#asserted += asserted ? 1 : -1;
        this.#output.set(this.#asserted > 0);
      },
    };
  }
}

/** One source that drives several controllers, such as an ISA IRQ that goes to the PIC and to the I/O APIC. */
export function fanOut(...outputs: readonly IrqLine[]): IrqLine {
  return {
    set(asserted) {
      for (const output of outputs) output.set(asserted);
    },
  };
}
