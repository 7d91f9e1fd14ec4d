import { ChannelError, type ToolOperation } from '../../src/contracts/channel.ts';
import type { Expect, Expected, InputDone, VmInput } from '../../src/contracts/screen.ts';
import { parseExpect, parseInput } from '../../src/contracts/screen-messages.ts';
import type { PointerInput } from '../../src/hypervisor/backends/input.ts';
import type { Surface } from '../../src/hypervisor/backends/screen.ts';
import {
  ExpectTimeoutError,
  expectOnScreen,
  expectOnStream,
  type Expected as Found,
} from '../../src/hypervisor/display/expect.ts';
import { UnknownKeyError } from '../../src/hypervisor/display/key-names.ts';
import { keymapNamed, UnknownKeymapError } from '../../src/hypervisor/display/keymaps/keymap.ts';
import { UntypableTextError } from '../../src/hypervisor/display/keymaps/type-text.ts';
import { PatternError } from '../../src/hypervisor/display/pattern.ts';
import { encodePng } from '../../src/hypervisor/display/png.ts';
import { TypingStalledError, Typist, TypistBusyError } from '../../src/hypervisor/display/typist.ts';
import type { Asker } from './channel-server.ts';
import type { SerialLine } from './serial-line.ts';
import type { Sides } from './sides.ts';

const DEFAULT_EXPECT_SECONDS = 60;
/** How much of what came instead is told when a pattern does not come, in characters. */
const SHOWN = 300;

/** What tools do: look at the screen, type, and wait for something to be said. */
export class Tools {
  readonly #sides: Sides;
  readonly #serial: SerialLine;
  readonly #typist: Typist;
  /** Where a pointer that only moves was brought last, in pixels. */
  #at: { x: number; y: number } | undefined;

  constructor(sides: Sides, serial: SerialLine) {
    this.#sides = sides;
    this.#serial = serial;
    this.#typist = new Typist(sides.keyboard);
  }

  /** Rejects with a ChannelError fit for whoever asked. */
  async use(operation: ToolOperation, args: unknown, asker: Asker): Promise<unknown> {
    try {
      // A machine that is being built is waited for; one that cannot be ends this process, and the asker's wait with it.
      await this.#sides.ready;
      switch (operation) {
        case 'screenshot':
          return await this.#screenshot(asker);
        case 'screenText':
          return { lines: this.#text() };
        case 'input':
          return await this.#input(parseInput(args), asker.gone);
        case 'expect':
          return await this.#expect(parseExpect(args), asker.gone);
      }
    } catch (error) {
      throw explain(error);
    }
  }

  #requireScreen(): void {
    if (!this.#sides.hasScreen) throw new ChannelError('no-screen', 'this VM has no screen');
  }

  /** The picture as it is now. */
  #surface(): Surface {
    this.#requireScreen();
    const watch = this.#sides.screen.watch();
    const { surface } = watch.update();
    watch.close();
    return surface;
  }

  async #screenshot(asker: Asker): Promise<{ width: number; height: number }> {
    const surface = this.#surface();
    asker.send(await encodePng(surface));
    return { width: surface.width, height: surface.height };
  }

  #text(): readonly string[] {
    this.#requireScreen();
    const lines = this.#sides.screen.text();
    if (lines === undefined) throw new ChannelError('no-text', 'the screen is in a graphics mode');
    return lines;
  }

  async #input(input: VmInput, gone: AbortSignal): Promise<InputDone> {
    const serialPosition = this.#serial.position;
    if (input.type === 'pointer') return { absolute: this.#point(input), serialPosition };
    if (!this.#sides.hasKeyboard) throw new ChannelError('no-device', 'this VM has no keyboard');
    const keymap = keymapNamed(input.layout ?? 'us');
    if (input.type === 'keys') await this.#typist.press(input.keys, keymap, gone);
    else await this.#typist.type(input.text, keymap, gone);
    return { serialPosition };
  }

  /** @returns whether the guest has turned on positions; else the pointer goes there by movements, as it may */
  #point({ x, y, wheel = 0, buttons = 0 }: VmInput & { type: 'pointer' }): boolean {
    const { width, height } = this.#surface();
    const { pointer } = this.#sides;
    const to = { x: Math.min(x, width - 1), y: Math.min(y, height - 1) };
    if (pointer.absolute) {
      pointer.place(to.x / Math.max(1, width - 1), to.y / Math.max(1, height - 1), wheel, buttons);
      return true;
    }
    const from = this.#at ?? toCorner(pointer, width, height);
    pointer.move(to.x - from.x, to.y - from.y, wheel, buttons);
    this.#at = to;
    return false;
  }

  async #expect({ on, pattern, after, timeoutSeconds }: Expect, gone: AbortSignal): Promise<Expected> {
    const options = {
      timeoutMs: Math.max(1, (timeoutSeconds ?? DEFAULT_EXPECT_SECONDS) * 1000),
      signal: gone,
    };
    if (on === 'screen') {
      this.#requireScreen();
      return foundOf(await expectOnScreen(this.#sides.screen, { regex: pattern }, options));
    }
    const source = this.#serial.from(after ?? 0);
    const found = await expectOnStream(source, { regex: pattern }, options);
    return { ...foundOf(found), position: source.positionAfter(found.match.end) };
  }
}

/** Nobody knows where a mouse is, but it is in the corner after it was moved there from anywhere. */
function toCorner(pointer: PointerInput, width: number, height: number): { x: number; y: number } {
  pointer.move(-2 * width, -2 * height, 0, 0);
  return { x: 0, y: 0 };
}

function foundOf({ match }: Found): Expected {
  return { text: match.text, groups: [...match.groups] };
}

const INVALID = [PatternError, UnknownKeyError, UnknownKeymapError, UntypableTextError];

/** What went wrong, for whoever asked. */
function explain(error: unknown): unknown {
  if (error instanceof ExpectTimeoutError) {
    const seen = error.seen?.slice(-SHOWN);
    return new ChannelError('timeout', seen ? `${error.message}; what came last: ${seen}` : error.message);
  }
  if (error instanceof TypingStalledError) return new ChannelError('timeout', error.message);
  if (error instanceof TypistBusyError) return new ChannelError('too-many', error.message);
  if (INVALID.some((kind) => error instanceof kind)) {
    return new ChannelError('invalid', error instanceof Error ? error.message : '');
  }
  return error;
}
