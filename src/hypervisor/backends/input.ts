/**
 * A key by its place on the keyboard: the number that RFB's QEMU extended key
 * event and the `qnum` of keycode tables use. It is the scan code of set 1 for
 * keys of one byte (1 to 0x7F), and 0x80 more than its second byte for those
 * behind E0h (right Ctrl 9Dh, up C8h). Pause is C6h, Print Screen 54h.
 */
export type KeyCode = number;

export interface KeyboardLeds {
  readonly scroll: boolean;
  readonly num: boolean;
  readonly caps: boolean;
}

/** The host's side of a keyboard. */
export interface KeyboardInput {
  /** A key goes down or up; what is down repeats by itself, at the guest's pace. Unknown codes, and keys that are so already, are ignored. */
  key(code: KeyCode, down: boolean): void;
  readonly leds: KeyboardLeds;
  /** Called when the guest switches them; replaces an earlier listener. */
  onLeds(listener: (leds: KeyboardLeds) => void): void;
  /** How much of it the guest has not taken yet; 0 when all has arrived. Beyond some 200 keys presses are lost. */
  readonly waiting: number;
  /** Called when `waiting` has come down to 0; replaces an earlier listener. */
  onDrained(listener: () => void): void;
}

/** Buttons of a pointer, as bits. */
export const BUTTON = { left: 1, middle: 2, right: 4, side: 8, extra: 16 } as const;

/** The host's side of a mouse. */
export interface PointerInput {
  /** What the guest has turned on: positions on the screen, or movements only. */
  readonly absolute: boolean;
  /** Movement in pixels, down and right positive; `wheel` in notches, towards the user positive; `buttons` as they are now. */
  move(dx: number, dy: number, wheel: number, buttons: number): void;
  /** Position on the screen, 0 to 1 in both directions; used when `absolute`. */
  place(x: number, y: number, wheel: number, buttons: number): void;
}
