import type { Duplex } from 'node:stream';
import { DisplayServer } from '../../src/hypervisor/display/display-server.ts';
import { SwitchedKeyboard, SwitchedPointer } from '../../src/hypervisor/display/switched-input.ts';
import { SwitchedScreen } from '../../src/hypervisor/display/switched-screen.ts';
import type { VmMachine } from './machine.ts';

/** How long a display without viewers is kept, for the next to find it ready. Milliseconds. */
const IDLE_MS = 30_000;

/**
 * The sides of a VM that people see and touch: they outlive a reset, which puts a new machine behind them. The
 * display, which is a thread of its own, is there while somebody looks.
 */
export class Sides {
  readonly screen = new SwitchedScreen();
  readonly keyboard = new SwitchedKeyboard();
  readonly pointer = new SwitchedPointer();
  readonly #name: string;
  readonly #log: (message: string) => void;
  readonly #ready = Promise.withResolvers<void>();
  #hasScreen: boolean;
  #hasKeyboard = false;
  #display: DisplayServer | undefined;
  #idle: NodeJS.Timeout | undefined;

  /**
   * @param name what viewers show as the title
   * @param hasScreen whether the machine that is being built will have a screen: viewers may come before it
   */
  constructor(name: string, hasScreen: boolean, log: (message: string) => void) {
    this.#name = name;
    this.#hasScreen = hasScreen;
    this.#log = log;
  }

  /** Resolves when there is a machine behind them for the first time. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Puts a machine behind them. */
  use({ screen, keyboard, pointer }: Pick<VmMachine, 'screen' | 'keyboard' | 'pointer'>): void {
    this.#hasScreen = screen !== undefined;
    this.#hasKeyboard = keyboard !== undefined;
    this.screen.show(screen);
    this.keyboard.use(keyboard);
    this.pointer.use(pointer);
    this.#ready.resolve();
  }

  get hasScreen(): boolean {
    return this.#hasScreen;
  }

  get hasKeyboard(): boolean {
    return this.#hasKeyboard;
  }

  /** What shows the screen to a viewer; undefined without one. */
  get display(): ((stream: Duplex, viewOnly: boolean) => void) | undefined {
    return this.#hasScreen ? (stream, viewOnly) => this.#show(stream, viewOnly) : undefined;
  }

  /** Ends all viewers. */
  async close(): Promise<void> {
    clearInterval(this.#idle);
    await this.#display?.close();
  }

  #show(stream: Duplex, viewOnly: boolean): void {
    const display = this.#display ?? this.#open();
    display.attach(stream, { viewOnly });
    // A display whose thread has failed takes nobody any more; the next viewer gets another.
    if (stream.destroyed) this.#display = undefined;
  }

  #open(): DisplayServer {
    const { screen, keyboard, pointer } = this;
    const display = new DisplayServer({
      screen,
      keyboard,
      pointer,
      name: this.#name,
      log: (message, details) => this.#log(`display: ${message} ${JSON.stringify(details ?? {})}`),
    });
    display.ready.catch(() => {});
    this.#display = display;
    clearInterval(this.#idle);
    this.#idle = setInterval(() => {
      if (display.viewers > 0) return;
      clearInterval(this.#idle);
      if (this.#display === display) this.#display = undefined;
      void display.close();
    }, IDLE_MS).unref();
    return display;
  }
}
