import type { AccessSize, Bus } from '../../src/hypervisor/machine/bus.ts';
import { emptyBus } from '../native/guest-machine.ts';

/** Accesses between two calls for the engine's attention. */
const EVERY = 3;

/** A device whose answers depend on all accesses before, and which asks for the engine's attention now and then. */
export class ProgramDevice implements Bus {
  readonly claim = emptyBus.claim;
  /** Called in the middle of an access. */
  onAttention: () => void = () => {};
  #accesses = 0;
  /** What was done so far, as one number. */
  state = 0;

  #note(kind: number, offset: number, size: number, value: number): void {
    for (const part of [kind, offset, size, value])
      this.state = (Math.imul(this.state ^ part, 0x0100_0193) + 1) >>> 0;
    this.#accesses += 1;
    if (this.#accesses % EVERY === 0) this.onAttention();
  }
  read(offset: number, size: AccessSize): number {
    this.#note(1, offset, size, 0);
    return size === 4 ? this.state : this.state & (size === 2 ? 0xffff : 0xff);
  }
  write(offset: number, size: AccessSize, value: number): void {
    this.#note(2, offset, size, value);
  }
  reset(): void {
    this.state = 0;
    this.#accesses = 0;
  }
}
