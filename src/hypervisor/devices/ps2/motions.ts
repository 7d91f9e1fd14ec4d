/** A movement of a mouse with the buttons at its end. */
interface Motion {
  dx: number;
  dy: number;
  wheel: number;
  buttons: number;
  /** More was moved than could be counted. */
  lostX: boolean;
  lostY: boolean;
}

export type MotionsState = {
  readonly buttons: number;
  readonly motions: readonly {
    readonly dx: number;
    readonly dy: number;
    readonly wheel: number;
    readonly buttons: number;
    readonly lostX: boolean;
    readonly lostY: boolean;
  }[];
};

/** Changes of buttons that are told apart; beyond, a click may be missed. */
const MOTIONS = 32;
/** Counts at most, in either direction. */
const COUNTS = 8191;
const NOTCHES = 127;

const within = (value: number, most: number): number =>
  Math.max(-most, Math.min(most, Math.trunc(value) || 0));

/**
 * Movements that wait to be reported: one sum for as long as the buttons stay
 * the same, so that a click between two reports is not lost. Bounded.
 */
export class Motions {
  #motions: Motion[] = [];
  #buttons = 0;

  /** The buttons as they are now. */
  get buttons(): number {
    return this.#buttons;
  }

  add(dx: number, dy: number, wheel: number, buttons: number): void {
    const last = this.#motions.at(-1);
    this.#buttons = buttons & 0x1f;
    if (last === undefined || (last.buttons !== this.#buttons && this.#motions.length < MOTIONS)) {
      this.#motions.push(sum(NOTHING, dx, dy, wheel, this.#buttons));
    } else {
      this.#motions[this.#motions.length - 1] = sum(last, dx, dy, wheel, this.#buttons);
    }
  }

  /** Forgets movements and what the buttons did meanwhile; they are so now. */
  forget(buttons: number): void {
    this.#motions = [];
    this.#buttons = buttons & 0x1f;
  }

  /** Drops what `nothing` says is not worth a report, from the first on; whether anything is left. */
  discard(nothing: (motion: Readonly<Motion>) => boolean): boolean {
    for (let first = this.#motions[0]; first !== undefined && nothing(first); first = this.#motions[0])
      this.#motions.shift();
    return this.#motions.length > 0;
  }

  /** Takes so many counts and notches at most of the first movement; nothing but the buttons when there is none. */
  take(most: number, notches: number): Readonly<Motion> {
    const first = this.#motions[0];
    if (first === undefined) return { ...NOTHING, buttons: this.#buttons };
    const dx = within(first.dx, most);
    const dy = within(first.dy, most);
    const wheel = within(first.wheel, notches);
    const { buttons, lostX, lostY } = first;
    first.dx -= dx;
    first.dy -= dy;
    first.wheel -= wheel;
    first.lostX = false;
    first.lostY = false;
    if (first.dx === 0 && first.dy === 0 && first.wheel === 0) this.#motions.shift();
    return { dx, dy, wheel, buttons, lostX, lostY };
  }

  save(): MotionsState {
    return { buttons: this.#buttons, motions: this.#motions.map((motion) => ({ ...motion })) };
  }

  restore(state: MotionsState): void {
    this.#motions = state.motions.slice(0, MOTIONS).map(({ dx, dy, wheel, buttons, lostX, lostY }) => ({
      ...sum(NOTHING, dx, dy, wheel, buttons & 0x1f),
      lostX,
      lostY,
    }));
    this.#buttons = state.buttons & 0x1f;
  }
}

const NOTHING: Readonly<Motion> = { dx: 0, dy: 0, wheel: 0, buttons: 0, lostX: false, lostY: false };

function sum(motion: Readonly<Motion>, dx: number, dy: number, wheel: number, buttons: number): Motion {
  const x = motion.dx + (Math.trunc(dx) || 0);
  const y = motion.dy + (Math.trunc(dy) || 0);
  return {
    dx: within(x, COUNTS),
    dy: within(y, COUNTS),
    wheel: within(motion.wheel + wheel, NOTCHES),
    buttons,
    lostX: motion.lostX || Math.abs(x) > COUNTS,
    lostY: motion.lostY || Math.abs(y) > COUNTS,
  };
}
