import type { DisplayServer, Machine } from '../../hypervisor/index.ts';
import { SwitchedKeyboard, SwitchedPointer, SwitchedScreen, serveDisplay } from '../../hypervisor/index.ts';
import { UsageError } from '../command.ts';
import type { RunDisplay } from './options.ts';

/** A run's display: the screen of its machines, one after the other, for viewers on a port or a Unix socket. */
export class RunScreen {
  readonly #screen = new SwitchedScreen();
  readonly #keyboard = new SwitchedKeyboard();
  readonly #pointer = new SwitchedPointer();
  #server: DisplayServer | undefined;

  /** Viewers can connect once this resolves. @throws UsageError when the address cannot be listened at */
  async open(display: RunDisplay): Promise<void> {
    try {
      this.#server = await serveDisplay({
        screen: this.#screen,
        keyboard: this.#keyboard,
        pointer: this.#pointer,
        listen: display,
        log: (message) => process.stderr.write(`teremok: ${message}\n`),
      });
    } catch (error) {
      throw new UsageError(`--display: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** A machine comes, or takes another one's place. */
  show({ screen, keyboard, pointer }: Machine): void {
    this.#screen.show(screen);
    this.#keyboard.use(keyboard);
    this.#pointer.use(pointer);
  }

  async close(): Promise<void> {
    await this.#server?.close();
  }
}
