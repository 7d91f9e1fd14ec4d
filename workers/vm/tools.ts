import { ChannelError, type ToolOperation } from '../../src/contracts/channel.ts';
import type { Asker } from './channel-server.ts';
import type { Sides } from './sides.ts';

/** What tools do: look at the screen, type, and wait for something to be said. */
export class Tools {
  readonly #sides: Sides;

  constructor(sides: Sides) {
    this.#sides = sides;
  }

  /** Rejects with a ChannelError fit for whoever asked. */
  async use(operation: ToolOperation, _args: unknown, _asker: Asker): Promise<unknown> {
    if (operation === 'screenText') return { lines: this.#text() };
    throw new ChannelError('no-screen', 'this VM has no screen');
  }

  #text(): readonly string[] {
    if (!this.#sides.hasScreen) throw new ChannelError('no-screen', 'this VM has no screen');
    const lines = this.#sides.screen.text();
    if (lines === undefined) throw new ChannelError('no-text', 'the screen is in a graphics mode');
    return lines;
  }
}
