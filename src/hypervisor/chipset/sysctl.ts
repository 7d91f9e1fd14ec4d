/**
 * The small ports that reset the machine or switch A20, and the POST port.
 * Sources: PIIX3 data sheet (RC, reset control register CF9h); PC/AT technical
 * reference (port 92h of the PS/2, port 80h).
 *
 * A20 is one gate: whoever switched it last, port 92h or the keyboard
 * controller, has it its way, and both tell what it is.
 *
 * Deviation: the DMA page registers other than port 80h do not exist.
 */
import type { Bus, BusDevice } from '../machine/bus.ts';
import type { Stateful } from '../machine/state.ts';
import { byteWide } from './bytewide.ts';

/** 'soft' resets the processor (INIT), 'hard' the whole machine. */
export type ResetKind = 'soft' | 'hard';

export interface SystemControlOptions {
  readonly onReset: (kind: ResetKind) => void;
  readonly onA20: (enabled: boolean) => void;
  /** A20 after reset; true by default, as a kernel started without firmware expects. */
  readonly a20?: boolean;
}

export type SystemControlState = {
  readonly a20: boolean;
  readonly fastReset: boolean;
  readonly resetControl: number;
  readonly post: number;
};

export class SystemControl implements Stateful<SystemControlState> {
  readonly stateVersion = 1;
  /** Port 92h: bit 0 fast reset on its rising edge, bit 1 A20. */
  readonly port92: BusDevice;
  /** Port CF9h, which the PCI host bridge hands on: bit 1 hard, bit 2 resets on its rising edge. */
  readonly resetControl: BusDevice;
  /** Port 80h. */
  readonly post: BusDevice;
  readonly #options: SystemControlOptions;
  #a20: boolean;
  #fastReset = false;
  #control = 0;
  #post = 0;

  constructor(options: SystemControlOptions) {
    this.#options = options;
    this.#a20 = options.a20 ?? true;
    this.port92 = byteWide(
      1,
      () => (this.#a20 ? 2 : 0) | (this.#fastReset ? 1 : 0),
      (_port, value) => this.#writePort92(value),
    );
    this.resetControl = byteWide(
      1,
      () => this.#control,
      (_port, value) => this.#writeResetControl(value),
    );
    this.post = byteWide(
      1,
      () => this.#post,
      (_port, value) => {
        this.#post = value;
      },
    );
  }

  /** Claims ports 80h and 92h. CF9h is the host bridge's. */
  attach(io: Bus): void {
    io.claim('post', 0x80, 1, this.post);
    io.claim('port92', 0x92, 1, this.port92);
  }

  get a20(): boolean {
    return this.#a20;
  }

  /** Switches A20, for the keyboard controller. */
  setA20(enabled: boolean): void {
    if (enabled === this.#a20) return;
    this.#a20 = enabled;
    this.#options.onA20(enabled);
  }

  /** The byte last written to port 80h. */
  get postCode(): number {
    return this.#post;
  }

  reset(): void {
    this.#fastReset = false;
    this.#control = 0;
    this.setA20(this.#options.a20 ?? true);
  }

  save(): SystemControlState {
    return { a20: this.#a20, fastReset: this.#fastReset, resetControl: this.#control, post: this.#post };
  }

  restore(state: SystemControlState): void {
    this.#fastReset = state.fastReset;
    this.#control = state.resetControl;
    this.#post = state.post;
    this.#a20 = state.a20;
    this.#options.onA20(state.a20);
  }

  #writePort92(value: number): void {
    this.setA20((value & 2) !== 0);
    const rising = (value & 1) !== 0 && !this.#fastReset;
    this.#fastReset = (value & 1) !== 0;
    if (rising) this.#options.onReset('soft');
  }

  #writeResetControl(value: number): void {
    const rising = (value & 4) !== 0 && !(this.#control & 4);
    this.#control = value & 0x06;
    if (rising) this.#options.onReset(value & 2 ? 'hard' : 'soft');
  }
}
