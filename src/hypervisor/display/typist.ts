import { setTimeout as pause } from 'node:timers/promises';
import type { KeyboardInput } from '../backends/input.ts';
import { combination } from './key-names.ts';
import type { Keymap, Stroke } from './keymaps/keymap.ts';
import { typeText } from './keymaps/type-text.ts';

/** Texts and combinations that wait at most. */
const JOBS = 16;

export interface TypistOptions {
  /**
   * Milliseconds between two strokes; 20 by default. Firmware and boot loaders
   * take keys into a buffer of 15, and read it when they have time.
   */
  readonly strokeMs?: number;
  /** Milliseconds after which a guest that takes no key is given up; 10,000 by default. */
  readonly patienceMs?: number;
}

/** The guest has stopped taking keys. */
export class TypingStalledError extends Error {
  /** Strokes that it took, of how many. */
  readonly typed: number;
  readonly total: number;

  constructor(typed: number, total: number) {
    super(`the guest takes no keys: it has had ${typed} of ${total} strokes`);
    this.typed = typed;
    this.total = total;
  }
}

/** More is to be typed than may wait. */
export class TypistBusyError extends Error {
  constructor() {
    super(`${JOBS} texts wait to be typed already`);
  }
}

/**
 * Types on a machine's keyboard, one text after the other, no faster than the
 * guest takes it. A machine has one: it takes `onDrained` of its keyboard.
 */
export class Typist {
  readonly #keyboard: KeyboardInput;
  readonly #strokeMs: number;
  readonly #patienceMs: number;
  #jobs = 0;
  #tail: Promise<void> = Promise.resolve();
  #drained: (() => void) | undefined;

  constructor(keyboard: KeyboardInput, options: TypistOptions = {}) {
    this.#keyboard = keyboard;
    this.#strokeMs = options.strokeMs ?? 20;
    this.#patienceMs = options.patienceMs ?? 10_000;
    keyboard.onDrained(() => this.#drained?.());
  }

  /**
   * Types a text; resolves when the guest has taken it all.
   *
   * @throws UntypableTextError before anything is typed; TypingStalledError; TypistBusyError; the signal's reason
   */
  async type(text: string, keymap: Keymap, signal?: AbortSignal): Promise<void> {
    await this.#queue(typeText(text, keymap), signal);
  }

  /**
   * Presses keys together, such as `ctrl alt delete`, and lets them go.
   *
   * @throws UnknownKeyError before anything is pressed; else as `type`
   */
  async press(names: readonly string[], keymap: Keymap, signal?: AbortSignal): Promise<void> {
    await this.#queue([combination(names, keymap)], signal);
  }

  async #queue(strokes: readonly Stroke[], signal: AbortSignal | undefined): Promise<void> {
    if (this.#jobs >= JOBS) throw new TypistBusyError();
    this.#jobs += 1;
    const job = this.#tail.then(() => this.#strike(strokes, signal));
    this.#tail = job.catch(() => {});
    try {
      await job;
    } finally {
      this.#jobs -= 1;
    }
  }

  async #strike(strokes: readonly Stroke[], signal: AbortSignal | undefined): Promise<void> {
    for (const [typed, stroke] of strokes.entries()) {
      signal?.throwIfAborted();
      // What others press goes first.
      if (!(await this.#taken(signal))) throw new TypingStalledError(typed, strokes.length);
      // Down and up in one go, so that a guest that is slow does not see a key held until it repeats.
      for (const code of stroke) this.#keyboard.key(code, true);
      for (const code of stroke.toReversed()) this.#keyboard.key(code, false);
      if (!(await this.#taken(signal))) throw new TypingStalledError(typed, strokes.length);
      if (this.#strokeMs > 0) await pause(this.#strokeMs, undefined, signal ? { signal } : {});
    }
  }

  /** Whether the guest has taken all keys, within the time that it is given. */
  async #taken(signal: AbortSignal | undefined): Promise<boolean> {
    if (this.#keyboard.waiting === 0) return true;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = (): void => reject(signal?.reason);
    const timer = setTimeout(resolve, this.#patienceMs);
    this.#drained = resolve;
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#drained = undefined;
      signal?.removeEventListener('abort', abort);
    }
    return this.#keyboard.waiting === 0;
  }
}
