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

/** A line with a switch: while it is off, its output is released whatever the source does. */
export class SwitchedLine implements IrqLine {
  readonly #output: IrqLine;
  #asserted = false;
  #on = true;

  constructor(output: IrqLine) {
    this.#output = output;
  }

  set(asserted: boolean): void {
    this.#asserted = asserted;
    if (this.#on) this.#output.set(asserted);
  }

  switch(on: boolean): void {
    if (on === this.#on) return;
    this.#on = on;
    this.#output.set(on && this.#asserted);
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
