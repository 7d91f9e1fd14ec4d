import RFB from '@novnc/novnc';

/** rfbproto, "QEMU Pointer Motion Change Pseudo-encoding"; a movement of nothing is sent as ZERO. */
const POINTER_MOTION = -257;
const ZERO = 0x7fff;
/** Buttons from the eighth on, which take the longer message. */
const EXTENDED_BUTTONS = 0x180;

/**
 * noVNC with movements of the mouse beside its positions, for guests whose mouse knows nothing else. While movements
 * are asked for, the server tells which of the two the guest takes, and that is what is sent.
 *
 * It reaches into noVNC, whose version package.json fixes; test/console/consoles.test.ts drives it.
 */
export class RelativeRfb extends RFB {
  #asked = false;
  /** What the guest takes, as the server said since movements were asked for. */
  #takesPositions: boolean | undefined;
  /** In pixels of the guest's screen. */
  #at = { x: 0, y: 0 };
  /** What of movements was less than a pixel. */
  #rest = { x: 0, y: 0 };

  /** From here on `move` may be called, or not any more. */
  askForMovements(asked: boolean): void {
    if (this._rfbConnectionState !== 'connected') return;
    this.#asked = asked;
    this.#takesPositions = undefined;
    this.#at = { x: this._fbWidth / 2, y: this._fbHeight / 2 };
    this.#rest = { x: 0, y: 0 };
    this._sendEncodings();
  }

  /**
   * Moves the guest's mouse, in pixels of its screen.
   * @param mask buttons 1 to 9 as bits, as RFB has them
   */
  move(dx: number, dy: number, mask: number): void {
    // Until the server has said what it takes, a message would be understood wrongly.
    if (this._rfbConnectionState !== 'connected' || this.#takesPositions === undefined) return;
    const { x, y } = this.#takesPositions ? this.#position(dx, dy) : this.#movement(dx, dy);
    const extended = this._extendedPointerEventSupported && (mask & EXTENDED_BUTTONS) !== 0;
    RFB.messages[extended ? 'extendedPointerEvent' : 'pointerEvent'](this._sock, x, y, mask);
  }

  #position(dx: number, dy: number): { x: number; y: number } {
    const within = (at: number, size: number) => Math.max(0, Math.min(size - 1, at));
    this.#at = {
      x: within(this.#at.x + dx, this._fbWidth),
      y: within(this.#at.y + dy, this._fbHeight),
    };
    return { x: Math.round(this.#at.x), y: Math.round(this.#at.y) };
  }

  #movement(dx: number, dy: number): { x: number; y: number } {
    const x = Math.trunc(this.#rest.x + dx);
    const y = Math.trunc(this.#rest.y + dy);
    this.#rest = { x: this.#rest.x + dx - x, y: this.#rest.y + dy - y };
    const sent = (distance: number) => ZERO + Math.max(-ZERO, Math.min(ZERO, distance));
    return { x: sent(x), y: sent(y) };
  }

  protected override _sendEncodings(): void {
    const { messages } = RFB;
    const { clientEncodings } = messages;
    messages.clientEncodings = (sock, encodings) =>
      clientEncodings(sock, this.#asked ? [...encodings, POINTER_MOTION] : encodings);
    try {
      super._sendEncodings();
    } finally {
      messages.clientEncodings = clientEncodings;
    }
  }

  protected override _handleRect(): boolean {
    if (this._FBU.encoding !== POINTER_MOTION) return super._handleRect();
    if (this.#asked) this.#takesPositions = this._FBU.x !== 0;
    return true;
  }
}
