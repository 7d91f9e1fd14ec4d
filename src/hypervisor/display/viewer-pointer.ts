import { BUTTON } from '../backends/input.ts';

/** One movement, in both of the ways in which a guest may want it. */
export interface PointerMove {
  /** Position on the screen, 0 to 1. */
  readonly x: number;
  readonly y: number;
  /** Pixels since the last one. */
  readonly dx: number;
  readonly dy: number;
  /** Notches, towards the user positive. */
  readonly wheel: number;
  /** As in `BUTTON`. */
  readonly buttons: number;
}

/** RFB's buttons 1 to 9 as bits (rfbproto, "PointerEvent" and "Extended Mouse Buttons"). */
const RFB = { left: 1, middle: 2, right: 4, wheelUp: 8, wheelDown: 16, back: 128, forward: 256 } as const;
/** A movement of zero when the client sends movements (rfbproto, "QEMU Pointer Motion Change"). */
const RELATIVE_ZERO = 0x7fff;

/** One viewer's pointer: makes movements of the positions and button masks that it sends. */
export class ViewerPointer {
  #x: number | undefined;
  #y = 0;
  #buttons = 0;

  /** Lets go of the buttons, if any is held. */
  release(size: { readonly width: number; readonly height: number }): PointerMove | undefined {
    if (mouseButtons(this.#buttons) === 0) return undefined;
    return this.event({ x: this.#x ?? 0, y: this.#y, buttons: 0 }, false, size);
  }

  /**
   * @param relative whether the client was told to send movements
   * @param size of the client's picture, pixels
   */
  event(
    { x, y, buttons }: { readonly x: number; readonly y: number; readonly buttons: number },
    relative: boolean,
    size: { readonly width: number; readonly height: number },
  ): PointerMove {
    const pressed = buttons & ~this.#buttons;
    const wheel = (pressed & RFB.wheelDown ? 1 : 0) - (pressed & RFB.wheelUp ? 1 : 0);
    this.#buttons = buttons;
    const from = { x: this.#x ?? size.width / 2, y: this.#x === undefined ? size.height / 2 : this.#y };
    const to = relative
      ? {
          x: from.x + clamp(x - RELATIVE_ZERO, size.width),
          y: from.y + clamp(y - RELATIVE_ZERO, size.height),
        }
      : { x, y };
    const first = this.#x === undefined && !relative;
    this.#x = within(to.x, size.width);
    this.#y = within(to.y, size.height);
    const [dx, dy] = relative ? [to.x - from.x, to.y - from.y] : [this.#x - from.x, this.#y - from.y];
    return {
      x: this.#x / Math.max(1, size.width - 1),
      y: this.#y / Math.max(1, size.height - 1),
      // Where the viewer's pointer comes from the first time, nobody knows.
      dx: first ? 0 : Math.round(dx),
      dy: first ? 0 : Math.round(dy),
      wheel,
      buttons: mouseButtons(buttons),
    };
  }
}

function mouseButtons(buttons: number): number {
  let found = 0;
  if (buttons & RFB.left) found |= BUTTON.left;
  if (buttons & RFB.middle) found |= BUTTON.middle;
  if (buttons & RFB.right) found |= BUTTON.right;
  if (buttons & RFB.back) found |= BUTTON.side;
  if (buttons & RFB.forward) found |= BUTTON.extra;
  return found;
}

/** A movement, never more than across the screen. */
function clamp(distance: number, most: number): number {
  return Math.max(-most, Math.min(most, distance));
}

function within(position: number, size: number): number {
  return Math.max(0, Math.min(size - 1, position));
}
