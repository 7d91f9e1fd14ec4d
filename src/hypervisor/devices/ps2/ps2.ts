import type { KeyboardInput, PointerInput } from '../../backends/input.ts';
import type { Bus } from '../../machine/bus.ts';
import type { Door } from '../../machine/door.ts';
import type { IrqLine } from '../../machine/irq.ts';
import type { Stateful } from '../../machine/state.ts';
import { type A20Gate, I8042, type I8042State } from './i8042.ts';
import { type KeyboardState, Ps2Keyboard } from './keyboard.ts';
import { type MouseState, Ps2Mouse } from './mouse.ts';
import { Pointer } from './pointer.ts';
import { type BackdoorRegisters, VmMouse, type VmMouseState } from './vmmouse.ts';

export interface Ps2Options {
  readonly door: Door;
  /** IRQ 1. */
  readonly keyboardIrq: IrqLine;
  /** IRQ 12. */
  readonly mouseIrq: IrqLine;
  readonly onReset: () => void;
  readonly a20: A20Gate;
  /** Of the processor that accesses the backdoor of the absolute pointer. */
  readonly registers: BackdoorRegisters;
}

export type Ps2State = {
  readonly controller: I8042State;
  readonly keyboard: KeyboardState;
  readonly mouse: MouseState;
  readonly vmMouse: VmMouseState;
};

/** Keyboard and mouse of a PC: both PS/2 devices, their controller, and the absolute pointer beside the mouse. */
export class Ps2 implements Stateful<Ps2State> {
  readonly stateVersion = 1;
  /** The host's sides. */
  readonly keyboard: KeyboardInput;
  readonly pointer: PointerInput;
  readonly #controller: I8042;
  readonly #keyboard: Ps2Keyboard;
  readonly #mouse: Ps2Mouse;
  readonly #vmMouse: VmMouse;

  constructor(options: Ps2Options) {
    const { door } = options;
    this.#keyboard = new Ps2Keyboard(door);
    this.#mouse = new Ps2Mouse(door);
    this.#vmMouse = new VmMouse(options.registers);
    this.#controller = new I8042({
      door,
      keyboardIrq: options.keyboardIrq,
      auxIrq: options.mouseIrq,
      onReset: options.onReset,
      a20: options.a20,
      keyboard: this.#keyboard,
      aux: this.#mouse,
    });
    this.keyboard = this.#keyboard.input;
    this.pointer = new Pointer(door, this.#mouse, this.#vmMouse);
  }

  /** Claims ports 60h, 64h and 5658h. */
  attach(io: Bus): void {
    this.#controller.attach(io);
    this.#vmMouse.attach(io);
  }

  /** As firmware leaves them. */
  reset(): void {
    this.#vmMouse.reset();
    this.#mouse.reset();
    this.#keyboard.reset();
    this.#controller.reset();
  }

  save(): Ps2State {
    return {
      controller: this.#controller.save(),
      keyboard: this.#keyboard.save(),
      mouse: this.#mouse.save(),
      vmMouse: this.#vmMouse.save(),
    };
  }

  restore(state: Ps2State): void {
    this.#vmMouse.restore(state.vmMouse);
    this.#mouse.restore(state.mouse);
    this.#keyboard.restore(state.keyboard);
    // Last: it takes what they have.
    this.#controller.restore(state.controller);
  }
}
