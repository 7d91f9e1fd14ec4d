/** Ctrl-A, which begins a command to teremok itself, as in other emulators. */
const CTRL_A = 0x01;

export interface Typed {
  /** What goes to the guest. */
  readonly bytes: Uint8Array;
  /** Ctrl-A X was typed. */
  readonly quit: boolean;
  /** Ctrl-A H was typed. */
  readonly help: boolean;
}

export const ESCAPE_HELP = 'Ctrl-A X ends the machine, Ctrl-A A sends Ctrl-A, Ctrl-A H shows this';

/** Takes teremok's own key commands out of what is typed on a raw terminal. */
export class EscapeReader {
  #escaped = false;

  read(typed: Uint8Array): Typed {
    const bytes: number[] = [];
    let help = false;
    for (const byte of typed) {
      if (!this.#escaped) {
        if (byte === CTRL_A) this.#escaped = true;
        else bytes.push(byte);
        continue;
      }
      this.#escaped = false;
      const key = String.fromCharCode(byte).toLowerCase();
      if (key === 'x') return { bytes: Uint8Array.from(bytes), quit: true, help };
      if (key === 'a' || byte === CTRL_A) bytes.push(CTRL_A);
      else if (key === 'h' || key === '?') help = true;
      else bytes.push(byte);
    }
    return { bytes: Uint8Array.from(bytes), quit: false, help };
  }
}
