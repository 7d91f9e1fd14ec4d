import type { KeyCode } from '../../backends/input.ts';
import { CURSOR_BLOCK, KEY, PAUSE, type ScanCodeSet, scanCode, scanCode3 } from './scan-codes.ts';

/** What a key that is down sent when it went down, and must take back. */
const AS_PRESSED = {
  /** A fake Shift went down before it. */
  shifted: 1,
  /** The left Shift was let go for it, or the right one. */
  leftLifted: 2,
  rightLifted: 4,
  /** Print Screen went down as SysRq. */
  sysRq: 8,
} as const;

export type KeyEncoderState = readonly (readonly [code: number, pressed: number])[];

/** Knows which keys are down, and what bytes each of them sends. */
export class KeyEncoder {
  /** Keys that are down, with AS_PRESSED bits. */
  #down = new Map<KeyCode, number>();

  isDown(code: KeyCode): boolean {
    return this.#down.has(code);
  }

  get down(): readonly KeyCode[] {
    return [...this.#down.keys()];
  }

  /** A key goes down; the bytes that it sends. `num` is whether Num Lock's light is on. */
  press(code: KeyCode, set: ScanCodeSet, num: boolean): number[] {
    if (set === 3) {
      this.#down.set(code, 0);
      const code3 = scanCode3(code);
      return code3 === 0 ? [] : [code3];
    }
    if (code === KEY.pause) {
      this.#down.set(code, 0);
      if (!this.#held(KEY.leftCtrl, KEY.rightCtrl)) return [...PAUSE[set]];
      return [...scanCode(code, true, set), ...scanCode(code, false, set)];
    }
    const pressed = this.#asPressed(code, num);
    this.#down.set(code, pressed);
    const before: number[] = [];
    if (pressed & AS_PRESSED.shifted) before.push(...scanCode(KEY.fakeLeftShift, true, set));
    if (pressed & AS_PRESSED.leftLifted) before.push(...scanCode(KEY.fakeLeftShift, false, set));
    if (pressed & AS_PRESSED.rightLifted) before.push(...scanCode(KEY.fakeRightShift, false, set));
    return [...before, ...scanCode(sentAs(code, pressed), true, set)];
  }

  /** The bytes of a key that is held down: no fake Shift again. */
  repeat(code: KeyCode, set: ScanCodeSet): number[] {
    const pressed = this.#down.get(code);
    if (pressed === undefined) return [];
    if (set !== 3) return code === KEY.pause ? [] : scanCode(sentAs(code, pressed), true, set);
    const code3 = scanCode3(code);
    return code3 === 0 ? [] : [code3];
  }

  /** A key goes up; the bytes that it sends. */
  release(code: KeyCode, set: ScanCodeSet): number[] {
    const pressed = this.#down.get(code);
    if (pressed === undefined) return [];
    this.#down.delete(code);
    if (set === 3) {
      const code3 = scanCode3(code);
      return code3 === 0 ? [] : [0xf0, code3];
    }
    if (code === KEY.pause) return [];
    const after: number[] = [];
    if (pressed & AS_PRESSED.shifted) after.push(...scanCode(KEY.fakeLeftShift, false, set));
    // A Shift that was let go meanwhile stays up.
    if (pressed & AS_PRESSED.rightLifted && this.isDown(KEY.rightShift))
      after.push(...scanCode(KEY.fakeRightShift, true, set));
    if (pressed & AS_PRESSED.leftLifted && this.isDown(KEY.leftShift))
      after.push(...scanCode(KEY.fakeLeftShift, true, set));
    return [...scanCode(sentAs(code, pressed), false, set), ...after];
  }

  save(): KeyEncoderState {
    return [...this.#down];
  }

  restore(state: KeyEncoderState): void {
    this.#down = new Map(state.map(([code, pressed]) => [code & 0xff, pressed & 15]));
  }

  #held(...codes: readonly KeyCode[]): boolean {
    return codes.some((code) => this.#down.has(code));
  }

  #asPressed(code: KeyCode, num: boolean): number {
    const shift = this.#held(KEY.leftShift, KEY.rightShift);
    if (code === KEY.sysRq) {
      if (this.#held(KEY.leftAlt, KEY.rightAlt)) return AS_PRESSED.sysRq;
      return shift || this.#held(KEY.leftCtrl, KEY.rightCtrl) ? 0 : AS_PRESSED.shifted;
    }
    const cursor = CURSOR_BLOCK.has(code);
    if (cursor && num) return shift ? 0 : AS_PRESSED.shifted;
    if (!cursor && code !== KEY.keypadSlash) return 0;
    return (
      (this.isDown(KEY.leftShift) ? AS_PRESSED.leftLifted : 0) |
      (this.isDown(KEY.rightShift) ? AS_PRESSED.rightLifted : 0)
    );
  }
}

function sentAs(code: KeyCode, pressed: number): KeyCode {
  return code === KEY.sysRq && !(pressed & AS_PRESSED.sysRq) ? KEY.printScreen : code;
}
