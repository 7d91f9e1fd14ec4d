import type { RelativeRfb } from './relative-rfb.ts';

/** DOM's buttons by bit (left, right, middle, back, forward) as RFB's bits. */
const BUTTONS = [1, 4, 2, 128, 256] as const;
const WHEEL = { up: 8, down: 16, left: 32, right: 64 } as const;
/** Of turning, what makes a notch: pixels, and pixels a line. */
const NOTCH = 50;
const LINE = 19;

const EVENTS = ['keydown', 'mousemove', 'mousedown', 'mouseup', 'wheel', 'click', 'contextmenu'] as const;

/** Gives the mouse to a screen alone: how far it moves counts then, and no edge is in its way. Escape takes it back. */
export class PointerLock {
  readonly #canvas: HTMLCanvasElement;
  readonly #rfb: RelativeRfb;
  readonly #onChange: (locked: boolean) => void;
  #locked = false;
  #turned = { x: 0, y: 0 };

  constructor(canvas: HTMLCanvasElement, rfb: RelativeRfb, onChange: (locked: boolean) => void) {
    this.#canvas = canvas;
    this.#rfb = rfb;
    this.#onChange = onChange;
    document.addEventListener('pointerlockchange', this.#changed);
  }

  /** To be called in answer to a click or a key. Rejects when the browser does not allow it. */
  async lock(): Promise<void> {
    await this.#canvas.requestPointerLock();
  }

  /** Lets go of the mouse for good. */
  dispose(): void {
    if (this.#locked) document.exitPointerLock();
    document.removeEventListener('pointerlockchange', this.#changed);
    this.#set(false);
  }

  readonly #changed = (): void => this.#set(document.pointerLockElement === this.#canvas);

  #set(locked: boolean): void {
    if (locked === this.#locked) return;
    this.#locked = locked;
    // Before noVNC sees them, which would take them for movements over the page.
    for (const type of EVENTS) {
      if (locked) addEventListener(type, this.#take, { capture: true, passive: false });
      else removeEventListener(type, this.#take, { capture: true });
    }
    this.#turned = { x: 0, y: 0 };
    // Buttons that were held when it was taken back are let go.
    if (!locked) this.#rfb.move(0, 0, 0);
    this.#rfb.askForMovements(locked);
    if (locked) this.#rfb.focus();
    this.#onChange(locked);
  }

  readonly #take = (event: Event): void => {
    if (event instanceof KeyboardEvent) return this.#key(event);
    if (!(event instanceof MouseEvent)) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    const mask = BUTTONS.reduce((sum, button, n) => sum | (event.buttons & (1 << n) ? button : 0), 0);
    if (event instanceof WheelEvent) return this.#turn(event, mask);
    if (event.type === 'click' || event.type === 'contextmenu') return;
    // A pixel of the page may be more, or less, than one of the guest's.
    const scale = this.#canvas.width / Math.max(1, this.#canvas.getBoundingClientRect().width);
    const moves = event.type === 'mousemove' ? scale : 0;
    this.#rfb.move(event.movementX * moves, event.movementY * moves, mask);
  };

  /** Browsers take the mouse back by themselves then, as a rule without telling the page of the key: so it is no guest's. */
  #key(event: KeyboardEvent): void {
    if (event.code !== 'Escape') return;
    event.stopImmediatePropagation();
    event.preventDefault();
    document.exitPointerLock();
  }

  #turn({ deltaX, deltaY, deltaMode }: WheelEvent, mask: number): void {
    const unit = deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : LINE;
    this.#turned = { x: this.#turned.x + deltaX * unit, y: this.#turned.y + deltaY * unit };
    const { x, y } = this.#turned;
    if (Math.abs(y) >= NOTCH) {
      this.#notch(y < 0 ? WHEEL.up : WHEEL.down, mask);
      this.#turned.y = 0;
    }
    if (Math.abs(x) >= NOTCH) {
      this.#notch(x < 0 ? WHEEL.left : WHEEL.right, mask);
      this.#turned.x = 0;
    }
  }

  #notch(bit: number, mask: number): void {
    this.#rfb.move(0, 0, mask | bit);
    this.#rfb.move(0, 0, mask);
  }
}
