import type { KeyboardLeds, KeyCode } from '../backends/input.ts';
import type { ScreenChange } from '../backends/screen.ts';
import type { JpegEncoder } from './encode/jpeg.ts';
import { keymapNamed } from './keymaps/keymap.ts';
import { Shadow } from './shadow.ts';
import { Viewer, type ViewerHost } from './viewer.ts';
import type { PointerMove } from './viewer-pointer.ts';
import type { Wire } from './wire.ts';

/**
 * Between two looks at the screen, in milliseconds: so many times as long as the last change took to compare and to
 * encode, within limits. A guest that draws without a pause then pays a hundredth or two, for the pages whose first
 * write after a look is noticed and for the memory that is read beside it; on a busy host it pays no more.
 */
const PACE = { costs: 8, least: 8, most: 50 } as const;
/**
 * A guest that draws much of the screen faster than it is looked at is looked at so seldom, in milliseconds: where two
 * processors share a core it is slower for each moment in which the display's is busy. `after` such changes in a row,
 * each of a `part` of the screen or more, which came no later than `late` after they could.
 */
const ENDLESS = { least: 45, after: 2, part: 4, late: 10 } as const;
/** Lines of log a second about viewers that were closed; what is more is only counted. */
const LOGGED_PER_SECOND = 5;

export interface DisplayCoreOptions {
  /** What viewers show as the title. */
  readonly name: string;
  /** Of the layouts in keymaps/, the guest's. */
  readonly keymap: string;
  /** Milliseconds, on a clock that never goes back. */
  readonly now: () => number;
  readonly key: (code: KeyCode, down: boolean) => void;
  readonly move: (move: PointerMove) => void;
  /**
   * From now on somebody waits for the next change: `change` is to be called with it, no sooner than after so many
   * milliseconds, once. Undefined: nobody does any more. A look is to be answered even if nothing has changed when
   * `asks` is more than at the last answer.
   */
  readonly want: (afterMs: number | undefined, asks: number) => void;
  readonly log: (message: string, details?: Record<string, unknown>) => void;
}

/**
 * A display: the viewers of one screen, without sockets, threads or timers. It gets changes of the screen, bytes of
 * viewers and the time, and gives bytes, keys and movements.
 */
export class DisplayCore {
  readonly #options: DisplayCoreOptions;
  readonly #host: ViewerHost;
  readonly #viewers = new Set<Viewer>();
  readonly #shadow = new Shadow();
  #leds: KeyboardLeds = { scroll: false, num: false, caps: false };
  #absolute = false;
  #jpeg: JpegEncoder | undefined;
  /** Milliseconds that the last change has taken so far. */
  #cost = 0;
  /** Since when the next change was wanted, and the pause until then. */
  #wantedSince = 0;
  #pause = 0;
  /** Large changes that came one at the heels of the other. */
  #endless = 0;
  #wanted = false;
  /** Looks that viewers have asked for, and those that `want` was told of. */
  #asks = 0;
  #told = 0;
  #logged = { second: 0, lines: 0, lost: 0 };

  /** @throws UnknownKeymapError */
  constructor(options: DisplayCoreOptions) {
    this.#options = options;
    this.#host = {
      picture: () => (this.#shadow.width === 0 ? undefined : this.#shadow),
      askForLook: () => ++this.#asks,
      name: options.name,
      keymap: keymapNamed(options.keymap),
      leds: () => this.#leds,
      absolute: () => this.#absolute,
      jpeg: () => this.#jpeg,
      now: options.now,
      key: (code, down, viewer) => this.#key(code, down, viewer),
      move: options.move,
      alone: (viewer) => this.#alone(viewer),
      closed: (viewer, reason) => this.#closed(viewer, reason),
    };
  }

  get viewers(): number {
    return this.#viewers.size;
  }

  /** A viewer has come; its bytes go to its `receive`, and `serve` is to be called when its wire has taken some. */
  attach(wire: Wire, viewOnly: boolean): Viewer {
    const viewer = new Viewer(wire, this.#host, viewOnly);
    this.#viewers.add(viewer);
    return viewer;
  }

  /**
   * The screen was looked at because of `want`.
   * @param change perhaps none
   * @param answers `asks` of the last `want` before the look
   * @throws RangeError when the surface is none
   */
  change(change: ScreenChange, answers: number): void {
    this.#wanted = false;
    const begun = this.#options.now();
    const difference = this.#shadow.absorb(change);
    const { changed } = difference;
    const soon = begun - this.#wantedSince <= this.#pause + ENDLESS.late;
    const large = changed.size * ENDLESS.part >= changed.tiles;
    this.#endless = soon && large ? this.#endless + 1 : 0;
    for (const viewer of this.#viewers) viewer.changed(difference, answers);
    this.#cost = this.#options.now() - begun;
    this.serve();
  }

  /** Whether the guest's pointer takes positions, and the lights of its keyboard. */
  guest(absolute: boolean, leds: KeyboardLeds): void {
    this.#absolute = absolute;
    this.#leds = leds;
    this.serve();
  }

  /** Until then pictures go without it. */
  useJpeg(encoder: JpegEncoder): void {
    this.#jpeg = encoder;
  }

  /** Sends what can be sent; to be called after anything was received. */
  serve(): void {
    const begun = this.#options.now();
    for (const viewer of this.#viewers) viewer.serve();
    this.#cost += this.#options.now() - begun;
    const wants = [...this.#viewers].some((viewer) => viewer.waiting);
    if (wants === this.#wanted && (!wants || this.#told === this.#asks)) return;
    this.#wanted = wants;
    this.#told = this.#asks;
    const least = this.#endless > ENDLESS.after ? ENDLESS.least : PACE.least;
    this.#wantedSince = this.#options.now();
    this.#pause = Math.min(Math.max(PACE.costs * this.#cost, least), PACE.most);
    this.#options.want(wants ? this.#pause : undefined, this.#asks);
  }

  /** To be called several times a second while there are viewers. */
  tick(): void {
    for (const viewer of this.#viewers) viewer.tick();
    this.serve();
  }

  close(): void {
    for (const viewer of this.#viewers) viewer.close('the display ends');
  }

  /** A key that two viewers hold stays down until both have let go. */
  #key(code: KeyCode, down: boolean, viewer: Viewer): void {
    const heldByOther = [...this.#viewers].some((other) => other !== viewer && other.keyboard.holds(code));
    if (down || !heldByOther) this.#options.key(code, down);
  }

  #alone(viewer: Viewer): void {
    for (const other of this.#viewers)
      if (other !== viewer) other.close('another viewer wanted the screen alone');
  }

  #closed(viewer: Viewer, reason: string): void {
    this.#viewers.delete(viewer);
    const second = Math.floor(this.#options.now() / 1000);
    if (second !== this.#logged.second) this.#logged = { second, lines: 0, lost: this.#logged.lost };
    if (this.#logged.lines >= LOGGED_PER_SECOND) {
      this.#logged.lost++;
      return;
    }
    this.#logged.lines++;
    const { lost } = this.#logged;
    this.#logged.lost = 0;
    this.#options.log('a viewer of the screen is gone', {
      reason,
      ...(lost === 0 ? {} : { notLogged: lost }),
    });
  }
}
