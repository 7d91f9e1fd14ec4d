import type { PointerInput } from '../../backends/input.ts';
import type { Door, DoorPort } from '../../machine/door.ts';
import type { Ps2Mouse } from './mouse.ts';
import type { VmMouse } from './vmmouse.ts';

/** Changes of the buttons that wait on the host's side of the door; beyond, a click may be lost. */
const WAITING = 64;
/** A position's range. */
const SCREEN = 0xffff;
const COUNTS = 0x7fff;
const NOTCHES = 127;

type PointerEvent = {
  /** Where `x` and `y` are a position. */
  readonly placed: boolean;
  readonly x: number;
  readonly y: number;
  readonly wheel: number;
  readonly buttons: number;
};

const clamp = (value: number, least: number, most: number): number =>
  Math.max(least, Math.min(most, Math.trunc(value) || 0));

/**
 * The host's side of the mouse. One event at a time goes through the door;
 * what comes meanwhile is drawn together, so that a host that moves it faster
 * than the machine runs costs no memory.
 */
export class Pointer implements PointerInput {
  readonly #port: DoorPort<PointerEvent>;
  readonly #vmMouse: VmMouse;
  #waiting: PointerEvent[] = [];
  #under = false;

  constructor(door: Door, mouse: Ps2Mouse, vmMouse: VmMouse) {
    this.#vmMouse = vmMouse;
    this.#port = door.port<PointerEvent>('ps2.pointer', (event) => {
      this.#under = false;
      deliver(event, mouse, vmMouse);
      this.#next();
    });
  }

  get absolute(): boolean {
    return this.#vmMouse.absolute;
  }

  move(dx: number, dy: number, wheel: number, buttons: number): void {
    const x = clamp(dx, -COUNTS, COUNTS);
    this.#add({ placed: false, x, y: clamp(dy, -COUNTS, COUNTS), ...rest(wheel, buttons) });
  }

  place(x: number, y: number, wheel: number, buttons: number): void {
    const at = clamp(x * SCREEN, 0, SCREEN);
    this.#add({ placed: true, x: at, y: clamp(y * SCREEN, 0, SCREEN), ...rest(wheel, buttons) });
  }

  #add(event: PointerEvent): void {
    const last = this.#waiting.at(-1);
    const same = last?.buttons === event.buttons && last.placed === event.placed;
    if (last && (same || this.#waiting.length >= WAITING)) {
      const sum = !last.placed && !event.placed;
      this.#waiting[this.#waiting.length - 1] = {
        ...event,
        x: sum ? clamp(last.x + event.x, -COUNTS, COUNTS) : event.x,
        y: sum ? clamp(last.y + event.y, -COUNTS, COUNTS) : event.y,
        wheel: clamp(last.wheel + event.wheel, -NOTCHES, NOTCHES),
      };
    } else {
      this.#waiting.push(event);
    }
    this.#next();
  }

  #next(): void {
    if (this.#under) return;
    const event = this.#waiting.shift();
    if (event === undefined) return;
    this.#under = true;
    this.#port.post(event);
  }
}

function rest(wheel: number, buttons: number): { wheel: number; buttons: number } {
  return { wheel: clamp(wheel, -NOTCHES, NOTCHES), buttons: buttons & 0x1f };
}

function deliver({ placed, x, y, wheel, buttons }: PointerEvent, mouse: Ps2Mouse, vmMouse: VmMouse): void {
  if (!vmMouse.absolute) {
    // A position means nothing to a mouse; what the fingers did does.
    mouse.move(placed ? 0 : x, placed ? 0 : y, wheel, buttons);
    return;
  }
  if (placed) vmMouse.place(x, y, wheel, buttons);
  else vmMouse.move(x, y, wheel, buttons);
  mouse.poke();
}
