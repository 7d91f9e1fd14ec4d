import type { Duplex } from 'node:stream';
import type { VmMachine } from './machine.ts';
import { SwitchedKeyboard, SwitchedPointer } from './switched-input.ts';
import { SwitchedScreen } from './switched-screen.ts';

/** The sides of a VM that people see and touch: they outlive a reset, which puts a new machine behind them. */
export class Sides {
  readonly screen = new SwitchedScreen();
  readonly keyboard = new SwitchedKeyboard();
  readonly pointer = new SwitchedPointer();
  #hasScreen = false;
  #hasKeyboard = false;

  /** Puts a machine behind them. */
  use({ screen, keyboard, pointer }: Pick<VmMachine, 'screen' | 'keyboard' | 'pointer'>): void {
    this.#hasScreen = screen !== undefined;
    this.#hasKeyboard = keyboard !== undefined;
    this.screen.show(screen);
    this.keyboard.use(keyboard);
    this.pointer.use(pointer);
  }

  get hasScreen(): boolean {
    return this.#hasScreen;
  }

  get hasKeyboard(): boolean {
    return this.#hasKeyboard;
  }

  /** What shows the screen to a viewer; undefined without one. */
  get display(): ((stream: Duplex, viewOnly: boolean) => void) | undefined {
    return undefined;
  }
}
