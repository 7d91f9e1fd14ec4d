import type { Screen, ScreenChange, ScreenWatch, Surface } from '../../backends/screen.ts';
import { Damage } from './damage.ts';
import type { DirtyPages } from './dirty-pages.ts';
import { GraphicsPicture, type Redraw } from './graphics-picture.ts';
import { drawLinear, isSurfaceFormat, noteWritten } from './linear-picture.ts';
import { type GraphicsMode, type LinearMode, type Mode, modeOf, same } from './mode.ts';
import { type Canvas, darken, makeCanvas, type VideoMemory } from './pixels.ts';
import type { VgaRegisters } from './registers.ts';
import { screenText } from './screen-text.ts';
import { TextPicture } from './text-picture.ts';

/** The size of what is shown before the guest has programmed anything: that of the BIOS's text mode. */
const FIRST_SIZE = { width: 720, height: 400 } as const;
const PALETTE_SIZE_SELECT = 0x80;

export interface VgaScreenOptions {
  readonly registers: VgaRegisters;
  readonly memory: VideoMemory;
  /** `memory.bytes` lies in it. */
  readonly shared: SharedArrayBuffer;
  readonly dirty: DirtyPages;
}

interface Watch {
  damage: Damage;
  /** The surface that its last update was about. */
  seen: Surface | undefined;
}

/** The adapter's picture. Draws in `update`, and there only what may have changed since the last one of any watch. */
export class VgaScreen implements Screen {
  readonly #registers: VgaRegisters;
  readonly #memory: VideoMemory;
  readonly #shared: SharedArrayBuffer;
  readonly #dirty: DirtyPages;
  readonly #watches = new Set<Watch>();
  readonly #text = new TextPicture();
  readonly #graphics = new GraphicsPicture();
  /** Pixels of the 256 colours of the DAC, and of the 16 that the attribute controller makes of them. */
  readonly #colours = new Uint32Array(256);
  readonly #palette = new Uint32Array(16);

  #modeStale = true;
  #coloursStale = true;
  /** Nothing of what was drawn before is known to be right. */
  #forgotten = true;
  #bigEndian = false;
  #mode: Mode = { kind: 'dark' };
  /** What is drawn on; undefined while the surface is video memory itself. */
  #canvas: Canvas | undefined;
  #surface: Surface | undefined;
  /** Of the surface, since the watches were last told. */
  #damage = new Damage(1, 1);

  constructor(options: VgaScreenOptions) {
    this.#registers = options.registers;
    this.#memory = options.memory;
    this.#shared = options.shared;
    this.#dirty = options.dirty;
  }

  /** The registers have changed. */
  modeChanged(): void {
    this.#modeStale = true;
  }

  /** The DAC or the attribute controller's palette have changed. */
  coloursChanged(): void {
    this.#coloursStale = true;
  }

  /** The byte order of linear pixels. */
  get bigEndian(): boolean {
    return this.#bigEndian;
  }

  set bigEndian(bigEndian: boolean) {
    this.#bigEndian = bigEndian;
    this.#modeStale = true;
  }

  watch(): ScreenWatch {
    const watch: Watch = { damage: new Damage(1, 1), seen: undefined };
    if (this.#watches.size === 0) {
      this.#forgotten = true;
      this.#dirty.enable(true);
    }
    this.#watches.add(watch);
    return {
      update: () => this.#update(watch),
      close: () => this.#close(watch),
    };
  }

  text(): readonly string[] | undefined {
    const mode = this.#modeNow();
    return mode.kind === 'text' ? screenText(this.#memory.words, mode) : undefined;
  }

  /** Everything is to be drawn anew: state has been restored. */
  forget(): void {
    this.#forgotten = true;
    this.#modeStale = true;
    this.#coloursStale = true;
  }

  #close(watch: Watch): void {
    if (!this.#watches.delete(watch) || this.#watches.size > 0) return;
    this.#dirty.enable(false);
    this.#canvas = undefined;
    this.#surface = undefined;
  }

  #update(watch: Watch): ScreenChange {
    const surface = this.#watches.has(watch) ? this.#refresh() : (watch.seen ?? this.#refresh());
    if (watch.seen === surface) return { surface, replaced: false, rects: watch.damage.take() };
    watch.seen = surface;
    watch.damage = new Damage(surface.width, surface.height);
    const all = { x: 0, y: 0, width: surface.width, height: surface.height };
    return { surface, replaced: true, rects: [all] };
  }

  #modeNow(): Mode {
    return modeOf(this.#registers, this.#memory.words.length, this.#bigEndian);
  }

  /** Brings the surface up to date and every watch's damage with it. */
  #refresh(): Surface {
    const { pages } = this.#memory;
    this.#dirty.take(pages);
    const before = this.#mode;
    const modeChanged = this.#modeStale;
    if (modeChanged) this.#mode = this.#modeNow();
    const coloursChanged = this.#coloursStale;
    if (coloursChanged) this.#mixColours();
    this.#modeStale = false;
    this.#coloursStale = false;
    const old = this.#surface;
    const surface = this.#place(modeChanged ? before : this.#mode);
    this.#draw(before, surface !== old, coloursChanged);
    pages.fill(0);
    this.#forgotten = false;
    const damage = this.#damage;
    if (!damage.empty) {
      for (const { seen, damage: theirs } of this.#watches) if (seen === surface) theirs.merge(damage);
      damage.clear();
    }
    return surface;
  }

  #mixColours(): void {
    const { attribute, dac, dispi } = this.#registers;
    dac.colours(this.#colours, dispi.wideDac);
    const select = attribute.values[0x14];
    const whole = (attribute.values[0x10] & PALETTE_SIZE_SELECT) !== 0;
    for (let i = 0; i < 16; i++) {
      const entry = attribute.values[i & attribute.values[0x12]];
      const colour = whole ? (entry & 0x0f) | ((select & 15) << 4) : entry | ((select & 12) << 4);
      this.#palette[i] = this.#colours[colour];
    }
  }

  /** The surface for the mode: the present one where it fits. */
  #place(before: Mode): Surface {
    const mode = this.#mode;
    const old = this.#surface;
    if (mode.kind === 'linear' && isSurfaceFormat(mode)) return this.#alias(mode, old);
    const size = mode.kind === 'dark' ? (old ?? FIRST_SIZE) : mode;
    const fits = old?.width === size.width && old.height === size.height;
    const kept = mode.kind === before.kind || mode.kind === 'dark';
    if (this.#canvas && old && fits && kept) return old;
    this.#canvas = makeCanvas(size.width, size.height);
    this.#damage = this.#canvas.damage;
    this.#surface = this.#canvas.surface;
    return this.#surface;
  }

  /** A surface that is video memory itself. */
  #alias(mode: LinearMode, old: Surface | undefined): Surface {
    const surface: Surface = {
      width: mode.width,
      height: mode.height,
      stride: mode.stride,
      memory: this.#shared,
      offset: this.#memory.bytes.byteOffset + mode.offset,
    };
    if (old && same({ ...old, memory: 0 }, { ...surface, memory: 0 }) && old.memory === surface.memory)
      return old;
    this.#canvas = undefined;
    this.#damage = new Damage(surface.width, surface.height);
    this.#surface = surface;
    return surface;
  }

  #draw(before: Mode, fresh: boolean, coloursChanged: boolean): void {
    const mode = this.#mode;
    const memory = this.#memory;
    const canvas = this.#canvas;
    const everything = fresh || this.#forgotten;
    if (!canvas) {
      if (mode.kind !== 'linear') return;
      if (everything) this.#damage.all();
      else noteWritten(memory, mode, this.#damage);
      return;
    }
    switch (mode.kind) {
      case 'dark':
        if (everything || before.kind !== 'dark') darken(canvas);
        break;
      case 'text':
        this.#text.draw(
          canvas,
          memory,
          mode,
          this.#palette,
          this.#registers.frame,
          everything || coloursChanged || before.kind !== 'text',
        );
        break;
      case 'graphics': {
        const colours = mode.pixels === 'bytes' ? this.#colours : this.#palette;
        const redraw = everything ? 'all' : redrawOf(before, mode, coloursChanged);
        this.#graphics.draw(canvas, memory, mode, colours, redraw);
        break;
      }
      default:
        drawLinear(canvas, memory, mode, this.#colours, everything || coloursChanged || !same(before, mode));
    }
  }
}

function redrawOf(before: Mode, mode: GraphicsMode, coloursChanged: boolean): Redraw {
  if (before.kind !== 'graphics') return 'all';
  if (same(before, mode)) return coloursChanged ? 'lines' : 'nothing';
  const startless = (m: GraphicsMode): unknown => ({ ...m, parts: m.parts.map((p) => ({ ...p, start: 0 })) });
  // A panned line differs from its unpanned self, but lines repeat as before.
  return same(startless(before), startless(mode)) ? 'lines' : 'all';
}
