import type {
  KeyboardInput,
  KeyboardLeds,
  KeyCode,
  PointerInput,
} from '../../src/hypervisor/backends/input.ts';

const DARK: KeyboardLeds = { scroll: false, num: false, caps: false };

/** The keyboard of a VM over all its machines. Without one, keys go nowhere. */
export class SwitchedKeyboard implements KeyboardInput {
  #keyboard: KeyboardInput | undefined;
  #ledsChanged: (leds: KeyboardLeds) => void = () => {};
  #drained: () => void = () => {};

  use(keyboard: KeyboardInput | undefined): void {
    this.#keyboard = keyboard;
    keyboard?.onLeds((leds) => this.#ledsChanged(leds));
    keyboard?.onDrained(() => this.#drained());
    this.#ledsChanged(this.leds);
    // What the old machine had not taken, it never will.
    this.#drained();
  }

  key(code: KeyCode, down: boolean): void {
    this.#keyboard?.key(code, down);
  }

  get leds(): KeyboardLeds {
    return this.#keyboard?.leds ?? DARK;
  }

  onLeds(listener: (leds: KeyboardLeds) => void): void {
    this.#ledsChanged = listener;
  }

  get waiting(): number {
    return this.#keyboard?.waiting ?? 0;
  }

  onDrained(listener: () => void): void {
    this.#drained = listener;
  }
}

/** The mouse of a VM over all its machines. */
export class SwitchedPointer implements PointerInput {
  #pointer: PointerInput | undefined;

  use(pointer: PointerInput | undefined): void {
    this.#pointer = pointer;
  }

  get absolute(): boolean {
    return this.#pointer?.absolute ?? false;
  }

  move(dx: number, dy: number, wheel: number, buttons: number): void {
    this.#pointer?.move(dx, dy, wheel, buttons);
  }

  place(x: number, y: number, wheel: number, buttons: number): void {
    this.#pointer?.place(x, y, wheel, buttons);
  }
}
