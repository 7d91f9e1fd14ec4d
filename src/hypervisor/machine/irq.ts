/** One interrupt wire. Level is what the source drives; the controller at its end decides about edges. */
export interface IrqLine {
  set(asserted: boolean): void;
}

/** Where message-signalled interrupts go: a 32-bit write to `address` (0xFEExxxxx) of `data`. SDM vol. 3, 11.11. */
export interface MsiSink {
  send(address: number, data: number): void;
}
