import { spawnSync } from 'node:child_process';
import type { ReadStream } from 'node:tty';

/** Standard input as bytes: in raw mode when it is a terminal, which gets its old mode back however this ends. */
export class Terminal {
  readonly #input: ReadStream;
  readonly #restore = (): void => this.#setRaw(false);
  #listener: ((bytes: Buffer) => void) | undefined;

  constructor(input: ReadStream) {
    this.#input = input;
  }

  get isTty(): boolean {
    return this.#input.isTTY === true;
  }

  /** Hands every byte typed to `listener` from now on. */
  start(listener: (bytes: Buffer) => void): void {
    this.#listener = listener;
    this.#setRaw(true);
    process.once('exit', this.#restore);
    this.#input.on('error', () => {});
    this.#input.on('data', listener);
  }

  pause(): void {
    this.#input.pause();
  }

  resume(): void {
    if (this.#listener !== undefined) this.#input.resume();
  }

  /** Gives the terminal back. */
  stop(): void {
    if (this.#listener === undefined) return;
    this.#input.off('data', this.#listener);
    this.#listener = undefined;
    this.#input.pause();
    this.#setRaw(false);
    process.off('exit', this.#restore);
    this.#input.unref?.();
  }

  #setRaw(raw: boolean): void {
    if (!this.isTty) return;
    try {
      this.#input.setRawMode(raw);
      // Node's raw mode leaves output processing on, which would turn the guest's line feeds into CR LF
      // (termios(3), OPOST). The mode that setRawMode(false) brings back is the one from before both.
      if (raw) spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] });
    } catch {
      // The terminal has gone (a hang-up); there is no mode to set.
    }
  }
}
